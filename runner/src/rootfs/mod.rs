//! The root file system: layers below, a writable directory on top, joined by overlayfs.
//!
//! The parent makes the mount without attaching it ([`Prepared`]); the child attaches it in its own mount namespace, so the host
//! never shows it and none can be left behind. Layers go in by descriptor: no host path shows in the container's mount
//! table, and no option string can overflow.

mod older;
mod overlay;
mod owner;
mod stopped;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::container::{MountedLayers, Rootfs};
use crate::error::{Doing, Error, Result};
use crate::mount::{self, MOUNT_ATTR_NODEV};
use crate::verbs::by_number;
use crate::{bind, foreign, sys};

pub use overlay::throw_away;
pub use owner::Owner;
pub use stopped::Stopped;

use overlay::{Layers, Upper};

/// A root file system, mounted and attached nowhere yet.
#[derive(Debug)]
pub struct Prepared {
    mounted: OwnedFd,
    /// The mount that the writable layer lies on. If it is attached nowhere it ends when this is closed, which costs an RCU grace
    /// period: after the program was started, not before.
    folder: Option<OwnedFd>,
}

impl Prepared {
    fn without_folder(mounted: Result<OwnedFd>) -> Result<Self> {
        Ok(Self { mounted: mounted?, folder: None })
    }

    /// The mount, to be attached.
    pub fn mount(&self) -> Result<OwnedFd> {
        self.mounted.try_clone().doing(|| "use the root file system".into())
    }

    /// The mount that the writable layer lies on, if it has one of its own: attached in a root that is to be let go of,
    /// it ends in the grace period of that one.
    pub fn folder(&self) -> Option<BorrowedFd<'_>> {
        self.folder.as_ref().map(AsFd::as_fd)
    }
}

/// Joins layers that are to be mounted beside the root; mounts those that are not mounted yet.
pub fn prepare_layers(run: &Path, layers: &MountedLayers, devices: bool, owner: Option<&Owner>) -> Result<Prepared> {
    let attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    let upper = if layers.writable { Upper::Memory(None) } else { Upper::None };
    Layers { run, lowers: &layers.lowers, starting: false, owner }.mount(&upper, attributes)
}

/// Mounts a root file system; layers that are not mounted yet are. `devices` allows device nodes in it, `starting` puts
/// the mount points that every container needs below all layers.
pub fn prepare(run: &Path, rootfs: &Rootfs, devices: bool, starting: bool, owner: Option<&Owner>) -> Result<Prepared> {
    let attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    match rootfs {
        Rootfs::Overlay { lowers, upper, work, volatile } => {
            let upper = Upper::Directory { upper, work, volatile: *volatile };
            Layers { run, lowers, starting, owner }.mount(&upper, attributes)
        }
        Rootfs::TmpfsOverlay { lowers, size } => {
            Layers { run, lowers, starting: false, owner }.mount(&Upper::Memory(*size), attributes)
        }
        Rootfs::Directory { path, readonly, ids } => {
            overlay::refuse_older(owner)?;
            let clone = bind::clone_tree(path).doing(|| format!("open the root directory {}", path.display()))?;
            mount::make_private(&clone, true).doing(|| "make the root private".into())?;
            let own = ids.as_ref().map(Owner::new).transpose()?;
            if let Some(owner) = own.as_ref().or(owner) {
                owner.map(&clone, &path.display().to_string())?;
            }
            if *readonly {
                mount::make_read_only(&clone, true).doing(|| "make the root read-only".into())?;
            }
            Prepared::without_folder(Ok(clone))
        }
    }
}

/// Mounts the root file system of a container that does not run, as a detached mount: nobody else sees it, and it ends
/// with the descriptor. The caller must be single-threaded, and must not start the container meanwhile.
///
/// # Errors
/// A layer that cannot be mounted, a directory that is not there.
pub fn mount_stopped(run: &Path, rootfs: &Rootfs) -> Result<OwnedFd> {
    if sys::thread_count().doing(|| "count the threads".into())? > 1 {
        return Err(Error::invalid("only a process with one thread can mount layers"));
    }
    prepare(run, rootfs, false, false, None)?.mount()
}

/// A detached clone of the root of a running container, without what is mounted in it. Single-threaded callers only.
pub(crate) fn clone_of_running(state_dir: &Path) -> Result<OwnedFd> {
    let clone = by_number(state_dir, |_, pid| {
        foreign::clone_mount(pid, Path::new("/"), false).doing(|| "clone the root of the container".into())
    })?;
    mount::make_private(&clone, true).doing(|| "make the clone private".into())?;
    Ok(clone)
}

/// The root directory of a running container as its processes see it, mounts and all. What is looked up below it must
/// be kept inside by `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::NotFound`].
pub fn root_of_running(state_dir: &Path) -> Result<OwnedFd> {
    by_number(state_dir, |state, pid| {
        let path = format!("/proc/{}/root", pid.as_raw_nonzero());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open the root of container {}", state.id))
    })
}
