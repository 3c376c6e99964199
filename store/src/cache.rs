//! The build cache: what a step with a given key made, so that it need not run again; and places for cache mounts and
//! caches of files.
//!
//! `cache/steps/<hex of key>` is one JSON file, read by one open and one read. Its modification time is when it was
//! last of use. A layer named by a record may have been collected: the one who hits it looks.
//!
//! `cache/notes/<hex>` is what the builder remembers of a step in order to explain a later one. A note outlives the
//! record of its step, whose removal sets its modification time; the collector bounds age and size of all of them.

use std::fs;
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

/// Notes that nobody has touched for so long go with the next collection.
const NOTES_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Most bytes of notes that a collection leaves.
const NOTES_MAX: u64 = 64 << 20;

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
            files::note_use(&path)?;
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
        files::remove_all(&self.path(key))?;
        self.date_note(key)
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

    /// The note filed under `name`, a step's key or any other digest, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Io`].
    pub fn note(&self, name: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        files::optional(files::read_limited(&self.note_path(name), limit))
    }

    /// When the note was written or, later, the record of the step it is of was removed; `None` if there is no note.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn noted(&self, name: &Digest) -> Result<Option<SystemTime>> {
        let path = self.note_path(name);
        files::optional(fs::metadata(&path).and_then(|m| m.modified()).map_err(Error::io("stat", &path)))
    }

    /// Keeps a note, atomically but not synced: whoever reads it must bear with one that was torn by a power cut.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_note(&self, name: &Digest, bytes: &[u8]) -> Result<()> {
        let temporary = self.store.lease()?.temporary("note");
        let path = self.note_path(name);
        match files::replace_file(&path, &temporary, bytes, Durability::Unsynced) {
            // A store that an older program made has no such directory.
            Err(error) if error.is_not_found() => {
                files::create_dir(&self.notes())?;
                files::replace_file(&path, &temporary, bytes, Durability::Unsynced)
            }
            done => done,
        }
    }

    /// Removes a note.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_note(&self, name: &Digest) -> Result<()> {
        files::remove_all(&self.note_path(name))
    }

    /// Dates the note of a step whose record has just been removed.
    pub(crate) fn date_note(&self, key: &Digest) -> Result<()> {
        files::note_use(&self.note_path(key))
    }

    /// Notes that are too old or, the oldest first, too many.
    pub(crate) fn stale_notes(&self) -> Result<Vec<PathBuf>> {
        let mut notes = Vec::new();
        for name in files::names(&self.notes())? {
            let path = self.notes().join(name);
            let Some(about) = files::optional(fs::metadata(&path).map_err(Error::io("stat", &path)))? else { continue };
            notes.push((about.modified().map_err(Error::io("stat", &path))?, about.len(), path));
        }
        notes.sort_unstable_by(|a, b| b.cmp(a));
        let mut total = 0;
        notes.retain(|(time, size, _)| {
            total += size;
            total > NOTES_MAX || time.elapsed().is_ok_and(|age| age > NOTES_AGE)
        });
        Ok(notes.into_iter().map(|(_, _, path)| path).collect())
    }

    fn notes(&self) -> PathBuf {
        self.store.root().join("cache/notes")
    }

    fn note_path(&self, name: &Digest) -> PathBuf {
        self.notes().join(name.hex())
    }

    fn file_path(&self, name: &str) -> PathBuf {
        self.store.root().join("cache/files").join(Digest::of(name.as_bytes()).hex())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

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

    #[test]
    fn a_note_outlives_its_step_and_says_when_that_went() {
        let (_dir, store) = testing::store();
        let cache = store.cache();
        let key = Digest::of(b"key");
        cache.put(&CacheRecord { key, layer: None, value: Value::Null }).unwrap();
        cache.put_note(&key, b"note").unwrap();
        let long_ago = SystemTime::now() - NOTES_AGE / 2;
        File::open(cache.note_path(&key)).unwrap().set_modified(long_ago).unwrap();
        let all = crate::gc::GcOptions { cache: crate::gc::CacheScope::All, ..Default::default() };
        crate::gc::collect(&store, &all).unwrap();
        assert_eq!(cache.get(&key).unwrap(), None);
        assert_eq!(cache.note(&key, 4).unwrap().unwrap(), b"note");
        assert!(cache.noted(&key).unwrap().unwrap().elapsed().unwrap() < USE_GRAIN, "dated by the removal");
        File::open(cache.note_path(&key)).unwrap().set_modified(long_ago - NOTES_AGE).unwrap();
        crate::gc::collect(&store, &crate::gc::GcOptions::default()).unwrap();
        assert_eq!(cache.note(&key, 4).unwrap(), None, "too old");
    }
}
