//! The build cache: what a step with a given key made, so that it need not run again; and places for cache mounts and
//! caches of files.
//!
//! `cache/steps/<hex of key>` is one JSON file, read by one open and one read. Its modification time is when it was
//! last of use. A layer named by a record may have been collected: the one who hits it looks.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Store;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::files::{self, Durability};

const STEP_MAX: u64 = 16 << 20;
/// Use is noted no more often than this.
const USE_GRAIN: Duration = Duration::from_secs(600);

/// What a step made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The step's key.
    pub key: Digest,
    /// The layer it made, if it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<DiffId>,
    /// What else the builder wants to know.
    pub value: Value,
}

/// The build cache of a store.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    store: &'a Store,
}

impl<'a> Cache<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    fn steps(&self) -> PathBuf {
        self.store.root().join("cache/steps")
    }

    pub(crate) fn path(&self, key: &Digest) -> PathBuf {
        self.steps().join(key.hex())
    }

    /// The record for `key`, noting that it was of use. `None` also for one whose layer is gone. A layer returned is
    /// protected if the caller has protected it, or calls [`Store::protect`] and looks again.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn get(&self, key: &Digest) -> Result<Option<CacheRecord>> {
        let path = self.path(key);
        let Some(record) = self.read(key)? else { return Ok(None) };
        if record.layer.is_some_and(|layer| !self.store.layers().has(&layer)) {
            return Ok(None);
        }
        if self.last_used(key)?.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > USE_GRAIN) {
            let noted = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            match noted {
                // A cache that cannot be written can still be read; it went away: no harm either.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::NotFound
                    ) => {}
                other => other.map_err(Error::io("set the time of", &path))?,
            }
        }
        Ok(Some(record))
    }

    pub(crate) fn read(&self, key: &Digest) -> Result<Option<CacheRecord>> {
        let path = self.path(key);
        let Some(bytes) = files::optional(files::read_limited(&path, STEP_MAX))? else { return Ok(None) };
        let damaged = |reason: String| Error::Damaged(format!("build cache record {}: {reason}", path.display()));
        let record: CacheRecord = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.key != *key {
            return Err(damaged(format!("holds the key {}", record.key)));
        }
        Ok(Some(record))
    }

    /// Files a record under its key, over one that is there. A layer it names must be here.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the layer is not here, [`Error::Io`].
    pub fn put(&self, record: &CacheRecord) -> Result<()> {
        if let Some(layer) = &record.layer {
            self.store.protect(&[layer.0])?;
            if !self.store.layers().has(layer) {
                return Err(Error::NotFound { kind: "layer", name: layer.to_string() });
            }
        }
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::Invalid { what: "build cache record", reason: error.to_string() })?;
        let temporary = self.store.lease()?.temporary("step");
        // Losing a step to a power cut would cost time only, but a rename without a sync may leave an empty file.
        files::replace_file(&self.path(&record.key), &temporary, &bytes, Durability::Synced)
    }

    /// The keys of all records.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Digest>> {
        Ok(files::names(&self.steps())?.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
    }

    /// When the record was last of use, to within ten minutes; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_used(&self, key: &Digest) -> Result<Option<SystemTime>> {
        let path = self.path(key);
        files::optional(fs::metadata(&path).and_then(|m| m.modified()).map_err(Error::io("stat", &path)))
    }

    /// Removes the record for `key`; its layer stays until collected.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, key: &Digest) -> Result<()> {
        files::remove_all(&self.path(key))
    }

    pub(crate) fn mounts_directory(&self) -> PathBuf {
        self.store.root().join("cache/mounts")
    }

    pub(crate) fn temporary(&self, kind: &str) -> Result<PathBuf> {
        Ok(self.store.lease()?.temporary(kind))
    }

    /// Reads the small file that a caller keeps under `name` (any text), of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Io`].
    pub fn file(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        files::optional(files::read_limited(&self.file_path(name), limit))
    }

    /// Keeps `bytes` under `name`, atomically but not synced: they must be checkable by whoever reads them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = self.store.lease()?.temporary("file");
        files::replace_file(&self.file_path(name), &temporary, bytes, Durability::Unsynced)
    }

    fn file_path(&self, name: &str) -> PathBuf {
        self.store.root().join("cache/files").join(Digest::of(name.as_bytes()).hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn remembers_steps_and_notes_their_use() {
        let (_dir, store) = testing::store();
        let cache = store.cache();
        let record = CacheRecord { key: Digest::of(b"key"), layer: None, value: serde_json::json!({"a": 1}) };
        cache.put(&record).unwrap();
        File::open(cache.path(&record.key)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(cache.get(&record.key).unwrap().unwrap(), record);
        assert!(cache.last_used(&record.key).unwrap().unwrap().elapsed().unwrap() < USE_GRAIN);
        assert_eq!(cache.list().unwrap(), [record.key]);
        let absent = CacheRecord { layer: Some(DiffId(Digest::of(b"x"))), ..record.clone() };
        assert!(cache.put(&absent).unwrap_err().is_not_found());
        cache.remove(&record.key).unwrap();
        assert_eq!(cache.get(&record.key).unwrap(), None);
    }

    #[test]
    fn mounts_and_files_stay_inside() {
        let (_dir, store) = testing::store();
        let path = store.cache().use_mount("../../../etc").unwrap().path;
        assert!(path.is_dir() && path.parent().unwrap() == store.root().join("cache/mounts"));
        store.cache().put_file("../x", b"1").unwrap();
        assert_eq!(store.cache().file("../x", 1).unwrap().unwrap(), b"1");
        assert_eq!(store.cache().file("y", 1).unwrap(), None);
    }
}
