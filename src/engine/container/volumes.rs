//! Volumes: directories that outlive containers. A named one is made when it is first used; the anonymous ones of an
//! image's VOLUME, or of `-v /path`, belong to one container. A new volume is filled with what the image has at its
//! place when a container is first started with it.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use runner::spec::parse::{MountKind, MountRequest};
use serde::{Deserialize, Serialize};
use store::record::Record;

use super::ContainerData;
use super::prepare::parse_mounts;
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// What the record of a volume holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VolumeData {
    /// The container it was made for, if it has no name of its own.
    pub anonymous_for: Option<String>,
    /// It has been filled from an image, or must not be.
    #[serde(default)]
    pub filled: bool,
    /// Labels.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
}

impl Engine {
    /// Makes the volumes that a new container needs and that are not there yet. `declared` are the image's VOLUME paths;
    /// those at which the user mounts something get none.
    pub(super) fn make_volumes(&self, id: &str, data: &mut ContainerData, declared: &[String]) -> Result<()> {
        let asked = parse_mounts(&data.options)?;
        let covered =
            |path: &str| asked.iter().any(|mount| mount.target.trim_end_matches('/') == path.trim_end_matches('/'));
        for mount in asked.iter().filter(|mount| matches!(mount.kind, MountKind::Volume)) {
            match &mount.source {
                Some(name) => self.named_volume(name, mount)?,
                None => data.anonymous_volumes.push(format!("{}={}", mount.target, self.anonymous_volume(id)?)),
            }
        }
        for path in declared.iter().filter(|path| !covered(path)) {
            data.anonymous_volumes.push(format!("{path}={}", self.anonymous_volume(id)?));
        }
        Ok(())
    }

    fn named_volume(&self, name: &str, mount: &MountRequest) -> Result<()> {
        if let Some(driver) = mount.volume_driver.as_deref().filter(|driver| *driver != "local") {
            return Err(CommandError::usage(format!("there is no volume driver {driver:?}"))
                .hint("only local volumes are supported"));
        }
        match self.store.volumes().find(name) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let data = VolumeData { filled: mount.no_copy, labels: mount.volume_labels.clone(), ..VolumeData::default() };
        match self.new_volume(name.to_owned(), data) {
            // Somebody else made it meanwhile.
            Err(_) if self.store.volumes().find(name).is_ok() => Ok(()),
            result => result.map(drop),
        }
    }

    fn anonymous_volume(&self, container: &str) -> Result<String> {
        let data = VolumeData { anonymous_for: Some(container.to_owned()), ..VolumeData::default() };
        let id = self.store.volumes().new_id()?;
        self.new_volume_with_id(id.clone(), id, data)
    }

    pub(in crate::engine) fn new_volume(&self, name: String, data: VolumeData) -> Result<String> {
        self.new_volume_with_id(self.store.volumes().new_id()?, name, data)
    }

    pub(in crate::engine) fn new_volume_with_id(&self, id: String, name: String, data: VolumeData) -> Result<String> {
        let record = Record { id: id.clone(), name, created: Timestamp::now(), uses: Vec::new(), data };
        self.store.volumes().create(&record)?;
        let path = self.volume_path(&id)?;
        fs::DirBuilder::new()
            .recursive(true)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        self.volume_event("create", &record.name);
        Ok(id)
    }

    /// Where the data of a volume are.
    pub(in crate::engine) fn volume_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.store.volumes().path(id)?.join("data"))
    }

    /// The mounts of a container with volumes turned into directories of the host, filled if they are new.
    pub(super) fn resolve_mounts(&self, _id: &str, data: &ContainerData) -> Result<Vec<MountRequest>> {
        let mut mounts = Vec::new();
        for mut mount in parse_mounts(&data.options)? {
            match mount.kind {
                MountKind::Volume => {
                    let Some(name) = mount.source.clone() else { continue };
                    let volume = self.store.volumes().find(&name)?;
                    self.mount_volume(&volume, &mut mount, data)?;
                }
                MountKind::Bind => bind_source(&mut mount)?,
                _ => {}
            }
            mounts.push(mount);
        }
        for line in &data.anonymous_volumes {
            let Some((target, volume)) = line.rsplit_once('=') else { continue };
            let mut mount = MountRequest::new(MountKind::Volume, Some(volume), target);
            self.mount_volume(volume, &mut mount, data)?;
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// Turns the mount of a volume into a bind mount of its directory.
    fn mount_volume(&self, id: &str, mount: &mut MountRequest, data: &ContainerData) -> Result<()> {
        let path = self.volume_path(id)?;
        let mut record: Record<VolumeData> = self.store.volumes().read(id)?;
        if !record.data.filled {
            if !mount.no_copy && data.image.is_some() {
                self.fill_volume(&path, &mount.target, &data.layers)?;
            }
            record.data.filled = true;
            self.store.volumes().replace(&record)?;
        }
        let source = match &mount.subpath {
            None => path,
            Some(subpath) => {
                let plain = subpath.split('/').all(|name| !name.is_empty() && name != "." && name != "..");
                if !plain {
                    return Err(CommandError::usage(format!("{subpath:?} is no path in a volume")));
                }
                path.join(subpath)
            }
        };
        mount.source = source.to_str().map(str::to_owned);
        mount.kind = MountKind::Bind;
        mount.subpath = None;
        Ok(())
    }
}

/// Checks and completes the source of a bind mount.
pub(super) fn bind_source(mount: &mut MountRequest) -> Result<()> {
    let source = mount.source.clone().unwrap_or_default();
    let path = std::path::absolute(&source).with_context(|| format!("cannot use {source}"))?;
    if !path.exists() {
        // docker makes a missing source for -v, which hides slips of the finger: podman refuses, and so do we.
        return Err(CommandError::usage(format!(
            "cannot mount {source}: there is no such file or directory on the host"
        ))
        .hint(format!("`mkdir -p {source}` makes it")));
    }
    mount.source = path.to_str().map(str::to_owned);
    Ok(())
}
