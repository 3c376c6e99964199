//! A file, or a block device, that holds a file system: mounted by way of a loop device, detached.
//!
//! The loop device lets go of the file by itself when the last mount of it ends, so nothing has to be taken back. Which
//! file system it is, is read from the file: the kernel is told one kind, never asked to try all it has.

mod sys;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::mount::{Context, MOUNT_ATTR_RDONLY};

/// Tries at a loop device that nobody takes first.
const TRIES: usize = 64;

/// Where file systems have their magic numbers: offset, bytes, name.
const MAGICS: [(u64, &[u8], &str); 8] = [
    (1080, &[0x53, 0xef], "ext4"),
    (0, b"XFSB", "xfs"),
    (65_600, b"_BHRfS_M", "btrfs"),
    (0, b"hsqs", "squashfs"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
    (32_769, b"CD001", "iso9660"),
    (82, b"FAT32", "vfat"),
    (54, b"FAT1", "vfat"),
];

/// Options for the file system itself: a word, or a key with its value.
pub type Data = [(String, Option<String>)];

/// Mounts the file system in the file or on the block device `source`, `offset` bytes from its beginning, with
/// `MOUNT_ATTR_*` attributes. `kind` is looked for in the file if it is not given.
///
/// # Errors
/// No loop device, no file system that the kernel has.
pub fn mount(source: &Path, offset: u64, kind: Option<&str>, data: &Data, attributes: u64) -> Result<OwnedFd> {
    let at = source.display();
    let read_only = attributes & MOUNT_ATTR_RDONLY != 0;
    let file = File::options().read(true).write(!read_only).open(source).doing(|| format!("open {at}"))?;
    let about = file.metadata().doing(|| format!("examine {at}"))?;
    let found = file_system(&file, offset).doing(|| format!("read {at}"))?;
    let kind = kind.or(found).ok_or_else(|| {
        Error::invalid(format!(
            "{at} holds no file system that is known here (ext4, xfs, btrfs, squashfs, erofs, iso9660, vfat)"
        ))
    })?;
    // Held open until the mount holds it; its name is what the mount table shows.
    let (_device, name) = if about.file_type().is_block_device() {
        if offset != 0 {
            return Err(Error::invalid(format!("{at} is a block device: an offset is for image files")));
        }
        (file, source.to_path_buf())
    } else if about.is_file() {
        attach(&file, offset, read_only).doing(|| format!("put a loop device over {at}"))?
    } else {
        return Err(Error::invalid(format!("{at} is neither a file nor a block device")));
    };
    let doing = || format!("mount the {kind} in {at}");
    let context = Context::new(kind).doing(doing)?;
    context.set("source", &name.to_string_lossy()).doing(doing)?;
    if read_only {
        context.flag("ro").doing(doing)?;
    }
    for (key, value) in data {
        match value {
            Some(value) => context.set(key, value).doing(doing)?,
            None => context.flag(key).doing(doing)?,
        }
    }
    context.mount(attributes).doing(doing)
}

/// The kind of file system that lies `offset` bytes into the file.
fn file_system(file: &File, offset: u64) -> io::Result<Option<&'static str>> {
    for (at, magic, name) in MAGICS {
        let mut bytes = [0u8; 8];
        let bytes = &mut bytes[..magic.len()];
        match file.read_exact_at(bytes, offset + at) {
            Ok(()) if bytes == magic => return Ok(Some(name)),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A loop device over the file, and its name; it ends with its last user.
fn attach(file: &File, offset: u64, read_only: bool) -> io::Result<(File, PathBuf)> {
    let control =
        File::options().read(true).write(true).open("/dev/loop-control").map_err(|error| {
            io::Error::new(error.kind(), format!("no loop devices here (/dev/loop-control: {error})"))
        })?;
    for _ in 0..TRIES {
        let number = sys::free_device(control.as_fd())?;
        let name = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(!read_only).open(&name)?;
        match sys::configure(device.as_fd(), file.as_fd(), offset, read_only) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            result => return result.map(|()| (device, name)),
        }
    }
    Err(io::Error::other("every free loop device was taken by somebody else"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_magic() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(file_system(&file, 0).unwrap(), None, "an empty file holds none");
        file.write_all_at(&[0x53, 0xef], 512 + 1080).unwrap();
        assert_eq!(file_system(&file, 512).unwrap(), Some("ext4"));
        assert_eq!(file_system(&file, 0).unwrap(), None);
    }
}
