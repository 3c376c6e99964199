//! The kernel's mount interface of descriptors (fsopen, open_tree, move_mount), as few verbs.
//!
//! A mount is made *detached*: a descriptor that is no place yet. It gets its attributes while nobody can see it and is
//! then attached on a descriptor of its target, so no path is looked up twice and nothing is ever visible half made. Errors carry
//! what the kernel wrote into the context's log, if it did.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::sys::{self, MountAttr};

/// `MOUNT_ATTR_*` of linux/mount.h, as mount_setattr(2) takes them.
macro_rules! attributes {
    ($($name:ident = $value:expr, $doc:literal;)*) => { $(#[doc = $doc] pub const $name: u64 = $value;)* };
}
attributes! {
    MOUNT_ATTR_RDONLY = 0x1, "No writing.";
    MOUNT_ATTR_NOSUID = 0x2, "Setuid bits and file capabilities mean nothing.";
    MOUNT_ATTR_NODEV = 0x4, "Device nodes cannot be opened.";
    MOUNT_ATTR_NOEXEC = 0x8, "Nothing can be executed.";
    MOUNT_ATTR__ATIME = 0x70, "All that says when access times are written.";
    MOUNT_ATTR_RELATIME = 0x0, "Access times are written now and then.";
    MOUNT_ATTR_NOATIME = 0x10, "Access times are not written.";
    MOUNT_ATTR_STRICTATIME = 0x20, "Access times are always written.";
    MOUNT_ATTR_NODIRATIME = 0x80, "Access times of directories are not written.";
    MOUNT_ATTR_IDMAP = 0x10_0000, "Owners are mapped as in a user namespace.";
    MOUNT_ATTR_NOSYMFOLLOW = 0x20_0000, "Symbolic links are not followed.";
}

/// A file system being configured; becomes a detached mount by [`Context::mount`].
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
}

impl Context {
    /// Begins a mount of the file system type `kind` (`fsopen`).
    pub fn new(kind: &str) -> io::Result<Self> {
        Ok(Self { fd: fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// Sets `key=value`.
    pub fn set(&self, key: &str, value: &str) -> io::Result<()> {
        fsconfig_set_string(&self.fd, key, value).map_err(|error| self.explain(error.into()))
    }

    /// Sets the bare option `key`.
    pub fn flag(&self, key: &str) -> io::Result<()> {
        fsconfig_set_flag(&self.fd, key).map_err(|error| self.explain(error.into()))
    }

    /// Sets `key` to a descriptor. Overlay takes its layers so since 6.13; before, the same by a path through /proc.
    pub fn set_fd(&self, key: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        match fsconfig_set_fd(&self.fd, key, fd) {
            Err(rustix::io::Errno::INVAL) => {
                use std::os::fd::AsRawFd;
                self.set(key, &format!("/proc/self/fd/{}", fd.as_raw_fd()))
            }
            result => result.map_err(|error| self.explain(error.into())),
        }
    }

    /// Makes the superblock and a detached mount of it with `MOUNT_ATTR_*` attributes.
    pub fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        fsconfig_create(&self.fd).map_err(|error| self.explain(error.into()))?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        Ok(fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }

    /// The error with the kernel's own words, which it leaves to be read from the context: `e overlay: …`.
    fn explain(&self, error: io::Error) -> io::Error {
        let mut words = String::new();
        let mut buffer = [0u8; 1024];
        for _ in 0..16 {
            let Ok(count) = rustix::io::read(&self.fd, &mut buffer) else { break };
            let line = String::from_utf8_lossy(&buffer[..count]);
            let text = line.trim().trim_start_matches(['e', 'w', 'i']).trim_start();
            if line.starts_with('e') && !text.is_empty() {
                words = format!("{words}{}{text}", if words.is_empty() { "" } else { "; " });
            }
        }
        if words.is_empty() { error } else { io::Error::new(error.kind(), Explained { error, words }) }
    }
}

/// A kernel error with the words from the mount context's log.
#[derive(Debug)]
struct Explained {
    error: io::Error,
    words: String,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.error, self.words)
    }
}

impl std::error::Error for Explained {}

/// A detached clone of the mount at a host path (a bind mount that is no place yet). Links are followed.
pub fn clone_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, clone_flags(recursive))?)
}

/// A detached clone of the mount tree at a descriptor.
pub fn clone_fd(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(fd, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches a detached mount on top of what `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Changes attributes or propagation of a mount.
pub fn set_attributes(mount: impl AsFd, recursive: bool, attr: MountAttr) -> io::Result<()> {
    if attr == MountAttr::default() { Ok(()) } else { sys::mount_setattr(mount.as_fd(), recursive, &attr) }
}

/// Maps the owners of a detached mount, or of a tree of them, as in a user namespace.
pub fn map_ids(mount: impl AsFd, recursive: bool, namespace: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let userns_fd = namespace.as_raw_fd().unsigned_abs().into();
    set_attributes(mount, recursive, MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() })
}

/// Makes a mount read-only.
pub fn make_read_only(mount: impl AsFd, recursive: bool) -> io::Result<()> {
    set_attributes(mount, recursive, MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() })
}

/// Makes a mount, or a tree of them, private: no event passes in or out.
pub fn make_private(mount: impl AsFd, recursive: bool) -> io::Result<()> {
    set_attributes(mount, recursive, MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() })
}

/// An empty tmpfs, detached, to mask directories with or to hold the writable layer.
pub fn empty_tmpfs(mode: &str, size: Option<u64>, attributes: u64) -> io::Result<OwnedFd> {
    let context = Context::new("tmpfs")?;
    context.set("source", "tmpfs")?;
    context.set("mode", mode)?;
    if let Some(size) = size {
        context.set("size", &size.to_string())?;
    }
    context.mount(attributes)
}

/// Unmounts what is at `path`, at once for new look-ups, later for those inside.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// The number of the mount that `fd` lies on.
pub fn id(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Whether `fd` is the root of a mount.
pub fn is_mount_root(fd: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::TYPE)?;
    Ok(stat.stx_attributes.bits() & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}
