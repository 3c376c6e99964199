//! The store as a whole: what uses the disk, what nothing names any more, what is damaged.

use std::collections::BTreeSet;

use store::check::check;
use store::gc::{self, GcOptions, GcReport};
use store::usage::{Part, usage};

use super::Engine;
use super::layers::mount_name;
use super::prune::PruneOptions;
use crate::error::{CommandError, Context as _, Result};

/// One line of `img system df`.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// What: images, containers, …
    pub kind: &'static str,
    /// How many.
    pub count: usize,
    /// How many of them are used.
    pub active: usize,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that pruning would give back.
    pub reclaimable: u64,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// What was looked at, in words.
    pub checked: String,
    /// A line for each thing that is not as it must be.
    pub problems: Vec<String>,
}

impl Engine {
    /// What uses the disk; the sizes add up to what the store takes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn disk_usage(&self) -> Result<Vec<DiskUsage>> {
        let usage = usage(&self.store)?;
        let running = self.running()?.len();
        let line = |kind, part: &Part, active, reclaimable| DiskUsage {
            kind,
            count: part.count,
            active,
            size: part.bytes,
            reclaimable,
        };
        let stopped = self.stopped_bytes()?.min(usage.containers.bytes);
        Ok(vec![
            line("Images", &usage.images, usage.images.active, usage.images.reclaimable),
            line("Containers", &usage.containers, running, stopped),
            line("Local Volumes", &usage.volumes, usage.volumes.active, usage.volumes.reclaimable),
            line("Build Cache", &usage.build_cache, usage.build_cache.active, usage.build_cache.reclaimable),
            line("Partial Downloads", &usage.partial, 0, usage.partial.reclaimable),
            line("Other", &usage.other, 0, 0),
        ])
    }

    /// Bytes that containers which do not run have written.
    fn stopped_bytes(&self) -> Result<u64> {
        let running = self.running()?;
        let mut bytes = 0;
        for id in self.container_ids()?.iter().filter(|id| !running.contains(id)) {
            bytes += self.store.containers().upper_size(id)?;
        }
        Ok(bytes)
    }

    /// Removes content that nothing names any more, as after `rmi`.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn collect(&self) -> Result<()> {
        self.collect_as(GcOptions::default()).map(drop)
    }

    /// Collects; the shared mounts of layers that are to go are taken down first, those of all others stay, so that
    /// containers of one image go on sharing memory.
    pub(super) fn collect_as(&self, options: GcOptions<'_>) -> Result<GcReport> {
        let doomed = gc::collect(&self.store, &GcOptions { dry_run: true, ..options })?;
        if options.dry_run {
            return Ok(doomed);
        }
        if !doomed.layers.is_empty() {
            let names: BTreeSet<String> = doomed.layers.iter().map(mount_name).collect();
            // What was made for one chain of layers cannot be told from its name: such mounts are made again when needed.
            runner::layers::unmount_unused(&self.runroot, |id| id.starts_with("layer-") && !names.contains(id))?;
        }
        let in_use = |layer: &store::DiffId| self.layer_in_use(layer);
        let collected = gc::collect(&self.store, &GcOptions { in_use: &in_use, ..options })?;
        // Images that went may have been mounted.
        self.sweep_roots()?;
        Ok(collected)
    }

    /// Verifies that everything in the store is what its name says.
    ///
    /// # Errors
    /// The store cannot be read, a repair cannot be made.
    pub fn check(&self, repair: bool) -> Result<CheckReport> {
        let problems = check(&self.store, repair)?;
        let lines = problems.iter().map(|problem| {
            let done = problem.repair.map(|done| format!(" ({done})")).unwrap_or_default();
            format!("{}: {}{done}", problem.subject, problem.message)
        });
        let (layers, blobs) = (self.store.layers().list()?.len(), self.store.blobs().list()?.len());
        Ok(CheckReport { checked: format!("{layers} layers and {blobs} blobs"), problems: lines.collect() })
    }

    /// Removes all containers, images, volumes, networks and the cache.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn reset(&self) -> Result<()> {
        for id in self.container_ids()? {
            self.remove_container(&id, true, true).with_context(|| format!("cannot remove container {id}"))?;
        }
        for id in self.store.volumes().ids()? {
            super::volumes::attach::remove(&self.store, &id)?;
        }
        self.prune_networks(&[])?;
        self.prune(&PruneOptions { all: true, volumes: true, dry_run: false })?;
        runner::layers::unmount_all(&self.runroot)?;
        let left = self.store.layers().list()?.len();
        if left > 0 {
            return Err(CommandError::new(format!("{left} layers are still in use and stay"))
                .hint("is another img building or pulling? run it again when it is done"));
        }
        Ok(())
    }
}
