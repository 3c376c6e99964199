//! Volumes: directories that outlive containers. A named one is made when it is first used; the anonymous ones of an
//! image's VOLUME, or of `-v /path`, belong to one container. A new volume is filled with what the image has at its
//! place when a container is first started with it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use runner::spec::parse::{MountKind, MountRequest};
use serde::{Deserialize, Serialize};
use store::Store;
use store::journal::{Event, Subject};
use store::record::Record;

use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::engine::events::tell;
use crate::engine::volumes::attach;
use crate::engine::volumes::driver::{Backing, DriverOptions, Plan};
use crate::error::{CommandError, Context as _, Result};

/// What the record of a volume holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VolumeData {
    /// The container it was made for, if it has no name of its own.
    pub anonymous_for: Option<String>,
    /// Further containers were made that mount it by name or take it over.
    #[serde(default)]
    pub shared: bool,
    /// It has been filled from an image, or must not be.
    #[serde(default)]
    pub filled: bool,
    /// It keeps what this volume held, and does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<String>,
    /// Options of the driver, as they were given.
    #[serde(default, skip_serializing_if = "DriverOptions::is_empty")]
    pub options: DriverOptions,
    /// Labels.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
}

impl Engine {
    /// Makes the volumes that a new container needs and that are not there yet. `declared` are the image's VOLUME paths;
    /// those at which the user mounts something get none.
    pub(super) fn make_volumes(&self, id: &str, data: &mut ContainerData, declared: &[String]) -> Result<()> {
        let asked = data.mounts()?;
        let covered =
            |path: &str| asked.iter().any(|mount| mount.target.trim_end_matches('/') == path.trim_end_matches('/'));
        for mount in asked.iter().filter(|mount| matches!(mount.kind, MountKind::Volume)) {
            match &mount.source {
                Some(name) => self.named_volume(name, mount)?,
                None => data.anonymous_volumes.push(format!("{}={}", mount.target, self.anonymous_volume(id)?)),
            }
        }
        for path in declared.iter().filter(|path| !covered(path)) {
            match data.options.storage.image_volume.as_deref() {
                Some("ignore") => continue,
                Some("tmpfs") => {
                    data.image_tmpfs.push(path.clone());
                    continue;
                }
                _ => {}
            }
            data.anonymous_volumes.push(format!("{path}={}", self.anonymous_volume(id)?));
        }
        Ok(())
    }

    /// Makes the volumes of a container again that somebody removed before its record named them.
    pub(super) fn keep_volumes(&self, record: &ContainerRecord) -> Result<()> {
        for line in &record.data.anonymous_volumes {
            let id = line.rsplit_once('=').map_or("", |(_, id)| id);
            if !self.store.volumes().has(id) {
                let data = VolumeData { anonymous_for: Some(record.id.clone()), ..VolumeData::default() };
                drop(self.new_volume_in(
                    self.store.volumes().unsynced().or_in_memory(),
                    id.to_owned(),
                    id.to_owned(),
                    data,
                )?);
            }
        }
        let mounts = record.data.mounts()?.into_iter().filter(|mount| matches!(mount.kind, MountKind::Volume));
        for (name, mount) in mounts.filter_map(|mount| Some((mount.source.clone()?, mount))) {
            if self.store.volumes().find(&name).is_err_and(|error| error.is_not_found()) {
                self.named_volume(&name, &mount)?;
            }
        }
        Ok(())
    }

    fn named_volume(&self, name: &str, mount: &MountRequest) -> Result<()> {
        if let Some(driver) = mount.volume_driver.as_deref().filter(|driver| *driver != "local") {
            return Err(CommandError::usage(format!("there is no volume driver {driver:?}"))
                .hint("only local volumes are supported"));
        }
        match self.store.volumes().find(name) {
            Ok(id) => match self.share_volume(&id) {
                Err(_) if !self.store.volumes().has(&id) => {}
                shared => return shared,
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let options: DriverOptions = mount.volume_options.iter().cloned().collect();
        Plan::of(&options)?;
        let data = VolumeData { labels: mount.volume_labels.clone(), options, ..VolumeData::default() };
        // A record that says no more than its name can be made anew; what the user said is kept for certain.
        let plain = data.options.is_empty() && data.labels.is_empty();
        let volumes = if plain { self.store.volumes().unsynced() } else { self.store.volumes() };
        self.new_volume_unless_there(volumes, name, &data).map(drop)
    }

    /// Notes that another container than its owner mounts an anonymous volume: it then stays as long as one does.
    fn share_volume(&self, id: &str) -> Result<()> {
        let record: Record<VolumeData> = self.store.volumes().read(id)?;
        if record.data.anonymous_for.is_some() && !record.data.shared {
            self.store.volumes().change(id, |data: &mut VolumeData| data.shared = true)?;
        }
        Ok(())
    }

    fn anonymous_volume(&self, container: &str) -> Result<String> {
        let data = VolumeData { anonymous_for: Some(container.to_owned()), ..VolumeData::default() };
        let volumes = self.store.volumes().unsynced().or_in_memory();
        let id = volumes.new_id()?;
        self.new_volume_in(volumes, id.clone(), id.clone(), data)?;
        Ok(id)
    }

    /// Where the data of a volume are.
    pub(in crate::engine) fn volume_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.store.volumes().path(id)?.join("data"))
    }

    /// Turns the mount of a volume into a bind mount of its directory.
    pub(super) fn mount_volume(&self, mount: &mut MountRequest, data: &ContainerData) -> Result<()> {
        let name = mount.source.as_deref().unwrap_or_default();
        let id = self.store.volumes().find(name)?;
        let record: Record<VolumeData> = self.store.volumes().read(&id)?;
        let path = self.attach_volume(&record)?;
        let plan = Plan::of(&record.data.options)?;
        if !record.data.filled && !mount.no_copy && !plan.no_copy && data.image.is_some() {
            self.fill_once(&id, &path, &mount.target, &plan, data)?;
        }
        if record.data.snapshot_of.is_some() || plan.words.iter().any(|word| word == "ro") {
            mount.read_only = true;
        }
        mount.source = path.to_str().map(str::to_owned);
        mount.kind = MountKind::Bind;
        Ok(())
    }

    /// Fills a volume from the image if that has not been done. In a directory of the store's own, if there is nothing yet, a mark
    /// says that it is being done: who was killed meanwhile has left half of it, which is removed and done again. What lies in a
    /// directory of the host or on a device of it is somebody's, whatever a mark says, and is never removed.
    fn fill_once(&self, id: &str, path: &Path, target: &str, plan: &Plan, data: &ContainerData) -> Result<()> {
        let _lock = self.lock_filling(id)?;
        // Somebody else may have filled it meanwhile.
        let record: Record<VolumeData> = self.store.volumes().read(id)?;
        if record.data.filled {
            return Ok(());
        }
        let mark = self.store.volumes().path(id)?.join("filling");
        let name = record.name.clone();
        let what = || format!("cannot fill volume {name} in {}", path.display());
        let ours = matches!(plan.backing, Backing::Directory | Backing::Sized { .. });
        if ours && mark.exists() {
            empty(path).with_context(what)?;
        }
        if fs::read_dir(path).with_context(what)?.next().is_none() {
            if ours {
                fs::write(&mark, "").with_context(what)?;
            }
            self.fill_volume(path, target, &data.layers)?;
        }
        attach::own(path, plan).with_context(what)?;
        // Undone, it is found out again: there is something in the volume.
        self.store.volumes().unsynced().change(id, |data: &mut VolumeData| data.filled = true)?;
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", mark.display()))
            }
            _ => Ok(()),
        }
    }

    /// Notes that the user fills a volume: no image does it after that.
    pub(in crate::engine) fn never_fill(&self, id: &str) -> Result<()> {
        let _lock = self.lock_filling(id)?;
        self.store.volumes().change(id, |data: &mut VolumeData| data.filled = true)?;
        Ok(())
    }

    fn lock_filling(&self, id: &str) -> Result<fs::File> {
        let lock = self.store.volumes().path(id)?.join("filling.lock");
        let open = fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.with_context(|| format!("cannot lock {}", lock.display()))
    }

    /// `--volumes-from`: takes over what other containers mount from the host, volumes and directories; memory is each
    /// container's own.
    pub(super) fn inherit_mounts(&self, data: &mut ContainerData) -> Result<()> {
        for text in &data.options.storage.volumes_from {
            let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
            let mut read_only = false;
            for word in mode.split(',') {
                match word {
                    "ro" => read_only = true,
                    "rw" | "z" | "Z" => {}
                    other => {
                        return Err(CommandError::usage(format!("--volumes-from {text}: {other:?} is not known"))
                            .hint("as CONTAINER, CONTAINER:ro or CONTAINER:rw"));
                    }
                }
            }
            let other = self.container_named(name)?;
            for mut mount in other.data.mounts()? {
                if !matches!(mount.kind, MountKind::Bind | MountKind::Volume) {
                    continue;
                }
                mount.read_only |= read_only;
                data.inherited.retain(|known| known.target != mount.target);
                data.inherited.push(mount);
            }
        }
        Ok(())
    }
}

/// Removes what is in a directory.
fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Removes the anonymous volumes of a container that goes, but for those that others mount too.
pub(super) fn remove_anonymous(store: &Store, record: &ContainerRecord) -> Result<()> {
    for volume in go_along(store, record)? {
        // One that a power cut brings back belongs to nobody, and is pruned.
        match attach::remove(store.volumes().unsynced(), &volume) {
            Ok(()) => tell(store, &Event::now(Subject::Volume, "destroy", &volume).with("driver", "local")),
            Err(error) if !error.is_not_found() => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The ids of the volumes that go with a container: the anonymous ones, but for those that others mount too.
pub(super) fn go_along(store: &Store, record: &ContainerRecord) -> Result<Vec<String>> {
    let mut along = Vec::new();
    for line in &record.data.anonymous_volumes {
        let Some((_, volume)) = line.rsplit_once('=') else { continue };
        match store.volumes().read::<VolumeData>(volume) {
            Ok(found) if found.data.shared && mounted_by_another(store, volume, &record.id)? => continue,
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => along.push(volume.to_owned()),
        }
    }
    Ok(along)
}

/// Whether a container other than `own` mounts the volume.
fn mounted_by_another(store: &Store, volume: &str, own: &str) -> Result<bool> {
    for other in store.containers().list::<ContainerData>()?.into_iter().filter(|other| other.id != own) {
        let mut mounts = other.data.mounts()?.into_iter();
        if mounts.any(|mount| mount.kind == MountKind::Volume && mount.source.as_deref() == Some(volume)) {
            return Ok(true);
        }
    }
    Ok(false)
}
