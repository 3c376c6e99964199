//! Removing what nothing needs: containers that have ended, then what only they named.
//!
//! The order is docker's: containers, networks, volumes, images, build cache. What is only to be looked at is found in the same order,
//! as if what came before were gone already.

use std::collections::BTreeSet;

use store::ImageId;
use store::gc::{CacheScope, GcOptions, GcReport, ImageScope};

use super::Engine;
use super::networks::Network;
use super::prune_filter::PruneFilter;
use super::volumes::Volume;
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
#[derive(Clone, Debug, Default)]
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
    /// Bytes given back.
    pub bytes: u64,
}

impl Engine {
    /// Removes what nothing needs.
    ///
    /// # Errors
    /// Something that cannot be removed; volumes by their age, which says nothing of what is in them.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        let (filter, dry_run) = (&options.filter, options.dry_run);
        if options.volumes && filter.age().is_some() {
            return Err(CommandError::usage("the filter until and --volumes contradict each other")
                .hint("a volume that was made long ago may have been written today"));
        }
        let (containers, bytes) = self.prune_containers(filter, dry_run)?;
        let mut report = PruneReport { bytes, ..PruneReport::default() };
        let gone: BTreeSet<&str> = containers.iter().map(|record| record.name.as_str()).collect();
        let unused = |users: &[String]| users.iter().all(|user| dry_run && gone.contains(user.as_str()));
        let idle = |network: &Network| {
            let labels = network.data.labels.iter().cloned().collect();
            !network.is_built_in() && unused(&network.used_by) && filter.fits(network.created, &labels)
        };
        for network in self.networks()?.into_iter().filter(idle) {
            if !dry_run {
                match self.remove_network(&network.id) {
                    // Somebody else was faster.
                    Err(_) if !self.store.networks().has(&network.id) => continue,
                    removed => drop(removed?),
                }
            }
            report.networks.push(network.name);
        }
        let left = |volume: &Volume| {
            let labels = volume.labels.iter().cloned().collect();
            volume.snapshot_of.is_none() && unused(&volume.used_by) && filter.fits(None, &labels)
        };
        if options.volumes {
            for volume in self.volumes()?.into_iter().filter(left) {
                if !dry_run {
                    match self.remove_volume_unless_used(&volume.id) {
                        Ok(Some(true)) => self.volume_event("destroy", &volume.name),
                        // Somebody uses it now, or has removed it.
                        Ok(Some(false) | None) => continue,
                        Err(error) => return Err(error),
                    }
                }
                report.volumes.push(volume.name);
            }
        }
        report.containers = containers.into_iter().map(|record| record.id).collect();
        report.take(&self.collect_as(GcOptions {
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
            ..GcOptions::default()
        })?);
        Ok(report)
    }

    /// Removes images without a tag, or all that no container was made from, as far as they fit.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn prune_images(&self, all: bool, filter: &PruneFilter, dry_run: bool) -> Result<PruneReport> {
        let images = if all { ImageScope::Unused } else { ImageScope::Dangling };
        let mut report = PruneReport::default();
        let keep = |id: &ImageId| !self.image_fits(id, filter);
        report.take(&self.collect_as(GcOptions { images, dry_run, keep: &keep, ..GcOptions::default() })?);
        Ok(report)
    }

    fn image_fits(&self, id: &ImageId, filter: &PruneFilter) -> bool {
        // One that cannot be read fits to no filter but none.
        filter.is_empty()
            || self
                .store
                .images()
                .get(id)
                .is_ok_and(|image| filter.fits(image.config.created, &image.config.config.labels))
    }
}

impl PruneReport {
    /// Takes in what the collector removed.
    fn take(&mut self, collected: &GcReport) {
        self.images.extend(collected.tags.iter().map(|tag| format!("untagged: {tag}")));
        self.images.extend(collected.images.iter().map(|image| format!("deleted: {image}")));
        self.images.extend(collected.layers.iter().map(|layer| format!("deleted: {layer}")));
        self.cache.extend(collected.cache_steps.iter().map(ToString::to_string));
        self.partial += collected.partial;
        self.bytes += collected.bytes;
    }
}
