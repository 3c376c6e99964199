//! The tripwire: bytes of every secret that was given to the build are looked for in what it made, before the image is
//! put into the store: files (also inside gzip, zstd and zip), names, link texts and extended attributes of the new layers,
//! the history, and the config with its environment and labels.

mod members;
mod patterns;
mod scan;

use std::fs::File;
use std::sync::Arc;

use serde_json::Value;
use store::layer::Kind;
use store::layer::tree::FileReader;

use crate::buildfile::{Rule, Span, Warning};
use crate::config::Config;
use crate::error::BuildError;
use crate::op::OpError;
use crate::output::{Item, Made};
use crate::solve::Solver;

use scan::Scanner;

/// Something that must not be in an image.
#[derive(Clone, PartialEq, Eq)]
pub struct Watched {
    /// What messages call it: `secret "npm"`, `ssh key "default"`.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for Watched {
    /// Without the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched({:?}, {} bytes)", self.name, self.bytes.len())
    }
}

/// What happens when a secret is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tripwire {
    /// The build fails.
    #[default]
    Fail,
    /// A warning.
    Warn,
    /// Nothing: it is not looked for.
    Off,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What was found, as [`Watched::name`] has it.
    pub secret: String,
    /// Where: a path of the image, or `the history`, `ENV TOKEN`.
    pub place: String,
    /// How it was written, if not plainly: `base64`, `hex`, `URL-encoded`.
    pub form: Option<&'static str>,
    /// The Buildfile.
    pub file: String,
    /// The line that wrote it, if one is to blame.
    pub line: Option<u32>,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} found in {}", self.secret, self.place)?;
        if let Some(form) = self.form {
            write!(f, " ({form})")?;
        }
        self.line.map_or(Ok(()), |line| write!(f, " written by {}:{line}", self.file))
    }
}

/// Looks for everything watched in what the build made.
///
/// # Errors
/// [`BuildError::Leak`] if something was found and the tripwire says so, other errors if layers cannot be read. Gives
/// back warnings otherwise: of what was found, and of what was not wholly searched.
pub(crate) fn check(
    solver: &Solver<'_>,
    made: &[Made],
    items: &[Item<'_>],
    config: &Config,
) -> Result<Vec<Warning>, BuildError> {
    let options = solver.options;
    if options.tripwire == Tripwire::Off || options.watched.is_empty() {
        return Ok(Vec::new());
    }
    let scanner = Scanner::new(&options.watched).map_err(BuildError::Options)?;
    let mut search = Search { solver, scanner, leaks: Vec::new(), cut: Vec::new() };
    for made in made {
        search.layer(made)?;
    }
    for item in items {
        search.text(item.created_by.as_bytes(), "the history", Some(item.span.start.line));
    }
    search.config(config, items);
    let Search { leaks, mut cut, .. } = search;
    if options.tripwire == Tripwire::Fail && !leaks.is_empty() {
        return Err(BuildError::Leak(leaks));
    }
    cut.extend(
        leaks.iter().map(|leak| Warning::new(Rule::SecretFound, Span::line(leak.line.unwrap_or(1)), leak.to_string())),
    );
    Ok(cut)
}

struct Search<'a> {
    solver: &'a Solver<'a>,
    scanner: Scanner,
    leaks: Vec<Leak>,
    /// What was not wholly searched.
    cut: Vec<Warning>,
}

impl Search<'_> {
    fn found(&mut self, secret: usize, form: Option<&'static str>, place: &str, line: Option<u32>) {
        let secret = self.solver.options.watched[secret].name.clone();
        let leak =
            Leak { secret, place: place.to_owned(), form, file: self.solver.file.source.name().to_owned(), line };
        // Once for each place, however often and in whatever form it is there.
        if !self.leaks.iter().any(|other| (&other.secret, &other.place) == (&leak.secret, &leak.place)) {
            self.leaks.push(leak);
        }
    }

    fn text(&mut self, bytes: &[u8], place: &str, line: Option<u32>) {
        for (secret, form) in self.scanner.bytes(bytes) {
            self.found(secret, form, place, line);
        }
    }

    fn layer(&mut self, made: &Made) -> Result<(), BuildError> {
        let layers = self.solver.store.layers();
        let toc = layers.toc(&made.layer)?;
        let tar: File = layers.open_tar(&made.layer)?;
        for entry in toc.entries() {
            if self.solver.options.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            let place = entry.path.to_string();
            self.text(entry.path.as_bytes(), &place, Some(made.line));
            for (name, value) in &entry.xattrs {
                self.text(name, &place, Some(made.line));
                self.text(value, &place, Some(made.line));
            }
            match &entry.kind {
                Kind::Symlink { target } => self.text(target, &place, Some(made.line)),
                kind @ Kind::File { .. } => {
                    let found = FileReader::new(&tar, kind)
                        .map_err(std::io::Error::other)
                        .and_then(|file| self.scanner.stream(file))
                        .map_err(|error| OpError::io(format!("search {place}"), error))?;
                    for (secret, form) in found.hits {
                        self.found(secret, form, &place, Some(made.line));
                    }
                    if found.cut {
                        let message = format!(
                            "{place} was not wholly searched for secrets: it unpacks to too much, or is packed too deep"
                        );
                        self.cut.push(Warning::new(Rule::SecretSearchCut, Span::line(made.line), message));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The config's texts: variables and labels by name, the rest by field. What the base image brought cannot be ours
    /// to blame on a line, but is told all the same.
    fn config(&mut self, config: &Config, items: &[Item<'_>]) {
        let mut texts = Vec::new();
        for (name, value) in config.env() {
            texts.push((format!("ENV {name}"), format!("{name}={value}")));
        }
        collect(&config.value(), "", &mut texts);
        for (place, text) in texts {
            for (secret, form) in self.scanner.bytes(text.as_bytes()) {
                let mut lines = items.iter().rev().filter(|item| {
                    self.scanner.bytes(item.created_by.as_bytes()).iter().any(|(other, _)| *other == secret)
                });
                let line = lines.next().map(|item| item.span.start.line);
                self.found(secret, form, &place, line);
            }
        }
    }
}

/// Every text of a JSON value with the field it is in; the environment is left out, it has names of its own.
fn collect(value: &Value, field: &str, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((format!("{field} of the config"), text.clone())),
        Value::Array(items) if field != "Env" => items.iter().for_each(|item| collect(item, field, texts)),
        Value::Object(map) => {
            for (name, value) in map {
                let field =
                    if field.is_empty() || field == "config" { name.clone() } else { format!("{field} {name}") };
                texts.push((field.clone(), name.clone()));
                collect(value, &field, texts);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod tests;
