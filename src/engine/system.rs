//! The store as a whole: what uses the disk, what nothing needs, what is damaged.

use std::collections::BTreeSet;

use store::check::check;
use store::gc::{self, CacheScope, GcOptions, GcReport, ImageScope};
use store::usage::{Part, usage};

use super::Engine;
use super::layers::mount_name;
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

/// What `img system prune` removes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PruneOptions {
    /// Also images that no container was made from.
    pub all: bool,
    /// Also volumes that no container uses.
    pub volumes: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default)]
pub struct PruneReport {
    /// A line for each thing.
    pub removed: Vec<String>,
    /// Bytes given back.
    pub bytes: u64,
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

    /// Removes what nothing needs.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        self.sweep()?;
        let mut report = PruneReport::default();
        let running = self.running()?;
        for id in self.container_ids()?.into_iter().filter(|id| !running.contains(id)) {
            report.bytes += self.store.containers().upper_size(&id)?;
            report.removed.push(format!("deleted container {id}"));
            if !options.dry_run {
                self.remove_container(&id, true, true)?;
            }
        }
        if options.volumes {
            self.prune_volumes(options.dry_run, &mut report)?;
        }
        let collected = self.collect_as(GcOptions {
            images: if options.all { ImageScope::Unused } else { ImageScope::Dangling },
            cache: CacheScope::All,
            partial: true,
            dry_run: options.dry_run,
            ..GcOptions::default()
        })?;
        describe(&collected, &mut report);
        Ok(report)
    }

    /// Removes images without a tag, or all that no container was made from.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn prune_images(&self, all: bool, dry_run: bool) -> Result<PruneReport> {
        let images = if all { ImageScope::Unused } else { ImageScope::Dangling };
        let collected = self.collect_as(GcOptions { images, dry_run, ..GcOptions::default() })?;
        let mut report = PruneReport::default();
        describe(&collected, &mut report);
        Ok(report)
    }

    fn prune_volumes(&self, dry_run: bool, report: &mut PruneReport) -> Result<()> {
        for volume in self.volumes()?.iter().filter(|volume| volume.used_by.is_empty()) {
            report.removed.push(format!("deleted volume {}", volume.name));
            if !dry_run {
                super::volumes::attach::remove(&self.store, &volume.id)?;
            }
        }
        Ok(())
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

/// What the collector removed, a line each.
fn describe(collected: &GcReport, report: &mut PruneReport) {
    report.bytes += collected.bytes;
    let lines = collected.tags.iter().map(|tag| format!("untagged {tag}"));
    report.removed.extend(lines);
    report.removed.extend(collected.images.iter().map(|image| format!("deleted image {image}")));
    report.removed.extend(collected.layers.iter().map(|layer| format!("deleted layer {layer}")));
    if !collected.cache_steps.is_empty() {
        report.removed.push(format!("deleted {} build cache steps", collected.cache_steps.len()));
    }
    if collected.partial > 0 {
        report.removed.push(format!("deleted {} partial downloads", collected.partial));
    }
}
