//! Cache mounts: directories that outlive builds, each under the hash of its id, so that no id leads anywhere else.
//!
//! ```text
//! cache/mounts/<hex>        what is in it
//!              <hex>.id     its id; modification time = last of use
//!              <hex>.use    locked, together with others, by every step that has it mounted
//!              <hex>.lock   locked alone by a step that wants it for itself
//! ```

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::lock::{self, LockFile, LockMode};

/// Longest id read, bytes.
const ID_MAX: u64 = 64 << 10;

/// A cache mount that somebody uses: it is not removed while this lives.
#[derive(Debug)]
pub struct UsedMount {
    /// Its directory.
    pub path: PathBuf,
    /// Held as long as it is used.
    pub lock: LockFile,
}

/// A cache mount that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Its id.
    pub id: String,
    /// Its directory.
    pub path: PathBuf,
    /// Disk space of it and of its name, bytes.
    pub size: u64,
    /// When a step last began to use it.
    pub last_used: SystemTime,
    /// A step has it mounted.
    pub in_use: bool,
}

impl Cache<'_> {
    fn mount_file(&self, id: &str, suffix: &str) -> PathBuf {
        self.mounts_directory().join(format!("{}{suffix}", Digest::of(id.as_bytes()).hex()))
    }

    /// The file to be locked by whoever wants the cache mount `id` for himself.
    #[must_use]
    pub fn mount_lock(&self, id: &str) -> PathBuf {
        self.mount_file(id, ".lock")
    }

    /// The cache mount `id`, made if absent, for use.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::LockTimeout`] while it is being removed.
    pub fn use_mount(&self, id: &str) -> Result<UsedMount> {
        let lock = LockFile::acquire(&self.mount_file(id, ".use"), LockMode::Shared, lock::SHORT)?;
        let path = self.mount_file(id, "");
        files::create_dir(&path)?;
        let temporary = self.temporary("mount")?;
        files::replace_file(&self.mount_file(id, ".id"), &temporary, id.as_bytes(), Durability::Unsynced)?;
        Ok(UsedMount { path, lock })
    }

    /// All cache mounts, by id.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mounts(&self) -> Result<Vec<MountInfo>> {
        let mut found = Vec::new();
        for name in files::names(&self.mounts_directory())? {
            let Some(hex) = name.strip_suffix(".id") else { continue };
            let facts = self.mounts_directory().join(&name);
            let Some(id) = files::optional(files::read_limited(&facts, ID_MAX))? else { continue };
            let id = String::from_utf8_lossy(&id).into_owned();
            let used = fs::metadata(&facts).and_then(|about| about.modified());
            let Some(last_used) = files::optional(used.map_err(Error::io("stat", &facts)))? else { continue };
            let path = self.mounts_directory().join(hex);
            let size = files::disk_usage(&path)? + files::disk_usage(&facts)?;
            let in_use = mount_in_use(&self.mounts_directory().join(format!("{hex}.use")))?;
            found.push(MountInfo { id, path, size, last_used, in_use });
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Removes the cache mount `id`; `false` if a step has it mounted, or it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_mount(&self, id: &str) -> Result<bool> {
        let Some(lock) = LockFile::try_acquire(&self.mount_file(id, ".use"), LockMode::Exclusive)? else {
            return Ok(false);
        };
        let _lock = lock.removed_on_release();
        let (path, temporary) = (self.mount_file(id, ""), self.temporary("mount")?);
        let moved = files::optional(fs::rename(&path, &temporary).map_err(Error::io("rename", &path)))?;
        files::remove_all(&self.mount_file(id, ".id"))?;
        files::remove_all(&temporary)?;
        Ok(moved.is_some())
    }
}

/// Whether somebody holds this lock of a cache mount.
pub(crate) fn mount_in_use(lock: &std::path::Path) -> Result<bool> {
    let Some(file) = files::optional(File::open(lock).map_err(Error::io("open", lock)))? else { return Ok(false) };
    Ok(!lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", lock))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn mounts_are_listed_and_stay_while_used() {
        let (_dir, store) = testing::store();
        let cache = store.cache();
        let used = cache.use_mount("../../etc").unwrap();
        assert!(used.path.starts_with(store.root().join("cache/mounts")));
        fs::write(used.path.join("file"), vec![1; 100_000]).unwrap();
        let again = cache.use_mount("../../etc").unwrap();
        assert_eq!(again.path, used.path);
        cache.use_mount("b").unwrap();
        let listed = cache.mounts().unwrap();
        assert_eq!(
            listed.iter().map(|mount| (&*mount.id, mount.in_use)).collect::<Vec<_>>(),
            [("../../etc", true), ("b", false)]
        );
        assert!(listed[0].size >= 100_000);
        assert!(!cache.remove_mount("../../etc").unwrap());
        drop((used, again));
        assert!(cache.remove_mount("../../etc").unwrap() && cache.remove_mount("b").unwrap());
        assert!(!cache.remove_mount("b").unwrap());
        assert!(cache.mounts().unwrap().is_empty());
    }
}
