//! Mounts that are seen on the host: the file systems of volumes that are not just directories, and roots of containers
//! that somebody wants to look into. Each is complete before it is attached, and nothing else is ever mounted there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Doing, Error, Result};
use crate::mount::{self, Context};
use crate::plan::mount_options;
use crate::sys::MountAttr;
use crate::{bind, disk_image, rootfs};

/// A file system of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// In a file or on a block device; its kind is read from there if it is not given.
    Device {
        /// The file or device.
        source: PathBuf,
        /// As `ext4`.
        kind: Option<String>,
    },
    /// In memory.
    Memory,
}

/// Mounts a file system on the directory `target`, with options as mount(8) has them.
///
/// # Errors
/// Options or a device that cannot be mounted, no such directory.
pub fn mount_on(target: &Path, file_system: &FileSystem, options: &[String]) -> Result<()> {
    let options = mount_options::parse(options)?;
    let attributes = options.attributes.set | mount::MOUNT_ATTR_NODEV;
    let mounted = match file_system {
        FileSystem::Device { source, kind } => {
            disk_image::mount(source, 0, kind.as_deref(), &options.data, attributes)?
        }
        FileSystem::Memory => memory(&options.data, attributes).doing(|| "make a file system in memory".into())?,
    };
    attach(mounted, target)
}

fn memory(data: &disk_image::Data, attributes: u64) -> std::io::Result<OwnedFd> {
    let context = Context::new("tmpfs")?;
    context.set("source", "tmpfs")?;
    for (key, value) in data {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.flag(key)?,
        }
    }
    context.mount(attributes)
}

/// Mounts the root file system of a container that does not run on the directory `target`.
/// The caller must be single-threaded.
///
/// # Errors
/// A layer that cannot be mounted, no such directory.
pub fn mount_root_on(target: &Path, run: &Path, root: &crate::Rootfs) -> Result<()> {
    attach_root(rootfs::mount_stopped(run, root)?, target)
}

/// Mounts the layers of an image on the directory `target`. The caller must be single-threaded.
///
/// # Errors
/// A layer that cannot be mounted, no such directory.
pub fn mount_layers_on(target: &Path, run: &Path, layers: &crate::MountedLayers) -> Result<()> {
    attach_root(rootfs::prepare_layers(run, layers, false, None)?.mount()?, target)
}

/// Mounts the root of a running container, without what is mounted in it, on the directory `target`. The caller must be
/// single-threaded.
///
/// # Errors
/// The container does not run, no such directory.
pub fn mount_running_on(target: &Path, state_dir: &Path) -> Result<()> {
    let clone = rootfs::clone_of_running(state_dir)?;
    attach_root(clone, target)
}

/// Neither devices nor programs of a container are trusted on the host.
fn attach_root(mounted: OwnedFd, target: &Path) -> Result<()> {
    let set = mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOSUID;
    mount::set_attributes(&mounted, false, MountAttr { set, ..MountAttr::default() })
        .doing(|| "set the mount options of the root".into())?;
    attach(mounted, target)
}

fn attach(mounted: OwnedFd, target: &Path) -> Result<()> {
    let doing = || format!("mount on {}", target.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(target, flags, Mode::empty()).doing(doing)?;
    mount::attach(mounted, place).doing(doing)
}

/// Whether something is mounted on `path`.
///
/// # Errors
/// The kernel cannot say.
pub fn is_mounted(path: &Path) -> Result<bool> {
    let doing = || format!("examine {}", path.display());
    match rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => mount::is_mount_root(fd).doing(doing),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::io(doing(), error)),
    }
}

/// Where something is mounted below the directory `path`, if anything is; what is mounted on the directory itself is not meant.
///
/// # Errors
/// No such directory, /proc cannot be read.
pub fn mounted_below(path: &Path) -> Result<Option<PathBuf>> {
    let real = std::fs::canonicalize(path);
    real.and_then(|path| bind::mounted_below(&path)).doing(|| format!("look for mounts below {}", path.display()))
}

/// Unmounts what is on `path`, and what lies on top of it: at once for who looks there, later for who is inside.
///
/// # Errors
/// Nothing is mounted there.
pub fn unmount(path: &Path) -> Result<()> {
    mount::detach(path).doing(|| format!("unmount {}", path.display()))
}
