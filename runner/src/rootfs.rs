//! The root file system: layers below, a writable directory on top, joined by overlayfs inside the container's mounts.
//!
//! The parent opens everything of the host ([`Prepared`]); the child joins it in its own mount namespace ([`Prepared::mount`]), so the
//! host never has the mount and none can be left behind. Layers go in by descriptor: no host path shows in the
//! container's mount table, and no option string can overflow.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::container::{MountedLayers, Rootfs};
use crate::error::{Doing, Error, Result};
use crate::mount::{self, Context, MOUNT_ATTR_NODEV};
use crate::{layers, state, sys};

/// Overlayfs takes at most this many lower layers (fs/overlayfs, `OVL_MAX_STACK`).
const MAX_LOWERS: usize = 500;

/// A root file system whose parts are open.
#[derive(Debug)]
pub struct Prepared {
    parts: Parts,
    /// `nodev`, unless the container may mount anyway.
    attributes: u64,
}

#[derive(Debug)]
enum Parts {
    /// The mount that `upper` and `work` lie on ends with `_folder`.
    Overlay {
        lowers: Vec<OwnedFd>,
        _folder: OwnedFd,
        upper: OwnedFd,
        work: OwnedFd,
        volatile: bool,
    },
    Tmpfs {
        lowers: Vec<OwnedFd>,
        size: Option<u64>,
    },
    /// Layers alone.
    ReadOnly(Vec<OwnedFd>),
    Directory(OwnedFd),
}

/// Opens layers that are to be mounted beside the root; mounts those that are not mounted yet.
pub fn prepare_layers(run: &Path, layers: &MountedLayers, devices: bool) -> Result<Prepared> {
    let mut lowers = lowers_of(run, &layers.lowers)?;
    let mut attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    let parts = if layers.writable {
        Parts::Tmpfs { lowers, size: None }
    } else {
        attributes |= mount::MOUNT_ATTR_RDONLY;
        if lowers.len() == 1 {
            // Without a writable directory overlayfs wants two layers at least.
            lowers.push(empty_layer()?);
        }
        Parts::ReadOnly(lowers)
    };
    Ok(Prepared { parts, attributes })
}

/// A layer with nothing in it.
fn empty_layer() -> Result<OwnedFd> {
    mount::empty_tmpfs("0755", None, mount::MOUNT_ATTR_RDONLY).doing(|| "make an empty layer".into())
}

/// Opens what a root file system is made of; mounts layers that are not mounted yet. `devices` allows device nodes in it.
pub fn prepare(run: &Path, rootfs: &Rootfs, devices: bool) -> Result<Prepared> {
    let attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    let parts = match rootfs {
        Rootfs::Overlay { lowers, upper, work, volatile } => {
            let (Some(folder), Some(upper_name), Some(work_name)) =
                (upper.parent(), upper.file_name(), work.file_name())
            else {
                return Err(Error::invalid("the upper or work directory has no name"));
            };
            if work.parent() != Some(folder) || upper_name == work_name {
                return Err(Error::invalid("the upper and work directories must lie in one directory"));
            }
            // A detached clone of the directory they lie in: overlay wants both on one mount, and nothing else shows.
            let clone = mount::clone_path(folder, false).doing(|| format!("open {}", folder.display()))?;
            let open = |name: &std::ffi::OsStr| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&clone, name, flags, Mode::empty())
                    .doing(|| format!("open {}", folder.join(name).display()))
            };
            let (upper, work) = (open(upper_name)?, open(work_name)?);
            forget_volatile(&work).doing(|| format!("clean {}", folder.join(work_name).display()))?;
            Parts::Overlay { lowers: lowers_of(run, lowers)?, _folder: clone, upper, work, volatile: *volatile }
        }
        Rootfs::TmpfsOverlay { lowers, size } => Parts::Tmpfs { lowers: lowers_of(run, lowers)?, size: *size },
        Rootfs::Directory { path, readonly } => {
            let clone =
                mount::clone_path(path, true).doing(|| format!("open the root directory {}", path.display()))?;
            mount::make_private(&clone, true).doing(|| "make the root private".into())?;
            if *readonly {
                mount::make_read_only(&clone, true).doing(|| "make the root read-only".into())?;
            }
            Parts::Directory(clone)
        }
    };
    Ok(Prepared { parts, attributes })
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
    prepare(run, rootfs, false)?.mount()
}

/// The root directory of a running container as its processes see it, mounts and all. What is looked up below it must
/// be kept inside by `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::NotFound`].
pub fn root_of_running(state_dir: &Path) -> Result<OwnedFd> {
    let state = state::load(state_dir)?;
    let pidfd = state.pidfd()?;
    let Some(process) = state.process else { return Err(Error::NotRunning(state.id)) };
    let path = format!("/proc/{}/root", process.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty());
    // The number in the path was still that process's if the process is still there now.
    if sys::pidfd_send_signal(pidfd.as_fd(), 0).is_err() {
        return Err(Error::NotRunning(state.id));
    }
    root.doing(|| format!("open the root of container {}", state.id))
}

fn lowers_of(run: &Path, lowers: &[layers::LayerMount]) -> Result<Vec<OwnedFd>> {
    if lowers.len() > MAX_LOWERS {
        return Err(Error::invalid(format!(
            "{} layers are more than overlayfs can stack ({MAX_LOWERS})",
            lowers.len()
        )));
    }
    if lowers.is_empty() {
        // Overlayfs wants something below.
        return Ok(vec![empty_layer()?]);
    }
    layers::clones(run, lowers)
}

/// A volatile mount leaves `work/incompat/volatile`, which the next mount refuses. What it warns of (a crash in between) the
/// caller knows better: it asks for volatile only when what was written is thrown away at the end.
fn forget_volatile(work: &OwnedFd) -> std::io::Result<()> {
    use rustix::fs::AtFlags;
    use rustix::io::Errno;
    for (path, flags) in [
        ("work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/incompat/volatile", AtFlags::REMOVEDIR),
        ("work/incompat", AtFlags::REMOVEDIR),
    ] {
        match rustix::fs::unlinkat(work, path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Prepared {
    /// Joins the parts to one detached mount. Runs in the child, in its mount namespace.
    pub fn mount(&self) -> Result<OwnedFd> {
        let doing = || "mount the overlay of the layers".to_owned();
        match &self.parts {
            Parts::Directory(fd) => fd.try_clone().doing(|| "use the root directory".into()),
            Parts::ReadOnly(lowers) => overlay(lowers).doing(doing)?.mount(self.attributes).doing(doing),
            Parts::Overlay { lowers, _folder: _, upper, work, volatile } => {
                let context = overlay(lowers).doing(doing)?;
                context.set_fd("upperdir", upper.as_fd()).doing(doing)?;
                context.set_fd("workdir", work.as_fd()).doing(doing)?;
                if *volatile {
                    context.flag("volatile").doing(doing)?;
                }
                context.mount(self.attributes).doing(doing)
            }
            Parts::Tmpfs { lowers, size } => {
                let memory =
                    mount::empty_tmpfs("0755", *size, 0).doing(|| "make the writable layer in memory".into())?;
                let folder = |name: &str| {
                    rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755))?;
                    rustix::fs::openat(&memory, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                };
                let (upper, work) = (folder("upper").doing(doing)?, folder("work").doing(doing)?);
                let context = overlay(lowers).doing(doing)?;
                context.set_fd("upperdir", upper.as_fd()).doing(doing)?;
                context.set_fd("workdir", work.as_fd()).doing(doing)?;
                // It is memory: there is nothing to sync to.
                context.flag("volatile").doing(doing)?;
                context.mount(self.attributes).doing(doing)
            }
        }
    }
}

/// An overlay over the layers, still without a writable directory. Redirects and metadata-only copies stay off: an image
/// could lie with them.
fn overlay(lowers: &[OwnedFd]) -> std::io::Result<Context> {
    let context = Context::new("overlay")?;
    context.set("source", "overlay")?;
    for lower in lowers {
        context.set_fd("lowerdir+", lower.as_fd())?;
    }
    for key in ["redirect_dir", "metacopy", "index"] {
        context.set(key, "off")?;
    }
    Ok(context)
}
