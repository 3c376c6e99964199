//! Layers are mounted once, for all containers of all images, in a mount namespace that nobody else sees.
//!
//! The page cache of mapped files belongs to a mounted instance, so a hundred containers over one layer must share one
//! mount to share one copy of libc. The mounts live in a namespace pinned under the run directory ([`pin`]); the host's mount table shows
//! the pin and nothing else. A start takes *detached clones* of them, which keep the file system alive by themselves,
//! so unmounting here never disturbs a running container. The rule: what is mounted under an id is checked before it is
//! mounted (sizes) and after (kind of file system), and all changes happen under one lock.

mod erofs;
mod pin;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::{mount, sys};
pub(crate) use pin::Inside;
use pin::Pin;

/// `f_type` of EROFS (linux/magic.h).
const EROFS_SUPER_MAGIC: i64 = 0xE0F5_E1E2;

/// One read-only layer, as data.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LayerMount {
    /// A metadata image over files of data.
    Erofs {
        /// Names what is mounted: equal ids mean equal content. Hex digits, letters, `-`, `_`, `.`; at most 200.
        id: String,
        /// The EROFS image.
        metadata: PathBuf,
        /// The files behind its device slots, in order, each with the size in bytes that it must have at least.
        devices: Vec<(PathBuf, u64)>,
    },
    /// A directory that holds the unpacked layer.
    Directory {
        /// Names the layer.
        id: String,
        /// The directory.
        path: PathBuf,
    },
}

impl LayerMount {
    /// The id the layer is known by.
    pub fn id(&self) -> &str {
        match self {
            LayerMount::Erofs { id, .. } | LayerMount::Directory { id, .. } => id,
        }
    }

    fn check_id(&self) -> Result<()> {
        let id = self.id();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(Error::invalid(format!("a layer cannot be mounted under the id {id:?}")));
        }
        Ok(())
    }
}

/// Makes sure that the layers are mounted, for all containers to come. Costs a few system calls if they are.
///
/// # Errors
/// A file that is missing or too short, or a kernel that cannot mount it.
pub fn ensure_mounted(run: &Path, layers: &[LayerMount]) -> Result<()> {
    if sys::thread_count().doing(|| "count the threads".into())? > 1 {
        let layers = layers.to_vec();
        return crate::broker::in_child(|| clones(run, &layers).map(drop));
    }
    clones(run, layers).map(drop)
}

/// Detached clones of the layers' mounts, in order, mounting what is not mounted yet. Single-threaded callers only.
pub(crate) fn clones(run: &Path, layers: &[LayerMount]) -> Result<Vec<OwnedFd>> {
    let mut found: Vec<Option<OwnedFd>> = Vec::with_capacity(layers.len());
    let mut images = false;
    for layer in layers {
        layer.check_id()?;
        found.push(match layer {
            LayerMount::Directory { path, .. } => {
                Some(mount::clone_path(path, false).doing(|| format!("open the layer directory {}", path.display()))?)
            }
            LayerMount::Erofs { .. } => {
                images = true;
                None
            }
        });
    }
    if images {
        // Two rounds at most: the mounts that are there, and then the missing ones under the lock.
        if let Some(pin) = Pin::open(run)? {
            clone_present(&pin, layers, &mut found)?;
        }
        if found.iter().any(Option::is_none) {
            let _lock = pin::lock(run)?;
            let pin = Pin::open_or_make(run)?;
            clone_present(&pin, layers, &mut found)?;
            mount_missing(&pin, layers, &mut found)?;
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Takes clones of the layers that are mounted.
fn clone_present(pin: &Pin, layers: &[LayerMount], found: &mut [Option<OwnedFd>]) -> Result<()> {
    let _inside = pin.enter()?;
    for (layer, slot) in layers.iter().zip(found.iter_mut()).filter(|(_, slot)| slot.is_none()) {
        // The directory may be there without its mount for a moment: what counts is the kind of file system.
        if let Ok(clone) = mount::clone_path(&Path::new("/").join(layer.id()), false)
            && sys::file_system_magic_of(&clone).is_ok_and(|magic| magic == EROFS_SUPER_MAGIC)
        {
            *slot = Some(clone);
        }
    }
    Ok(())
}

/// Mounts the layers that are not there and takes clones of them. The lock is held by the caller.
fn mount_missing(pin: &Pin, layers: &[LayerMount], found: &mut [Option<OwnedFd>]) -> Result<()> {
    let mut fresh: Vec<(usize, &str, OwnedFd)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        // The same layer may occur twice in an image: one mount serves both.
        let known = fresh.iter().any(|(_, id, _)| *id == layer.id());
        if let (LayerMount::Erofs { id, metadata, devices }, None, false) = (layer, &found[index], known) {
            fresh.push((index, id, erofs::mount(metadata, devices)?));
        }
    }
    let _inside = pin.enter()?;
    for (_, id, mounted) in &fresh {
        let place = Path::new("/").join(id);
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("make the mount point of layer {id}"), error));
            }
            _ => {}
        }
        let target = std::fs::File::open(&place).doing(|| format!("open the mount point of layer {id}"))?;
        mount::attach(mounted, target).doing(|| format!("attach layer {id}"))?;
    }
    for (layer, slot) in layers.iter().zip(found.iter_mut()).filter(|(_, slot)| slot.is_none()) {
        let id = layer.id();
        *slot = Some(
            mount::clone_path(&Path::new("/").join(id), false).doing(|| format!("clone the mount of layer {id}"))?,
        );
    }
    Ok(())
}

/// The ids of the layers that are mounted now. They may be unmounted at any time: nothing running depends on them.
pub fn mounted(run: &Path) -> Result<BTreeSet<String>> {
    let list = crate::broker::in_child(|| {
        let Some(pin) = Pin::open(run)? else { return Ok(Vec::new()) };
        let _inside = pin.enter()?;
        names()
    })?;
    Ok(list.into_iter().collect())
}

/// Whether a mount of the layer is kept in the pinned namespace. (Containers hold layers by clones of their own: which layers
/// those need is in their records.)
pub fn in_use(run: &Path, id: &str) -> Result<bool> {
    Ok(mounted(run)?.contains(id))
}

/// Unmounts every layer that `keep` does not want. Running containers are not disturbed. Returns the ids.
pub fn unmount_unused(run: &Path, keep: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let _lock = match Pin::open(run)? {
        Some(_) => pin::lock(run)?,
        None => return Ok(Vec::new()),
    };
    crate::broker::in_child(|| {
        let Some(pin) = Pin::open(run)? else { return Ok(Vec::new()) };
        let _inside = pin.enter()?;
        let mut gone = Vec::new();
        for id in names()? {
            if !keep(&id) {
                let place = Path::new("/").join(&id);
                mount::detach(&place).doing(|| format!("unmount layer {id}"))?;
                std::fs::remove_dir(&place).doing(|| format!("remove the mount point of layer {id}"))?;
                gone.push(id);
            }
        }
        Ok(gone)
    })
}

/// Unmounts all layers and removes the pin. Returns whether there was one.
pub fn unmount_all(run: &Path) -> Result<bool> {
    if Pin::open(run)?.is_none() && !pin::directory_is_mounted(run)? {
        return Ok(false);
    }
    let _lock = pin::lock(run)?;
    pin::remove(run)?;
    Ok(true)
}

/// The mount points in the pinned namespace; only inside of it.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/").doing(|| "list the mounted layers".into())? {
        let entry = entry.doing(|| "list the mounted layers".into())?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
