//! Writes for which there is no room: in a tmpfs, in the limit of what the container may write, on the disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::cause::Cause;
use super::place::Process;
use crate::container::Rootfs;

/// Whether what is written into a root goes to a file system of its own: it lies on another device than the folder around it.
pub fn is_limited(rootfs: &Rootfs) -> bool {
    let Rootfs::Overlay { upper, .. } = rootfs else { return false };
    let device = |path: &Path| std::fs::metadata(path).ok().map(|about| about.dev());
    let outside = upper.parent().and_then(Path::parent).and_then(device);
    device(upper).zip(outside).is_some_and(|(own, outside)| own != outside)
}

/// Why there is no room, and with which flag there were; `limited` as [`is_limited`] says.
pub fn full(limited: bool, process: &Process, object: &Path) -> Option<Cause> {
    let mount = process.mount(object)?;
    let space = process.open(object).and_then(|fd| rustix::fs::fstatvfs(fd).ok());
    let size = space.as_ref().map_or(0, |of| of.f_blocks * of.f_frsize);
    if mount.point == "/" && limited {
        if let Some(files) = space.filter(|of| of.f_ffree == 0).map(|of| of.f_files) {
            let why = format!("what the container writes may have {files} files and they are there");
            let flag = format!("by --storage-opt inodes={}", files.saturating_mul(2));
            return Some(("storage limit", why, Some(flag)));
        }
        let why = format!("what the container writes has {size} bytes and they are used");
        return Some(("storage limit", why, Some(format!("by --storage-opt size={}", size.saturating_mul(2)))));
    }
    if mount.kind != "tmpfs" {
        let why = format!("{} has {size} bytes and they are used", mount.point);
        return Some(("disk space", why, Some("when there is room; `img system df` shows what uses it".into())));
    }
    let (twice, why) = (size.saturating_mul(2), format!("{} has {size} bytes and they are used", mount.point));
    let flag = if mount.point == "/dev/shm" {
        format!("by --shm-size {twice}")
    } else {
        format!("by --tmpfs {}:size={twice}", mount.point)
    };
    Some(("size of a tmpfs", why, Some(flag)))
}
