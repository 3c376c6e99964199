//! The Buildfile language (Dockerfile syntax, as BuildKit's `docker/dockerfile:1` reads it): text to typed
//! instructions. Parsing is pure and complete before anything is done; each error is a [`Diagnostic`] with its place.
//! `source` → `lexer` (logical lines) → `parser` (instructions); `expand` is the language of variables and quotes that
//! the planner applies later, when values are known.

pub mod assertion;
pub mod diagnostic;
pub mod expand;
#[cfg(test)]
mod generated_tests;
pub mod instruction;
mod lexer;
mod lint;
mod mount_option;
mod parse_arguments;
mod parse_copy;
mod parse_run;
mod parser;
mod pattern;
mod rule;
pub mod source;
pub mod warning;
mod words;

pub use assertion::{Assertion, Requirement};
pub use diagnostic::Diagnostic;
pub use expand::Expander;
pub use instruction::{Arg, Command, Copy, Healthcheck, Heredoc, Instruction, Kind, NetworkMode, Pair, Run, Stage};
pub use mount_option::{MountKind, MountOption, Sharing};
pub use rule::Rule;
pub use source::{Position, Source, Span};
pub use warning::{Check, Warning};
pub use words::comma_separated;

/// A parsed Buildfile.
#[derive(Clone, Debug)]
pub struct Buildfile {
    /// Its text, for messages.
    pub source: Source,
    /// The escape character.
    pub escape: char,
    /// The `check` directive.
    pub check: Check,
    /// ARG instructions before the first FROM.
    pub global_args: Vec<Instruction>,
    /// Stages in order; at least one.
    pub stages: Vec<Stage>,
    /// `# img:assert` comments.
    pub assertions: Vec<Assertion>,
    /// Doubtful things found while reading; those that `check` skips are left out.
    pub warnings: Vec<Warning>,
}

impl Buildfile {
    /// Parses the bytes of a Buildfile called `name`.
    ///
    /// # Errors
    /// A [`Diagnostic`] for the first thing that is wrong.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Box<Diagnostic>> {
        parser::parse(Source::new(name, bytes)?, None)
    }

    /// The same with `check` in place of the file's own directive (the build argument `BUILDKIT_DOCKERFILE_CHECK`).
    ///
    /// # Errors
    /// As [`Buildfile::parse`].
    pub fn parse_checked(name: &str, bytes: &[u8], check: Option<Check>) -> Result<Self, Box<Diagnostic>> {
        parser::parse(Source::new(name, bytes)?, check)
    }

    /// Parses one instruction, as an ONBUILD trigger of an image holds it. `escape` is the character in force.
    ///
    /// # Errors
    /// A [`Diagnostic`] within the trigger's own text.
    pub fn parse_trigger(text: &str) -> Result<Instruction, Box<Diagnostic>> {
        parser::trigger(Source::new("ONBUILD trigger", text.as_bytes())?)
    }
}

/// Names looked for in a build context when none is given, in order.
pub const DEFAULT_NAMES: [&str; 3] = ["Buildfile", "Containerfile", "Dockerfile"];

/// The file to build: the first of [`DEFAULT_NAMES`] that `exists`.
#[must_use]
pub fn default_name(exists: impl Fn(&str) -> bool) -> Option<&'static str> {
    DEFAULT_NAMES.into_iter().find(|name| exists(name))
}
