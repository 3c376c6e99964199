//! What takes how much disk space. The parts add up to what `du` says of the store.

use std::collections::{HashMap, HashSet};

use serde::de::IgnoredAny;

use crate::Store;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::Result;
use crate::files;
use crate::gc::{self, GcOptions, ImageScope};

/// One kind of thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// How many there are.
    pub count: usize,
    /// How many of them a container uses.
    pub active: usize,
    /// Disk space, bytes.
    pub bytes: u64,
    /// How much of that collecting all unused ones would give back, bytes.
    pub reclaimable: u64,
}

/// Disk space of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images: tags, records, configs, layers.
    pub images: Part,
    /// Containers: records, writable layers, logs.
    pub containers: Part,
    /// Volumes.
    pub volumes: Part,
    /// Build cache: steps, cache mounts, layers that only steps name.
    pub build_cache: Part,
    /// Partial downloads.
    pub partial: Part,
    /// Everything else: networks, work in progress, trash, locks.
    pub other: Part,
}

impl Usage {
    /// All of it, bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        [&self.images, &self.containers, &self.volumes, &self.build_cache, &self.partial, &self.other]
            .iter()
            .map(|part| part.bytes)
            .sum()
    }
}

/// Disk space of an image's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpace {
    /// The image.
    pub id: ImageId,
    /// Layers that other images have too, bytes.
    pub shared: u64,
    /// Layers that no other image has, bytes.
    pub unique: u64,
}

/// Measures the layers of each image; beside that, those that several have, counted once.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn image_space(store: &Store) -> Result<(Vec<ImageSpace>, u64)> {
    let mut layers: HashMap<DiffId, (u64, usize)> = HashMap::new();
    let mut images = Vec::new();
    for id in store.images().list()? {
        // An image that is damaged has no say here; `check` tells of it.
        let Ok(image) = store.images().get(&id) else { continue };
        let own: HashSet<DiffId> = image.layers().iter().copied().collect();
        for layer in &own {
            match layers.get_mut(layer) {
                Some((_, users)) => *users += 1,
                None => drop(layers.insert(*layer, (files::disk_usage(&store.layers().path(layer))?, 1))),
            }
        }
        images.push((id, own));
    }
    let space = images.into_iter().map(|(id, own)| {
        let mut space = ImageSpace { id, shared: 0, unique: 0 };
        for (bytes, users) in own.iter().filter_map(|layer| layers.get(layer)) {
            *if *users > 1 { &mut space.shared } else { &mut space.unique } += bytes;
        }
        space
    });
    let space = space.collect();
    Ok((space, layers.values().filter(|(_, users)| *users > 1).map(|(bytes, _)| bytes).sum()))
}

/// What is told as images, containers, volumes, build cache and partial downloads.
const TOLD: [&str; 9] = ["layers", "blobs", "images", "chains", "refs", "containers", "volumes", "cache", "ingest"];

/// Measures the store.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn usage(store: &Store) -> Result<Usage> {
    let space = |name: &str| files::disk_usage(&store.root().join(name));
    let mut usage = Usage::default();
    let used: HashSet<Digest> =
        store.containers().list::<IgnoredAny>()?.into_iter().flat_map(|record| record.uses).collect();

    let images = store.images().list()?;
    let cached = cache_only_layers(store, &images)?;
    for name in ["layers", "blobs", "images", "chains", "refs"] {
        usage.images.bytes += space(name)?;
    }
    usage.images.bytes -= cached;
    usage.images.count = images.len();
    usage.images.active = images.iter().filter(|id| used.contains(&id.0)).count();
    let all = GcOptions { images: ImageScope::Unused, dry_run: true, ..GcOptions::default() };
    usage.images.reclaimable = gc::collect(store, &all)?.bytes.min(usage.images.bytes);

    usage.containers = Part { count: store.containers().ids()?.len(), bytes: space("containers")?, ..Part::default() };
    usage.volumes = Part { count: store.volumes().ids()?.len(), bytes: space("volumes")?, ..Part::default() };
    let cache = space("cache")? + cached;
    usage.build_cache = Part { count: store.cache().list()?.len(), active: 0, bytes: cache, reclaimable: cache };
    let partial = space("ingest")?;
    let count = files::names(&store.root().join("ingest"))?.len();
    usage.partial = Part { count, active: 0, bytes: partial, reclaimable: partial };
    // Journal, locks, work in progress, and whatever else lies there.
    for name in files::names(store.root())?.iter().filter(|name| !TOLD.contains(&name.as_str())) {
        usage.other.bytes += space(name)?;
    }
    usage.other.bytes += files::own_usage(store.root())?;
    Ok(usage)
}

/// Disk space of the layers that build cache steps name and no image does.
fn cache_only_layers(store: &Store, images: &[ImageId]) -> Result<u64> {
    let mut of_images = HashSet::new();
    for id in images {
        // An image that is damaged has no say here; `check` tells of it.
        if let Ok(image) = store.images().get(id) {
            of_images.extend(image.layers().to_vec());
        }
    }
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for key in store.cache().list()? {
        let Some(layer) = store.cache().read(&key)?.and_then(|record| record.layer) else { continue };
        if !of_images.contains(&layer) && seen.insert(layer) {
            bytes += files::disk_usage(&store.layers().path(&layer))?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::tests::{image, layer};
    use crate::testing;

    #[test]
    fn a_layer_of_several_images_is_shared_and_counted_once() {
        let (_dir, store) = testing::store();
        let base = layer(&store, "base", 100_000).diff_id;
        let (one, two) = (layer(&store, "one", 50_000).diff_id, layer(&store, "two", 70_000).diff_id);
        let ids = [image(&store, &[base]), image(&store, &[base, one]), image(&store, &[two])];
        let (space, shared) = image_space(&store).unwrap();
        let of = |id| *space.iter().find(|space| space.id == id).unwrap();
        let bytes = |layer| files::disk_usage(&store.layers().path(&layer)).unwrap();
        assert_eq!(shared, bytes(base));
        assert_eq!(of(ids[0]), ImageSpace { id: ids[0], shared, unique: 0 });
        assert_eq!(of(ids[1]), ImageSpace { id: ids[1], shared, unique: bytes(one) });
        assert_eq!(of(ids[2]), ImageSpace { id: ids[2], shared: 0, unique: bytes(two) });
    }

    #[test]
    fn parts_add_up_to_the_disk() {
        let (_dir, store) = testing::store();
        let info = layer(&store, "file", 100_000);
        image(&store, &[info.diff_id]);
        let cached = layer(&store, "cached", 50_000);
        let record = crate::cache::CacheRecord {
            key: Digest::of(b"k"),
            layer: Some(cached.diff_id),
            value: serde_json::Value::Null,
        };
        store.cache().put(&record).unwrap();
        std::fs::write(store.root().join("journal"), [b'x'; 9000]).unwrap();
        let usage = usage(&store).unwrap();
        assert_eq!(usage.total(), files::disk_usage(store.root()).unwrap());
        assert!(usage.images.bytes > 100_000 && usage.build_cache.bytes > 50_000);
        assert_eq!((usage.images.count, usage.build_cache.count), (1, 1));
    }
}
