//! Writing a tree of files into a directory of the host, for what a cache mount begins with. The directory is new and
//! nobody else's, and below it only directories that were made here are walked through, so no link of the tree is ever
//! followed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::{Node, NodeKind};
use crate::cancel::Cancel;
use crate::op::OpError;
use crate::op::select::{Found, Selected};

/// Writes what is in the directory `selected` into the empty directory `into`, which gets its attributes.
///
/// # Errors
/// [`OpError`] for what cannot be read or written, or on cancellation.
pub fn unpack(selected: &Selected, into: &Path, cancel: &Cancel) -> Result<(), OpError> {
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for found in &selected.inside {
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let path = into.join(std::ffi::OsStr::from_bytes(found.path.as_bytes()));
        let first = found.node.link.and_then(|link| links.get(&link));
        let written = match first {
            Some(first) => fs::hard_link(first, &path).map_err(OpError::from_plain),
            None => write(selected, found, &path),
        };
        written.map_err(|error| error.about(&path))?;
        if let Some(link) = found.node.link {
            links.entry(link).or_insert(path);
        }
    }
    // Last, and from the inside out: what is written into a directory changes its time.
    let directories = selected.inside.iter().rev().filter(|found| found.node.is_directory());
    for found in directories {
        let path = into.join(std::ffi::OsStr::from_bytes(found.path.as_bytes()));
        attributes(&path, &found.node).map_err(|error| OpError::from_plain(error).about(&path))?;
    }
    attributes(into, &selected.root.node).map_err(|error| OpError::from_plain(error).about(into))
}

fn write(selected: &Selected, found: &Found, path: &Path) -> Result<(), OpError> {
    let node = &found.node;
    let special = |kind, device| {
        rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).map_err(io::Error::from)
    };
    let made = match &node.kind {
        NodeKind::Directory => return fs::create_dir(path).map_err(OpError::from_plain),
        NodeKind::File(_) => {
            let mut reader = selected.files.open(&found.source)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
                .map_err(io::Error::from)
                .and_then(|fd| io::copy(&mut reader, &mut File::from(fd)).map(drop))
        }
        NodeKind::Symlink(target) => std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path),
        NodeKind::Device(true, major, minor) => {
            special(rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
        }
        NodeKind::Device(false, major, minor) => {
            special(rustix::fs::FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
        }
        NodeKind::Fifo => special(rustix::fs::FileType::Fifo, 0),
    };
    made.and_then(|()| attributes(path, node)).map_err(OpError::from_plain)
}

/// Owner, mode, attributes and time, in the order in which none undoes another.
fn attributes(path: &Path, node: &Node) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(node.kind, NodeKind::Symlink(_)) {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(node.mode), AtFlags::empty())?;
    }
    for (name, value) in &node.xattrs {
        rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: node.mtime.seconds, tv_nsec: node.mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

impl OpError {
    fn from_plain(error: io::Error) -> Self {
        Self::io("write it", error)
    }

    /// The error with the file it is about.
    fn about(self, path: &Path) -> Self {
        match self {
            Self::Io { source, .. } => Self::io(format!("write {}", path.display()), source),
            other => other,
        }
    }
}
