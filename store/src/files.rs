//! The few ways in which the store touches files: bounded reads, whole-file writes that become visible by one
//! rename(2), synced directories. The rule: write beside, sync, rename, sync the parent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Whether a write must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// File and directory are synced before the call returns.
    Synced,
    /// Atomic for other processes, but a power cut may undo it.
    Unsynced,
}

/// Makes the entries of the directory `path` durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let dir = File::open(path).map_err(Error::io("open the directory", path))?;
    dir.sync_all().map_err(Error::io("sync the directory", path))
}

/// Makes the directory `path`, 0700; it may be there already.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create the directory", path)(error)),
    }
}

/// As [`create_dir`], with what is missing above it.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create the directory", path))
}

/// A new file `path`, 0600, open for reading and writing; it must not exist.
pub(crate) fn create_file(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(Error::io("create", path))
}

/// Reads the file `path` of at most `limit` bytes; a longer one is refused.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // Most are shorter: one read for the bytes and one for their end.
    let mut bytes = Vec::with_capacity(4096);
    let got = file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if got as u64 > limit {
        return Err(Error::Limit { what: path.display().to_string(), limit: format!("{limit} bytes") });
    }
    Ok(bytes)
}

/// Makes `path` hold exactly `bytes`, atomically: they are written to `temporary`, on the same file system, and
/// renamed.
pub(crate) fn replace_file(path: &Path, temporary: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let written = (|| {
        let mut file = create_file(temporary)?;
        file.write_all(bytes).map_err(Error::io("write", temporary))?;
        if durability == Durability::Synced {
            file.sync_all().map_err(Error::io("sync", temporary))?;
        }
        fs::rename(temporary, path).map_err(Error::io("rename to", path))
    })();
    if let Err(error) = written {
        // The first error counts; what cannot be removed here is swept with its directory.
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    if durability == Durability::Synced { sync_parent(path) } else { Ok(()) }
}

/// As [`replace_file`] with a `temporary` that is there already, whose inode and block are used again; never synced.
pub(crate) fn rewrite_file(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(temporary).map_err(Error::io("open", temporary))?;
    file.write_all(bytes).map_err(Error::io("write", temporary))?;
    file.set_len(bytes.len() as u64).map_err(Error::io("cut", temporary))?;
    fs::rename(temporary, path).map_err(Error::io("rename to", path))
}

/// Syncs the directory that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Renames the finished directory `from` to `to` and makes that durable. `false` if another process had put the same
/// thing there first; then `from` is removed.
pub(crate) fn commit_dir(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => sync_parent(to).map(|()| true),
        Err(error) => {
            let raw = error.raw_os_error().map(Errno::from_raw_os_error);
            if !matches!(raw, Some(Errno::EXIST | Errno::NOTEMPTY)) {
                return Err(Error::io("rename to", to)(error));
            }
            sync_parent(to)?;
            remove_all(from)?;
            Ok(false)
        }
    }
}

/// Whether `path` is there; if so, durably: who put it there may have been killed before it could see to that.
pub(crate) fn is_there_for_good(path: &Path) -> Result<bool> {
    let there = path.exists();
    if there {
        sync_parent(path)?;
    }
    Ok(there)
}

/// Takes what is at `path` out of sight in one step: into the trash of the store at `root`. Gives where it is now, to be removed;
/// nothing if there was nothing.
///
/// On a full disk even a new name may find no room. Then it stays where it is, without the file that makes it count.
pub(crate) fn move_aside(root: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let trash = root.join("trash").join(crate::random_hex(16)?);
    match fs::rename(path, &trash) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
            if !path.is_dir() {
                return fs::remove_file(path).map(|()| None).map_err(Error::io("remove", path));
            }
            for file in ["record.json", "layer.json", "layers"] {
                let file = path.join(file);
                match fs::remove_file(&file) {
                    Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                        return Err(Error::io("remove", &file)(error));
                    }
                    _ => {}
                }
            }
            Ok(Some(path.to_path_buf()))
        }
        Err(error) => Err(Error::io("rename", path)(error)),
    }
}

/// Removes a file or a whole tree, however deep, never following a link; nothing there is success.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    crate::snapshot::remove_tree(path)
}

/// The names in the directory `path` that are valid UTF-8, sorted; none if it does not exist.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read the directory", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read the directory", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Turns "no such file" into `None`.
pub(crate) fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Dates a file now, so that its time says when it was last of use. What cannot be written can still be read, and what went away
/// needs no date: neither is an error.
pub(crate) fn note_use(path: &Path) -> Result<()> {
    match File::open(path).and_then(|file| file.set_modified(std::time::SystemTime::now())) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound) => Ok(()),
        noted => noted.map_err(Error::io("set the time of", path)),
    }
}

/// Disk space of a file or tree in bytes as allocated (`st_blocks`), hard links counted once; what vanishes
/// meanwhile counts nothing. Links are not followed; nor is what is mounted below counted, which lies elsewhere or is counted
/// as the file that it lies in.
pub(crate) fn disk_usage(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let (mut total, mut device) = (0, None);
    let mut pending = vec![path.to_path_buf()];
    while let Some(path) = pending.pop() {
        let Some(metadata) = optional(fs::symlink_metadata(&path).map_err(Error::io("stat", &path)))? else { continue };
        if *device.get_or_insert(metadata.dev()) != metadata.dev() {
            continue;
        }
        if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        total += metadata.blocks() * 512;
        if metadata.is_dir() {
            let Some(entries) = optional(fs::read_dir(&path).map_err(Error::io("read the directory", &path)))? else {
                continue;
            };
            for entry in entries {
                pending.push(entry.map_err(Error::io("read the directory", &path))?.path());
            }
        }
    }
    Ok(total)
}

/// Disk space of the file or directory itself, bytes.
pub(crate) fn own_usage(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::symlink_metadata(path).map_err(Error::io("stat", path))?.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_refuses_long_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("a"), dir.path().join("a.new"));
        replace_file(&path, &temporary, b"one", Durability::Synced).unwrap();
        replace_file(&path, &temporary, b"two", Durability::Unsynced).unwrap();
        assert_eq!(read_limited(&path, 3).unwrap(), b"two");
        assert!(matches!(read_limited(&path, 2), Err(Error::Limit { .. })));
        assert!(!temporary.exists());
    }

    #[test]
    fn the_second_commit_of_a_directory_loses() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            create_dir(&dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("who"), name).unwrap();
        }
        let to = dir.path().join("to");
        assert!(commit_dir(&dir.path().join("one"), &to).unwrap());
        assert!(!commit_dir(&dir.path().join("two"), &to).unwrap());
        assert_eq!(fs::read(to.join("who")).unwrap(), b"one");
        assert!(!dir.path().join("two").exists());
    }
}
