//! A copy of what a container wrote, for a clone of it: the tree of its upper directory as it is, with whiteouts, opaque
//! marks and all, the bytes shared where the file system can do that. Everything is walked and made below descriptors; the
//! copy is nobody's yet, so no link in it can lead anywhere else.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags, lgetxattr,
    llistxattr, lsetxattr,
};

use crate::error::{Context as _, Result};

/// Copies what is in the directory `from` into the empty directory `to`, and its attributes.
pub(in crate::engine) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (source, target) = (open(from)?, open(to)?);
    let mut fork = Fork { root: target.as_fd(), links: HashMap::new() };
    let what = || format!("cannot copy {} to {}", from.display(), to.display());
    fork.directory(source.as_fd(), target.as_fd(), Path::new("")).with_context(what)?;
    let about = rustix::fs::fstat(&source).map_err(io::Error::from)?;
    attributes(&by_descriptor(source.as_fd()), &by_descriptor(target.as_fd())).with_context(what)?;
    owner_and_time(target.as_fd(), ".", &about, FileType::Directory).map_err(io::Error::from).with_context(what)
}

/// How deep a tree may be that is copied: each level takes three descriptors, of 1024 that a process commonly has.
const DEPTH: usize = 256;

struct Fork<'a> {
    root: BorrowedFd<'a>,
    /// Where the first name of a file with several was copied to, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Fork<'_> {
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        if path.components().count() > DEPTH {
            return Err(io::Error::other(format!("directories more than {DEPTH} deep cannot be copied")));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = std::ffi::OsStr::new(
                std::str::from_utf8(name.to_bytes())
                    .map_or_else(|_| std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes()), std::ffi::OsStr::new),
            );
            self.entry(from, to, name, &path.join(name))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &std::ffi::OsStr,
        path: &Path,
    ) -> io::Result<()> {
        let about = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(about.st_mode);
        if kind != FileType::Directory && about.st_nlink > 1 {
            if let Some(first) = self.links.get(&(about.st_dev, about.st_ino)) {
                return Ok(rustix::fs::linkat(self.root, first, to, name, AtFlags::empty())?);
            }
            self.links.insert((about.st_dev, about.st_ino), path.to_owned());
        }
        let open = |below: BorrowedFd<'_>, flags: OFlags| -> rustix::io::Result<OwnedFd> {
            rustix::fs::openat(below, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        };
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let (source, target) = (open(from, OFlags::DIRECTORY)?, open(to, OFlags::DIRECTORY)?);
                self.directory(source.as_fd(), target.as_fd(), path)?;
            }
            FileType::RegularFile => {
                let source = File::from(open(from, OFlags::RDONLY | OFlags::NONBLOCK)?);
                let target = File::from(open(to, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY)?);
                contents(&source, &target, u64::try_from(about.st_size).unwrap_or(0))?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            // Whiteouts are character devices 0:0.
            kind => rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(about.st_mode), about.st_rdev)?,
        }
        attributes(&below(from, name), &below(to, name))?;
        owner_and_time(to, name, &about, kind)?;
        Ok(())
    }
}

/// A path by which the file `name` of an open directory is reached without going through any link.
fn below(directory: BorrowedFd<'_>, name: &std::ffi::OsStr) -> PathBuf {
    by_descriptor(directory).join(name)
}

fn by_descriptor(directory: BorrowedFd<'_>) -> PathBuf {
    // The dot at its end: the attributes are those of the directory, not of the link in /proc.
    PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()))
}

/// Shares the bytes, or copies those that are there: holes stay holes.
fn contents(from: &File, to: &File, size: u64) -> io::Result<()> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        let (mut read, mut write) = (start, start);
        while read < end {
            let length = usize::try_from(end - read).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut write), length) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // Another file system.
                Err(rustix::io::Errno::XDEV) => {
                    piecewise(from, to, read, end)?;
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        at = end;
    }
    Ok(())
}

/// Copies bytes through memory.
fn piecewise(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut piece = vec![0; 256 << 10];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
        let count = from.read_at(&mut piece[..most], at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&piece[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// The extended attributes, overlay's own among them.
fn attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match llistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let length = lgetxattr(from, name, value.as_mut_slice())?;
        lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Owner, then mode, then time: a change of owner clears what a mode may hold, and both change the time.
fn owner_and_time(
    directory: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    about: &Stat,
    kind: FileType,
) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(about.st_uid), Gid::from_raw(about.st_gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(about.st_mode), AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: about.st_atime, tv_nsec: about.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: about.st_mtime, tv_nsec: about.st_mtime_nsec as _ },
    };
    rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_that_is_too_deep_is_refused_in_words() {
        for (depth, fits) in [(DEPTH, true), (DEPTH + 1, false)] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            std::fs::create_dir_all(from.join("d/".repeat(depth))).unwrap();
            std::fs::create_dir(&to).unwrap();
            match copy_tree(&from, &to) {
                Ok(()) => assert!(fits && to.join("d/".repeat(depth)).is_dir()),
                Err(error) => assert!(!fits && error.text().contains("256 deep"), "{}", error.text()),
            }
        }
    }

    #[test]
    fn everything_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("d")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("d/f"), "text").unwrap();
        std::fs::hard_link(from.join("d/f"), from.join("g")).unwrap();
        symlink("/etc/passwd", from.join("l")).unwrap();
        std::fs::set_permissions(from.join("d/f"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(8 << 20).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"x", 4 << 20).unwrap();
        if rustix::process::geteuid().is_root() {
            let node = |name: &str, kind| {
                rustix::fs::mknodat(rustix::fs::CWD, from.join(name), kind, Mode::empty(), 0).unwrap();
            };
            node("whiteout", FileType::CharacterDevice);
            node("pipe", FileType::Fifo);
            lsetxattr(from.join("d"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        }
        copy_tree(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("d/f")).unwrap(), "text");
        assert_eq!(std::fs::read_link(to.join("l")).unwrap(), Path::new("/etc/passwd"));
        let about = |path: &str| std::fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!(about("d/f").ino(), about("g").ino());
        assert_eq!(about("d/f").mode() & 0o7777, 0o4755);
        assert_eq!(about("d/f").mtime_nsec(), std::fs::metadata(from.join("d/f")).unwrap().mtime_nsec());
        assert!(about("sparse").blocks() * 512 < 1 << 20 && about("sparse").len() == 8 << 20);
        assert_eq!(std::fs::read(to.join("sparse")).unwrap()[4 << 20], b'x');
        if rustix::process::geteuid().is_root() {
            assert!(about("whiteout").file_type().is_char_device() && about("whiteout").rdev() == 0);
            assert!(about("pipe").file_type().is_fifo());
            let mut value = [0; 8];
            assert_eq!(lgetxattr(to.join("d"), "trusted.overlay.opaque", value.as_mut_slice()).unwrap(), 1);
        }
    }
}
