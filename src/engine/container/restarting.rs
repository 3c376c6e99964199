//! The word that a container with `--rm` is about to be started anew, so that its end is not yet its removal.
//!
//! It is a locked file in the state directory that names the run which is being ended. The lock is the kernel's and goes
//! with whoever restarts: the end of a later run, or of one whose restart was killed, is an end as any other. What was
//! stopped when its restart was killed is found by the file that nobody holds.

use std::io::{Read as _, Write as _};
use std::path::Path;

use runner::state::State;
use store::lock::{LockFile, LockMode};

use crate::error::{CommandError, Context as _, Result};

/// The file in a state directory.
const NAME: &str = "restarting";

/// Held while a container is stopped and started again.
pub(super) struct Restarting {
    _lock: LockFile,
}

impl Restarting {
    /// Gives word that this run of a container is ended only to be followed by another.
    ///
    /// # Errors
    /// Somebody else restarts it; the file cannot be written.
    pub fn hold(directory: &Path, state: &State, name: &str) -> Result<Self> {
        let path = directory.join(NAME);
        let lock = LockFile::try_acquire(&path, LockMode::Exclusive)?
            .ok_or_else(|| CommandError::new(format!("container {name} is being restarted by somebody else")))?
            .removed_on_release();
        let mut file = lock.file();
        file.set_len(0)
            .and_then(|()| file.write_all(run_of(state).as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { _lock: lock })
    }
}

/// Whether this run is being ended by somebody who will start the container again.
pub(super) fn is_restarted(directory: &Path, state: &State) -> Result<bool> {
    let path = directory.join(NAME);
    let what = || format!("cannot read {}", path.display());
    let mut file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        file => file.with_context(what)?,
    };
    let mut run = String::new();
    file.read_to_string(&mut run).with_context(what)?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => Ok(run == run_of(state)),
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(what),
        Ok(()) => Ok(false),
    }
}

/// Takes the word of somebody who was killed; `None` if there is none, or it is still held.
///
/// # Errors
/// The file cannot be opened or locked.
pub(super) fn forsaken(directory: &Path) -> Result<Option<LockFile>> {
    let path = directory.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    Ok(LockFile::try_acquire(&path, LockMode::Exclusive)?.map(LockFile::removed_on_release))
}

/// What names a run: a state is made anew for each start, but not for those by a restart policy.
fn run_of(state: &State) -> String {
    state.created_at.to_string()
}
