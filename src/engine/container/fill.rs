//! Filling a new volume with what the image has at its place, as docker does. Everything is made below the volume's own
//! descriptor, and nothing in it existed before, so no link can lead anywhere else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use store::DiffId;
use store::layer::Kind;
use store::layer::tree::NodeRef;

use crate::engine::Engine;
use crate::engine::tree::Merged;
use crate::error::{Context as _, Result};

impl Engine {
    /// Copies what `layers` have at `target` into the empty directory `volume`, whose owner and mode become those of
    /// the image's directory. An image without a directory there changes nothing.
    pub(super) fn fill_volume(&self, volume: &Path, target: &str, layers: &[DiffId]) -> Result<()> {
        let merged = Merged::new(&self.store, layers)?;
        let Ok(path) = merged.tree.resolve(target.as_bytes(), true) else { return Ok(()) };
        let Some(node) = merged.tree.get(&path).filter(NodeRef::is_directory) else { return Ok(()) };
        let root = File::open(volume).with_context(|| format!("cannot open the volume {}", volume.display()))?;
        if std::fs::read_dir(volume)?.next().is_some() {
            return Ok(());
        }
        let what = || format!("cannot fill the volume at {target}");
        for child in node.children() {
            copy(&merged, &child, root.as_fd()).with_context(what)?;
        }
        attributes(root.as_fd(), &node).map_err(io::Error::from).with_context(what)
    }
}

/// Copies `node` and all below it into the directory `parent`.
fn copy(merged: &Merged, node: &NodeRef<'_>, parent: BorrowedFd<'_>) -> Result<()> {
    let name = node.name();
    let mode = Mode::from_raw_mode(node.mode());
    let open = |flags: OFlags| -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(parent, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
    };
    match node.kind() {
        Kind::Directory { .. } => {
            rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(io::Error::from)?;
            let directory = open(OFlags::DIRECTORY).map_err(io::Error::from)?;
            for child in node.children() {
                copy(merged, &child, directory.as_fd())?;
            }
            attributes(directory.as_fd(), node).map_err(io::Error::from)?;
        }
        Kind::File { .. } => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
            let mut file = File::from(file);
            merged.with_data(node, |data| Ok(io::copy(data, &mut file).map(drop)?))?;
            attributes(file.as_fd(), node).map_err(io::Error::from)?;
        }
        Kind::Symlink { target } => {
            rustix::fs::symlinkat(target.as_slice(), parent, name).map_err(io::Error::from)?;
            let (uid, gid) = owner(node);
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        }
        Kind::Fifo => {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(parent, name, kind, mode, 0).map_err(io::Error::from)?;
        }
        // Devices of an image are of no use in a volume, which is mounted nodev.
        _ => {}
    }
    Ok(())
}

fn owner(node: &NodeRef<'_>) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(node.uid())), Some(Gid::from_raw(node.gid())))
}

/// Owner, then mode, then time: a change of owner clears what a mode may hold, and both change the time.
fn attributes(file: BorrowedFd<'_>, node: &NodeRef<'_>) -> rustix::io::Result<()> {
    let (uid, gid) = owner(node);
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(node.mode()))?;
    let time = Timespec { tv_sec: node.mtime().seconds, tv_nsec: i64::from(node.mtime().nanoseconds) };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}
