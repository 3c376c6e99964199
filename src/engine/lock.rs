//! Locks of files and directories (flock(2)) that are waited for, but not for ever, and those that the engine holds for a start.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use super::Engine;

/// Longest wait for who has a lock: a start, a removal, an exchange.
const LIMIT: Duration = Duration::from_secs(30);

/// Locks `file` by [`File::try_lock`] or [`File::try_lock_shared`], waiting for who has it; `false` if that is not over in half a
/// minute.
///
/// # Errors
/// It cannot be locked.
pub fn wait_for(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match lock(file) {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

impl Engine {
    /// Keeps the lock of a volume or network that a container is about to use.
    pub(super) fn hold(&self, lock: File) {
        if let Ok(mut held) = self.held.lock() {
            held.push(lock);
        }
    }

    /// The container that volumes and networks were held for has them, as its state says, or never will.
    pub(super) fn let_go(&self) {
        if let Ok(mut held) = self.held.lock() {
            held.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (file.reopen().unwrap(), file.reopen().unwrap());
        first.lock_shared().unwrap();
        assert!(wait_for(&second, File::try_lock_shared).unwrap(), "two can share it");
        second.unlock().unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        let began = Instant::now();
        assert!(wait_for(&second, File::try_lock).unwrap());
        assert!(began.elapsed() >= Duration::from_millis(90), "it was had by another until then");
        holder.join().unwrap();
    }
}
