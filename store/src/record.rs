//! Records of containers, volumes and networks: one directory per id with one JSON file, and a name that is unique.
//!
//! `<class>/<id>/record.json` is replaced by rename, never changed in place; a directory without it does not exist
//! yet or no more. Names are in `record/names.rs`. Containers are not synced, volumes and networks are.

mod emptied;
mod memory;
mod names;
mod spare;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::lock::{self, LockFile, LockMode};

const FILE: &str = "record.json";
/// A record that is being written.
const NEW_FILE: &str = "record.new";
const CHANGED_FILE: &str = "record.changed";
/// What the next record is written over, in a directory that is used again.
const SPARE_FILE: &str = "record.spare";
const RECORD_MAX: u64 = 16 << 20;

/// What kind of thing is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `containers/`: with `rw/upper`, `rw/work` and `log` in each directory.
    Container,
    /// `volumes/`: with `data` in each directory.
    Volume,
    /// `networks/`.
    Network,
}

impl Class {
    /// The noun, for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Network => "network",
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Volume => "volumes",
            Self::Network => "networks",
        }
    }

    fn durability(self) -> Durability {
        if self == Self::Container { Durability::Unsynced } else { Durability::Synced }
    }

    /// The directories made in each record's own.
    fn inside(self) -> &'static [&'static str] {
        match self {
            Self::Container => &["rw", "rw/upper", "rw/work"],
            Self::Volume => &["data"],
            Self::Network => &[],
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<T> {
    /// 64 hex digits, from [`Records::new_id`].
    pub id: String,
    /// Unique among the records of a class.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Images, layers and blobs that must not be collected while the record exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Digest>,
    /// What the caller wants to remember.
    pub data: T,
}

/// Where a container's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPaths {
    /// Its directory.
    pub directory: PathBuf,
    /// The OCI runtime configuration.
    pub config: PathBuf,
    /// Overlay's upper directory.
    pub upper: PathBuf,
    /// Overlay's work directory.
    pub work: PathBuf,
    /// Log of its output.
    pub log: PathBuf,
}

/// The records of one class.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    store: &'a Store,
    class: Class,
    durability: Durability,
    /// Whether a record is made in memory when the disk is read-only.
    or_in_memory: bool,
}

impl<'a> Records<'a> {
    pub(crate) fn new(store: &'a Store, class: Class) -> Self {
        Self { store, class, durability: class.durability(), or_in_memory: class == Class::Container }
    }

    /// The same, for changes that a power cut may undo within the next seconds: nothing waits for the disk. What is
    /// written later into a volume's files and synced is not lost with its record ([`Records::read`]).
    #[must_use]
    pub fn unsynced(self) -> Self {
        Self { durability: Durability::Unsynced, ..self }
    }

    /// What is recorded here.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The directory of this class below a store's root or the place in memory.
    fn directory(&self, home: &Path) -> PathBuf {
        home.join(self.class.directory())
    }

    /// The directory of the record `id`, which must be a full id.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `id` is 64 hex digits.
    pub fn path(&self, id: &str) -> Result<PathBuf> {
        validate_id(id)?;
        Ok(self.directory(self.home_of(id)).join(id))
    }

    /// Where the files of container `id` are.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `id` is 64 hex digits.
    pub fn container_paths(&self, id: &str) -> Result<ContainerPaths> {
        let directory = self.path(id)?;
        Ok(ContainerPaths {
            config: directory.join("config.json"),
            upper: directory.join("rw/upper"),
            work: directory.join("rw/work"),
            log: directory.join("log"),
            directory,
        })
    }

    /// Bytes on disk of what the container `id` has written.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `id` is 64 hex digits, [`Error::Io`].
    pub fn upper_size(&self, id: &str) -> Result<u64> {
        files::disk_usage(&self.container_paths(id)?.upper)
    }

    /// Bytes on disk of all that belongs to the record `id`.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `id` is 64 hex digits, [`Error::Io`].
    pub fn disk_usage(&self, id: &str) -> Result<u64> {
        files::disk_usage(&self.path(id)?)
    }

    /// A new random id: 64 hex digits.
    ///
    /// # Errors
    /// [`Error::Read`] if the kernel has no random bytes.
    pub fn new_id(&self) -> Result<String> {
        crate::random_hex(32)
    }

    /// Makes the record and its directories. What it `uses` is safe from the collector once this has returned; look
    /// it up (again) after, for until then it may go.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the name or id is taken, [`Error::Invalid`] for a bad name or id, [`Error::Io`].
    pub fn create<T: Serialize>(&self, record: &Record<T>) -> Result<()> {
        self.create_held(record).map(drop)
    }

    /// As [`Records::create`]; gives the record's directory, locked (flock(2)) since before anybody could see the record.
    ///
    /// # Errors
    /// As [`Records::create`].
    pub fn create_held<T: Serialize>(&self, record: &Record<T>) -> Result<fs::File> {
        self.create_furnished(record, |_| Ok(()))
    }

    /// As [`Records::create_held`]; `furnish` puts into the record's directory what belongs there before anybody can see the
    /// record. If it fails, there is neither.
    ///
    /// # Errors
    /// As [`Records::create`], and those of `furnish`.
    pub fn create_furnished<T: Serialize>(
        &self,
        record: &Record<T>,
        furnish: impl Fn(&Path) -> Result<()>,
    ) -> Result<fs::File> {
        validate_name(&record.name)?;
        validate_id(&record.id)?;
        let bytes = encode(self.class, record)?;
        // Nobody sweeps what has no record yet.
        let _collector = self.store.hold_collector()?;
        match self.create_in(self.store.root(), record, &bytes, &furnish) {
            Err(error) if error.is_read_only() && self.or_in_memory => match self.store.make_memory()? {
                Some(memory) => self.create_in(memory, record, &bytes, &furnish),
                None => Err(error),
            },
            made => made,
        }
    }

    fn create_in<T>(
        &self,
        home: &Path,
        record: &Record<T>,
        bytes: &[u8],
        furnish: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<fs::File> {
        // The name comes first, on the disk too: a record without one could not be told from another of that name.
        self.take_name(home, &record.name, &record.id)?;
        let made = self.make(home, record, bytes, furnish);
        if made.is_err() {
            // What cannot be cleared away either is for the collector; the first error is the one to tell.
            let _ = self.free_name(home, &record.name, &record.id);
        }
        made
    }

    /// Makes the directory of a record whose name is taken, and the record in it.
    fn make<T>(
        &self,
        home: &Path,
        record: &Record<T>,
        bytes: &[u8],
        furnish: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<fs::File> {
        let directory = &self.directory(home).join(&record.id);
        let spare = self.class == Class::Container && home == self.store.root() && self.take_spare(directory)?;
        if !spare {
            match fs::DirBuilder::new().mode(0o700).create(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Conflict(format!("the {} id {} is taken", self.class.noun(), record.id)));
                }
                other => other.map_err(Error::io("create the directory", directory))?,
            }
        }
        let made = (|| {
            let held = fs::File::open(directory).map_err(Error::io("open the directory", directory))?;
            let deadline = Instant::now() + lock::SHORT;
            // Who gave a spare directory away may not have let go of it yet.
            while !lock::try_lock(&held, LockMode::Exclusive).map_err(Error::io("lock", directory))? {
                if Instant::now() > deadline {
                    return Err(Error::LockTimeout { path: directory.to_path_buf() });
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let inside = if spare { &[] } else { self.class.inside() };
            for inside in inside {
                files::create_dir(&directory.join(inside))?;
            }
            furnish(directory)?;
            let (file, new) = (directory.join(FILE), directory.join(NEW_FILE));
            // An older program left none to write over.
            let old = directory.join(SPARE_FILE);
            let written = if spare { files::optional(files::rewrite_file(&file, &old, bytes))? } else { None };
            if written.is_none() {
                files::replace_file(&file, &new, bytes, self.durability)?;
            }
            if self.durability == Durability::Synced {
                files::sync_parent(directory)?;
            }
            self.still_named(home, record)?;
            Ok(held)
        })();
        if made.is_err() {
            let _ = self.discard(home, directory);
        }
        made
    }

    /// Makes sure that nobody took the name over while it led to no record yet: who does so is alone with the names.
    fn still_named<T>(&self, home: &Path, record: &Record<T>) -> Result<()> {
        let _lock = LockFile::acquire(&self.names_lock(home), LockMode::Shared, lock::SHORT)?;
        if self.named_in(home, &record.name)?.as_deref() == Some(&record.id) {
            return Ok(());
        }
        Err(Error::Conflict(format!("the {} name {} is taken", self.class.noun(), record.name)))
    }

    /// Changes what a record holds: it is read, changed and written under its own lock, so that no two changes undo each other.
    /// `change` is to put in what is new and nothing else, and must not take long. Gives the record as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LockTimeout`], [`Error::Io`].
    pub fn change<T: Serialize + DeserializeOwned>(&self, id: &str, change: impl FnOnce(&mut T)) -> Result<Record<T>> {
        let _lock = self.lock_record(id)?;
        let mut record = self.read(id)?;
        change(&mut record.data);
        self.write(&record)?;
        Ok(record)
    }

    /// Whoever changes a record holds this lock. Its file is there as long as it is held.
    fn lock_record(&self, id: &str) -> Result<LockFile> {
        validate_id(id)?;
        let path = self.home_of(id).join("locks").join(format!("{}-{id}", self.class.noun()));
        LockFile::acquire(&path, LockMode::Exclusive, lock::SHORT).map(LockFile::removed_on_release)
    }

    /// Gives the record another name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] if the name is taken, [`Error::Invalid`], [`Error::Io`].
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        validate_name(name)?;
        let _lock = self.lock_record(id)?;
        let mut record = self.read::<serde_json::Value>(id)?;
        if record.name == name {
            return Ok(());
        }
        let home = self.home_of(id);
        self.take_name(home, name, id)?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        self.write(&record)?;
        self.free_name(home, &old, id)
    }

    fn write<T: Serialize>(&self, record: &Record<T>) -> Result<()> {
        let directory = self.path(&record.id)?;
        let temporary = directory.join(CHANGED_FILE);
        let bytes = encode(self.class, record)?;
        let _collector = self.store.hold_collector()?;
        // Whoever holds the record's lock is alone here: one that is there was left by a kill.
        files::remove_all(&temporary)?;
        files::replace_file(&directory.join(FILE), &temporary, &bytes, self.durability)
    }

    /// Reads the record with this full id. One of a volume that a power cut emptied before it was on the disk says what its place and
    /// its name still say.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn read<T: DeserializeOwned>(&self, id: &str) -> Result<Record<T>> {
        match self.read_once(id) {
            // The directory of one that is removed is used again: an open record may turn into that of another container.
            Err(Error::Damaged(_)) => self.read_once(id),
            read => read,
        }
    }

    fn read_once<T: DeserializeOwned>(&self, id: &str) -> Result<Record<T>> {
        let path = self.path(id)?.join(FILE);
        let missing = || Error::NotFound { kind: self.class.noun(), name: id.to_owned() };
        let bytes = files::optional(files::read_limited(&path, RECORD_MAX))?.ok_or_else(missing)?;
        let damaged = |reason: String| Error::Damaged(format!("{}: {reason}", path.display()));
        if self.class == Class::Volume && bytes.iter().all(|byte| *byte == 0) {
            return self.emptied(id);
        }
        let record: Record<T> = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.id != id {
            return Err(damaged(format!("holds the id {}", record.id)));
        }
        Ok(record)
    }

    /// Whether there is a record with this full id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.path(id).is_ok_and(|path| path.join(FILE).exists())
    }

    /// The full ids of all records, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for home in self.homes() {
            let directory = self.directory(home);
            let names = files::names(&directory)?.into_iter();
            ids.extend(names.filter(|id| validate_id(id).is_ok() && directory.join(id).join(FILE).exists()));
        }
        ids.sort();
        Ok(ids)
    }

    /// All records, by id. One that vanishes meanwhile is left out; one whose maker was killed before it had its name gets it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn list<T: DeserializeOwned>(&self) -> Result<Vec<Record<T>>> {
        let records = self.read_all()?;
        for record in &records {
            let home = self.home_of(&record.id);
            let name = self.name_path(home, &record.name);
            if fs::symlink_metadata(name).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                // On a read-only disk it has to wait, and is listed nevertheless.
                let _ = self.take_name(home, &record.name, &record.id);
            }
        }
        Ok(records)
    }

    fn read_all<T: DeserializeOwned>(&self) -> Result<Vec<Record<T>>> {
        let mut records = Vec::new();
        for id in self.ids()? {
            records.extend(files::optional(self.read(&id))?);
        }
        Ok(records)
    }

    /// The full id of the record that `text` means: a full id, a name, or the beginning of exactly one id. Ids of volumes are not
    /// abbreviated: who names a volume `db` for the first time must not get another's.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] if several ids begin so, [`Error::Io`].
    pub fn find(&self, text: &str) -> Result<String> {
        let missing = || Error::NotFound { kind: self.class.noun(), name: text.chars().take(200).collect() };
        let there = |home: &Path| self.directory(home).join(text).join(FILE).exists();
        if validate_id(text).is_ok() && self.homes().any(there) {
            return Ok(text.to_owned());
        }
        if validate_name(text).is_ok()
            && let Some(id) = self.named(text)?
        {
            return Ok(id);
        }
        if self.class == Class::Volume
            || text.is_empty()
            || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(missing());
        }
        let mut fitting = self.ids()?.into_iter().filter(|id| id.starts_with(text));
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(missing()),
            (Some(id), None) => Ok(id),
            _ => Err(Error::Conflict(format!("more than one {} id begins with {text}", self.class.noun()))),
        }
    }

    /// Removes the record, its directory with all that is in it, and its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn remove(&self, id: &str) -> Result<()> {
        self.remove_read(&self.read::<serde_json::Value>(id)?)
    }

    /// As [`Records::remove`], unless `in_use` says that somebody needs it; whether it was removed. No record is written between the
    /// answer and the removal: who writes one that names this, and looks for this after, finds out.
    ///
    /// # Errors
    /// As [`Records::remove`], and those of `in_use`.
    pub fn remove_unless<E: From<Error>>(
        &self,
        id: &str,
        in_use: impl FnOnce() -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        let record = self.read::<serde_json::Value>(id)?;
        let home = self.home_of(id);
        let trash = {
            let _alone = crate::gc::collector_lock(self.store)?;
            if in_use()? {
                return Ok(false);
            }
            self.move_to_trash(home, &self.path(id)?)?
        };
        self.forget(home, &record, &trash)?;
        Ok(true)
    }

    /// As [`Records::remove`], for a record that was read just now.
    ///
    /// # Errors
    /// As [`Records::remove`].
    pub fn remove_read<T>(&self, record: &Record<T>) -> Result<()> {
        let home = self.home_of(&record.id);
        let trash = self.move_to_trash(home, &self.path(&record.id)?)?;
        self.forget(home, record, &trash)
    }

    /// What is left to do for a record that lies in the trash.
    fn forget<T>(&self, home: &Path, record: &Record<T>, trash: &Path) -> Result<()> {
        self.free_name(home, &record.name, &record.id)?;
        if self.durability == Durability::Synced {
            files::sync_dir(&self.directory(home))?;
        }
        files::remove_all(trash)
    }

    /// Moves a directory of this class out of sight in one step.
    fn move_to_trash(&self, home: &Path, directory: &Path) -> Result<PathBuf> {
        let missing = || Error::NotFound { kind: self.class.noun(), name: directory.display().to_string() };
        files::move_aside(home, directory)?.ok_or_else(missing)
    }

    /// Takes back a record that was made just now; nothing if somebody else removed it already.
    fn discard(&self, home: &Path, directory: &Path) -> Result<()> {
        files::optional(self.move_to_trash(home, directory))?.map_or(Ok(()), |trash| files::remove_all(&trash))
    }

    /// Moves away directories without a record, and names without one, left by a kill. Only for who holds off creators.
    pub(crate) fn sweep_unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut swept = Vec::new();
        for home in self.homes() {
            for name in files::names(&self.directory(home).join("names"))? {
                // One that cannot be read is for `check` to tell.
                if matches!(self.named_in(home, &name), Ok(None)) {
                    let _lock = self.lock_names(home)?;
                    if matches!(self.named_in(home, &name), Ok(None)) {
                        files::remove_all(&self.name_path(home, &name))?;
                    }
                }
            }
            for directory in self.unfinished_in(home)? {
                // It may be on its way out already.
                swept.extend(files::optional(self.move_to_trash(home, &directory))?);
            }
        }
        Ok(swept)
    }

    /// Directories without a record. Only for who holds off creators.
    pub(crate) fn unfinished(&self) -> Result<Vec<PathBuf>> {
        self.unfinished_in(self.store.root())
    }

    fn unfinished_in(&self, home: &Path) -> Result<Vec<PathBuf>> {
        let directory = self.directory(home);
        let mut found = files::names(&directory)?;
        found.retain(|name| validate_id(name).is_ok() && !directory.join(name).join(FILE).exists());
        Ok(found.iter().map(|name| directory.join(name)).collect())
    }
}

fn encode<T: Serialize>(class: Class, record: &Record<T>) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|e| Error::Invalid { what: class.noun(), reason: e.to_string() })
}

fn validate_id(id: &str) -> Result<()> {
    if id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "id",
        reason: format!("{:?} is not 64 hex digits", id.chars().take(80).collect::<String>()),
    })
}

/// Whether a record may have this name.
///
/// # Errors
/// [`Error::Invalid`] if not.
pub fn validate_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() <= 255 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let reason = format!("{shown:?} must match [a-zA-Z0-9][a-zA-Z0-9_.-]* and be at most 255 bytes long");
    Err(Error::Invalid { what: "name", reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn record(id: u8, name: &str) -> Record<String> {
        Record {
            id: format!("{id:02x}").repeat(32),
            name: name.to_owned(),
            created: Timestamp::UNIX_EPOCH,
            uses: vec![],
            data: "d".to_owned(),
        }
    }

    #[test]
    fn lives_its_life() {
        let (_dir, store) = testing::store();
        let containers = store.containers();
        let one = record(0xa1, "web");
        containers.create(&one).unwrap();
        assert!(matches!(containers.create(&record(0xa2, "web")), Err(Error::Conflict(_))));
        assert!(matches!(containers.create(&record(0xa1, "other")), Err(Error::Conflict(_))));
        assert_eq!(containers.read::<String>(&one.id).unwrap(), one);
        assert!(containers.container_paths(&one.id).unwrap().upper.is_dir());
        containers.create(&record(0xa2, "db")).unwrap();
        assert_eq!(containers.find("web").unwrap(), one.id);
        assert_eq!(containers.find("a1").unwrap(), one.id);
        assert!(matches!(containers.find("a"), Err(Error::Conflict(_))));
        for absent in ["b", "", "nope", "../x"] {
            assert!(containers.find(absent).unwrap_err().is_not_found());
        }
        assert!(matches!(containers.rename(&one.id, "db"), Err(Error::Conflict(_))));
        containers.rename(&one.id, "www").unwrap();
        assert!(containers.find("web").unwrap_err().is_not_found());
        let mut one = containers.read::<String>(&containers.find("www").unwrap()).unwrap();
        one.data = "new".to_owned();
        assert_eq!(containers.change(&one.id, |data: &mut String| *data = "new".to_owned()).unwrap(), one);
        assert_eq!(containers.list::<String>().unwrap()[0], one);
        containers.remove(&one.id).unwrap();
        assert!(containers.remove(&one.id).unwrap_err().is_not_found());
        containers.create(&record(0xa3, "www")).unwrap();
        assert!(files::names(&store.root().join("trash")).unwrap().is_empty());
    }

    #[test]
    fn a_stale_name_is_taken_over() {
        let (_dir, store) = testing::store();
        let volumes = store.volumes();
        std::os::unix::fs::symlink("ff".repeat(32), store.root().join("volumes/names/v")).unwrap();
        volumes.create(&record(1, "v")).unwrap();
        assert_eq!(volumes.find("v").unwrap(), record(1, "v").id);
        fs::remove_file(store.root().join("volumes/names/v")).unwrap();
        assert_eq!(volumes.unreserved(true).unwrap().len(), 1);
        assert!(volumes.unreserved(false).unwrap().is_empty());
    }

    #[test]
    fn one_of_many_gets_the_name() {
        let (_dir, store) = testing::store();
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|id| {
                    let store = &store;
                    scope.spawn(move || store.containers().create(&record(id, "one")).is_ok())
                })
                .collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
        });
        assert_eq!((won, store.containers().ids().unwrap().len()), (1, 1));
    }

    #[test]
    fn no_change_undoes_another() {
        let (_dir, store) = testing::store();
        let one = record(1, "one");
        store.containers().create(&one).unwrap();
        std::thread::scope(|scope| {
            for letter in 'a'..='h' {
                let (store, id) = (&store, &one.id);
                scope.spawn(move || {
                    for number in 0..5 {
                        store.containers().change(id, |data: &mut String| data.push(letter)).unwrap();
                        store.containers().rename(id, &format!("{letter}{number}")).unwrap();
                    }
                });
            }
        });
        let read = store.containers().read::<String>(&one.id).unwrap();
        assert_eq!(read.data.len(), 1 + 8 * 5, "{}", read.data);
        assert_eq!(store.containers().find(&read.name).unwrap(), one.id);
        assert_eq!(files::names(&store.root().join("containers/names")).unwrap(), [read.name]);
        let locks = files::names(&store.root().join("locks")).unwrap();
        assert!(!locks.iter().any(|lock| lock.contains(&one.id)), "{locks:?}");
    }

    #[test]
    fn refuses_bad_names() {
        let (_dir, store) = testing::store();
        for bad in ["", "-a", "a/b", "a b", "..", "ä", &"x".repeat(256)] {
            assert!(matches!(store.networks().create(&record(1, bad)), Err(Error::Invalid { .. })), "{bad}");
        }
    }
}
