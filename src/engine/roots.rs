//! Roots of containers and images that somebody wants to look into with the host's tools: `mount`, `image mount`. Each
//! is mounted on a directory of its own below the runroot, which is all that is known of it: nothing is written down, so
//! after a kill there is at most a directory that the next sweep removes, or a mount that `mount` lists.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use runner::{MountedLayers, host_mount};
use store::ImageId;

use super::Engine;
use super::layers::to_runner;
use super::names::familiar;
use crate::error::{CommandError, Context as _, Result};

/// Whose root it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A container's.
    Container,
    /// An image's, read-only.
    Image,
}

/// A root that is mounted.
#[derive(Clone, Debug)]
pub struct MountedRoot {
    /// The container's id, or the image's without `sha256:`.
    pub id: String,
    /// The container's name, the image's tags.
    pub names: Vec<String>,
    /// Where.
    pub path: PathBuf,
}

impl Engine {
    /// Mounts the root of a container, without its volumes; gives the directory. Once is enough: further times change nothing.
    ///
    /// # Errors
    /// No such container, layers that cannot be mounted.
    pub fn mount_root(&self, name: &str) -> Result<PathBuf> {
        let id = self.find_container(name)?;
        let record = self.container_record(&id)?;
        self.mount_there(Whose::Container, &id, |place| {
            match host_mount::mount_running_on(place, &self.state_dir(&id)) {
                Err(error) if error.has_ended() => {}
                mounted => return Ok(mounted?),
            }
            let rootfs = self.rootfs(&id, &record.data)?;
            if Self::is_read_only(&rootfs) {
                return Err(CommandError::new("the store lies on a read-only file system"));
            }
            Ok(host_mount::mount_root_on(place, &self.runroot, &rootfs)?)
        })
        .map_err(|error| error.prefixed(&format!("cannot mount the root of container {name}")))
    }

    /// Mounts the merged layers of an image, read-only; gives the directory.
    ///
    /// # Errors
    /// No such image, layers that cannot be mounted.
    pub fn mount_image(&self, name: &str) -> Result<PathBuf> {
        let image = self.find_image(name)?.image;
        self.mount_there(Whose::Image, image.id.0.hex().as_str(), |place| {
            let lowers = to_runner(self.view(image.layers())?);
            let layers = MountedLayers { lowers, path: PathBuf::new(), writable: false };
            Ok(host_mount::mount_layers_on(place, &self.runroot, &layers)?)
        })
        .map_err(|error| error.prefixed(&format!("cannot mount image {name}")))
    }

    fn mount_there(&self, whose: Whose, id: &str, mount: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = directory(&self.runroot, whose).join(id);
        let _lock = lock(&self.runroot)?;
        let what = || format!("cannot make {}", place.display());
        // Programs with the set-user-id bit of a container are for nobody else on the host.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&place).with_context(what)?;
        if !host_mount::is_mounted(&place)? {
            let mounted = mount(&place);
            if mounted.is_err() {
                fs::remove_dir(&place).with_context(|| format!("cannot remove {}", place.display()))?;
            }
            mounted?;
        }
        Ok(place)
    }

    /// Unmounts the root of a container.
    ///
    /// # Errors
    /// No such container, one whose root is not mounted.
    pub fn unmount_root(&self, name: &str) -> Result<()> {
        let id = self.find_container(name)?;
        self.unmount_there(Whose::Container, &id, &format!("the root of container {name}"))
    }

    /// Unmounts an image.
    ///
    /// # Errors
    /// No such image, one that is not mounted.
    pub fn unmount_image(&self, name: &str) -> Result<()> {
        let id = self.find_image(name)?.image.id.0.hex();
        self.unmount_there(Whose::Image, id.as_str(), &format!("image {name}"))
    }

    fn unmount_there(&self, whose: Whose, id: &str, what: &str) -> Result<()> {
        let _lock = lock(&self.runroot)?;
        if take_down(&directory(&self.runroot, whose).join(id))? {
            return Ok(());
        }
        Err(CommandError::new(format!("{what} is not mounted")))
    }

    /// The roots that are mounted.
    ///
    /// # Errors
    /// The directories cannot be read.
    pub fn mounted_roots(&self, whose: Whose) -> Result<Vec<MountedRoot>> {
        let tags = self.store.refs().list()?;
        let mut found = Vec::new();
        for path in places(&self.runroot, whose)? {
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !host_mount::is_mounted(&path)? {
                continue;
            }
            let names = match whose {
                Whose::Container => self.container_record(&id).into_iter().map(|record| record.name).collect(),
                Whose::Image => {
                    let of_it = tags.iter().filter(|tag| tag.image.0.hex() == id);
                    of_it.map(|tag| familiar(&tag.name)).collect()
                }
            };
            found.push(MountedRoot { id, names, path });
        }
        Ok(found)
    }

    /// Whether an image is mounted.
    pub(super) fn image_is_mounted(&self, id: &ImageId) -> Result<bool> {
        Ok(host_mount::is_mounted(&directory(&self.runroot, Whose::Image).join(id.0.hex()))?)
    }

    /// A container has been started: where its root was mounted before, what it has now is shown.
    pub(super) fn renew_mounted_root(&self, id: &str) -> Result<()> {
        let place = directory(&self.runroot, Whose::Container).join(id);
        if !place.exists() {
            return Ok(());
        }
        let _lock = lock(&self.runroot)?;
        if host_mount::is_mounted(&place)? {
            host_mount::unmount(&place)?;
            match host_mount::mount_running_on(&place, &self.state_dir(id)) {
                // It has ended already.
                Err(error) if error.has_ended() => {
                    let record = self.container_record(id)?;
                    host_mount::mount_root_on(&place, &self.runroot, &self.rootfs(id, &record.data)?)?;
                }
                mounted => mounted?,
            }
        }
        Ok(())
    }

    /// Unmounts all roots.
    pub(super) fn unmount_roots(&self) -> Result<()> {
        self.unmount_roots_but(|_, _| false)
    }

    /// Removes what is left of roots whose container or image is gone, or that were never mounted.
    pub(super) fn sweep_roots(&self) -> Result<()> {
        let images = self.store.images();
        self.unmount_roots_but(|whose, place| {
            let id = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let there = match whose {
                Whose::Container => self.container_record(id).is_ok(),
                Whose::Image => format!("sha256:{id}").parse().is_ok_and(|id| images.get(&ImageId(id)).is_ok()),
            };
            there && host_mount::is_mounted(place).unwrap_or(true)
        })
    }

    fn unmount_roots_but(&self, keep: impl Fn(Whose, &Path) -> bool) -> Result<()> {
        for whose in [Whose::Container, Whose::Image] {
            if places(&self.runroot, whose)?.is_empty() {
                continue;
            }
            let _lock = lock(&self.runroot)?;
            for place in places(&self.runroot, whose)?.iter().filter(|place| !keep(whose, place)) {
                take_down(place)?;
            }
        }
        Ok(())
    }
}

/// Unmounts the root of a container that is about to be removed.
pub fn unmount_of(runroot: &Path, id: &str) -> Result<()> {
    let place = directory(runroot, Whose::Container).join(id);
    if place.exists() {
        let _lock = lock(runroot)?;
        take_down(&place)?;
    }
    Ok(())
}

fn directory(runroot: &Path, whose: Whose) -> PathBuf {
    runroot.join("mounts").join(if whose == Whose::Container { "containers" } else { "images" })
}

fn places(runroot: &Path, whose: Whose) -> Result<Vec<PathBuf>> {
    let directory = directory(runroot, whose);
    let what = || format!("cannot read {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(what)?,
    };
    let mut places = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(what)?;
    places.sort();
    Ok(places)
}

fn lock(runroot: &Path) -> Result<File> {
    let directory = runroot.join("mounts");
    let path = directory.join("lock");
    let what = || format!("cannot lock {}", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).with_context(what)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(what)?;
    file.lock().with_context(what)?;
    Ok(file)
}

/// Unmounts and removes the directory; whether something was mounted on it.
fn take_down(place: &Path) -> Result<bool> {
    let mounted = host_mount::is_mounted(place)?;
    if mounted {
        host_mount::unmount(place)?;
    }
    match fs::remove_dir(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", place.display()))
        }
        _ => Ok(mounted),
    }
}
