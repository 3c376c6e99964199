//! Copies of volumes: clones, snapshots, and a volume made again what a snapshot holds.
//!
//! A copy shares its bytes with the original where the file system can do that, and is made while the containers that use the original
//! stand still. It gets its name when it is whole; until then it is a volume without a name, which `volume prune` takes if its
//! maker was killed.

use std::path::PathBuf;

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use store::record::Record;

use super::attach;
use super::driver::{Backing, Plan};
use crate::engine::Engine;
use crate::engine::container::fork::copy_tree;
use crate::engine::container::volumes::VolumeData;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Makes a second volume with the options, labels and files of a first one.
    ///
    /// # Errors
    /// No such volume, one whose files are not in the store, a name that is taken, no room for the copy.
    pub fn clone_volume(&self, source: &str, name: &str) -> Result<()> {
        self.copy_volume(source, Some(name), None).map(drop)
    }

    /// Keeps what is in a volume now as a read-only volume; gives its name.
    ///
    /// # Errors
    /// As [`Engine::clone_volume`].
    pub fn snapshot_volume(&self, source: &str, name: Option<&str>) -> Result<String> {
        let original = self.volume_record(source)?;
        let now = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        let name = name.map_or_else(|| format!("{}-{now}", original.name), str::to_owned);
        self.copy_volume(source, Some(&name), Some(original.name))?;
        Ok(name)
    }

    /// Makes a volume hold what a snapshot of it, or any other volume of its kind, holds; what it held is gone.
    ///
    /// # Errors
    /// No such volumes, ones of different kinds, a container that runs with the volume.
    pub fn restore_volume(&self, name: &str, snapshot: &str) -> Result<()> {
        let (record, from) = (self.volume_record(name)?, self.volume_record(snapshot)?);
        refuse_to_change(name, &record)?;
        if record.id == from.id || part(&record)? != part(&from)? {
            return Err(CommandError::new(format!("volume {name} cannot be restored from {snapshot}"))
                .hint("it takes another volume of the same kind: both directories, or both of a limited size"));
        }
        self.unused_now(&record)?;
        let copy = self.copy_volume(snapshot, None, None)?;
        let exchanged = self.exchange(&record, &copy);
        // With what the volume held, or with the copy that is not wanted.
        attach::remove(self.store.volumes(), &copy)?;
        exchanged?;
        self.never_fill(&record.id)?;
        self.volume_event("restore", &record.name);
        Ok(())
    }

    /// Gives a volume the files of another and that one its own, in one step.
    fn exchange(&self, record: &Record<VolumeData>, copy: &str) -> Result<()> {
        self.release_volume(&record.id)?;
        let _alone = self.lock_volume(record)?;
        self.unused_now(record)?;
        let place = |id: &str| -> Result<PathBuf> { Ok(self.store.volumes().path(id)?.join(part(record)?)) };
        renameat_with(CWD, place(copy)?, CWD, place(&record.id)?, RenameFlags::EXCHANGE)
            .map_err(std::io::Error::from)
            .with_context(|| format!("cannot restore volume {}", record.name))
    }

    /// Asserts that nobody has a volume mounted.
    fn unused_now(&self, record: &Record<VolumeData>) -> Result<()> {
        for user in self.volume(&record.name)?.used_by {
            if self.state(&self.find_container(&user)?)?.is_some_and(|state| state.is_up()) {
                return Err(CommandError::new(format!("volume {} is used by container {user}", record.name))
                    .hint(format!("`img stop {user}` first: its programs have files open")));
            }
        }
        let data = self.store.volumes().path(&record.id)?.join("data");
        if runner::host_mount::is_mounted(&data)? && matches!(part(record)?, attach::IMAGE) {
            self.release_volume(&record.id)?;
            if runner::host_mount::is_mounted(&data)? {
                return Err(CommandError::new(format!("volume {} is mounted", record.name))
                    .hint(format!("`img volume unmount {}` unmounts it", record.name)));
            }
        }
        Ok(())
    }

    /// Copies a volume to a new one, which has no name of its own if none is given; gives its id.
    fn copy_volume(&self, source: &str, name: Option<&str>, snapshot_of: Option<String>) -> Result<String> {
        let original = self.volume_record(source)?;
        part(&original)?;
        let volumes = self.store.volumes();
        if let Some(name) = name {
            store::record::validate_name(name)?;
            if volumes.find(name).is_ok() {
                return Err(there_already(name));
            }
        }
        let id = volumes.new_id()?;
        let (labels, options) = (original.data.labels.clone(), original.data.options.clone());
        let data = VolumeData { filled: true, snapshot_of, labels, options, ..VolumeData::default() };
        let maker = self.new_volume_in(self.store.volumes(), id.clone(), id.clone(), data)?;
        let finished = self.copy_files(&original, &id).and_then(|()| match name {
            Some(name) => volumes.rename(&id, name).map_err(|error| match error {
                store::Error::Conflict(_) => there_already(name),
                error => error.into(),
            }),
            None => Ok(()),
        });
        drop(maker);
        let finished = self.unless_volume_removed(&original, finished);
        if let Err(error) = finished {
            let error = error.prefixed(&format!("cannot copy volume {source}"));
            return Err(match attach::remove(volumes, &id) {
                Ok(()) => error,
                Err(second) => error.hint(format!("and cleaning up failed: {second}")),
            });
        }
        Ok(id)
    }

    fn copy_files(&self, original: &Record<VolumeData>, copy: &str) -> Result<()> {
        let attached = self.attach_volume(original).and_then(|from| {
            let into = self.attach_volume(&self.store.volumes().read(copy)?)?;
            let mut still = Vec::new();
            for user in self.volume(&original.name)?.used_by {
                still.extend(self.freeze(&self.find_container(&user)?)?);
            }
            copy_tree(&from, &into)
        });
        self.let_go();
        self.release_volume(&original.id)?;
        self.release_volume(copy)?;
        attached
    }
}

fn there_already(name: &str) -> CommandError {
    CommandError::new(format!("there is a volume {name} already"))
}

/// Fails for a snapshot.
pub(super) fn refuse_to_change(name: &str, record: &Record<VolumeData>) -> Result<()> {
    if record.data.snapshot_of.is_none() {
        return Ok(());
    }
    Err(CommandError::new(format!("volume {name} is a snapshot, which does not change"))
        .hint("`img volume clone` makes a volume of it"))
}

/// What in a volume's directory holds its files.
fn part(record: &Record<VolumeData>) -> Result<&'static str> {
    match Plan::of(&record.data.options)?.backing {
        Backing::Directory => Ok("data"),
        Backing::Sized { .. } => Ok(attach::IMAGE),
        Backing::Bind(_) | Backing::Mounted(_) => {
            Err(CommandError::new(format!("volume {} cannot be copied: its files are not in the store", record.name))
                .hint("`img volume export` makes a tar of them"))
        }
    }
}
