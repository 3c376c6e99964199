//! What can go wrong in the store. Messages are lower case and say what was being done to what; the cause is in
//! `source()`. Nothing here prints.

use std::io;
use std::path::{Path, PathBuf};

/// Result with the store's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file system call failed on a path of the store.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done, as a verb phrase: `open`, `rename`, `sync`.
        action: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A stream from outside (network, archive, pipe) could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What was being read.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Content does not have the digest it was announced with.
    #[error("{what} has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What was verified.
        what: String,
        /// The announced digest.
        expected: String,
        /// The digest of the bytes read.
        actual: String,
    },
    /// Content is longer or shorter than announced.
    #[error("{what} has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was verified.
        what: String,
        /// Announced size in bytes.
        expected: u64,
        /// Bytes read; reading stops one byte past the announced size.
        actual: u64,
    },
    /// Text that is not a digest of a known algorithm.
    #[error("invalid digest {0:?}")]
    InvalidDigest(String),
    /// A layer or archive breaks the rules a tar must keep here.
    #[error("invalid layer: {0}")]
    InvalidLayer(String),
    /// A document (manifest, config, record) cannot be understood.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// The kind of document.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// A limit on input from outside was met.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Something asked for by name or digest is not in the store.
    #[error("no such {kind}: {name}")]
    NotFound {
        /// image, layer, container, …
        kind: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// Something cannot be done in the state the store is in (still used, already there).
    #[error("{0}")]
    Conflict(String),
    /// A lock was not released in time by another process.
    #[error("timed out waiting for the lock {}", path.display())]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
    },
    /// The store was written by a newer img.
    #[error("the store at {} has format {found}, newer than what this img reads (up to {supported})", path.display())]
    NewerFormat {
        /// The store's root.
        path: PathBuf,
        /// Its format number.
        found: u32,
        /// The newest format this program knows.
        supported: u32,
    },
    /// What is on disk contradicts its own name or size.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl Error {
    /// An [`Error::Io`] for `action` on `path`; made for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// As [`Error::io`], wrapped in an `io::Error` of the same kind: for who only hands bytes on, and whose caller does not know
    /// the path. It comes out again by `downcast`.
    pub(crate) fn carried(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> io::Error {
        move |source| io::Error::new(source.kind(), Self::io(action, path)(source))
    }

    /// Whether this says that a file system is mounted read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether this says that a disk or a quota is full.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), QuotaExceeded | StorageFull))
    }

    /// Whether this says that something is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
