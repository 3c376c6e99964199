//! Layers as something to mount: data for whoever mounts, never a mount made here.
//!
//! A [`Snapshotter`] turns the layers of an image into [`LayerMount`]s, each of which is mounted once and shared by
//! all containers over it (its `id` names the shared mount), and makes the writable directory of a container. Two
//! drivers give equal trees: [`Erofs`] mounts the tars through metadata images and unpacks nothing, [`Directory`]
//! unpacks where that cannot be. A layer that cannot be shown rightly without those below ([`crate::erofs::Use`])
//! gets files of its own for that chain, under `chains/<chain-id>/`, made at first need and thrown away at will.
//!
//! ```text
//! layers/sha256/<diff-id>/  tar                            chains/<chain-id>/  layers   their diff ids
//!                           erofs   metadata image                             erofs    if it differs from the layer's
//!                           side    if something needs it                      side
//!                           tree/   unpacked, if ever used                     tree/
//! ```

mod chain;
mod directory;
mod erofs;
mod image;
mod metadata;
mod remove;
mod support;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::digest::DiffId;
use crate::erofs::RootAttributes;
use crate::error::{Error, Result};
use crate::layer::Time;
use crate::{Store, files};

pub use directory::Directory;
pub use erofs::Erofs;
pub use image::finish_layer;
pub(crate) use image::{check_chain, check_layer};
pub use remove::remove_tree;
pub use support::{KernelFacts, erofs_supported};
pub use unpack::Privilege;

/// A file that an EROFS mount needs besides the metadata image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes, as it was found to be right just now. The kernel checks nothing: whoever opens it later
    /// and mounts it compares again.
    pub size: u64,
}

/// One lower layer of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerMount {
    /// To be mounted as EROFS, read-only, with `source` = `metadata` and one `device` option for each device in order.
    Erofs {
        /// Names the shared mount; a plain file name.
        id: String,
        /// The metadata image.
        metadata: PathBuf,
        /// Its size in bytes.
        metadata_size: u64,
        /// Its devices, in the order of the device table.
        devices: Vec<Device>,
    },
    /// A directory as it is.
    Directory {
        /// Names it as it would a mount.
        id: String,
        /// The directory.
        path: PathBuf,
    },
}

impl LayerMount {
    /// Its id: the same for the same layer (or chain, where the layers below matter) in every image.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Erofs { id, .. } | Self::Directory { id, .. } => id,
        }
    }
}

/// The layers of an image, ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Top-most first, as overlayfs' `lowerdir` wants them, each once. Empty for an image without layers, which
    /// overlayfs cannot take: then the upper directory is all there is.
    pub layers: Vec<LayerMount>,
    /// What the image says of its root directory; overlayfs takes it from the top-most layer, which often says
    /// nothing. `None` if no layer does.
    pub root: Option<RootAttributes>,
}

/// A container's file system: a view and a writable directory over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// As [`View::layers`].
    pub layers: Vec<LayerMount>,
    /// overlayfs' `upperdir`.
    pub upper: PathBuf,
    /// overlayfs' `workdir`.
    pub work: PathBuf,
    /// Whether the overlay must be mounted with `userxattr`.
    pub userxattr: bool,
    /// Whether the file system of `upper` is mounted read-only: overlayfs takes it for a lower directory, the topmost, and for
    /// nothing else.
    pub read_only: bool,
}

/// Makes layers mountable; see the module.
pub trait Snapshotter: Send + Sync {
    /// `erofs` or `dir`.
    fn name(&self) -> &'static str;

    /// Whether overlays over its layers need the option `userxattr`.
    fn userxattr(&self) -> bool;

    /// Makes sure that `layers`, lowest first, can be mounted, and says how. When all has been made before this is a
    /// few system calls a layer; else it makes what is missing, under a lock.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a layer that is not in the store, [`Error::Damaged`] if what is on disk does not fit
    /// together, [`Error::InvalidLayer`] for hard links to files that no layer below has, [`Error::Io`],
    /// [`Error::LockTimeout`].
    fn examine(&self, store: &Store, layers: &[DiffId]) -> Result<View>;

    /// The mounts of [`Snapshotter::examine`].
    ///
    /// # Errors
    /// As there.
    fn view(&self, store: &Store, layers: &[DiffId]) -> Result<Vec<LayerMount>> {
        Ok(self.examine(store, layers)?.layers)
    }

    /// A view with `rw/upper` and `rw/work` in the existing directory `rw`, made if they are not there yet; before
    /// the first mount the upper directory gets the attributes that the image gives its root. On a read-only file system they
    /// are left as they are.
    ///
    /// # Errors
    /// As [`Snapshotter::examine`].
    fn prepare(&self, store: &Store, layers: &[DiffId], rw: &Path) -> Result<Snapshot> {
        let View { layers, root } = self.examine(store, layers)?;
        let (upper, work) = (rw.join("upper"), rw.join("work"));
        let about = rustix::fs::statvfs(rw).map_err(|error| Error::io("stat", rw)(error.into()))?;
        let read_only = about.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        if !read_only {
            make_writable(&upper, &work, root)?;
        }
        Ok(Snapshot { layers, upper, work, userxattr: self.userxattr(), read_only })
    }

    /// Removes the writable directory `rw` with all that a container left in it; nothing there is success.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, rw: &Path) -> Result<()> {
        remove_tree(rw)
    }
}

/// Makes the two directories that overlayfs writes to. The upper one gets the attributes of the image's root as long
/// as nobody has mounted it: overlayfs leaves something in `work`, and a container's own `chmod /` must stay.
fn make_writable(upper: &Path, work: &Path, root: Option<RootAttributes>) -> Result<()> {
    files::create_dir(work)?;
    files::create_dir(upper)?;
    if !is_empty(upper)? || !is_empty(work)? {
        return Ok(());
    }
    let root = root.unwrap_or(RootAttributes { mode: 0o755, uid: 0, gid: 0, mtime: Time::default() });
    let set = || {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(upper, flags, Mode::empty())?;
        rustix::fs::fchown(&fd, Some(Uid::from_raw(root.uid)), Some(Gid::from_raw(root.gid)))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(root.mode))?;
        rustix::fs::futimens(&fd, &unpack::times(root.mtime))
    };
    set().map_err(|error| Error::io("set the attributes of", upper)(error.into()))
}

fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir).map_err(Error::io("read the directory", dir))?.next().is_none())
}

/// Turns layers, lowest first, into a view. Of a layer that comes twice only the upper one counts: it covers all that
/// the lower one says, and overlayfs refuses to take one directory twice.
fn into_view(layers: Vec<(LayerMount, Option<RootAttributes>)>) -> View {
    let root = layers.iter().rev().find_map(|(_, root)| *root);
    let mut seen = HashSet::new();
    let mut view: Vec<_> = layers.into_iter().rev().map(|(mount, _)| mount).collect();
    view.retain(|mount| seen.insert(mount.id().to_owned()));
    View { layers: view, root }
}
