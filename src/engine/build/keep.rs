//! What builds leave behind: how much it is, removing some of it, and a size that it is kept below while builds go on. And
//! cache mounts as tars, to and from other machines.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Mutex, PoisonError, TryLockError};

use builder::Event;
use store::Digest;
use store::budget::{Budget, free_space};
use store::cache_prune::{CachePart, PartKind, choose, parts};
use store::gc::{CacheScope, GcOptions};

use super::BuildWatcher;
use crate::engine::Engine;
use crate::engine::archive::write_file;
use crate::engine::copy::place::Place;
use crate::engine::copy::sink::{self, Sink};
use crate::engine::copy::source::{self, Source};
use crate::engine::progress;
use crate::error::{CommandError, Context as _, Result};

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct PruneWishes {
    /// Also steps whose layer an image has: nothing but the memory of them is gained.
    pub all: bool,
    /// No more goes than it asks for, what was used longest ago first.
    pub budget: Budget,
    /// Only what was not used for so many seconds.
    pub unused_for: Option<u64>,
    /// Only `mount`s or only `step`s.
    pub kind: Option<String>,
    /// Only the part with this id.
    pub id: Option<String>,
    /// Only say what would go.
    pub dry_run: bool,
}

impl PruneWishes {
    /// Whether a part is meant.
    #[must_use]
    pub fn fit(&self, part: &CachePart) -> bool {
        let age = part.last_used.elapsed().map_or(0, |age| age.as_secs());
        let kind = if matches!(part.kind, PartKind::Mount(_)) { "mount" } else { "step" };
        (self.all || !part.shared)
            && self.unused_for.is_none_or(|least| age >= least)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && self.id.as_ref().is_none_or(|wanted| part_id(part) == *wanted)
    }
}

/// Names a part: the beginning of its first key, or the id of a mount.
#[must_use]
pub fn part_id(part: &CachePart) -> String {
    match &part.kind {
        PartKind::Steps { keys, .. } => keys.first().map_or_else(String::new, |key| key.short()),
        PartKind::Mount(id) => id.clone(),
    }
}

/// Parts of the build cache that went, or would go.
#[derive(Debug, Default)]
pub struct PrunedCache {
    /// The parts.
    pub parts: Vec<CachePart>,
    /// The disk space that came free, bytes.
    pub bytes: u64,
    /// Why others did not go.
    pub failed: Vec<CommandError>,
}

impl Engine {
    /// The parts of the build cache, least recently used first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_parts(&self) -> Result<Vec<CachePart>> {
        Ok(parts(&self.store)?)
    }

    /// Removes parts of the build cache, as far as they can be removed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn prune_cache(&self, wishes: &PruneWishes) -> Result<PrunedCache> {
        let free = free_space(&self.store)?;
        let mut parts = choose(parts(&self.store)?, &wishes.budget, free, |part| wishes.fit(part));
        let (mut bytes, mut failed) = (0, Vec::new());
        let (mut steps, mut stays) = (BTreeSet::<Digest>::new(), BTreeSet::new());
        for part in &parts {
            match &part.kind {
                PartKind::Steps { keys, .. } => steps.extend(keys),
                PartKind::Mount(_) if wishes.dry_run => bytes += part.size,
                PartKind::Mount(id) => match self.store.cache().remove_mount(id) {
                    Ok(true) => bytes += part.size,
                    // A step has come to use it.
                    Ok(false) => drop(stays.insert(id.clone())),
                    Err(error) => {
                        failed.push(CommandError::from(error).prefixed(&format!("cannot remove cache mount {id:?}")));
                        stays.insert(id.clone());
                    }
                },
            }
        }
        let cache = CacheScope::Chosen(&|key| steps.contains(key));
        let collected = self.collect_as(GcOptions { cache, dry_run: wishes.dry_run, ..GcOptions::default() })?;
        parts.retain(|part| match &part.kind {
            PartKind::Steps { keys, .. } => keys.iter().any(|key| collected.cache_steps.binary_search(key).is_ok()),
            PartKind::Mount(id) => !stays.contains(id),
        });
        bytes += collected.bytes;
        failed.extend(collected.failed.into_iter().map(CommandError::from));
        Ok(PrunedCache { parts, bytes, failed })
    }

    /// Writes a cache mount as a tar.
    ///
    /// # Errors
    /// There is none of that id, an output that cannot be written.
    pub fn export_mount(&self, id: &str, output: Option<&Path>) -> Result<()> {
        let known = self.store.cache().mounts()?.iter().any(|mount| mount.id == id);
        if !known {
            return Err(CommandError::new(format!("there is no cache mount {id:?}"))
                .hint("`img builder du --filter type=mount` lists them; without id= it is the target's path"));
        }
        let used = self.store.cache().use_mount(id)?;
        let path = used.path.to_str().ok_or_else(|| CommandError::new("the store's path is not UTF-8"))?;
        let source = Source::open(&Place::host(), &format!("{path}/."), false)?;
        let base = source.base_for_tar()?;
        match output {
            None => sink::tar(io::stdout().lock(), &source, &base),
            Some(path) => write_file(path, |file| sink::tar(file, &source, &base)),
        }
    }

    /// Fills a cache mount, made if absent, from a tar: over what is in it.
    ///
    /// # Errors
    /// What is no tar, or leads out of the mount; a file that cannot be written.
    pub fn import_mount(&self, id: &str, input: Option<&Path>) -> Result<()> {
        let used = self.store.cache().use_mount(id)?;
        let top = File::open(&used.path)?;
        let mut sink = Sink::new(top.into(), format!("cache mount {id}"), None);
        let mut put = |entry: &store::layer::Entry, data: Option<&mut dyn io::Read>| sink.put(entry, data);
        match input {
            None => source::tar(io::stdin().lock(), &mut put)?,
            Some(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                source::tar(BufReader::with_capacity(1 << 20, file), &mut put)?;
            }
        }
        sink.finish()
    }
}

/// Keeps the build cache below a size while a build goes on: after each step that made a layer, what was not used for the
/// longest time goes, until it is small enough again. What running builds use stays.
pub struct Keeper<'a> {
    engine: &'a Engine,
    watcher: &'a dyn BuildWatcher,
    budget: u64,
    /// About how much the cache takes; none before it was looked at.
    taken: Mutex<Option<u64>>,
}

impl<'a> Keeper<'a> {
    /// Keeps the cache of `engine` below `budget` bytes.
    pub fn new(engine: &'a Engine, budget: u64, watcher: &'a dyn BuildWatcher) -> Self {
        Self { engine, watcher, budget, taken: Mutex::new(None) }
    }

    /// Looks at an event of the build.
    pub fn event(&self, event: &Event) {
        let Event::Finished { layer: Some((_, size)), .. } = event else { return };
        let result = match self.taken.try_lock() {
            Ok(mut taken) => self.step(&mut taken, *size),
            // Another step is at it.
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(error)) => self.step(&mut error.into_inner(), *size),
        };
        if let Err(error) = result {
            self.watcher.event(progress::Event::Note(&format!("the build cache was not made smaller: {error}")));
        }
    }

    /// At the end of the build: once more. What this very build uses stays, even if that alone is more than the budget.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn finish(&self) -> Result<()> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_some() {
            *taken = None;
            self.step(&mut taken, 0)?;
        }
        Ok(())
    }

    fn step(&self, taken: &mut Option<u64>, size: u64) -> Result<()> {
        let now = match *taken {
            Some(before) => before + size,
            None => self.engine.cache_parts()?.iter().map(|part| part.size).sum(),
        };
        *taken = Some(now);
        if now <= self.budget {
            return Ok(());
        }
        let budget = Budget { max_used: Some(self.budget), ..Budget::default() };
        let wishes = PruneWishes { budget, ..PruneWishes::default() };
        let gone = self.engine.prune_cache(&wishes)?.parts;
        let freed: u64 = gone.iter().map(|part| part.size).sum();
        // Counted anew next time: a mount may have grown, another build may have added to it.
        *taken = None;
        if !gone.is_empty() {
            let text = format!("the build cache is over its budget: {} parts of {freed} bytes are gone", gone.len());
            self.watcher.event(progress::Event::Note(&text));
        }
        Ok(())
    }
}
