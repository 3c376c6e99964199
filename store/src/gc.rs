//! The garbage collector: takes away what no tag, image, record, cache step or living worker names.
//!
//! It decides and moves under the exclusive side of `locks/gc`; leases, records and tags are written under the shared
//! side. It reads the leases *first*: whoever gave up a lease before had written the record or tag that took its
//! place, and that is read after. Candidates are renamed into `trash/` (tags and images before what they name) and
//! deleted after the lock is gone, so nobody waits for more than a few renames.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Store;
use crate::cache_mount::mount_in_use;
use crate::digest::{ChainId, DiffId, Digest, ImageId};
use crate::error::{Error, Result};
use crate::files;
use crate::lease;
use crate::lock::{self, LockFile, LockMode};

mod marks;

use marks::Marks;

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
#[derive(Clone, Copy, Default)]
pub enum CacheScope<'a> {
    /// Those whose layer is gone.
    #[default]
    Keep,
    /// Those whose keys somebody has chosen.
    Chosen(&'a dyn Fn(&Digest) -> bool),
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
    pub cache: CacheScope<'a>,
    /// Partial downloads that nobody is at.
    pub partial: bool,
    /// Only say what would go.
    pub dry_run: bool,
    /// Whether an image stays though `images` means it.
    pub keep: &'a dyn Fn(&ImageId) -> bool,
    /// Whether a layer is mounted by somebody; such a layer stays.
    pub in_use: &'a dyn Fn(&DiffId) -> bool,
    /// Whether a record counts as gone though it is there; for a dry run after others.
    pub ended: &'a dyn Fn(&str) -> bool,
}

impl Default for GcOptions<'_> {
    /// Content that nothing names, none of it in use.
    fn default() -> Self {
        let (images, cache) = (ImageScope::Keep, CacheScope::Keep);
        Self { images, cache, partial: false, dry_run: false, keep: &|_| false, in_use: &|_| false, ended: &|_| false }
    }
}

/// What went, or would go.
#[derive(Debug, Default)]
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
    /// Disk space of all that and of what killed commands left, bytes.
    pub bytes: u64,
    /// Of that, tags, images, layers and blobs.
    pub content_bytes: u64,
    /// Why something else did not go.
    pub failed: Vec<Error>,
}

/// The lock of whoever removes content: waits for writers in their short critical parts.
pub(crate) fn collector_lock(store: &Store) -> Result<LockFile> {
    LockFile::acquire(&store.root().join("locks/gc"), LockMode::Exclusive, lock::SHORT)
}

/// Collects what `options` say, as far as it can be removed: what names something and stays keeps that too.
///
/// # Errors
/// [`Error::Damaged`] if an image that stays cannot be read, for then nobody knows what it needs; [`Error::Io`],
/// [`Error::LockTimeout`].
pub fn collect(store: &Store, options: &GcOptions<'_>) -> Result<GcReport> {
    let mut collector = Collector { store, options, report: GcReport::default(), gone: Vec::new(), content: 0 };
    if !options.dry_run {
        let swept = lease::sweep(store.root())?;
        (collector.report.bytes, collector.report.failed) = (swept.bytes, swept.failed);
    }
    {
        let _alone = collector_lock(store)?;
        let mut marks = Marks::read(store, options)?;
        let steps = collector.take_steps(&mut marks)?;
        collector.take_images(&mut marks)?;
        collector.take_content(&marks)?;
        collector.content = collector.gone.len();
        collector.gone.extend(steps);
        collector.take_cache()?;
        collector.take_spares()?;
        collector.take_partial()?;
        collector.take_unfinished()?;
    }
    collector.measure_and_remove()
}

struct Collector<'a> {
    store: &'a Store,
    options: &'a GcOptions<'a>,
    report: GcReport,
    /// In the trash; or, in a dry run, still where it is.
    gone: Vec<PathBuf>,
    /// How many of those, from the first on, are tags, images, layers and blobs.
    content: usize,
}

impl Collector<'_> {
    /// Whether it could be moved out of sight; why not is reported.
    fn take(&mut self, path: &Path) -> bool {
        if self.options.dry_run {
            self.gone.push(path.to_path_buf());
            return true;
        }
        match files::move_aside(self.store.root(), path) {
            Ok(moved) => self.gone.extend(moved),
            Err(error) => {
                self.report.failed.push(error);
                return false;
            }
        }
        true
    }

    /// Steps of the build cache name layers, so they go first; gives where they lie now.
    fn take_steps(&mut self, marks: &mut Marks) -> Result<Vec<PathBuf>> {
        let steps = self.store.root().join("cache/steps");
        for key in std::mem::take(&mut marks.steps_gone) {
            let path = steps.join(key.hex());
            if !self.take(&path) {
                let layer = self.store.cache().read(&key)?.and_then(|record| record.layer);
                marks.digests.extend(layer.map(|layer| layer.0));
                continue;
            }
            self.report.cache_steps.push(key);
            if !self.options.dry_run {
                self.store.cache().date_note(&key)?;
            }
        }
        if !self.options.dry_run && !self.gone.is_empty() {
            files::sync_dir(&steps)?;
        }
        Ok(std::mem::take(&mut self.gone))
    }

    fn take_images(&mut self, marks: &mut Marks) -> Result<()> {
        let refs = self.store.root().join("refs");
        for tag in self.store.refs().list()? {
            // A tag whose image is not there at all is for `check` to tell.
            if !marks.digests.contains(&tag.image.0) && self.store.images().has(&tag.image) {
                if self.take(&refs.join(Digest::of(tag.name.as_bytes()).hex())) {
                    self.report.tags.push(tag.name);
                } else {
                    marks.image(self.store, tag.image)?;
                    marks.tag(self.store, &tag)?;
                }
            }
        }
        for id in self.store.images().list()? {
            // One that came since the marks were read is leased.
            if !marks.digests.contains(&id.0) {
                if self.take(&self.store.images().directory(&id)) {
                    self.report.images.push(id);
                } else {
                    marks.image(self.store, id)?;
                }
            }
        }
        for path in self.store.images().unfinished()? {
            self.take(&path);
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
            let goes = !marks.digests.contains(&layer.0) && !(self.options.in_use)(&layer);
            if goes && self.take(&self.store.layers().path(&layer)) {
                self.report.layers.push(layer);
            }
        }
        for blob in self.store.blobs().list()? {
            if !marks.digests.contains(&blob) && self.take(&self.store.blobs().path(&blob)) {
                self.report.blobs.push(blob);
            }
        }
        let chains = self.store.root().join("chains");
        for name in files::names(&chains)? {
            let chain = Digest::from_hex(&name).ok();
            if chain.is_none_or(|chain| !marks.chains.contains(&ChainId(chain)) && !marks.digests.contains(&chain)) {
                self.take(&chains.join(name));
            }
        }
        Ok(())
    }

    fn take_cache(&mut self) -> Result<()> {
        let cache = self.store.root().join("cache");
        for note in self.store.cache().stale_notes()? {
            self.take(&note);
        }
        if matches!(self.options.cache, CacheScope::All) {
            for directory in ["mounts", "files", "logs"] {
                for name in files::names(&cache.join(directory))? {
                    let hex = name.split('.').next().unwrap_or_default();
                    if directory == "mounts" && mount_in_use(&cache.join("mounts").join(format!("{hex}.use")))? {
                        continue;
                    }
                    self.take(&cache.join(directory).join(name));
                }
            }
        }
        self.report.cache_steps.sort_unstable();
        Ok(())
    }

    fn take_spares(&mut self) -> Result<()> {
        for spare in self.store.containers().all_spares()? {
            self.take(&spare);
        }
        Ok(())
    }

    fn take_partial(&mut self) -> Result<()> {
        let ingest = self.store.root().join("ingest");
        for name in if self.options.partial { files::names(&ingest)? } else { Vec::new() } {
            let path = ingest.join(name);
            let Some(file) = files::optional(fs::File::open(&path).map_err(Error::io("open", &path)))? else {
                continue;
            };
            if lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))? && self.take(&path) {
                self.report.partial += 1;
            }
        }
        Ok(())
    }

    /// What killed commands left: here, or before in the sweep that only a dry run must not make.
    fn take_unfinished(&mut self) -> Result<()> {
        let (store, dry_run) = (self.store, self.options.dry_run);
        for records in [store.containers(), store.volumes(), store.networks()] {
            self.gone.extend(if dry_run { records.unfinished()? } else { records.sweep_unfinished()? });
        }
        if dry_run {
            for left in lease::leavings(store.root())? {
                // An old download may have been taken as a partial one.
                if !self.gone.contains(&left) {
                    self.gone.push(left);
                }
            }
        }
        Ok(())
    }

    /// Without the lock: what is in the trash is nobody's any more.
    fn measure_and_remove(mut self) -> Result<GcReport> {
        for (number, path) in self.gone.iter().enumerate() {
            let bytes = files::disk_usage(path)?;
            if !self.options.dry_run
                && let Err(error) = files::remove_all(path)
            {
                self.report.failed.push(error);
                continue;
            }
            self.report.bytes += bytes;
            if number < self.content {
                self.report.content_bytes += bytes;
            }
        }
        Ok(self.report)
    }
}

#[cfg(test)]
pub(crate) mod tests;
