//! Which mounts were added to a container while it runs, by the kernel's numbers of them.
//!
//! What is mounted at a place that links of the container lead to is known again by its number alone: the container may
//! have moved the links since, to make somebody unmount what confines it. The numbers hold for the run they were written
//! down in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::state::{self, State};

/// The file in a state directory.
pub(crate) const ADDED: &str = "added-mounts.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Added {
    /// When the program was started.
    started_at: Option<u64>,
    /// By the place that was named.
    mounts: BTreeMap<PathBuf, u64>,
}

/// The number of the mount that was added at a place during this run.
pub(crate) fn of(dir: &Path, state: &State, place: &Path) -> Option<u64> {
    let bytes = std::fs::read(dir.join(ADDED)).ok()?;
    let added: Added = serde_json::from_slice(&bytes).ok()?;
    let place: PathBuf = place.components().collect();
    added.mounts.get(&place).copied().filter(|_| added.started_at == state.started_at)
}

/// Writes a mount down. One that is not, because of a kill, is only not taken away behind a link.
pub(crate) fn note(dir: &Path, state: &State, place: &Path, number: u64) -> Result<()> {
    let _lock = state::lock(dir)?;
    let known = std::fs::read(dir.join(ADDED)).ok().and_then(|bytes| serde_json::from_slice::<Added>(&bytes).ok());
    let mut added = known.filter(|known| known.started_at == state.started_at).unwrap_or_default();
    added.started_at = state.started_at;
    added.mounts.insert(place.components().collect(), number);
    state::replace(&dir.join(ADDED), &added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_holds_for_its_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::new("c", "c", false, libc::SIGTERM).unwrap();
        state.started_at = Some(1);
        note(dir.path(), &state, Path::new("/a"), 7).unwrap();
        note(dir.path(), &state, Path::new("/b/"), 8).unwrap();
        let seen = |state: &State, place: &str| of(dir.path(), state, Path::new(place));
        assert_eq!((seen(&state, "/a/"), seen(&state, "/b"), seen(&state, "/c")), (Some(7), Some(8), None));
        state.started_at = Some(2);
        assert_eq!(seen(&state, "/a"), None);
        note(dir.path(), &state, Path::new("/c"), 9).unwrap();
        assert_eq!((seen(&state, "/a"), seen(&state, "/c")), (None, Some(9)));
    }
}
