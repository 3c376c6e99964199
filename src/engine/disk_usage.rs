//! What uses the disk: one line for each kind of thing, and beside that each thing by itself.
//!
//! Sizes are what files take on disk. What belongs to no single thing, as a layer of several images or the directory that
//! holds records, is told as the rest of its kind: the things and the rest add up to the kind, and the kinds to the store.

use store::cache_prune::CachePart;
use store::usage::{Part, PartialDownload, image_space, others, partial_downloads, usage};

use super::Engine;
use super::container::list::ContainerSummary;
use super::images::ImageSummary;
use super::volumes::Volume;
use crate::error::Result;

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

/// Each thing that uses the disk, with its bytes.
#[derive(Clone, Debug)]
pub struct Things {
    /// The images, a line for each tag, other platforms of its index and all: bytes of what others have too, and of what no other has.
    pub images: Vec<(ImageSummary, u64, u64)>,
    /// What several images have, counted once, bytes.
    pub shared_layers: u64,
    /// The containers, and how many volumes each has.
    pub containers: Vec<(ContainerSummary, usize, u64)>,
    /// The volumes.
    pub volumes: Vec<(Volume, u64)>,
    /// The build cache.
    pub cache: Vec<CachePart>,
    /// The downloads that were not finished.
    pub downloads: Vec<PartialDownload>,
    /// What is none of these, by its name below the store's directory.
    pub others: Vec<(String, u64)>,
    /// What of these kinds belongs to no single thing, in this order, bytes.
    pub rest: [u64; 6],
}

impl Engine {
    /// What uses the disk; the sizes add up to what the store takes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn disk_usage(&self) -> Result<Vec<DiskUsage>> {
        let usage = usage(&self.store)?;
        // What lives in memory takes nothing of the disk.
        let containers = self.store.containers();
        let running: Vec<String> = self.running()?.into_iter().filter(|id| !containers.is_in_memory(id)).collect();
        let line = |kind, part: &Part, active, reclaimable| DiskUsage {
            kind,
            count: part.count,
            active,
            size: part.bytes,
            reclaimable,
        };
        let stopped = self.stopped_bytes(&running)?;
        let (mut mounted, mut unused) = (0, 0);
        for volume in self.volumes()?.iter().filter(|volume| !self.store.volumes().is_in_memory(&volume.id)) {
            match volume.used_by.is_empty() {
                true => unused += self.store.volumes().disk_usage(&volume.id)?,
                false => mounted += 1,
            }
        }
        Ok(vec![
            line("Images", &usage.images, usage.images.active, usage.images.reclaimable),
            line("Containers", &usage.containers, running.len(), stopped),
            line("Local Volumes", &usage.volumes, mounted, unused),
            line("Build Cache", &usage.build_cache, usage.build_cache.active, usage.build_cache.reclaimable),
            line("Partial Downloads", &usage.partial, usage.partial.active, usage.partial.reclaimable),
            line("Other", &usage.other, 0, 0),
        ])
    }

    /// What containers that do not run take, bytes.
    fn stopped_bytes(&self, running: &[String]) -> Result<u64> {
        let mut bytes = 0;
        let containers = self.store.containers();
        for id in self.container_ids()?.iter().filter(|id| !running.contains(id) && !containers.is_in_memory(id)) {
            bytes += containers.disk_usage(id)?;
        }
        Ok(bytes)
    }

    /// Each thing that uses the disk, and the lines of [`Engine::disk_usage`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn disk_usage_of_each(&self) -> Result<(Things, Vec<DiskUsage>)> {
        let (space, shared_layers) = image_space(&self.store)?;
        let of = |id| space.iter().find(|space| space.id == id).map_or((0, 0), |space| (space.shared, space.unique));
        let images = self.images(true, &[])?.into_iter().filter(|image| image.beside.is_none()).map(|image| {
            let (shared, unique) = of(image.id);
            (image, shared, unique)
        });
        let images = images.collect();
        let mut volumes = Vec::new();
        for volume in self.volumes()?.into_iter().filter(|volume| !self.store.volumes().is_in_memory(&volume.id)) {
            let bytes = self.store.volumes().disk_usage(&volume.id)?;
            volumes.push((volume, bytes));
        }
        let mut containers = Vec::new();
        let on_disk = |id: &str| !self.store.containers().is_in_memory(id);
        for container in self.containers(true, &[], false)?.into_iter().filter(|container| on_disk(&container.id)) {
            let mounted = volumes.iter().filter(|(volume, _)| volume.used_by.contains(&container.name)).count();
            let bytes = self.store.containers().disk_usage(&container.id)?;
            containers.push((container, mounted, bytes));
        }
        let cache = self.cache_parts()?;
        let (downloads, others) = (partial_downloads(&self.store)?, others(&self.store)?);
        let kinds = self.disk_usage()?;
        let told = [
            space.iter().map(|space| space.unique).sum::<u64>() + shared_layers,
            containers.iter().map(|(_, _, bytes)| bytes).sum(),
            volumes.iter().map(|(_, bytes)| bytes).sum(),
            cache.iter().map(|part| part.size).sum(),
            downloads.iter().map(|download| download.bytes).sum(),
            others.iter().map(|(_, bytes)| bytes).sum(),
        ];
        let mut rest = [0; 6];
        for ((rest, told), kind) in rest.iter_mut().zip(told).zip(&kinds) {
            *rest = kind.size.saturating_sub(told);
        }
        Ok((Things { images, shared_layers, containers, volumes, cache, downloads, others, rest }, kinds))
    }
}
