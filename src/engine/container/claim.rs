//! One start or one removal of a container at a time.
//!
//! Whoever starts or removes a container first claims it: flock(2) on its directory in the store, which is there as long as the
//! container is and whose renaming away is the end of it. So nobody takes away what a start is writing, and of two starts the
//! second finds the container running. The claim of a start ends when the program runs, that of a removal with the
//! directory; it is the kernel's, so it ends with its holder too. No start waits for another container's.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::run::Startable;
use crate::engine::{Engine, lock};
use crate::error::{CommandError, Context as _, Kind, Result};

/// A claimed container.
#[derive(Debug)]
pub(super) struct Claim {
    _directory: File,
}

impl Claim {
    /// Of who made the container and has locked its directory since.
    pub fn of(directory: File) -> Self {
        Self { _directory: directory }
    }

    /// Waits for whoever starts or removes the container with this directory right now; `None` if there is none, or no longer.
    ///
    /// # Errors
    /// He takes too long; the directory cannot be locked.
    pub fn take(directory: &Path) -> Result<Option<Self>> {
        let what = || format!("cannot lock {}", directory.display());
        loop {
            let file = match File::open(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                file => file.with_context(what)?,
            };
            if !lock::wait_for(&file, File::try_lock).with_context(what)? {
                return Err(CommandError::new("somebody else is starting or removing it and does not come to an end"));
            }
            // Unless it was removed while we waited.
            if is_still(directory, &file) {
                return Ok(Some(Self { _directory: file }));
            }
        }
    }
}

fn is_still(directory: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(directory), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

impl Engine {
    /// Claims a container to start it; `None` if it runs.
    ///
    /// # Errors
    /// It was removed meanwhile, or is claimed for too long.
    pub(super) fn claim_start(&self, startable: &mut Startable) -> Result<Option<Claim>> {
        if let Some(claim) = startable.claim.take() {
            return Ok(Some(claim));
        }
        let record = &startable.record;
        let claim = Claim::take(&self.store.containers().path(&record.id)?)?;
        let claim = claim.filter(|_| self.store.containers().has(&record.id));
        let claim = claim.ok_or_else(|| CommandError::new(format!("no such container: {}", record.name)))?;
        let up = self.state(&record.id)?.is_some_and(|state| state.is_up());
        Ok((!up).then_some(claim))
    }

    /// As [`Engine::claim_start`], for who wants to be connected from the start.
    ///
    /// # Errors
    /// As [`Engine::claim_start`], and that it runs.
    pub(super) fn claim_to_attach(&self, startable: &mut Startable) -> Result<Claim> {
        self.claim_start(startable)?.ok_or_else(|| running_already(&startable.record.name))
    }
}

/// The error for who would start a container and be connected to it from the start, and it runs.
#[must_use]
pub fn running_already(name: &str) -> CommandError {
    CommandError::new(format!("container {name} is running already"))
        .kind(Kind::Container)
        .hint(format!("`img attach {name}` connects to it"))
}
