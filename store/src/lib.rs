//! The cellar: everything `img` keeps on disk, and nobody else writes there.
//!
//! ```text
//! <root>/version                     format number; commit point of the store's creation
//!        blobs/sha256/<hex>          manifests, configs, compressed layers
//!        layers/sha256/<diff-id>/    tar, toc, layer.json, and the metadata image
//!        images/<image-id>/          record.json: provenance, remembered compressions
//!        chains/<chain-id>/          metadata images that depend on the layers below
//!        refs/<sha256 of name>       one file per tag
//!        containers|volumes|networks one directory per id, names/ beside them
//!        cache/steps|mounts|files|notes   build cache; cache/logs: logs of builds
//!        ingest/<hex>                partial downloads, resumable
//!        tmp/<owner>/                unfinished work of a living process, and its lease
//!        trash/  locks/              on the way out; lock files
//! ```
//!
//! The directory is the database and rename(2) is the commit: each thing is made under `tmp/`, verified, synced and
//! renamed to its name. `docs/store-format.md` has every file's format and the protocols.

pub mod budget;
pub mod build_log;
pub mod cache;
pub mod cache_mount;
pub mod cache_prune;
pub mod check;
pub mod content;
pub mod digest;
pub mod erofs;
pub mod error;
pub mod ext4;
mod files;
pub mod gc;
pub mod image;
pub mod journal;
pub mod layer;
mod lease;
pub mod lock;
pub mod record;
pub mod refs;
pub mod scoped;
pub mod snapshot;
pub mod usage;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use digest::{ChainId, DiffId, Digest, ImageId};
pub use error::{Error, Result};
pub use lease::Swept;

use lease::Lease;
use lock::{LockFile, LockMode};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// The directories of a store, parents first.
const DIRECTORIES: [&str; 22] = [
    "blobs",
    "blobs/sha256",
    "layers",
    "layers/sha256",
    "images",
    "chains",
    "refs",
    "containers",
    "containers/names",
    "volumes",
    "volumes/names",
    "networks",
    "networks/names",
    "cache",
    "cache/steps",
    "cache/mounts",
    "cache/files",
    "cache/notes",
    "ingest",
    "tmp",
    "trash",
    "locks",
];

/// What of that is made in memory when the disk is read-only.
const IN_MEMORY: [&str; 4] = ["containers/names", "volumes/names", "trash", "locks"];

/// An open store. A handle, with its clones, is one unit of work: what it has written or protected is kept from the
/// garbage collector until the last clone is dropped. Long-lived programs open one per request; opening is one
/// `open` and one `read`.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    places: Places,
    /// Whether records were seen to lie in memory.
    in_memory: AtomicBool,
    /// Whether the disk was seen to be read-only: then it is not asked for leases again.
    read_only: AtomicBool,
    lease: Mutex<Option<Arc<Lease>>>,
    collector_off: Mutex<Option<LockFile>>,
}

/// Where a store lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Its directory.
    pub root: PathBuf,
    /// Where new containers live when `root` lies on a read-only disk: a directory in memory, which need not be there yet. Without
    /// it they are refused then.
    pub memory: Option<PathBuf>,
}

impl Store {
    /// Opens the store at `root`, or creates it (0700 whatever the umask) where nothing or an empty directory is.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] if a newer program wrote it, [`Error::Conflict`] if `root` holds something else,
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_at(Places { root: root.to_path_buf(), memory: None })
    }

    /// As [`Store::open`], with a place for containers when the disk is read-only.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at(places: Places) -> Result<Self> {
        let root = &places.root;
        let version = root.join("version");
        match files::optional(files::read_limited(&version, 64))? {
            Some(text) => check_format(root, &text)?,
            None => create(root)?,
        }
        let in_memory = places.memory.as_ref().is_some_and(|memory| memory.exists());
        Ok(Self {
            inner: Arc::new(Inner {
                places,
                in_memory: AtomicBool::new(in_memory),
                read_only: AtomicBool::new(false),
                lease: Mutex::new(None),
                collector_off: Mutex::new(None),
            }),
        })
    }

    /// The directory of the store, as given to [`Store::open`].
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.places.root
    }

    /// Where it lies, to open it once more.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.inner.places
    }

    /// Where records lie that could not be written to the disk, if there are any. `look`: also those of other processes since this
    /// handle was opened.
    pub(crate) fn memory(&self, look: bool) -> Option<&Path> {
        let memory = self.inner.places.memory.as_deref()?;
        if look && !self.inner.in_memory.load(Ordering::Relaxed) && memory.exists() {
            self.inner.in_memory.store(true, Ordering::Relaxed);
        }
        self.inner.in_memory.load(Ordering::Relaxed).then_some(memory)
    }

    /// Makes the place in memory.
    pub(crate) fn make_memory(&self) -> Result<Option<&Path>> {
        let Some(memory) = self.inner.places.memory.as_deref() else { return Ok(None) };
        for name in IN_MEMORY {
            files::create_dirs(&memory.join(name))?;
        }
        // What removals that were killed left.
        for name in files::names(&memory.join("trash"))? {
            files::remove_all(&memory.join("trash").join(name))?;
        }
        self.inner.in_memory.store(true, Ordering::Relaxed);
        Ok(Some(memory))
    }

    /// The place in memory, made if it is not there yet.
    pub(crate) fn memory_made(&self) -> Result<Option<&Path>> {
        self.memory(true).map_or_else(|| self.make_memory(), |memory| Ok(Some(memory)))
    }

    /// Keeps blobs, layers and images with these digests from being collected while this handle lives. Must come
    /// before looking whether they are there. Everything written through this handle is protected by itself. An
    /// image protects its config and layers too.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::LockTimeout`].
    pub fn protect(&self, digests: &[Digest]) -> Result<()> {
        if self.inner.read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.lease().and_then(|lease| lease.protect(digests)) {
            // Nobody can collect there either.
            Err(error) if error.is_read_only() => {
                self.inner.read_only.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.is_no_room() => self.keep_collector_off(),
            protected => protected,
        }
    }

    /// Blobs: manifests, configs, compressed layers.
    #[must_use]
    pub fn blobs(&self) -> content::Blobs<'_> {
        content::Blobs::new(self)
    }

    /// Layers: uncompressed tars with their tables of contents.
    #[must_use]
    pub fn layers(&self) -> layer::Layers<'_> {
        layer::Layers::new(self)
    }

    /// Images: configs with their records.
    #[must_use]
    pub fn images(&self) -> image::Images<'_> {
        image::Images::new(self)
    }

    /// Tags.
    #[must_use]
    pub fn refs(&self) -> refs::Refs<'_> {
        refs::Refs::new(self)
    }

    /// Records of containers: atomic, not synced.
    #[must_use]
    pub fn containers(&self) -> record::Records<'_> {
        record::Records::new(self, record::Class::Container)
    }

    /// Records of volumes: atomic and synced.
    #[must_use]
    pub fn volumes(&self) -> record::Records<'_> {
        record::Records::new(self, record::Class::Volume)
    }

    /// Records of networks: atomic and synced.
    #[must_use]
    pub fn networks(&self) -> record::Records<'_> {
        record::Records::new(self, record::Class::Network)
    }

    /// The build cache.
    #[must_use]
    pub fn cache(&self) -> cache::Cache<'_> {
        cache::Cache::new(self)
    }

    /// The full logs of builds.
    #[must_use]
    pub fn build_logs(&self) -> build_log::BuildLogs<'_> {
        build_log::BuildLogs::new(self)
    }

    /// The journal of what happened.
    #[must_use]
    pub fn journal(&self) -> journal::Journal<'_> {
        journal::Journal::new(self)
    }

    /// A new file without a name, for what is too large for memory; gone when it is closed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scratch_file(&self) -> Result<fs::File> {
        let path = self.lease()?.temporary("scratch");
        let file = files::create_file(&path)?;
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        Ok(file)
    }

    /// A new empty directory (0700) for unfinished work that is no layer or blob yet, such as the changes of a build
    /// step. Whoever asked removes it; if he dies, the next writer does.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::LockTimeout`].
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.lease()?.temporary("scratch");
        files::create_dir(&path)?;
        Ok(path)
    }

    /// The lease of this handle, made at its first use.
    pub(crate) fn lease(&self) -> Result<Arc<Lease>> {
        let mut lease = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = &*lease {
            return Ok(Arc::clone(lease));
        }
        let made = Arc::new(Lease::create(self.root())?);
        *lease = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Removes what was left by processes that were killed or found the disk full: unfinished work, and containers, volumes and
    /// networks that never came to have a record. Skips the latter while somebody makes one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sweep(&self) -> Result<Swept> {
        let mut swept = lease::sweep(self.root())?;
        let mut doomed = Vec::new();
        if let Some(_alone) = LockFile::try_acquire(&self.root().join("locks/gc"), LockMode::Exclusive)? {
            for records in [self.containers(), self.volumes(), self.networks()] {
                doomed.extend(records.sweep_unfinished()?);
            }
            for image in self.images().unfinished()? {
                doomed.extend(files::move_aside(self.root(), &image)?);
            }
        }
        for path in &doomed {
            swept.remove(path)?;
        }
        Ok(swept)
    }

    /// The lease of this handle, if it has been needed.
    pub(crate) fn own_lease(&self) -> Option<Arc<Lease>> {
        self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where no lease can be written, on a full disk, nobody collects while this handle lives; who tries waits, or says so.
    fn keep_collector_off(&self) -> Result<()> {
        let mut held = self.inner.collector_off.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.hold_collector()?);
        }
        Ok(())
    }

    /// Holds off the garbage collector's decision for the short time in which a record that names content is written.
    pub(crate) fn hold_collector(&self) -> Result<LockFile> {
        LockFile::acquire(&self.root().join("locks/gc"), LockMode::Shared, lock::SHORT)
    }
}

fn check_format(root: &Path, text: &[u8]) -> Result<()> {
    let damaged = || Error::Damaged(format!("{} holds no format number", root.join("version").display()));
    let found: u32 =
        std::str::from_utf8(text).ok().and_then(|text| text.trim_end().parse().ok()).ok_or_else(damaged)?;
    if found == 0 {
        return Err(damaged());
    }
    if found > FORMAT {
        return Err(Error::NewerFormat { path: root.to_path_buf(), found, supported: FORMAT });
    }
    Ok(())
}

/// Makes a new store. Killed half-way, it is finished by the next call; two at once do no harm.
fn create(root: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(Error::io("create the store", root))?;
    let known =
        |name: &str| ["version", "journal"].iter().any(|ours| name.starts_with(ours)) || DIRECTORIES.contains(&name);
    for entry in fs::read_dir(root).map_err(Error::io("read the directory", root))? {
        let name = entry.map_err(Error::io("read the directory", root))?.file_name();
        if !name.to_str().is_some_and(known) {
            return Err(Error::Conflict(format!("{} is not a store and not empty", root.display())));
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(Error::io("set the mode of", root))?;
    for directory in DIRECTORIES {
        let path = root.join(directory);
        files::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(Error::io("set the mode of", &path))?;
    }
    // Made now, so that nothing needs a new file in order to remove something from a full disk.
    for lock in ["gc", "owners", "journal", "containers", "volumes", "networks"] {
        drop(LockFile::try_acquire(&root.join("locks").join(lock), LockMode::Shared)?);
    }
    // The version says that all this is there, and must not outlive it.
    for directory in DIRECTORIES {
        files::sync_dir(&root.join(directory))?;
    }
    let temporary = root.join(format!("version-{}", random_hex(8)?));
    let text = format!("{FORMAT}\n");
    files::replace_file(&root.join("version"), &temporary, text.as_bytes(), files::Durability::Synced)?;
    files::sync_parent(root)
}

/// `bytes` random bytes as hex digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    use std::fmt::Write as _;
    let mut random = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        filled += rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::Read { what: "random bytes".to_owned(), source: error.into() })?;
    }
    Ok(random.iter().fold(String::with_capacity(bytes * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
pub(crate) mod testing {
    //! A store of its own for each test.

    use std::fs::File;
    use std::path::Path;

    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

    use super::Store;

    /// A new store and the directory that holds it: in memory where that is to be had, for syncs take their time.
    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    /// A file or directory that nobody can remove or move while this lives.
    pub(crate) struct Immutable(File, IFlags);

    impl Immutable {
        /// None where the file system or the user cannot.
        pub(crate) fn new(path: &Path) -> Option<Self> {
            let file = File::open(path).unwrap();
            let flags = ioctl_getflags(&file).ok()?;
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE).ok()?;
            Some(Self(file, flags))
        }
    }

    impl Drop for Immutable {
        fn drop(&mut self) {
            ioctl_setflags(&self.0, self.1).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_privately_and_refuses_what_it_must() {
        let (dir, store) = testing::store();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.root()), 0o700);
        assert_eq!(mode(&store.root().join("layers/sha256")), 0o700);
        Store::open(store.root()).unwrap();
        fs::write(store.root().join("version"), "2\n").unwrap();
        assert!(matches!(Store::open(store.root()), Err(Error::NewerFormat { found: 2, .. })));
        for damaged in ["x", "0\n", "", "-1", "1 2"] {
            fs::write(store.root().join("version"), damaged).unwrap();
            assert!(matches!(Store::open(store.root()), Err(Error::Damaged(_))), "{damaged:?}");
        }
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/file"), "").unwrap();
        assert!(matches!(Store::open(&dir.path().join("other")), Err(Error::Conflict(_))));
        assert_eq!(fs::read_dir(dir.path().join("other")).unwrap().count(), 1);
    }

    #[test]
    fn a_half_made_store_is_finished() {
        let (_dir, store) = testing::store();
        fs::remove_file(store.root().join("version")).unwrap();
        fs::remove_dir_all(store.root().join("cache")).unwrap();
        Store::open(store.root()).unwrap();
        assert!(store.root().join("cache/steps").is_dir());
    }

    #[test]
    fn a_store_crosses_threads() {
        fn check<T: Clone + Send + Sync>() {}
        check::<Store>();
    }
}
