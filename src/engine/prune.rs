//! Removing what nothing needs: containers that have ended, then what only they named.
//!
//! The order is docker's: containers, networks, volumes, images, build cache. What is only to be looked at is found in the same order,
//! as if what came before were gone already, so that what is said beforehand is what happens.

use std::collections::BTreeSet;

use store::ImageId;
use store::gc::{CacheScope, GcOptions, GcReport, ImageScope};

use super::Engine;
use super::networks::{Network, NetworkFilter};
use super::prune_filter::PruneFilter;
use super::volumes::Volume;
use super::volumes::filter::VolumeFilter;
use crate::error::{CommandError, Result};

/// What `img system prune` removes.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also images that no container was made from.
    pub all: bool,
    /// Also volumes that no container uses.
    pub volumes: bool,
    /// Only say what would go.
    pub dry_run: bool,
    /// Only what fits.
    pub filter: PruneFilter,
}

/// What went, or would go.
#[derive(Debug, Default)]
pub struct PruneReport {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Tags, images and layers, each as a line that says what became of it.
    pub images: Vec<String>,
    /// Keys of build cache steps.
    pub cache: Vec<String>,
    /// How many unfinished downloads.
    pub partial: usize,
    /// Disk space given back, bytes.
    pub bytes: u64,
    /// Why something else did not go.
    pub failed: Vec<CommandError>,
}

/// Things of one kind that went, or would go.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Their names.
    pub names: Vec<String>,
    /// What they took on disk, bytes.
    pub bytes: u64,
    /// Why others did not go.
    pub failed: Vec<CommandError>,
}

impl Engine {
    /// Removes what nothing needs, as far as it can be removed.
    ///
    /// # Errors
    /// The store cannot be read; volumes by their age, which says nothing of what is in them.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        let (filter, dry_run) = (&options.filter, options.dry_run);
        if options.volumes && filter.age().is_some() {
            return Err(CommandError::usage("the filter until and --volumes contradict each other")
                .hint("a volume that was made long ago may have been written today"));
        }
        let mut pruned = self.prune_containers(filter, dry_run)?;
        let mut failed = std::mem::take(&mut pruned.failed);
        let names: BTreeSet<&str> = pruned.containers.iter().map(|record| record.name.as_str()).collect();
        // What is gone uses nothing; in a dry run it is there still.
        let unused = |users: &[String]| users.iter().all(|user| dry_run && names.contains(user.as_str()));
        let removed = self.remove_networks(dry_run, |network: &Network| {
            let labels = network.data.labels.iter().cloned().collect();
            unused(&network.used_by) && filter.fits(network.created, &labels)
        });
        let mut networks = taken(removed, &mut failed);
        failed.append(&mut networks.failed);
        let idle = |volume: &Volume| {
            let labels = volume.labels.iter().cloned().collect();
            !pruned.volumes.contains(&volume.id) && unused(&volume.used_by) && filter.fits(None, &labels)
        };
        let removed = if options.volumes { self.remove_volumes(dry_run, idle) } else { Ok(Removed::default()) };
        let mut volumes = taken(removed, &mut failed);
        failed.append(&mut volumes.failed);
        let gone: BTreeSet<&str> = pruned.containers.iter().map(|record| record.id.as_str()).collect();
        let collected = self.collect_as(GcOptions {
            images: if options.all { ImageScope::Unused } else { ImageScope::Dangling },
            // Steps have no labels.
            cache: match filter.age() {
                _ if filter.has_labels() => CacheScope::Keep,
                Some(age) => CacheScope::Unused(age),
                None => CacheScope::All,
            },
            partial: filter.is_empty(),
            dry_run,
            keep: &|id| !self.image_fits(id, filter),
            ended: &|id| gone.contains(id),
            ..GcOptions::default()
        });
        let collected = taken(collected, &mut failed);
        let bytes = pruned.bytes + networks.bytes + volumes.bytes;
        let containers = pruned.containers.into_iter().map(|record| record.id).collect();
        let (networks, volumes) = (networks.names, volumes.names);
        let mut report = PruneReport { containers, networks, volumes, bytes, failed, ..PruneReport::default() };
        report.take(collected);
        Ok(report)
    }

    /// Removes the networks that no container names, as far as `filters` fit and they can be removed.
    ///
    /// # Errors
    /// The networks cannot be read.
    pub fn prune_networks(&self, filters: &[NetworkFilter], dry_run: bool) -> Result<PruneReport> {
        let goes = |network: &Network| network.used_by.is_empty() && NetworkFilter::all_fit(filters, network);
        let Removed { names: networks, bytes, failed } = self.remove_networks(dry_run, goes)?;
        Ok(PruneReport { networks, bytes, failed, ..PruneReport::default() })
    }

    /// Removes the volumes that no container uses: the anonymous ones, or `all`, as far as `filters` fit and they can be
    /// removed.
    ///
    /// # Errors
    /// The volumes cannot be read.
    pub fn prune_volumes(&self, all: bool, filters: &[VolumeFilter], dry_run: bool) -> Result<PruneReport> {
        let goes = |volume: &Volume| {
            volume.used_by.is_empty() && (all || volume.anonymous) && VolumeFilter::all_fit(filters, volume)
        };
        let Removed { names: volumes, bytes, failed } = self.remove_volumes(dry_run, goes)?;
        Ok(PruneReport { volumes, bytes, failed, ..PruneReport::default() })
    }

    /// Whether an image fits. One that cannot be read fits to no filter but none.
    pub(super) fn image_fits(&self, id: &ImageId, filter: &PruneFilter) -> bool {
        let fits = |image: &store::image::Image| filter.fits(image.config.created, &image.config.config.labels);
        filter.is_empty() || self.store.images().get(id).is_ok_and(|image| fits(&image))
    }
}

/// What one kind of thing came to; nothing if it failed, which the others are not to suffer from.
fn taken<T: Default>(removed: Result<T>, failed: &mut Vec<CommandError>) -> T {
    removed.unwrap_or_else(|error| {
        failed.push(error);
        T::default()
    })
}

impl PruneReport {
    /// Takes in what the collector removed.
    pub(super) fn take(&mut self, collected: GcReport) {
        self.images.extend(collected.tags.iter().map(|tag| format!("untagged: {tag}")));
        self.images.extend(collected.images.iter().map(|image| format!("deleted: {image}")));
        self.images.extend(collected.layers.iter().map(|layer| format!("deleted: {layer}")));
        self.cache.extend(collected.cache_steps.iter().map(ToString::to_string));
        self.partial += collected.partial;
        self.bytes += collected.bytes;
        self.failed.extend(collected.failed.into_iter().map(CommandError::from));
    }
}
