//! The root file system: layers below, a writable directory on top, joined by overlayfs.
//!
//! The parent makes the mount without attaching it ([`Prepared`]); the child attaches it in its own mount namespace, so the host
//! never shows it and none can be left behind. Layers go in by descriptor: no host path shows in the container's mount
//! table, and no option string can overflow.

mod older;
mod owner;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::container::{MountedLayers, Rootfs};
use crate::error::{Doing, Error, Result};
use crate::mount::{self, Context, MOUNT_ATTR_NODEV};
use crate::{bind, layers, state, sys};
pub use owner::Owner;

/// Overlayfs takes at most this many lower layers (fs/overlayfs, `OVL_MAX_STACK`).
const MAX_LOWERS: usize = 500;

/// A root file system, mounted and attached nowhere yet.
#[derive(Debug)]
pub struct Prepared {
    mounted: OwnedFd,
    /// The mount that the writable layer lies on. It ends when this is closed, which costs an RCU grace period: after the
    /// program was started, not before.
    _folder: Option<OwnedFd>,
}

impl Prepared {
    fn without_folder(mounted: Result<OwnedFd>) -> Result<Self> {
        Ok(Self { mounted: mounted?, _folder: None })
    }

    /// The mount, to be attached.
    pub fn mount(&self) -> Result<OwnedFd> {
        self.mounted.try_clone().doing(|| "use the root file system".into())
    }
}

/// Joins layers that are to be mounted beside the root; mounts those that are not mounted yet.
pub fn prepare_layers(run: &Path, layers: &MountedLayers, devices: bool, owner: Option<&Owner>) -> Result<Prepared> {
    refuse_older(owner)?;
    let attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    if older::is_needed() {
        let upper = if layers.writable { older::Upper::Memory(None) } else { older::Upper::None };
        return Prepared::without_folder(older::mount(run, &layers.lowers, upper, attributes));
    }
    if layers.writable {
        return in_memory(run, &layers.lowers, None, attributes, owner);
    }
    let mounted = joined(run, &layers.lowers, false, owner, |context| {
        // Without a writable directory overlayfs wants two layers at least; each must be there until it is mounted.
        let empty = (layers.lowers.len() == 1).then(empty_layer).transpose()?;
        if let Some(empty) = &empty {
            context.set_fd("lowerdir+", empty.as_fd()).doing(joining)?;
        }
        context.mount(attributes | mount::MOUNT_ATTR_RDONLY).doing(joining)
    })?;
    Prepared::without_folder(Ok(mounted))
}

/// A detached directory with a writable layer in memory on top, which ends with the mount: the directory is not changed.
pub fn throw_away(below: OwnedFd, attributes: u64) -> Result<OwnedFd> {
    let (memory, upper, work) = memory_layer(None, None)?;
    let context = Context::new("overlay").doing(joining)?;
    context.set("source", "overlay").doing(joining)?;
    context.set_fd("lowerdir+", below.as_fd()).doing(joining)?;
    let mounted = writable(context, &upper, &work, true)?.mount(attributes).doing(joining);
    drop(memory);
    mounted
}

/// A layer with nothing in it.
fn empty_layer() -> Result<OwnedFd> {
    mount::empty_tmpfs("0755", None, mount::MOUNT_ATTR_RDONLY).doing(|| "make an empty layer".into())
}

/// Mounts a root file system; layers that are not mounted yet are. `devices` allows device nodes in it, `starting` puts
/// the mount points that every container needs below all layers.
pub fn prepare(run: &Path, rootfs: &Rootfs, devices: bool, starting: bool, owner: Option<&Owner>) -> Result<Prepared> {
    refuse_older(owner)?;
    let attributes = if devices { 0 } else { MOUNT_ATTR_NODEV };
    match rootfs {
        Rootfs::Overlay { lowers, upper, work, volatile } => {
            let (Some(folder), Some(upper_name), Some(work_name)) =
                (upper.parent(), upper.file_name(), work.file_name())
            else {
                return Err(Error::invalid("the upper or work directory has no name"));
            };
            if work.parent() != Some(folder) || upper_name == work_name {
                return Err(Error::invalid("the upper and work directories must lie in one directory"));
            }
            if older::is_needed() {
                let upper = older::Upper::Directory { upper, work, volatile: *volatile };
                return Prepared::without_folder(older::mount(run, lowers, upper, attributes));
            }
            // Overlay wants both on one mount. A detached one it takes wherever the layers are joined, and shows no path of it.
            let clone = mount::clone_path(folder, false).doing(|| format!("open {}", folder.display()))?;
            if let Some(owner) = owner {
                owner.map(&clone, "the writable layer")?;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = |name: &std::ffi::OsStr| {
                rustix::fs::openat(&clone, name, flags, Mode::empty())
                    .doing(|| format!("open {}", folder.join(name).display()))
            };
            let (upper, work) = (open(upper_name)?, open(work_name)?);
            forget_volatile(&work).doing(|| format!("clean {}", folder.join(work_name).display()))?;
            let mounted = joined(run, lowers, starting, owner, |context| {
                writable(context, &upper, &work, *volatile)?.mount(attributes).doing(joining)
            })?;
            Ok(Prepared { mounted, _folder: Some(clone) })
        }
        Rootfs::TmpfsOverlay { lowers, size } if older::is_needed() => {
            Prepared::without_folder(older::mount(run, lowers, older::Upper::Memory(*size), attributes))
        }
        Rootfs::TmpfsOverlay { lowers, size } => in_memory(run, lowers, *size, attributes, owner),
        Rootfs::Directory { path, readonly } => {
            let clone = bind::clone_tree(path).doing(|| format!("open the root directory {}", path.display()))?;
            mount::make_private(&clone, true).doing(|| "make the root private".into())?;
            if let Some(owner) = owner {
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

/// A detached clone of the root of a running container, with all that is mounted in it.
pub(crate) fn clone_of_running(state_dir: &Path) -> Result<OwnedFd> {
    let root = root_of_running(state_dir)?;
    let clone = mount::clone_fd(root, true).doing(|| "clone the root of the container".into())?;
    mount::make_private(&clone, true).doing(|| "make the clone private".into())?;
    Ok(clone)
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

fn joining() -> String {
    "mount the overlay of the layers".to_owned()
}

/// Layers with a writable directory in memory on top.
fn in_memory(
    run: &Path,
    lowers: &[layers::LayerMount],
    size: Option<u64>,
    attributes: u64,
    owner: Option<&Owner>,
) -> Result<Prepared> {
    let (memory, upper, work) = memory_layer(size, owner)?;
    let mounted = joined(run, lowers, false, owner, |context| {
        // It is memory: there is nothing to sync to.
        writable(context, &upper, &work, true)?.mount(attributes).doing(joining)
    })?;
    Ok(Prepared { mounted, _folder: Some(memory) })
}

/// A file system in memory, and the two directories in it that overlayfs wants.
fn memory_layer(size: Option<u64>, owner: Option<&Owner>) -> Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let memory = mount::empty_tmpfs("0755", size, 0).doing(|| "make the writable layer in memory".into())?;
    for name in ["upper", "work"] {
        rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755)).doing(joining)?;
    }
    if let Some(owner) = owner {
        owner.map(&memory, "the writable layer in memory")?;
    }
    let folder = |name: &str| {
        rustix::fs::openat(&memory, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let (upper, work) = (folder("upper").doing(joining)?, folder("work").doing(joining)?);
    Ok((memory, upper, work))
}

/// An overlay over the layers, finished by `finish` while they may be taken. Redirects and metadata-only copies stay off: an
/// image could lie with them.
fn joined(
    run: &Path,
    lowers: &[layers::LayerMount],
    mount_points: bool,
    owner: Option<&Owner>,
    finish: impl FnOnce(Context) -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    if lowers.len() > MAX_LOWERS - 1 {
        let (have, most) = (lowers.len(), MAX_LOWERS - 1);
        return Err(Error::invalid(format!("{have} layers are more than overlayfs can stack ({most})")));
    }
    layers::with_open(run, lowers, |opened| {
        let context = Context::new("overlay").doing(joining)?;
        context.set("source", "overlay").doing(joining)?;
        let below = opened.mount_points.as_ref().filter(|_| mount_points);
        // Mapped clones must be there until the overlay is.
        let mut mapped = Vec::new();
        for layer in opened.layers.iter().chain(below) {
            match owner {
                Some(owner) => mapped.push(owner.clone(layer, "a layer")?),
                None => context.set_fd("lowerdir+", layer.as_fd()).doing(joining)?,
            }
        }
        for layer in &mapped {
            context.set_fd("lowerdir+", layer.as_fd()).doing(joining)?;
        }
        // Overlayfs wants something below.
        let empty = opened.layers.is_empty().then(empty_layer).transpose()?;
        if let Some(empty) = &empty {
            context.set_fd("lowerdir+", empty.as_fd()).doing(joining)?;
        }
        for key in ["redirect_dir", "metacopy", "index"] {
            context.set(key, "off").doing(joining)?;
        }
        match owner {
            Some(owner) => owner.acting(|| finish(context)),
            None => finish(context),
        }
    })
}

/// Kernels that take layers from their own mount namespace only cannot be given mapped clones.
fn refuse_older(owner: Option<&Owner>) -> Result<()> {
    match owner.is_some() && older::is_needed() {
        true => Err(Error::invalid("a container in a user namespace of its own needs Linux 6.15")),
        false => Ok(()),
    }
}

fn writable(context: Context, upper: &OwnedFd, work: &OwnedFd, volatile: bool) -> Result<Context> {
    context.set_fd("upperdir", upper.as_fd()).doing(joining)?;
    context.set_fd("workdir", work.as_fd()).doing(joining)?;
    if volatile {
        context.flag("volatile").doing(joining)?;
    }
    Ok(context)
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
