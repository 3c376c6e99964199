//! Removes trees that somebody else filled, however deep.
//!
//! A container can nest directories deeper than any path or descriptor limit reaches. So nothing is reached by a
//! path: a directory is emptied through its descriptor, and subdirectories beyond a small depth are moved up to the
//! top first. Links are not followed, and nothing is removed of what is mounted in the tree. Somebody else may be removing the same tree: what is gone already is no error. What
//! cannot be removed, as an immutable file, stays with the directories that it is in; all else goes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::scoped;

/// Directories open at once.
const DEPTH: usize = 32;

/// Removes the file or tree at `path`; nothing there is success.
///
/// # Errors
/// [`Error::Io`], the first of them.
pub fn remove_tree(path: &Path) -> crate::Result<()> {
    remove(path).map_err(Error::io("remove", path))
}

fn remove(path: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match fs::open(path, flags, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return gone(fs::unlink(path)),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0_u64;
    loop {
        let before = moved;
        let emptied = empty(top.as_fd(), top.as_fd(), 0, &mut moved);
        if moved == before {
            emptied?;
            break;
        }
    }
    gone(fs::rmdir(path))
}

/// Nothing there is as good as removed.
fn gone(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Empties `directory`, as far as it can; what is too deep below `top` is moved there, and `moved` counts it.
fn empty(top: BorrowedFd<'_>, directory: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> io::Result<()> {
    let (mut subdirectories, mut failed) = (Vec::new(), Ok(()));
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            other => other?,
        };
        let name = entry.file_name();
        if [b".".as_slice(), b".."].contains(&name.to_bytes()) {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            subdirectories.push(name.to_owned());
            continue;
        }
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => subdirectories.push(name.to_owned()),
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => failed = failed.and(Err(error.into())),
        }
    }
    for name in subdirectories {
        match fs::unlinkat(directory, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => {
                failed = failed.and(Err(error.into()));
                continue;
            }
        }
        if depth < DEPTH {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW;
            match scoped::open(directory, &name, flags, ResolveFlags::NO_XDEV) {
                Err(Errno::NOENT) => continue,
                // As rmdir(2) says of one on which an empty directory is mounted.
                Err(Errno::XDEV) => failed = failed.and(Err(Errno::BUSY.into())),
                inner => {
                    let emptied = empty(top, inner?.as_fd(), depth + 1, moved);
                    failed =
                        failed.and(emptied.and_then(|()| gone(fs::unlinkat(directory, &name, AtFlags::REMOVEDIR))));
                }
            }
            continue;
        }
        loop {
            *moved += 1;
            let to = format!("moved-{moved}");
            match fs::renameat_with(directory, &name, top, to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => break failed = failed.and(gone(other)),
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_is_deeper_than_any_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        let mut at = fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for level in 0..5000 {
            let name = if level % 7 == 0 { "moved-1" } else { "directory-with-a-long-name" };
            fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            fs::mkdirat(&at, "other", Mode::RWXU).unwrap();
            fs::symlinkat("/", &at, "link").unwrap();
            fs::symlinkat(dir.path().join("kept"), &at, "kept").unwrap();
            at = fs::openat(&at, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        remove_tree(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(std::fs::read(dir.path().join("kept")).unwrap(), b"x");
        remove_tree(&path).unwrap();
        std::os::unix::fs::symlink("kept", &path).unwrap();
        remove_tree(&path).unwrap();
        remove_tree(&dir.path().join("kept")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn goes_on_past_what_cannot_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        for name in ["a", "b/c", "d"] {
            std::fs::create_dir_all(path.join(name)).unwrap();
            std::fs::write(path.join(name).join("file"), "x").unwrap();
        }
        let Some(held) = crate::testing::Immutable::new(&path.join("b/c/file")) else {
            return println!("skip: the file system knows no immutable files");
        };
        let error = remove_tree(&path).unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied),
            "{error}"
        );
        assert!(path.join("b/c/file").exists() && !path.join("a").exists() && !path.join("d").exists());
        drop(held);
        remove_tree(&path).unwrap();
        assert!(!path.exists());
    }
}
