//! Volumes that are not just directories are mounted on the host while somebody uses them. Who uses one is not counted
//! but looked up: the containers that mount it and do not have ended. So a killed `img` leaves no wrong number behind, at
//! most a mount, which the next command's sweep takes down.
//!
//! The volume's lock is held exclusively by who mounts or unmounts, and shared from then on by who starts a container
//! with it, until that is known to run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use runner::host_mount::{self, FileSystem};
use runner::spec::parse::MountKind;
use store::Store;
use store::record::{Record, Records};

use super::driver::{Backing, Plan};
use crate::engine::container::volumes::VolumeData;
use crate::engine::container::{ContainerData, ContainerRecord};
use crate::engine::{Engine, lock};
use crate::error::{CommandError, Context as _, Result};

/// The file that says that a volume stays mounted: `img volume mount` was asked for it.
const KEPT: &str = "mounted";
/// The file that holds a volume of a limited size.
pub const IMAGE: &str = "image";

impl Engine {
    /// The directory that a volume's files are in, mounted if need be. Held until [`Engine::let_go`].
    ///
    /// # Errors
    /// A device or directory that is not there, a file system that cannot be mounted.
    pub(in crate::engine) fn attach_volume(&self, record: &Record<VolumeData>) -> Result<PathBuf> {
        let plan = Plan::of(&record.data.options)?;
        let directory = self.store.volumes().path(&record.id)?;
        let data = directory.join("data");
        let file_system = match &plan.backing {
            Backing::Directory => {
                self.hold_directory(&record.name, &directory)?;
                return Ok(data);
            }
            Backing::Bind(source) if source.is_dir() => return Ok(source.clone()),
            Backing::Bind(source) => {
                return Err(CommandError::new(format!(
                    "cannot use volume {}: its directory {} is not there",
                    record.name,
                    source.display()
                )));
            }
            Backing::Sized { .. } => {
                FileSystem::Device { source: directory.join(IMAGE), kind: Some("ext4".to_owned()) }
            }
            Backing::Mounted(file_system) => file_system.clone(),
        };
        let what = || cannot_lock(&directory);
        let lock = lock_file(&directory).with_context(what)?;
        loop {
            lock.lock().with_context(what)?;
            if !host_mount::is_mounted(&data)? {
                host_mount::mount_on(&data, &file_system, &plan.words).map_err(|error| {
                    CommandError::from(error).prefixed(&format!("cannot use volume {}", record.name))
                })?;
                own(&data, &plan).with_context(|| format!("cannot give volume {} its owner", record.name))?;
            }
            // Not one step for the kernel: somebody else may come in between and unmount.
            lock.lock_shared().with_context(what)?;
            if host_mount::is_mounted(&data)? {
                break;
            }
        }
        self.hold(lock);
        Ok(data)
    }

    /// Lets nobody put another directory in this volume's place.
    fn hold_directory(&self, name: &str, directory: &Path) -> Result<()> {
        let what = || cannot_lock(directory);
        match lock_file(directory) {
            Ok(file) if lock::wait_for(&file, File::try_lock_shared).with_context(what)? => self.hold(file),
            Ok(_) => return Err(CommandError::new(format!("volume {name} is being restored"))),
            // Nobody can do that on a disk that is read-only.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            Err(error) => return Err(error).with_context(what),
        }
        Ok(())
    }

    /// The volume's lock alone: while it is held no container is started with the volume, and none is being started.
    ///
    /// # Errors
    /// A start does not come to an end.
    pub(super) fn lock_volume(&self, record: &Record<VolumeData>) -> Result<File> {
        let directory = self.store.volumes().path(&record.id)?;
        let what = || cannot_lock(&directory);
        let file = lock_file(&directory).with_context(what)?;
        if lock::wait_for(&file, File::try_lock).with_context(what)? {
            return Ok(file);
        }
        Err(CommandError::new(format!("volume {} is in use by a container that is being started", record.name)))
    }

    /// Mounts a volume until [`Engine::unmount_volume`]; gives the directory its files are in.
    ///
    /// # Errors
    /// No such volume, one that cannot be mounted.
    pub fn mount_volume_on_host(&self, name: &str) -> Result<PathBuf> {
        let record = self.volume_record(name)?;
        let keep = self.store.volumes().path(&record.id)?.join(KEPT);
        File::create(&keep).with_context(|| format!("cannot write {}", keep.display()))?;
        let path = self.attach_volume(&record);
        self.let_go();
        path
    }

    /// Unmounts a volume that [`Engine::mount_volume_on_host`] has mounted, unless a container uses it.
    ///
    /// # Errors
    /// No such volume.
    pub fn unmount_volume(&self, name: &str) -> Result<()> {
        let record = self.volume_record(name)?;
        let keep = self.store.volumes().path(&record.id)?.join(KEPT);
        match std::fs::remove_file(&keep) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", keep.display()));
            }
            _ => {}
        }
        release(&self.store, &self.states(), &record.id)
    }

    /// Unmounts every volume that no container uses, kept or not.
    pub(in crate::engine) fn unmount_unused_volumes(&self) -> Result<()> {
        let running = self.running()?;
        for id in self.store.containers().ids()?.into_iter().filter(|id| !running.contains(id)) {
            crate::engine::container::limit::unmount(&self.store, &id)?;
        }
        for id in self.store.volumes().ids()? {
            let _ = std::fs::remove_file(self.store.volumes().path(&id)?.join(KEPT));
            release(&self.store, &self.states(), &id)?;
        }
        Ok(())
    }
}

/// The file whose lock is that of the volume with this directory.
fn lock_path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

fn cannot_lock(directory: &Path) -> String {
    format!("cannot lock {}", lock_path(directory).display())
}

fn lock_file(directory: &Path) -> io::Result<File> {
    let path = lock_path(directory);
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::options().create(true).truncate(false).write(true).open(&path)
        }
        opened => opened,
    }
}

/// Gives the root of a volume the owner and mode that its options say.
pub fn own(data: &Path, plan: &Plan) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    if let Some((uid, gid)) = plan.owner {
        chown(data, Some(uid), Some(gid))?;
    }
    plan.mode.map_or(Ok(()), |mode| std::fs::set_permissions(data, std::fs::Permissions::from_mode(mode)))
}

/// A container has ended: what it used and nobody else does is unmounted.
pub fn released_by(store: &Store, states: &Path, record: &ContainerRecord) -> Result<()> {
    for mount in record.data.mounts()?.into_iter().filter(|mount| mount.kind == MountKind::Volume) {
        let Some(id) = mount.source.and_then(|name| store.volumes().find(&name).ok()) else { continue };
        release(store, states, &id)?;
    }
    Ok(())
}

/// Unmounts the volume if nobody uses it.
pub fn release(store: &Store, states: &Path, id: &str) -> Result<()> {
    let directory = store.volumes().path(id)?;
    let data = directory.join("data");
    if !host_mount::is_mounted(&data)? {
        return Ok(());
    }
    let lock = lock_file(&directory).with_context(|| cannot_lock(&directory))?;
    // Held by somebody who is about to start a container with it.
    if lock.try_lock().is_err() || directory.join(KEPT).exists() || is_used(store, states, id)? {
        return Ok(());
    }
    Ok(host_mount::unmount(&data)?)
}

/// Whether a container that has not ended mounts the volume.
fn is_used(store: &Store, states: &Path, id: &str) -> Result<bool> {
    for container in store.containers().list::<ContainerData>()? {
        let ended = match runner::state::load(&states.join(&container.id)) {
            Ok(state) => !state.is_running(),
            Err(runner::Error::NotFound(_)) => true,
            Err(_) => false,
        };
        let mut mounts = container.data.mounts()?.into_iter().filter(|mount| mount.kind == MountKind::Volume);
        let names = |source: String| store.volumes().find(&source).is_ok_and(|found| found == id);
        if !ended && mounts.any(|mount| mount.source.is_some_and(names)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a volume and all that is in it; what it only showed stays.
pub fn remove(volumes: Records<'_>, id: &str) -> store::Result<()> {
    detach(volumes, id)?;
    volumes.remove(id)
}

/// Takes a volume's own file system off the host before it is removed. What somebody else has mounted deeper in it is theirs: the
/// volume stays.
pub fn detach(volumes: Records<'_>, id: &str) -> store::Result<()> {
    let data = volumes.path(id)?.join("data");
    if host_mount::is_mounted(&data).unwrap_or(false)
        && let Err(error) = host_mount::unmount(&data)
    {
        return Err(store::Error::Conflict(format!("volume {id} cannot be unmounted: {error}")));
    }
    match host_mount::mounted_below(&data) {
        Ok(Some(place)) => Err(store::Error::Conflict(format!("something is mounted on {}", place.display()))),
        Err(error) if data.exists() => Err(store::Error::Conflict(error.to_string())),
        _ => Ok(()),
    }
}
