//! Cache mounts: directories that are kept between builds, by name. What a new one begins with, how several steps share
//! one, and which directory of it a step sees. What is in a cache was written by whatever ran in earlier steps, so a path
//! in it is never followed but inside of it.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use store::lock::{LockFile, LockMode};
use store::scoped;

use super::run::{Scratch, escape};
use super::{Solver, StageResult, TICK};
use crate::buildfile::Sharing;
use crate::files::{self, Files};
use crate::op::OpError;
use crate::op::select::{self, How, Selected};
use crate::plan::{CacheMount, Origin};

/// Longest wait for a cache mount that another step holds.
const CACHE_PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Most directories that one private cache is spread over.
const PRIVATE_MAX: usize = 64;

/// What is held until the command is done.
#[derive(Default)]
pub(super) struct Held {
    locks: Vec<LockFile>,
    directories: Vec<OwnedFd>,
}

/// What a new cache begins with.
pub(super) enum Beginning {
    /// A directory of a stage.
    Stage(Arc<StageResult>),
    /// A directory of a context.
    Files(Vec<Selected>),
}

impl Solver<'_> {
    /// What the step's key says of a cache, and what it begins with.
    pub(super) fn cache_input(&self, cache: &CacheMount) -> Result<(String, Option<Beginning>), OpError> {
        let CacheMount { id, sharing, from, inside, .. } = cache;
        let name = format!("cache {id:?} {sharing:?}");
        Ok(match from {
            None if inside.is_empty() => (name, None),
            None => (format!("{name} inside {inside:?}"), None),
            Some((Origin::Stage(index), path)) => {
                let stage = self.source(*index)?;
                (format!("{name} stage {} {path:?}", stage.id.0), Some(Beginning::Stage(stage)))
            }
            Some((from, path)) => {
                let found = self.select_directory(&self.context(from.named())?, path)?;
                (format!("{name} context {}", select::digest(&found)), Some(Beginning::Files(found)))
            }
        })
    }

    /// The directory that a cache mount shows; `selected` and `source` are what it begins with.
    pub(super) fn cache(
        &self,
        cache: &CacheMount,
        selected: Option<Vec<Selected>>,
        source: Option<Arc<StageResult>>,
        held: &mut Held,
    ) -> Result<PathBuf, OpError> {
        // What it begins with is part of what it is: another beginning is another cache.
        let (id, filling) = match &cache.from {
            None => (cache.id.clone(), None),
            Some((Origin::Stage(index), path)) => {
                let source = source.ok_or(OpError::Cancelled)?;
                let files: Arc<dyn Files> = self.stage_files(&source, *index)?;
                let id = format!("{} from {} {path}", cache.id, source.id.0);
                (id, Some(self.select_directory(&files, path)?))
            }
            Some((_, path)) => {
                let found = selected.unwrap_or_default();
                (format!("{} from {} {path}", cache.id, select::digest(&found)), Some(found))
            }
        };
        let path = self.cache_directory(&id, cache.sharing, held)?;
        if let Some(found) = filling.as_ref().and_then(|found| found.first()) {
            self.fill_cache(&path, found)?;
        }
        prepare_cache(&path, cache.mode, cache.uid, cache.gid)
            .map_err(|error| OpError::io(format!("prepare the cache mount {id}"), error))?;
        if cache.inside.is_empty() {
            return Ok(path);
        }
        let directory = open_inside(&path, &cache.inside).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => OpError::Advised {
                message: format!("the cache {id} has no directory {}", cache.inside),
                hint:
                    "a step that mounts the whole cache can make it; from=STAGE,source=DIRECTORY is what a new cache \
                       begins with"
                        .to_owned(),
            },
            _ => OpError::io(format!("open {} of the cache {id}", cache.inside), error),
        })?;
        // The very directory that was found inside, whatever its name leads to by the time it is mounted.
        let path = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd()).into();
        held.directories.push(directory);
        Ok(path)
    }

    /// The directory `path` of `files`, with all that is in it, hashed.
    fn select_directory(&self, files: &Arc<dyn Files>, path: &str) -> Result<Vec<Selected>, OpError> {
        let path = if path.is_empty() { "/" } else { path };
        let mut found = select::select(files, &escape(path), How::default())?;
        if found.iter().any(|found| !found.root.node.is_directory()) {
            let message = format!("the source {path} of the cache mount is no directory of {}", files.name());
            return Err(OpError::Message(message));
        }
        select::hash(&mut found, &self.cancel)?;
        Ok(found)
    }

    /// Puts what a cache begins with into its directory, if nothing is there: whole or not at all.
    fn fill_cache(&self, path: &Path, found: &Selected) -> Result<(), OpError> {
        let cannot = |error| OpError::io(format!("fill the cache mount {}", path.display()), error);
        if fs::read_dir(path).map_err(cannot)?.next().is_some() {
            return Ok(());
        }
        let scratch = Scratch(self.store.scratch()?);
        let fresh = scratch.0.join("cache");
        fs::create_dir(&fresh).map_err(cannot)?;
        files::unpack(found, &fresh, &self.cancel)?;
        match fs::rename(&fresh, path) {
            // Another step filled it meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(()),
            other => other.map_err(cannot),
        }
    }

    /// The directory of a cache mount, locked as `sharing` asks.
    fn cache_directory(&self, id: &str, sharing: Sharing, held: &mut Held) -> Result<PathBuf, OpError> {
        let cache = self.store.cache();
        let mut own = id.to_owned();
        match sharing {
            Sharing::Shared => {}
            Sharing::Locked => {
                let path = cache.mount_lock(id);
                let deadline = Instant::now() + CACHE_PATIENCE;
                loop {
                    if self.cancel.is_cancelled() {
                        return Err(OpError::Cancelled);
                    }
                    if let Some(lock) = LockFile::try_acquire(&path, LockMode::Exclusive)? {
                        held.locks.push(lock);
                        break;
                    }
                    if Instant::now() > deadline {
                        return Err(OpError::Message(format!("the cache mount {id} is still in use after six hours")));
                    }
                    std::thread::sleep(TICK);
                }
            }
            Sharing::Private => {
                let name = |number: usize| if number == 0 { id.to_owned() } else { format!("{id} private {number}") };
                let free = (0..PRIVATE_MAX).map(name).find_map(|name| {
                    let lock = LockFile::try_acquire(&cache.mount_lock(&name), LockMode::Exclusive).transpose()?;
                    Some(lock.map(|lock| (name, lock)))
                });
                let Some(found) = free else {
                    return Err(OpError::Message(format!("the cache mount {id} is in use {PRIVATE_MAX} times over")));
                };
                let (name, lock) = found?;
                held.locks.push(lock);
                own = name;
            }
        }
        let used = cache.use_mount(&own)?;
        held.locks.push(used.lock);
        Ok(used.path)
    }
}

/// A directory of a cache, found without leaving it.
fn open_inside(cache: &Path, inside: &str) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(cache, flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(scoped::open(&top, inside, flags, resolve)?)
}

/// Gives a cache directory that nobody has used yet its mode and owner.
fn prepare_cache(path: &Path, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> std::io::Result<()> {
    if fs::read_dir(path)?.next().is_some() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode.unwrap_or(0o755)))?;
    if uid.is_some() || gid.is_some() {
        chown(path, uid, gid)?;
    }
    Ok(())
}
