//! One EROFS metadata image over its data files, mounted file-backed and detached.
//!
//! The kernel checks nothing but the number of devices: a wrong or short data file gives wrong bytes or I/O errors later, so sizes are
//! checked on the very descriptors that are then handed to the kernel. Whose bytes they are is the store's promise.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::mount::{Context, MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY};

/// Where the superblock lies, and how long it is (Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h).
const SUPERBLOCK: (u64, usize) = (1024, 128);

/// Magic number of the superblock, and its flag for a device table.
const MAGIC: u32 = 0xE0F5_E1E2;
const DEVICE_TABLE: u32 = 0x8;

/// Devices an image may have; the format allows more, our writer makes few.
const MAX_DEVICES: usize = 1024;

/// Mounts the image, detached, read-only.
pub fn mount(metadata: &Path, devices: &[(PathBuf, u64)]) -> Result<OwnedFd> {
    if devices.len() > MAX_DEVICES {
        return Err(Error::invalid(format!("a layer with {} data files cannot be mounted", devices.len())));
    }
    let image = open(metadata, SUPERBLOCK.0 + SUPERBLOCK.1 as u64)?;
    let slots = device_slots(&image, metadata)?;
    // The kernel mounts an image without any device, and then reads zeros or nothing.
    if slots != devices.len() {
        let (name, count) = (metadata.display(), devices.len());
        return Err(Error::invalid(format!("the layer image {name} needs {slots} data files, {count} were given")));
    }
    // The metadata is read at once by whoever walks the tree; asking for it now overlaps that with the mounts.
    let _ = rustix::fs::fadvise(&image, 0, None, rustix::fs::Advice::WillNeed);
    let data = devices.iter().map(|(path, size)| open(path, *size)).collect::<Result<Vec<_>>>()?;
    let doing = || format!("mount the layer image {}", metadata.display());
    let context = Context::new("erofs").doing(doing)?;
    context.set("source", &by_descriptor(&image)).doing(doing)?;
    for file in &data {
        context.set("device", &by_descriptor(file)).doing(doing)?;
    }
    context.flag("ro").doing(doing)?;
    context.mount(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV).doing(doing)
}

/// How many devices the image names in its superblock.
fn device_slots(image: &File, path: &Path) -> Result<usize> {
    let mut block = [0u8; SUPERBLOCK.1];
    image.read_exact_at(&mut block, SUPERBLOCK.0).doing(|| format!("read the layer image {}", path.display()))?;
    let number = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    if number(0) != MAGIC {
        return Err(Error::invalid(format!("the layer file {} is damaged: it is no EROFS image", path.display())));
    }
    let has_table = number(80) & DEVICE_TABLE != 0;
    Ok(if has_table { usize::from(u16::from_le_bytes([block[86], block[87]])) } else { 0 })
}

/// The path by which the kernel finds an open file again, whatever happened to its name.
fn by_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open(path: &Path, least: u64) -> Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .doing(|| format!("open the layer file {}", path.display()))?;
    let facts = file.metadata().doing(|| format!("examine the layer file {}", path.display()))?;
    if !facts.is_file() || facts.len() < least {
        return Err(Error::invalid(format!(
            "the layer file {} is damaged: it has {} bytes, {least} are needed",
            path.display(),
            facts.len()
        )));
    }
    Ok(file)
}
