//! Removing what nothing needs: containers that have ended, then what only they named.
//!
//! The order is docker's: containers, networks, volumes, images, build cache. What is only to be looked at is found in the same order,
//! as if what came before were gone already.

use std::collections::BTreeSet;

use store::gc::{CacheScope, GcOptions, GcReport, ImageScope};

use super::Engine;
use super::container::prune::ContainerPrune;
use crate::error::Result;

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
    /// Something that cannot be removed.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        let (containers, bytes) = self.prune_containers(&ContainerPrune::default(), options.dry_run)?;
        let mut report = PruneReport { bytes, ..PruneReport::default() };
        let gone: BTreeSet<&str> = containers.iter().map(|record| record.name.as_str()).collect();
        let unused = |users: &[String]| users.iter().all(|user| gone.contains(user.as_str()));
        if options.dry_run {
            let networks = self.networks()?.into_iter().filter(|one| !one.is_built_in() && unused(&one.used_by));
            report.networks = networks.map(|network| network.name).collect();
        } else {
            report.networks = self.prune_networks(&[])?;
        }
        if options.volumes && options.dry_run {
            let volumes =
                self.volumes()?.into_iter().filter(|volume| volume.snapshot_of.is_none() && unused(&volume.used_by));
            report.volumes = volumes.map(|volume| volume.name).collect();
        } else if options.volumes {
            report.volumes = self.remove_unused_volumes(true, &[])?;
        }
        report.containers = containers.into_iter().map(|record| record.id).collect();
        report.take(&self.collect_as(GcOptions {
            images: if options.all { ImageScope::Unused } else { ImageScope::Dangling },
            cache: CacheScope::All,
            partial: true,
            dry_run: options.dry_run,
            ..GcOptions::default()
        })?);
        Ok(report)
    }

    /// Removes images without a tag, or all that no container was made from.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn prune_images(&self, all: bool, dry_run: bool) -> Result<PruneReport> {
        let images = if all { ImageScope::Unused } else { ImageScope::Dangling };
        let mut report = PruneReport::default();
        report.take(&self.collect_as(GcOptions { images, dry_run, ..GcOptions::default() })?);
        Ok(report)
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
