//! A file in memory as a mount: a tmpfs of its own with nothing in it but the file, of which only the file is shown.
//! Neither the file system nor its root is reachable from inside the container, and all of it goes with the mount.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::filesystem::part_of;
use crate::container::MountedFile;
use crate::mount;

/// Its name in the tmpfs, which nobody sees.
const NAME: &str = "file";
/// What the tmpfs may take beside the contents, bytes: its root, the file's inode, rounding to pages.
const ROOM: u64 = 64 << 10;

/// The file as a detached mount, which is read-only whatever its mode says.
pub fn mount(file: &MountedFile) -> io::Result<OwnedFd> {
    let attributes = mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC;
    let tmpfs = mount::empty_tmpfs("0700", Some(file.contents.len() as u64 + ROOM), attributes)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&tmpfs, NAME, flags, Mode::from_raw_mode(0o600))?;
    let mut rest: &[u8] = &file.contents;
    while !rest.is_empty() {
        match rustix::io::write(&fd, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The owner first: a change of owner may clear bits of the mode.
    let owner = (rustix::fs::Uid::from_raw(file.uid), rustix::fs::Gid::from_raw(file.gid));
    rustix::fs::fchown(&fd, Some(owner.0), Some(owner.1))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(file.mode))?;
    drop(fd);
    let shown = part_of(tmpfs, Path::new(NAME))?;
    mount::make_read_only(&shown, false)?;
    Ok(shown)
}
