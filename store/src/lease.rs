//! What a living process is working on: `tmp/<owner>/`, with its unfinished files and its lease.
//!
//! `tmp/<owner>/lease` is locked by its owner for as long as that lives and lists, one a line, the digests which the
//! garbage collector must leave alone. A digest is written there *before* it is looked up, under the shared side of
//! `locks/gc`; the collector holds the exclusive side while it reads the leases and takes away what nobody names. So
//! what a worker has seen after `protect` stays. The directory of a dead owner is swept by the next one.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;
use crate::lock::{self, LockFile, LockMode};

const LEASE: &str = "lease";
/// Longest lease file read back, bytes: about a million digests.
const LEASE_MAX: u64 = 64 << 20;
/// Age after which an abandoned partial download is removed.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

/// A living owner of unfinished work; see the module.
#[derive(Debug)]
pub(crate) struct Lease {
    root: PathBuf,
    dir: PathBuf,
    state: Mutex<(File, HashSet<Digest>)>,
    next: AtomicU64,
    pid: u32,
}

impl Lease {
    /// Makes an owner for this process in the store at `root`, and sweeps dead ones.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        // What others left and cannot be removed is no matter of this process's; the prunes tell of it.
        sweep(root)?;
        let owners = root.join("locks/owners");
        let creating = LockFile::acquire(&owners, LockMode::Shared, lock::SHORT)?;
        let dir = root.join("tmp").join(crate::random_hex(16)?);
        files::create_dir(&dir)?;
        let file = files::create_file(&dir.join(LEASE))?;
        let deadline = Instant::now() + lock::SHORT;
        // A collector may be looking at this very moment whether the file is locked.
        while !lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", dir.join(LEASE)))? {
            if Instant::now() > deadline {
                return Err(Error::LockTimeout { path: dir.join(LEASE) });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(creating);
        Ok(Self {
            root: root.to_path_buf(),
            dir,
            state: Mutex::new((file, HashSet::new())),
            next: AtomicU64::new(0),
            pid: std::process::id(),
        })
    }

    /// Keeps `digests` (blobs, layers or images) from being collected for as long as this lease lives.
    pub(crate) fn protect(&self, digests: &[Digest]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = digests.iter().filter(|d| !state.1.contains(*d)).map(|d| format!("{d}\n")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let _shared = LockFile::acquire(&self.root.join("locks/gc"), LockMode::Shared, lock::SHORT)?;
        state.0.write_all(lines.as_bytes()).map_err(Error::io("write", self.dir.join(LEASE)))?;
        state.1.extend(digests);
        Ok(())
    }

    /// A path in the owner's directory that nobody uses yet.
    pub(crate) fn temporary(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A forked child holds a copy of this value, but the work is its parent's.
        if self.pid == std::process::id() {
            // What cannot be removed now is swept by the next writer, as after a kill.
            let _ = files::remove_all(&self.dir);
        }
    }
}

/// The digests named by the leases of all living owners.
pub(crate) fn leased(root: &Path) -> Result<HashSet<Digest>> {
    leased_by_others(root, None)
}

/// The digests named by the leases of all living owners but `own`.
pub(crate) fn leased_by_others(root: &Path, own: Option<&Lease>) -> Result<HashSet<Digest>> {
    let mut digests = HashSet::new();
    let tmp = root.join("tmp");
    for owner in files::names(&tmp)? {
        if own.is_some_and(|own| own.dir == tmp.join(&owner)) {
            continue;
        }
        let path = tmp.join(owner).join(LEASE);
        let Some(file) = files::optional(File::open(&path).map_err(Error::io("open", &path)))? else { continue };
        if lock::try_lock(&file, LockMode::Shared).map_err(Error::io("lock", &path))? {
            continue;
        }
        let Some(text) = files::optional(files::read_limited(&path, LEASE_MAX))? else { continue };
        for line in String::from_utf8_lossy(&text).lines() {
            digests.insert(line.parse::<Digest>()?);
        }
    }
    Ok(digests)
}

/// What came of removing leavings.
#[derive(Debug, Default)]
pub struct Swept {
    /// Disk space given back, but for lock files; bytes.
    pub bytes: u64,
    /// Why something stayed.
    pub failed: Vec<Error>,
}

impl Swept {
    /// Removes what is nobody's any more, or notes why it cannot be.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<()> {
        let bytes = files::disk_usage(path)?;
        match files::remove_all(path) {
            Err(error) if error.is_no_room() || error.is_read_only() => return Err(error),
            Err(error) => self.failed.push(error),
            Ok(()) => self.bytes += bytes,
        }
        Ok(())
    }
}

/// Removes what dead owners left: their directories, lock files, trash, partial downloads of more than a day ago. Skips its
/// turn when somebody else is at it. What cannot be removed, as a file that somebody made immutable, is tried again each time
/// and keeps nobody from working.
pub(crate) fn sweep(root: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    let Some(alone) = LockFile::try_acquire(&root.join("locks/owners"), LockMode::Exclusive)? else { return Ok(swept) };
    let mut doomed = Vec::new();
    for dir in dead_owners(root)? {
        // An owner that ends right now removes its directory itself.
        doomed.extend(files::move_aside(root, &dir)?);
    }
    drop(alone);
    for (path, _held) in old_downloads(root)? {
        swept.remove(&path)?;
    }
    doomed.extend(trash(root)?);
    doomed.iter().try_for_each(|path| swept.remove(path))?;
    let locks = root.join("locks");
    for name in files::names(&locks)?.iter().filter(|name| name.contains('-')) {
        // One of those that are there while they are held: its holder was killed, or holds it still.
        drop(LockFile::try_acquire(&locks.join(name), LockMode::Exclusive)?.map(LockFile::removed_on_release));
    }
    Ok(swept)
}

/// What [`sweep`] would remove now, but for lock files.
pub(crate) fn leavings(root: &Path) -> Result<Vec<PathBuf>> {
    let Some(_alone) = LockFile::try_acquire(&root.join("locks/owners"), LockMode::Exclusive)? else {
        return Ok(Vec::new());
    };
    let mut left = dead_owners(root)?;
    left.extend(old_downloads(root)?.into_iter().map(|(path, _)| path));
    left.extend(trash(root)?);
    Ok(left)
}

/// The directories of owners that are dead. Only for who holds the lock of owners.
fn dead_owners(root: &Path) -> Result<Vec<PathBuf>> {
    let tmp = root.join("tmp");
    let mut found = Vec::new();
    for owner in files::names(&tmp)? {
        let dir = tmp.join(&owner);
        let lease = dir.join(LEASE);
        let dead = match files::optional(File::open(&lease).map_err(Error::io("open", &lease)))? {
            // Its owner makes directory and locked lease while it holds the other side of our lock.
            None => true,
            Some(file) => lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &lease))?,
        };
        if dead {
            found.push(dir);
        }
    }
    Ok(found)
}

/// Partial downloads of more than a day ago that nobody is at, with their locks.
fn old_downloads(root: &Path) -> Result<Vec<(PathBuf, File)>> {
    let ingest = root.join("ingest");
    let mut found = Vec::new();
    for name in files::names(&ingest)? {
        let path = ingest.join(name);
        let Some(file) = files::optional(File::open(&path).map_err(Error::io("open", &path)))? else { continue };
        let modified = file.metadata().and_then(|m| m.modified()).map_err(Error::io("stat", &path))?;
        // One dated in the future is as old as the clock was wrong.
        let age = modified.elapsed().unwrap_or_else(|ahead| ahead.duration());
        let old = age > PARTIAL_AGE;
        if old && lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))? {
            found.push((path, file));
        }
    }
    Ok(found)
}

fn trash(root: &Path) -> Result<Vec<PathBuf>> {
    let trash = root.join("trash");
    Ok(files::names(&trash)?.iter().map(|name| trash.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Store;

    #[test]
    fn the_dead_are_swept_and_the_living_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        Store::open(&root).unwrap();
        let living = Lease::create(&root).unwrap();
        let digest = Digest::of(b"x");
        living.protect(&[digest]).unwrap();
        let dead = root.join("tmp/0123");
        files::create_dir(&dead).unwrap();
        fs::write(dead.join(LEASE), format!("{}\n", Digest::of(b"y"))).unwrap();
        assert_eq!(leased(&root).unwrap(), HashSet::from([digest]));
        sweep(&root).unwrap();
        assert!(!dead.exists() && living.dir.exists());
        assert!(files::names(&root.join("trash")).unwrap().is_empty());
        let path = living.dir.clone();
        drop(living);
        assert!(!path.exists());
    }
}
