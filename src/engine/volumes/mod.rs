//! Volumes as the user manages them: list, make, show, remove. How containers get theirs is in `container/volumes`.

pub mod attach;
mod create;
pub mod driver;
mod exchange;
pub mod filter;
mod snapshot;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use runner::spec::parse::MountKind;
use store::record::Record;

use self::driver::DriverOptions;
use super::Engine;
use super::container::ContainerData;
use super::container::volumes::VolumeData;
use super::prune::Removed;
use crate::error::{CommandError, Result};

/// A volume, for being shown.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name; its id if it has none of its own.
    pub name: String,
    /// Where its files are.
    pub path: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Options of its driver.
    pub options: DriverOptions,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// It was made for one container and has no name of its own.
    pub anonymous: bool,
    /// It keeps what this volume held.
    pub snapshot_of: Option<String>,
    /// The names of the containers that mount it.
    pub used_by: Vec<String>,
    pub(in crate::engine) id: String,
}

impl Engine {
    /// All volumes, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let mut users = self.volume_users()?;
        let mut volumes = Vec::new();
        for record in self.store.volumes().list::<VolumeData>()? {
            volumes.push(Volume {
                path: self.volume_path(&record.id)?,
                options: record.data.options,
                snapshot_of: record.data.snapshot_of,
                used_by: users.remove(&record.id).unwrap_or_default(),
                anonymous: record.data.anonymous_for.is_some() || record.name == record.id,
                name: record.name,
                created: record.created,
                labels: record.data.labels,
                id: record.id,
            });
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// The volume `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        let id = self.store.volumes().find(name).map_err(|error| not_there(error, name))?;
        let found = self.volumes()?.into_iter().find(|volume| volume.id == id);
        found.ok_or_else(|| CommandError::new(format!("no such volume: {name}")))
    }

    /// The record of the volume `name`.
    pub(in crate::engine) fn volume_record(&self, name: &str) -> Result<Record<VolumeData>> {
        let volume = self.volume(name)?;
        self.store.volumes().read(&volume.id).map_err(|error| not_there(error, name))
    }

    /// What came of working with a volume's files. That it was removed meanwhile is said rather than which file is missing for
    /// that.
    pub(super) fn unless_volume_removed<T>(&self, record: &Record<VolumeData>, done: Result<T>) -> Result<T> {
        done.map_err(|error| match self.store.volumes().has(&record.id) {
            true => error,
            false => no_volume(&record.name).hint("it was removed just now"),
        })
    }

    /// Unmounts a volume that nobody uses.
    pub(in crate::engine) fn release_volume(&self, id: &str) -> Result<()> {
        attach::release(&self.store, &self.states(), id)
    }

    /// Removes a volume and all that is in it; says whether there was one.
    ///
    /// # Errors
    /// A container uses it; there is none, unless `force` is given.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<bool> {
        let volume = match self.volume(name) {
            Ok(volume) => volume,
            Err(_) if force && self.store.volumes().find(name).is_err_and(|error| error.is_not_found()) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if let Some(user) = volume.used_by.first() {
            let users = volume.used_by.join(", ");
            return Err(CommandError::new(format!("volume {name} is in use by container {users}"))
                .hint(format!("`img rm {user}` removes the container")));
        }
        match self.remove_volume_unless_used(&volume) {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                return Err(CommandError::new(format!(
                    "volume {name} is in use by a container or copy that was made just now"
                )));
            }
            // Somebody else was faster.
            Ok(None) => {
                return if force { Ok(false) } else { Err(no_volume(name)) };
            }
            Err(error) => return Err(error),
        }
        self.volume_event("destroy", name);
        Ok(true)
    }

    /// Removes a volume that nobody used a moment ago, if that is so still. Whoever makes a container writes its record first, and
    /// makes its volumes again if they are gone after that. One without a name is a copy that was cut short, not one that is being
    /// made or has its name by now.
    ///
    /// # Errors
    /// It cannot be removed. That somebody else has removed it is none: `None`.
    pub(super) fn remove_volume_unless_used(&self, volume: &Volume) -> Result<Option<bool>> {
        let id = &volume.id;
        let used = || {
            let copied = || -> store::Result<bool> {
                // In this order: whoever makes it lets go of it once it has its name.
                Ok(create::is_in_the_making(&self.store.volumes().path(id)?)
                    || self.store.volumes().read::<VolumeData>(id)?.name != *id)
            };
            Ok((volume.name == *id && copied()?) || self.volume_users().map_err(Failed::Other)?.contains_key(id))
        };
        let removed = (|| {
            if used()? {
                return Ok(false);
            }
            attach::detach(self.store.volumes(), id)?;
            self.store.volumes().remove_unless(id, used)
        })();
        match removed {
            Ok(done) => Ok(Some(done)),
            Err(Failed::Store(error)) if error.is_not_found() && !self.store.volumes().has(id) => Ok(None),
            Err(Failed::Store(error)) => Err(error.into()),
            Err(Failed::Other(error)) => Err(error),
        }
    }

    /// Removes the volumes that `goes` means, but for snapshots, which are used by nobody and kept for all that; with `dry_run`
    /// only looks for them. One that a container came to use stays, and one that cannot be removed.
    ///
    /// # Errors
    /// The volumes cannot be read.
    pub(super) fn remove_volumes(&self, dry_run: bool, goes: impl Fn(&Volume) -> bool) -> Result<Removed> {
        let mut removed = Removed::default();
        for volume in self.volumes()?.into_iter().filter(|volume| volume.snapshot_of.is_none() && goes(volume)) {
            let size = self.store.volumes().disk_usage(&volume.id);
            if !dry_run {
                match self.remove_volume_unless_used(&volume) {
                    // The second: somebody else was faster.
                    Ok(Some(false) | None) => continue,
                    Ok(Some(true)) => {}
                    Err(error) => {
                        removed.failed.push(error.prefixed(&format!("cannot remove volume {}", volume.name)));
                        continue;
                    }
                }
                self.volume_event("destroy", &volume.name);
            }
            removed.bytes += size?;
            removed.names.push(volume.name);
        }
        Ok(removed)
    }

    /// The ids of the volumes that a container mounts.
    fn volumes_of(&self, data: &ContainerData) -> Result<Vec<String>> {
        let mounts = data.mounts()?.into_iter().filter(|mount| mount.kind == MountKind::Volume);
        Ok(mounts.filter_map(|mount| self.store.volumes().find(&mount.source?).ok()).collect())
    }

    /// Which containers mount which volume, by the volume's id.
    fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.store.containers().list::<ContainerData>()? {
            let Record { name, data, .. } = record;
            for id in self.volumes_of(&data)? {
                users.entry(id).or_default().push(name.clone());
            }
        }
        users.values_mut().for_each(|names| names.sort_unstable());
        Ok(users)
    }
}

fn no_volume(name: &str) -> CommandError {
    CommandError::new(format!("no such volume: {name}"))
}

/// The error for a volume whose record cannot be read.
fn not_there(error: store::Error, name: &str) -> CommandError {
    if error.is_not_found() { no_volume(name).hint("`img volume ls` lists volumes") } else { error.into() }
}

/// Why a volume was not removed.
enum Failed {
    Store(store::Error),
    Other(CommandError),
}

impl From<store::Error> for Failed {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}
