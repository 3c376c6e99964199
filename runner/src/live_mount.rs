//! Mounts added to and taken from a running container, without a restart.
//!
//! A helper makes the mount where the host's paths are, detached and with its attributes set; then it enters the container's mount
//! namespace and attaches it by a descriptor that was looked up below the container's root. The rule: the container's programs
//! run meanwhile and may swap every link, so none is followed: a place is the one that was named, or none. What the sandbox
//! itself is made of is never taken away.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::UnmountFlags;

use crate::broker;
use crate::error::{Doing, Error, Result};
use crate::init::filesystem::{PROC_SUPER_MAGIC, file_system, propagate};
use crate::inroot::{Missing, Root};
use crate::plan::{self, MountKind, MountStep};
use crate::{bind, mount, rootfs, state, sys};

/// Mounts a directory or file of the host, or a new tmpfs, in a running container.
///
/// # Errors
/// [`Error::NotRunning`]; a place in procfs, a source that is not there, a read-only root without the mount point.
pub fn add_mount(dir: &Path, mount: &Mount) -> Result<()> {
    let step = plan::live_mount_step(mount)?;
    let pidfd = state::load(dir)?.pidfd()?;
    let root = rootfs::root_of_running(dir)?;
    let proc = host_proc()?;
    inside([&pidfd, &root, &proc], move |[pidfd, root, proc]| {
        let mounted = detached(&step)?;
        sys::setns(pidfd.as_fd(), libc::CLONE_NEWNS).doing(|| "enter the container's mount namespace".into())?;
        attach(&Root::without_links(root), &proc, &mounted, &step)
    })
}

/// Unmounts what is mounted at a place in a running container; says whether there was anything.
///
/// # Errors
/// [`Error::NotRunning`], a place that belongs to the sandbox, cannot be looked up, or is reached by a link only.
pub fn remove_mount(dir: &Path, target: &Path) -> Result<bool> {
    if is_of_sandbox(target) {
        return Err(Error::invalid(format!("cannot unmount {}: it is a part of the sandbox", target.display())));
    }
    let pidfd = state::load(dir)?.pidfd()?;
    let root = rootfs::root_of_running(dir)?;
    let proc = host_proc()?;
    inside([&pidfd, &root, &proc], |[pidfd, root, proc]| {
        let at = || format!("unmount {}", target.display());
        sys::setns(pidfd.as_fd(), libc::CLONE_NEWNS).doing(|| "enter the container's mount namespace".into())?;
        let own = mount::id(&root).doing(at)?;
        let place = match Root::without_links(root).open(target, OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(through_link(at())),
            place => place.doing(at)?,
        };
        check_place(&proc, &place, target).doing(at)?;
        if mount::id(&place).doing(at)? == own || !mount::is_mount_root(&place).doing(at)? {
            return Ok(false);
        }
        rustix::process::fchdir(&proc).doing(at)?;
        let path = format!("self/fd/{}", place.as_raw_fd());
        rustix::mount::unmount(path, UnmountFlags::DETACH).doing(at)?;
        Ok(true)
    })
}

/// Whether what lies there confines the container's programs.
fn is_of_sandbox(place: &Path) -> bool {
    let exactly = ["/", "/dev", "/dev/pts", "/dev/mqueue"];
    exactly.iter().any(|own| place == Path::new(own)) || ["/proc", "/sys"].iter().any(|own| place.starts_with(own))
}

/// The host's /proc: the container's knows no process of ours.
fn host_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open /proc".into())
}

fn through_link(doing: String) -> Error {
    Error::invalid(format!("cannot {doing}: a link of the container is on the way, which may lead anywhere"))
}

/// Fails unless the kernel, too, calls the place by the name that was asked for.
fn check_place(proc: &OwnedFd, place: &OwnedFd, asked: &Path) -> io::Result<()> {
    let path = rustix::fs::readlinkat(proc, format!("self/fd/{}", place.as_raw_fd()), Vec::new())?;
    let found = Path::new(OsStr::from_bytes(path.as_bytes()));
    // Compared by components: a slash at the end means nothing.
    if found == asked { Ok(()) } else { Err(io::Error::other(format!("it was moved to {}", found.display()))) }
}

/// Runs `work` in a helper that has these descriptors.
fn inside<const N: usize, T: serde::Serialize + serde::de::DeserializeOwned>(
    keep: [&OwnedFd; N],
    work: impl FnOnce([OwnedFd; N]) -> Result<T>,
) -> Result<T> {
    broker::in_child_with(&keep.map(AsRawFd::as_raw_fd), || {
        let mut copies = Vec::with_capacity(N);
        for fd in keep {
            copies.push(fd.try_clone().doing(|| "use a descriptor".into())?);
        }
        let copies = copies.try_into().map_err(|_| Error::invalid("a descriptor is missing"))?;
        work(copies)
    })
}

/// The mount, at no place yet.
fn detached(step: &MountStep) -> Result<OwnedFd> {
    if let Some(mounted) = bind::open(step, None)? {
        return Ok(mounted);
    }
    match &step.kind {
        MountKind::FileSystem(kind) if kind == "tmpfs" => {
            file_system(kind, kind, &step.options).doing(|| format!("make a {kind}"))
        }
        _ => Err(Error::invalid(format!("{}: only binds and tmpfs can be added", step.destination.display()))),
    }
}

/// Puts it at its place, whose mount point is made if it is missing.
fn attach(root: &Root, proc: &OwnedFd, mounted: &OwnedFd, step: &MountStep) -> Result<()> {
    let at = step.destination.display();
    let doing = || format!("mount on {at}");
    let is_directory = |fd: &OwnedFd| -> Result<bool> {
        let mode = rustix::fs::fstat(fd).doing(doing)?.st_mode;
        Ok(FileType::from_raw_mode(mode) == FileType::Directory)
    };
    let directory = is_directory(mounted)?;
    let missing = if directory { Missing::Directory } else { Missing::File };
    let place = match root.find(&step.destination, missing) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(through_link(doing())),
        found => found.doing(|| format!("find the mount point {at}"))?.fd,
    };
    check_place(proc, &place, &step.destination).doing(doing)?;
    if sys::file_system_magic_of(&place).doing(doing)? == PROC_SUPER_MAGIC {
        return Err(Error::invalid(format!("cannot mount on {at}: it lies in procfs")));
    }
    if is_directory(&place)? != directory {
        let (source, target) = if directory { ("directory", "file") } else { ("file", "directory") };
        return Err(Error::invalid(format!("cannot mount a {source} on {at}, which is a {target} in the container")));
    }
    mount::attach(mounted, &place).doing(doing)?;
    let (kind, tree) = step.options.propagation.unwrap_or((libc::MS_PRIVATE, true));
    propagate(mounted, kind, tree).doing(|| format!("set the propagation of {at}"))
}
