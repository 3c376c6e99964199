//! Overlays on kernels before 6.15, which take layers only from mounts of the caller's own namespace.
//!
//! The overlay is made by mount(2) in a copy of the caller's mount namespace, where a detached clone of it is taken; with the
//! copy goes everything else, so the host never has the mount here either. The caller is home again afterwards. The rule:
//! what goes into the overlay is opened inside the copy, and named by its descriptor, so no path of the host shows.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::overlay::{Upper, forget_volatile, joining};
use crate::error::{Doing, Error, Result};
use crate::layers::{Inside, LayerMount};
use crate::sys::MountAttr;
use crate::{mount, sys};

/// The first kernel that takes detached mounts into an overlay (fs/namespace.c, `clone_private_mount`).
const DETACHED: (u32, u32) = (6, 15);

/// mount(2) takes options of one page.
const MAX_OPTIONS: usize = 4095;

/// Whether this kernel is one of these.
pub fn is_needed() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    crate::security::seccomp::profile::parse_kernel(&release).is_ok_and(|version| version < DETACHED)
}

/// The overlay, detached. Single-threaded callers only. `run` is a directory of ours, which the overlay lies on for a
/// moment.
pub fn mount(run: &Path, lowers: &[LayerMount], upper: Upper<'_>, attributes: u64) -> Result<OwnedFd> {
    let doing = || "prepare the overlay of the layers".to_owned();
    std::fs::create_dir_all(run).doing(doing)?;
    let home = Inside::remember().doing(doing)?;
    sys::unshare(libc::CLONE_NEWNS).doing(doing)?;
    let made = in_copy(run, lowers, upper, attributes);
    drop(home);
    made
}

fn in_copy(place: &Path, lowers: &[LayerMount], upper: Upper<'_>, attributes: u64) -> Result<OwnedFd> {
    let root = open(Path::new("/")).doing(joining)?;
    mount::make_private(&root, true).doing(|| "make all mounts private".into())?;
    let mut opened = Vec::with_capacity(lowers.len().max(1));
    for layer in lowers {
        let LayerMount::Directory { path, .. } = layer else {
            return Err(Error::invalid(
                "this kernel cannot mount layers as they are: they must be unpacked (6.15 can)",
            ));
        };
        opened.push(open(path).doing(|| format!("open the layer directory {}", path.display()))?);
    }
    let (upper, work, volatile, kept) = match upper {
        Upper::Directory { upper, work, volatile } => (Some(open(upper)), Some(open(work)), volatile, None),
        Upper::None if opened.len() > 1 => (None, None, false, None),
        Upper::None => return read_only(opened.pop(), attributes),
        Upper::Memory(size) => {
            let memory = memory(place, size).doing(|| "make the writable layer in memory".into())?;
            let folder = |name: &str| {
                rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755))?;
                Ok(rustix::fs::openat(&memory, name, FLAGS, Mode::empty())?)
            };
            // It is memory: there is nothing to sync to.
            (Some(folder("upper")), Some(folder("work")), true, Some(memory))
        }
    };
    if opened.is_empty() {
        opened.push(memory(place, Some(1 << 12)).doing(|| "make an empty layer".into())?);
    }
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower = opened.iter().map(name).collect::<Vec<_>>().join(":");
    let mut options = format!("lowerdir={lower},redirect_dir=off,metacopy=off,index=off");
    let (upper, work) = (upper.transpose().doing(joining)?, work.transpose().doing(joining)?);
    if let (Some(upper), Some(work)) = (&upper, &work) {
        forget_volatile(work).doing(|| "clean the work directory".into())?;
        options = format!("{options},upperdir={},workdir={}", name(upper), name(work));
    }
    if volatile {
        options.push_str(",volatile");
    }
    if options.len() > MAX_OPTIONS {
        return Err(Error::invalid(format!("{} layers are more than this kernel can stack (6.15 can)", lowers.len())));
    }
    let options = CString::new(options).map_err(|_| Error::invalid("an option of the overlay has a zero byte"))?;
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), Some(options.as_c_str())).doing(joining)?;
    drop(kept);
    clone(place, attributes)
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FLAGS, Mode::empty())?)
}

/// A tmpfs on top of `place`.
fn memory(place: &Path, size: Option<u64>) -> std::io::Result<OwnedFd> {
    let options = size.map_or("mode=0755".to_owned(), |size| format!("mode=0755,size={size}"));
    let options = CString::new(options).map_err(std::io::Error::other)?;
    rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
    open(place)
}

/// One layer alone needs no overlay.
fn read_only(layer: Option<OwnedFd>, attributes: u64) -> Result<OwnedFd> {
    let attributes = attributes | mount::MOUNT_ATTR_RDONLY;
    match layer {
        None => mount::empty_tmpfs("0755", None, attributes).doing(|| "make an empty layer".into()),
        Some(layer) => {
            let clone = mount::clone_fd(&layer, false).doing(joining)?;
            set(&clone, attributes)?;
            Ok(clone)
        }
    }
}

/// What is mounted on top of `place`, detached.
fn clone(place: &Path, attributes: u64) -> Result<OwnedFd> {
    let clone = mount::clone_path(place, false).doing(joining)?;
    set(&clone, attributes)?;
    Ok(clone)
}

fn set(mount: &OwnedFd, attributes: u64) -> Result<()> {
    mount::set_attributes(mount, false, MountAttr { set: attributes, ..MountAttr::default() }).doing(joining)
}
