//! Kernel locks on files: held by an open descriptor, so they end with their holder, however it ends.
//!
//! Every wait has a deadline. A lock file may be removed by its exclusive holder: whoever gets the lock checks that
//! the path still names the file that was locked, and tries again otherwise. Descriptors are close-on-exec; a process
//! that forks without exec must close them in the child, for a flock belongs to the open file (flock(2)).
//!
//! On a file system that is mounted read-only, files that are there are locked as ever, and those that are not exclude nobody:
//! what they guard cannot be changed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Longest wait for a lock that is only ever held for a few system calls.
pub(crate) const SHORT: Duration = Duration::from_secs(30);

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
    remove: bool,
}

impl LockFile {
    /// Waits up to `timeout` for the lock on the file at `path`, which is created (0600) if absent.
    ///
    /// # Errors
    /// [`Error::LockTimeout`] at the deadline, [`Error::Io`] if the file cannot be opened or locked.
    pub fn acquire(path: &Path, mode: LockMode, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(lock) = Self::try_acquire(path, mode)? {
                return Ok(lock);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::LockTimeout { path: path.to_path_buf() });
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Takes the lock if it is free; `None` if somebody holds it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or locked.
    pub fn try_acquire(path: &Path, mode: LockMode) -> Result<Option<Self>> {
        loop {
            let Some(file) = open(path).map_err(Error::io("open the lock", path))? else {
                let file = File::open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
                return Ok(Some(Self { file, path: path.to_path_buf(), remove: false }));
            };
            if !try_lock(&file, mode).map_err(Error::io("lock", path))? {
                return Ok(None);
            }
            if still_names(path, &file)? {
                return Ok(Some(Self { file, path: path.to_path_buf(), remove: false }));
            }
        }
    }

    /// Makes the release remove the file too. Only for exclusive locks that are one of many (one per layer or tag).
    #[must_use]
    pub fn removed_on_release(mut self) -> Self {
        self.remove = true;
        self
    }

    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.remove {
            // While it is still locked: a waiter sees that the path names another file, or none. If this fails the
            // empty file stays, which harms nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a lock file, made if it is not there; `None` if it cannot be made, on a read-only file system.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    let options = |writing: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(writing).create(writing).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        options
    };
    match options(true).open(path) {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => match options(false).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        },
        file => file.map(Some),
    }
}

/// Locks `file` if that needs no wait; whether it is locked now.
pub(crate) fn try_lock(file: &File, mode: LockMode) -> std::io::Result<bool> {
    let outcome = match mode {
        LockMode::Shared => file.try_lock_shared(),
        LockMode::Exclusive => file.try_lock(),
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `path` still names the open `file`.
pub(crate) fn still_names(path: &Path, file: &File) -> Result<bool> {
    let ours = file.metadata().map_err(Error::io("stat", path))?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(there.ino() == ours.ino() && there.dev() == ours.dev()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("stat", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_and_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = LockFile::acquire(&path, LockMode::Exclusive, SHORT).unwrap();
        assert!(LockFile::try_acquire(&path, LockMode::Shared).unwrap().is_none());
        let error = LockFile::acquire(&path, LockMode::Exclusive, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, Error::LockTimeout { .. }), "{error}");
        drop(held);
        let one = LockFile::acquire(&path, LockMode::Shared, SHORT).unwrap();
        assert!(LockFile::try_acquire(&path, LockMode::Shared).unwrap().is_some());
        drop(one);
    }

    #[test]
    fn a_removed_lock_file_excludes_still() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = LockFile::acquire(&path, LockMode::Exclusive, SHORT).unwrap().removed_on_release();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
