//! What can go wrong in this crate, as one type.
//!
//! A message says what was being done and to what; the kernel's answer is the `source()`. A failure inside the child
//! arrives as [`Error::Start`] with the name of its step; what exit code that means is [`Error::exit_code`], by the
//! convention of shells and Docker.

use std::io;
use std::path::PathBuf;

use crate::init::dialogue::Failure;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the runner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed; `doing` completes "cannot …".
    #[error("cannot {doing}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The request contradicts itself or asks for what this version cannot do; nothing has been made.
    #[error("{0}")]
    Invalid(String),
    /// The child could not become the container's process.
    #[error("{0}")]
    Start(Failure),
    /// No container of that id has a state directory.
    #[error("no such container: {0}")]
    NotFound(String),
    /// The container is not running.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container is running, and the request needs it not to.
    #[error("container {0} is running")]
    Running(String),
    /// A wait ended without what was waited for.
    #[error("timed out after {seconds} s while {doing}")]
    Timeout {
        /// What was waited for.
        doing: String,
        /// How long.
        seconds: u64,
    },
    /// A signal ended a wait.
    #[error("interrupted by signal {signal} while {doing}")]
    Interrupted {
        /// What was waited for.
        doing: String,
        /// The signal.
        signal: i32,
    },
    /// A record of ours is not readable.
    #[error("cannot read the record {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The other side of the attach socket does not keep to the protocol.
    #[error("attach protocol: {0}")]
    Protocol(String),
    /// Limits could not be set up or read.
    #[error("cannot set up or use the container's cgroup")]
    Cgroup(#[from] crate::cgroup::Error),
    /// Capabilities or seccomp could not be worked out.
    #[error("cannot prepare the sandbox")]
    Security(#[from] crate::security::Error),
    /// The network could not be made or removed.
    #[error("cannot set up or remove the container's network")]
    Network(#[from] crate::network::Error),
}

impl Error {
    /// An [`Error::Io`] from any I/O-like error; `doing` completes "cannot …".
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Io { doing: doing.into(), source: source.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Error::Invalid(what.into())
    }

    /// Whether a container has ended, or is not there any more, where one that runs was asked for.
    pub fn has_ended(&self) -> bool {
        matches!(self, Error::NotRunning(_) | Error::NotFound(_))
    }

    /// Whether a container was not started because it runs, started by somebody else meanwhile.
    pub fn is_running(&self) -> bool {
        match self {
            Error::Start(failure) => failure.kind == crate::init::dialogue::FailureKind::Running,
            error => matches!(error, Error::Running(_)),
        }
    }

    /// The exit code a front should end with: 127 if the program was not found, 126 if it could not be executed, 128 and
    /// its number for a signal, 125 for everything else (docker run, "Exit status").
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Start(failure) => failure.exit_code(),
            Error::Interrupted { signal, .. } => 128 + signal,
            _ => 125,
        }
    }
}

/// Gives `?` a place to say what was being done: `call().doing(|| format!("open {path}"))?`.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into [`Error::Io`].
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::io(what(), source))
    }
}
