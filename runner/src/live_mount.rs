//! Mounts added to and taken from a running container, without a restart.
//!
//! A helper makes the mount where the host's paths are, detached and with its attributes set; then it enters the container's mount
//! namespace, and its user namespace as root, and attaches it by a descriptor that was looked up below the container's root. The rule:
//! the container's programs run meanwhile and may swap every link. So a mount that is added lies where their links
//! lead within their root, but never on what the sandbox is made of; one that is taken away lies where it was named, or is known
//! again by its number.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::UnmountFlags;

use crate::broker;
use crate::error::{Doing, Error, Result};
use crate::init::filesystem::{PROC_SUPER_MAGIC, file_system, propagate};
use crate::inroot::{Missing, Root};
use crate::plan::{self, MountKind, MountStep};
use crate::running_ids::RunningIds;
use crate::{added_mounts, bind, mount, rootfs, state, sys};

/// Mounts a directory or file of the host, or a new tmpfs, in a running container.
///
/// # Errors
/// [`Error::NotRunning`]; a place in procfs, or that links lead to and belongs to the sandbox; a source that is not there; a
/// read-only root without the mount point.
pub fn add_mount(dir: &Path, mount: &Mount) -> Result<()> {
    let step = plan::live_mount_step(mount)?;
    let place = step.destination.clone();
    let state = state::load(dir)?;
    let pidfd = state.pidfd()?;
    let root = rootfs::root_of_running(dir)?;
    let proc = host_proc()?;
    let ids = RunningIds::of(dir)?.map(|ids| ids.maps());
    let number = inside([&pidfd, &root, &proc], move |[pidfd, root, proc]| {
        let of_host = bind::open(&step, ids.as_ref())?;
        match ids {
            Some(_) => enter_as_root(&pidfd)?,
            None => enter(&pidfd)?,
        }
        let mounted = of_host.map_or_else(|| fresh(&step), Ok)?;
        attach(&Root::new(root), &proc, &mounted, &step)?;
        mount::id(&mounted).doing(|| format!("examine the mount on {}", step.destination.display()))
    })?;
    added_mounts::note(dir, &state, &place, number)
}

/// Unmounts what is mounted at a place in a running container; says whether there was anything.
///
/// # Errors
/// [`Error::NotRunning`], a place that belongs to the sandbox, cannot be looked up, or is reached by a link only and not what was
/// added there.
pub fn remove_mount(dir: &Path, target: &Path) -> Result<bool> {
    if is_of_sandbox(target) {
        return Err(Error::invalid(format!("cannot unmount {}: it is a part of the sandbox", target.display())));
    }
    let state = state::load(dir)?;
    let pidfd = state.pidfd()?;
    let root = rootfs::root_of_running(dir)?;
    let proc = host_proc()?;
    let added = added_mounts::of(dir, &state, target);
    inside([&pidfd, &root, &proc], |[pidfd, root, proc]| {
        let at = || format!("unmount {}", target.display());
        enter(&pidfd)?;
        let own = mount::id(&root).doing(at)?;
        let behind = root.try_clone().map(Root::new).doing(at)?;
        let place = match Root::without_links(root).open(target, OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                let found = behind.open(target, OFlags::PATH).ok();
                let is_it = |place: &OwnedFd| added.is_some() && mount::id(place).ok() == added;
                found.filter(is_it).ok_or_else(|| through_link(at()))?
            }
            place => {
                let place = place.doing(at)?;
                check_place(&proc, &place, target).doing(at)?;
                place
            }
        };
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

fn enter(container: &OwnedFd) -> Result<()> {
    sys::setns(container.as_fd(), libc::CLONE_NEWNS).doing(|| "enter the container's mount namespace".into())
}

/// Enters the container's user namespace too, whose root makes what is made. Its processes cannot trace us before or after.
fn enter_as_root(container: &OwnedFd) -> Result<()> {
    sys::enter_users(container.as_fd(), libc::CLONE_NEWNS)
        .and_then(|()| sys::set_user(0, 0, &[]))
        .and_then(|()| sys::set_dumpable(false))
        .doing(|| "enter the container's user and mount namespaces".into())
}

/// The host's /proc: the container's knows no process of ours.
fn host_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open /proc".into())
}

fn through_link(doing: String) -> Error {
    Error::invalid(format!("cannot {doing}: a link of the container is on the way, which may lead anywhere"))
}

/// What the kernel calls a place.
fn path_of(proc: &OwnedFd, place: &OwnedFd) -> io::Result<PathBuf> {
    let path = rustix::fs::readlinkat(proc, format!("self/fd/{}", place.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(path.as_bytes())))
}

/// Fails unless the kernel, too, calls the place by the name that was asked for.
fn check_place(proc: &OwnedFd, place: &OwnedFd, asked: &Path) -> io::Result<()> {
    let found = path_of(proc, place)?;
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

/// A mount of nothing that was there before, at no place yet.
fn fresh(step: &MountStep) -> Result<OwnedFd> {
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
    let found = path_of(proc, &place).doing(doing)?;
    if found != step.destination && (is_of_sandbox(&found) || !found.is_absolute()) {
        let found = found.display();
        return Err(Error::invalid(format!(
            "cannot mount on {at}: links of the container lead to {found}, a part of the sandbox"
        )));
    }
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
