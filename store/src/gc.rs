//! The garbage collector: takes away what no tag, image, record, cache step or living worker names.
//!
//! It decides and moves under the exclusive side of `locks/gc`; leases, records and tags are written under the shared
//! side. It reads the leases *first*: whoever gave up a lease before had written the record or tag that took its
//! place, and that is read after. Candidates are renamed into `trash/` (tags and images before what they name) and
//! deleted after the lock is gone, so nobody waits for more than a few renames.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IgnoredAny;

use crate::Store;
use crate::cache_mount::mount_in_use;
use crate::digest::{ChainId, DiffId, Digest, ImageId};
use crate::error::{Error, Result};
use crate::files;
use crate::lease;
use crate::lock::{self, LockFile, LockMode};

/// Which images go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageScope {
    /// None: only content that no image names.
    #[default]
    Keep,
    /// Those without a tag that no container uses.
    Dangling,
    /// All that no container uses, with their tags.
    Unused,
}

/// Which build cache steps go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheScope {
    /// Those whose layer is gone.
    #[default]
    Keep,
    /// Those not of use for so long.
    Unused(Duration),
    /// All, and the cache mounts.
    All,
}

/// What to collect.
#[derive(Clone, Copy)]
pub struct GcOptions<'a> {
    /// Which images.
    pub images: ImageScope,
    /// Which build cache steps.
    pub cache: CacheScope,
    /// Partial downloads that nobody is at.
    pub partial: bool,
    /// Only say what would go.
    pub dry_run: bool,
    /// Whether an image stays though `images` means it.
    pub keep: &'a dyn Fn(&ImageId) -> bool,
    /// Whether a layer is mounted by somebody; such a layer stays.
    pub in_use: &'a dyn Fn(&DiffId) -> bool,
}

impl Default for GcOptions<'_> {
    /// Content that nothing names, none of it in use.
    fn default() -> Self {
        let (images, cache) = (ImageScope::Keep, CacheScope::Keep);
        Self { images, cache, partial: false, dry_run: false, keep: &|_| false, in_use: &|_| false }
    }
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Tags, by name.
    pub tags: Vec<String>,
    /// Images.
    pub images: Vec<ImageId>,
    /// Layers.
    pub layers: Vec<DiffId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Keys of build cache steps.
    pub cache_steps: Vec<Digest>,
    /// Partial downloads.
    pub partial: usize,
    /// Disk space of all that, bytes.
    pub bytes: u64,
}

/// The lock of whoever removes content: waits for writers in their short critical parts.
pub(crate) fn collector_lock(store: &Store) -> Result<LockFile> {
    LockFile::acquire(&store.root().join("locks/gc"), LockMode::Exclusive, lock::SHORT)
}

/// Collects what `options` say.
///
/// # Errors
/// [`Error::Damaged`] if an image that stays cannot be read, for then nobody knows what it needs; [`Error::Io`],
/// [`Error::LockTimeout`].
pub fn collect(store: &Store, options: &GcOptions<'_>) -> Result<GcReport> {
    if !options.dry_run {
        lease::sweep(store.root())?;
    }
    let mut collector = Collector { store, options, report: GcReport::default(), gone: Vec::new() };
    {
        let _alone = collector_lock(store)?;
        let marks = Marks::read(store, options)?;
        collector.take_images(&marks)?;
        collector.take_content(&marks)?;
        collector.take_cache(&marks)?;
        collector.take_spares()?;
        collector.take_partial()?;
        if !options.dry_run {
            for records in [store.containers(), store.volumes(), store.networks()] {
                collector.gone.extend(records.sweep_unfinished()?);
            }
        }
    }
    for path in &collector.gone {
        collector.report.bytes += files::disk_usage(path)?;
        if !options.dry_run {
            files::remove_all(path)?;
        }
    }
    Ok(collector.report)
}

/// What stays.
struct Marks {
    /// Images, layers, blobs, chains: whatever is named.
    digests: HashSet<Digest>,
    chains: HashSet<ChainId>,
    steps_gone: HashSet<Digest>,
}

impl Marks {
    fn read(store: &Store, options: &GcOptions<'_>) -> Result<Self> {
        // Leases first; see the module.
        let mut named = lease::leased(store.root())?;
        for records in [store.containers(), store.volumes(), store.networks()] {
            named.extend(records.list::<IgnoredAny>()?.into_iter().flat_map(|record| record.uses));
        }
        let tagged: HashSet<ImageId> = store.refs().list()?.into_iter().map(|tag| tag.image).collect();
        let mut marks = Self { digests: HashSet::new(), chains: HashSet::new(), steps_gone: HashSet::new() };
        for id in store.images().list()? {
            let keep = match options.images {
                ImageScope::Keep => true,
                ImageScope::Dangling => tagged.contains(&id),
                ImageScope::Unused => false,
            };
            if keep || named.contains(&id.0) || (options.keep)(&id) {
                marks.image(store, id)?;
            }
        }
        marks.digests.extend(named);
        marks.cache(store, options)?;
        Ok(marks)
    }

    fn image(&mut self, store: &Store, id: ImageId) -> Result<()> {
        let image = store.images().get(&id)?;
        let mut chain: Option<ChainId> = None;
        for layer in image.layers() {
            self.digests.insert(layer.0);
            let next = chain.map_or(ChainId(layer.0), |chain| chain.with(layer));
            self.chains.insert(next);
            chain = Some(next);
        }
        self.digests.insert(id.0);
        self.digests.extend(&image.record.manifests);
        self.digests.extend(image.record.compressed.iter().flatten().map(|form| form.digest));
        Ok(())
    }

    fn cache(&mut self, store: &Store, options: &GcOptions<'_>) -> Result<()> {
        let cache = store.cache();
        for key in cache.list()? {
            let age = cache.last_used(&key)?.and_then(|time| time.elapsed().ok()).unwrap_or_default();
            let record = cache.read(&key)?;
            let layer = record.as_ref().and_then(|record| record.layer);
            let gone = match options.cache {
                CacheScope::Keep => layer.is_some_and(|layer| !store.layers().has(&layer)),
                CacheScope::Unused(limit) => age >= limit,
                CacheScope::All => true,
            };
            if gone {
                self.steps_gone.insert(key);
            } else {
                self.digests.extend(layer.map(|layer| layer.0));
            }
        }
        Ok(())
    }
}

struct Collector<'a> {
    store: &'a Store,
    options: &'a GcOptions<'a>,
    report: GcReport,
    /// In the trash; or, in a dry run, still where it is.
    gone: Vec<PathBuf>,
}

impl Collector<'_> {
    fn take(&mut self, path: &Path) -> Result<()> {
        if self.options.dry_run {
            self.gone.push(path.to_path_buf());
            return Ok(());
        }
        self.gone.extend(files::move_aside(self.store.root(), path)?);
        Ok(())
    }

    fn take_images(&mut self, marks: &Marks) -> Result<()> {
        let refs = self.store.root().join("refs");
        for tag in self.store.refs().list()? {
            // A tag whose image is not there at all is for `check` to tell.
            if !marks.digests.contains(&tag.image.0) && self.store.images().has(&tag.image) {
                self.take(&refs.join(Digest::of(tag.name.as_bytes()).hex()))?;
                self.report.tags.push(tag.name);
            }
        }
        for id in self.store.images().list()? {
            // One that came since the marks were read is leased.
            if !marks.digests.contains(&id.0) {
                self.take(&self.store.images().directory(&id))?;
                self.report.images.push(id);
            }
        }
        for path in self.store.images().unfinished()? {
            self.take(&path)?;
        }
        if !self.options.dry_run && !self.gone.is_empty() {
            // What names comes off the disk before what is named.
            files::sync_dir(&refs)?;
            files::sync_dir(&self.store.root().join("images"))?;
        }
        Ok(())
    }

    fn take_content(&mut self, marks: &Marks) -> Result<()> {
        for layer in self.store.layers().list()? {
            if !marks.digests.contains(&layer.0) && !(self.options.in_use)(&layer) {
                self.take(&self.store.layers().path(&layer))?;
                self.report.layers.push(layer);
            }
        }
        for blob in self.store.blobs().list()? {
            if !marks.digests.contains(&blob) {
                self.take(&self.store.blobs().path(&blob))?;
                self.report.blobs.push(blob);
            }
        }
        let chains = self.store.root().join("chains");
        for name in files::names(&chains)? {
            let chain = Digest::from_hex(&name).ok();
            if chain.is_none_or(|chain| !marks.chains.contains(&ChainId(chain)) && !marks.digests.contains(&chain)) {
                self.take(&chains.join(name))?;
            }
        }
        Ok(())
    }

    fn take_cache(&mut self, marks: &Marks) -> Result<()> {
        let cache = self.store.root().join("cache");
        for key in &marks.steps_gone {
            self.take(&cache.join("steps").join(key.hex()))?;
            self.report.cache_steps.push(*key);
            if !self.options.dry_run {
                self.store.cache().date_note(key)?;
            }
        }
        for note in self.store.cache().stale_notes()? {
            self.take(&note)?;
        }
        if self.options.cache == CacheScope::All {
            for directory in ["mounts", "files", "logs"] {
                for name in files::names(&cache.join(directory))? {
                    let hex = name.split('.').next().unwrap_or_default();
                    if directory == "mounts" && mount_in_use(&cache.join("mounts").join(format!("{hex}.use")))? {
                        continue;
                    }
                    self.take(&cache.join(directory).join(name))?;
                }
            }
        }
        self.report.cache_steps.sort_unstable();
        Ok(())
    }

    fn take_spares(&mut self) -> Result<()> {
        self.store.containers().all_spares()?.iter().try_for_each(|spare| self.take(spare))
    }

    fn take_partial(&mut self) -> Result<()> {
        let ingest = self.store.root().join("ingest");
        for name in if self.options.partial { files::names(&ingest)? } else { Vec::new() } {
            let path = ingest.join(name);
            let Some(file) = files::optional(fs::File::open(&path).map_err(Error::io("open", &path)))? else {
                continue;
            };
            if lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))? {
                self.take(&path)?;
                self.report.partial += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
