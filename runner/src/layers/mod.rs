//! Layers are mounted once, for all containers of all images, in a mount namespace that nobody else sees.
//!
//! The page cache of mapped files belongs to a mounted instance, so a hundred containers over one layer must share one
//! mount to share one copy of libc. The mounts live in a namespace pinned under the run directory ([`pin`]); the host's mount table shows
//! the pin and nothing else. A start joins them to its root *inside* that namespace ([`with_open`]); the overlay keeps the
//! file systems alive by itself, so unmounting here never disturbs a running container. The rule: what is mounted under an id is checked before it is
//! mounted (sizes) and after (kind of file system), and all changes happen under one lock.

mod erofs;
mod pin;

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

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
        return crate::broker::in_child(|| with_open(run, &layers, |_| Ok(())));
    }
    with_open(run, layers, |_| Ok(()))
}

/// Opens the layers in order, mounting what is not mounted yet, and calls `work` with them; once more if it fails, for
/// somebody may have unmounted one meanwhile. That happens inside the pinned
/// namespace (if a layer is a metadata image), where overlayfs may take the shared mounts as they are: a detached clone of each
/// would cost an RCU grace period when it is closed. Paths of the host mean nothing in `work`. Single-threaded callers only.
pub(crate) fn with_open<T>(run: &Path, layers: &[LayerMount], mut work: impl FnMut(&Opened) -> Result<T>) -> Result<T> {
    let mut found: Vec<Option<OwnedFd>> = Vec::with_capacity(layers.len());
    for layer in layers {
        layer.check_id()?;
        found.push(match layer {
            LayerMount::Erofs { .. } => None,
            LayerMount::Directory { path, .. } => {
                // Detached: overlayfs takes it in any namespace, and shows no path of the host.
                Some(mount::clone_path(path, false).doing(|| format!("open the layer directory {}", path.display()))?)
            }
        });
    }
    if found.iter().all(Option::is_some) {
        return work(&Opened { layers: found.into_iter().flatten().collect(), mount_points: None });
    }
    // Two rounds at most: the mounts that are there, and then the missing ones under the lock.
    if let Some(pin) = Pin::open(run)? {
        let _inside = pin.enter()?;
        open_present(layers, &mut found)?;
        if found.iter().all(Option::is_some) {
            let opened = Opened { layers: found.into_iter().flatten().collect(), mount_points: open_mount_points()? };
            // Nobody keeps a layer from being unmounted here; under the lock it stays. Any other failure is the same there.
            if let Ok(done) = work(&opened) {
                return Ok(done);
            }
            found = opened.layers.into_iter().map(Some).collect();
        }
    }
    let _lock = pin::lock(run)?;
    // What was found without the lock may be unmounted by now.
    for (layer, slot) in layers.iter().zip(&mut found) {
        slot.take_if(|_| matches!(layer, LayerMount::Erofs { .. }));
    }
    let pin = Pin::open_or_make(run)?;
    let fresh = {
        let _inside = pin.enter()?;
        open_present(layers, &mut found)?;
        missing(layers, &found)
    };
    // Their files are the host's: mounted outside, attached inside.
    let mounted = mount_missing(&fresh)?;
    let _inside = pin.enter()?;
    attach_missing(&mounted)?;
    open_present(layers, &mut found)?;
    if let Some(at) = found.iter().position(Option::is_none) {
        return Err(Error::invalid(format!("layer {} was mounted, but is not there", layers[at].id())));
    }
    work(&Opened { layers: found.into_iter().flatten().collect(), mount_points: open_mount_points()? })
}

/// What [`with_open`] hands out.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The layers, in the order asked for.
    pub layers: Vec<OwnedFd>,
    /// A directory with the mount points that every container needs ([`pin::MOUNT_POINTS`]), if there is one.
    pub mount_points: Option<OwnedFd>,
}

/// Opens a directory of the namespace, if it is there.
fn open_directory(name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = Path::new("/").join(name);
    match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("open {} of the pinned layers", path.display())),
    }
}

/// A pin made by an older version has none: mount points are then made in the container's own layer.
fn open_mount_points() -> Result<Option<OwnedFd>> {
    open_directory(pin::MOUNT_POINTS)
}

/// Opens the layers that are mounted; only inside the namespace.
fn open_present(layers: &[LayerMount], found: &mut [Option<OwnedFd>]) -> Result<()> {
    for (layer, slot) in layers.iter().zip(found.iter_mut()).filter(|(_, slot)| slot.is_none()) {
        // The directory may be there without its mount for a moment: what counts is the kind of file system.
        *slot = open_directory(layer.id())?
            .filter(|fd| sys::file_system_magic_of(fd).is_ok_and(|magic| magic == EROFS_SUPER_MAGIC));
    }
    Ok(())
}

/// The layers that must be mounted, each once: the same layer may occur twice in an image.
fn missing<'a>(layers: &'a [LayerMount], found: &[Option<OwnedFd>]) -> Vec<&'a LayerMount> {
    let mut fresh: Vec<&LayerMount> = Vec::new();
    for (layer, _) in layers.iter().zip(found).filter(|(_, slot)| slot.is_none()) {
        if !fresh.iter().any(|known| known.id() == layer.id()) {
            fresh.push(layer);
        }
    }
    fresh
}

/// Mounts metadata images, detached. The lock is held by the caller.
fn mount_missing<'a>(fresh: &[&'a LayerMount]) -> Result<Vec<(&'a str, OwnedFd)>> {
    let mut mounted = Vec::with_capacity(fresh.len());
    for layer in fresh {
        if let LayerMount::Erofs { id, metadata, devices } = layer {
            mounted.push((id.as_str(), erofs::mount(metadata, devices)?));
        }
    }
    Ok(mounted)
}

/// Attaches what was mounted; only inside the namespace.
fn attach_missing(mounted: &[(&str, OwnedFd)]) -> Result<()> {
    for (id, mounted) in mounted {
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
    let lock = match Pin::open(run)? {
        Some(_) => pin::lock(run)?,
        None => return Ok(Vec::new()),
    };
    // If we are killed, the lock is held until the child is done.
    crate::broker::in_child_with(&[lock.as_raw_fd()], || {
        let Some(pin) = Pin::open(run)? else { return Ok(Vec::new()) };
        let _inside = pin.enter()?;
        let mut gone = Vec::new();
        for id in names()? {
            if !keep(&id) {
                let place = Path::new("/").join(&id);
                match mount::detach(&place) {
                    // Whoever was about to mount it was killed.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    detached => detached.doing(|| format!("unmount layer {id}"))?,
                }
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
        if let Ok(name) = entry.file_name().into_string()
            && name != pin::MOUNT_POINTS
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
