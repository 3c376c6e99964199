//! What steps do. `select` finds the files a COPY means, `place` decides where they go, and `items` keeps them there;
//! `archive` opens what ADD unpacks, and `unpack` does that; `run` calls the executor; `layer` writes the result as a layer's tar. Nothing here mounts anything or
//! keeps a root file system: destinations are found in the merged tables of contents of the layers below.

pub mod archive;
pub mod chmod;
pub mod chown;
mod items;
pub mod layer;
pub mod place;
pub mod select;
mod unpack;

use std::io;

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// In words.
    #[error("{0}")]
    Message(String),
    /// In words, with advice.
    #[error("{message}")]
    Advised {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done, to what.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A port failed.
    #[error("cannot {action}")]
    Port {
        /// What it was asked for.
        action: String,
        /// The cause.
        source: crate::ports::PortError,
    },
    /// A command failed.
    #[error("the command exited with code {0}")]
    Exit(i32),
    /// A command failed, and these are the last lines it wrote.
    #[error("{source}")]
    Logged {
        /// What happened to it.
        source: Box<OpError>,
        /// The lines.
        output: Vec<String>,
    },
    /// The build was told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl OpError {
    /// An [`OpError::Io`].
    pub(crate) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { action: action.into(), source: source.into() }
    }
}
