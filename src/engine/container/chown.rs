//! `U`: what is mounted is given to the container's user, for good. The tree is walked by descriptor, no link is
//! followed and no other file system entered; a directory that the machine itself lives in is refused.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{CommandError, Context as _, Result};

/// Directories that belong to the system whatever is mounted where.
const SYSTEM: [&str; 20] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc",
    "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/var",
];

/// Gives `source`, or the part of it at `subpath`, and all below to `owner`.
///
/// # Errors
/// A directory of the system, an owner the kernel does not let us give.
pub fn give(source: &Path, subpath: Option<&str>, owner: (u32, u32)) -> Result<()> {
    let at = source.display();
    let real = source.canonicalize().with_context(|| format!("cannot find {at}"))?;
    if SYSTEM.iter().any(|system| real == Path::new(system)) || real.starts_with("/usr") {
        return Err(CommandError::usage(format!("{at} is a directory of the system, it is given to nobody (U)"))
            .hint("idmap shows it as the container's user's own and changes nothing on the disk"));
    }
    let owner = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    let what = || format!("cannot give {at} to the container's user");
    let top = open(source, subpath).map_err(std::io::Error::from).with_context(what)?;
    walk(&top, owner).map_err(std::io::Error::from).with_context(what)
}

fn open(source: &Path, subpath: Option<&str>) -> rustix::io::Result<OwnedFd> {
    let top = rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let Some(subpath) = subpath else { return Ok(top) };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    store::scoped::open(top, subpath, OFlags::PATH, resolve)
}

fn walk(top: &OwnedFd, owner: (Uid, Gid)) -> rustix::io::Result<()> {
    let about = rustix::fs::fstat(top)?;
    rustix::fs::chownat(top, c"", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
        return Ok(());
    }
    let mut waiting = vec![directory(top.as_fd(), OsStr::new("."))?];
    while let Some(parent) = waiting.pop() {
        for entry in Dir::read_from(&parent)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match give_one(&parent, name, about.st_dev, owner) {
                Ok(Some(below)) => waiting.push(below),
                // Removed meanwhile, or no directory any more.
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// One name; gives it back opened if it is a directory of the same file system.
fn give_one(
    parent: &OwnedFd,
    name: &OsStr,
    device: u64,
    (uid, gid): (Uid, Gid),
) -> rustix::io::Result<Option<OwnedFd>> {
    let about = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if about.st_dev != device {
        return Ok(None);
    }
    if (about.st_uid, about.st_gid) != (uid.as_raw(), gid.as_raw()) {
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
        return Ok(None);
    }
    directory(parent.as_fd(), name).map(Some)
}

fn directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    store::scoped::open(parent, name, OFlags::RDONLY | OFlags::DIRECTORY, resolve)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_given_and_no_link_followed() {
        let place = tempfile::tempdir().unwrap();
        let (tree, outside) = (place.path().join("tree"), place.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(&outside, "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        give(&tree, None, (1234, 1235)).unwrap();
        let owner = |path: &Path| {
            let about = path.symlink_metadata().unwrap();
            (about.uid(), about.gid())
        };
        for path in ["", "a", "a/b", "a/link"] {
            assert_eq!(owner(&tree.join(path)), (1234, 1235), "{path}");
        }
        assert_ne!(owner(&outside), (1234, 1235));
        give(&tree, Some("a/b"), (7, 7)).unwrap();
        assert_eq!((owner(&tree.join("a/b")), owner(&tree.join("a"))), ((7, 7), (1234, 1235)));
        assert!(give(Path::new("/etc"), None, (0, 0)).is_err());
    }
}
