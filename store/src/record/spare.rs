//! Directories of containers that wrote nothing, kept for the next ones.
//!
//! Most short runs leave the directory of their container as it was made. Making it and removing it again costs a disk more
//! than all else that a start writes: seven inodes and their blocks. So a container that wrote nothing is *retired*: its directory is renamed
//! to `spare/used-…`; a later run, while it waits for its program, makes it as good as new and names it `spare/ready-…`; and
//! the next container takes that by one more rename. The rule: whoever does anything to a directory here renames it first,
//! so it has one owner at any moment; what an owner that was killed leaves is removed by the collector.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FILE, Record, Records, SPARE_FILE};
use crate::error::{Error, Result};
use crate::files;

const USED: &str = "used-";
const READY: &str = "ready-";
/// How many are kept ready, at most; as many are made ready at once.
const MOST: usize = 4;

impl Records<'_> {
    fn spares(&self) -> PathBuf {
        self.store.root().join("spare")
    }

    /// As [`Records::remove_read`], but the directory of a container that wrote nothing is only moved out of sight, for
    /// [`Records::clear_retired`] of a later run, or the collector.
    ///
    /// # Errors
    /// As [`Records::remove`].
    pub fn retire<T>(&self, record: &Record<T>) -> Result<()> {
        let paths = self.container_paths(&record.id)?;
        if self.is_in_memory(&record.id) || !is_untouched(&paths.directory) {
            return self.remove_read(record);
        }
        let used = self.spares().join(format!("{USED}{}", crate::random_hex(16)?));
        let retire = || fs::rename(&paths.directory, &used).map_err(Error::io("rename", &paths.directory));
        match retire() {
            // A store that an older program made.
            Err(error) if error.is_not_found() && !self.spares().exists() => {
                files::create_dir(&self.spares())?;
                retire()?;
            }
            other => other?,
        }
        self.free_name(self.store.root(), &record.name, &record.id)
    }

    /// Makes directories that [`Records::retire`] left as good as new, for a caller that has to wait for something else
    /// anyway. Few at a time: the caller has other things to do as well.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear_retired(&self) -> Result<()> {
        let spares = self.spares();
        let names = files::names(&spares)?;
        let ready = names.iter().filter(|name| name.starts_with(READY)).count();
        for (number, name) in names.iter().filter(|name| name.starts_with(USED)).take(MOST).enumerate() {
            let mine = spares.join(format!("mine-{}", crate::random_hex(16)?));
            if files::optional(fs::rename(spares.join(name), &mine).map_err(Error::io("rename", &mine)))?.is_none() {
                continue;
            }
            if ready + number < MOST && renew(&mine).is_ok() {
                let new = spares.join(format!("{READY}{}", crate::random_hex(16)?));
                files::optional(fs::rename(&mine, &new).map_err(Error::io("rename", &mine)))?;
            } else {
                files::remove_all(&mine)?;
            }
        }
        Ok(())
    }

    /// Takes a directory that is as good as new as `directory`; false if there is none.
    pub(super) fn take_spare(&self, directory: &Path) -> Result<bool> {
        let spares = self.spares();
        for name in files::names(&spares)?.iter().filter(|name| name.starts_with(READY)) {
            match rustix::fs::renameat_with(CWD, spares.join(name), CWD, directory, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                // Somebody else was faster.
                Err(Errno::NOENT) => {}
                // A file system without exclusive renames, or the place is taken: the ordinary way tells.
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// All that lies here, for the collector.
    pub(crate) fn all_spares(&self) -> Result<Vec<PathBuf>> {
        Ok(files::names(&self.spares())?.into_iter().map(|name| self.spares().join(name)).collect())
    }
}

/// Whether a container has left its directory as it was made, but for what overlayfs keeps in `work`.
fn is_untouched(directory: &Path) -> bool {
    let holds = |path: &Path, expected: &[&str]| {
        files::names(path).is_ok_and(|names| names.iter().all(|name| expected.contains(&name.as_str())))
    };
    let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    holds(directory, &[FILE, "rw"])
        && holds(&directory.join("rw"), &["upper", "work"])
        && empty(&directory.join("rw/upper"))
}

/// Empties the work directory, takes the marks of overlayfs from the upper one, and forgets the record.
fn renew(directory: &Path) -> Result<()> {
    let (upper, work, record) = (directory.join("rw/upper"), directory.join("rw/work"), directory.join(FILE));
    for path in [&directory.join("rw"), &work] {
        let about = fs::symlink_metadata(path).map_err(Error::io("stat", path))?;
        if about.uid() != 0 || about.gid() != 0 {
            return Err(Error::Conflict(format!("{} was given to another user", path.display())));
        }
    }
    for name in files::names(&work)? {
        files::remove_all(&work.join(name))?;
    }
    // The next record is written over this one.
    let next = directory.join(SPARE_FILE);
    fs::rename(&record, &next).map_err(Error::io("rename", &record))?;
    forget_xattrs(&upper).map_err(|errno| Error::io("remove attributes of", &upper)(errno.into()))
}

fn forget_xattrs(directory: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(directory, flags, Mode::empty())?;
    // XATTR_LIST_MAX of linux/limits.h.
    let mut names = vec![0; 65_536];
    let length = match rustix::fs::flistxattr(&handle, &mut names) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .try_for_each(|name| rustix::fs::fremovexattr(&handle, name))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Store, testing};

    fn record(store: &Store, id: u8) -> Record<String> {
        let record = Record {
            id: format!("{id:02x}").repeat(32),
            name: format!("c{id}"),
            created: Timestamp::UNIX_EPOCH,
            uses: vec![],
            data: String::new(),
        };
        store.containers().create(&record).unwrap();
        record
    }

    #[test]
    fn the_next_container_gets_the_directory_of_one_that_wrote_nothing() {
        let (_dir, store) = testing::store();
        let containers = store.containers();
        let first = record(&store, 1);
        let paths = containers.container_paths(&first.id).unwrap();
        let inode = fs::metadata(&paths.upper).unwrap().ino();
        fs::create_dir_all(paths.work.join("work/incompat/volatile")).unwrap();
        let marked = rustix::fs::setxattr(&paths.upper, "user.left", b"x", rustix::fs::XattrFlags::empty());
        containers.retire(&first).unwrap();
        assert!(containers.find("c1").unwrap_err().is_not_found());
        assert!(containers.ids().unwrap().is_empty());
        containers.clear_retired().unwrap();
        let second = record(&store, 2);
        let paths = containers.container_paths(&second.id).unwrap();
        assert_eq!(fs::metadata(&paths.upper).unwrap().ino(), inode);
        assert_eq!(containers.read::<String>(&second.id).unwrap(), second);
        assert!(files::names(&paths.work).unwrap().is_empty());
        let mut value = [0; 8];
        assert!(marked.is_err() || rustix::fs::getxattr(&paths.upper, "user.left", &mut value).is_err());
        assert!(containers.all_spares().unwrap().is_empty());
    }

    #[test]
    fn what_wrote_is_removed_and_few_are_kept() {
        let (_dir, store) = testing::store();
        let containers = store.containers();
        let wrote = record(&store, 1);
        fs::write(containers.container_paths(&wrote.id).unwrap().upper.join("file"), "x").unwrap();
        containers.retire(&wrote).unwrap();
        let logged = record(&store, 2);
        fs::write(containers.container_paths(&logged.id).unwrap().log, "x").unwrap();
        containers.retire(&logged).unwrap();
        assert!(containers.all_spares().unwrap().is_empty());
        for record in (0..2 * MOST as u8).map(|id| record(&store, id)).collect::<Vec<_>>() {
            containers.retire(&record).unwrap();
        }
        containers.clear_retired().unwrap();
        containers.clear_retired().unwrap();
        assert_eq!(containers.all_spares().unwrap().len(), MOST);
        crate::gc::collect(&store, &crate::gc::GcOptions::default()).unwrap();
        assert!(containers.all_spares().unwrap().is_empty());
    }

    #[test]
    fn many_take_each_their_own() {
        let (_dir, store) = testing::store();
        for record in (0..4).map(|id| record(&store, id)).collect::<Vec<_>>() {
            store.containers().retire(&record).unwrap();
        }
        store.containers().clear_retired().unwrap();
        std::thread::scope(|scope| {
            for id in 10..18 {
                let store = &store;
                scope.spawn(move || record(store, id));
            }
        });
        assert_eq!(store.containers().ids().unwrap().len(), 8);
    }
}
