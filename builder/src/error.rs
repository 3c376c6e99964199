//! Why a build ended without an image. Whatever has a place in the Buildfile carries a [`Diagnostic`] with it, whose
//! `Display` is the message of the error; the cause is in `source()`.

use std::sync::Arc;

use crate::buildfile::{Diagnostic, Warning};
use crate::event::Step;
use crate::op::OpError;
use crate::ports::PortError;
use crate::tripwire::Leak;

/// A failed build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something is wrong with the Buildfile.
    #[error(transparent)]
    Buildfile(#[from] Box<Diagnostic>),
    /// A base image cannot be had.
    #[error("{diagnostic}")]
    BaseImage {
        /// Where it is asked for.
        diagnostic: Box<Diagnostic>,
        /// The image source's answer.
        source: PortError,
    },
    /// A step failed.
    #[error("{diagnostic}")]
    Step {
        /// Which instruction, and what went wrong with it.
        diagnostic: Box<Diagnostic>,
        /// The step.
        step: Arc<Step>,
        /// The last lines that its command wrote.
        output: Vec<String>,
        /// The cause.
        source: OpError,
    },
    /// The directive `check=error=true` is in force, and there are warnings.
    #[error("{} in {file}, which the check directive takes for errors", count(.warnings.len()))]
    Warnings {
        /// The Buildfile.
        file: String,
        /// The warnings.
        warnings: Vec<Warning>,
    },
    /// An option cannot be understood.
    #[error("{0}")]
    Options(String),
    /// Something around the steps failed: the context, or the store.
    #[error(transparent)]
    Other(#[from] OpError),
    /// The image breaks assertions of the Buildfile.
    #[error("{}", lines(.0))]
    Budgets(Vec<Diagnostic>),
    /// Secrets given to the build are in the image.
    #[error("{}", lines(.0))]
    Leak(Vec<Leak>),
    /// The build was told to stop.
    #[error("the build was cancelled")]
    Cancelled,
}

fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn count(number: usize) -> String {
    if number == 1 { "there is 1 warning".to_owned() } else { format!("there are {number} warnings") }
}

impl From<store::Error> for BuildError {
    fn from(error: store::Error) -> Self {
        Self::Other(OpError::Store(error))
    }
}

impl BuildError {
    /// The place in the Buildfile that it is about.
    #[must_use]
    pub fn diagnostic(&self) -> Option<&Diagnostic> {
        match self {
            Self::Buildfile(diagnostic) | Self::BaseImage { diagnostic, .. } | Self::Step { diagnostic, .. } => {
                Some(diagnostic)
            }
            _ => None,
        }
    }

    /// The exit code of the command that failed, if one did.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Step { source: OpError::Exit(code), .. } => Some(*code),
            _ => None,
        }
    }
}
