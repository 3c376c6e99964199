//! A fresh tmpfs that begins with what the image has in its place (the mount option `tmpcopyup`).
//!
//! Both sides are walked by descriptor and no link is followed, so nothing outside of the two directories is touched.
//! Directories, files and links come along, with owner, mode and times; sockets, devices and fifos do not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

/// Deeper trees are refused: the image is somebody else's.
const MAX_DEPTH: usize = 128;

/// Copies what is in the directory `from` into the directory `to`; `from` may be an `O_PATH` descriptor.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    directory(open(from, ".", OFlags::DIRECTORY)?, to, 0)
}

fn open(at: BorrowedFd<'_>, name: &str, more: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more, Mode::empty())?)
}

fn directory(from: OwnedFd, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, mode)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(to, name, flags, Mode::empty())?;
                directory(rustix::fs::openat(&from, name, flags, Mode::empty())?, below.as_fd(), depth + 1)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut source = std::fs::File::from(rustix::fs::openat(&from, name, flags, Mode::empty())?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut target = std::fs::File::from(rustix::fs::openat(to, name, flags, mode)?);
                io::copy(&mut source, &mut target)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
            }
            _ => continue,
        }
        give(to, name, &stat)?;
    }
    Ok(())
}

/// Owner, then mode (which a change of owner may have cut), then times.
fn give(at: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::chownat(at, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(at, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_its_modes_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(from.path().join("d/f"), "text").unwrap();
        std::fs::set_permissions(from.path().join("d/f"), std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc/passwd", from.path().join("link")).unwrap();
        let (a, b) = (std::fs::File::open(from.path()).unwrap(), std::fs::File::open(to.path()).unwrap());
        copy(a.as_fd(), b.as_fd()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("d/f")).unwrap(), "text");
        let mode = std::fs::metadata(to.path().join("d/f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(std::fs::read_link(to.path().join("link")).unwrap().to_str(), Some("/etc/passwd"));
    }
}
