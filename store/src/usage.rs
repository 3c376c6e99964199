//! What takes how much disk space. The parts add up to what `du` says of the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use serde::de::IgnoredAny;

use crate::Store;
use crate::cache_prune;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::files;
use crate::gc::{self, CacheScope, GcOptions, ImageScope};
use crate::lock::{self, LockMode};
use crate::record::Records;
use crate::refs::Tag;

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

/// Disk space of an image: its layers and blobs, and its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpace {
    /// The image.
    pub id: ImageId,
    /// What other images have too, bytes.
    pub shared: u64,
    /// What no other image has, bytes.
    pub unique: u64,
}

/// To which image each belongs: itself, or for what is only another platform of an index that is kept whole the image that
/// the index's name stands for.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn owners(store: &Store) -> Result<HashMap<ImageId, ImageId>> {
    owners_among(store, &store.refs().list()?)
}

fn owners_among(store: &Store, tags: &[Tag]) -> Result<HashMap<ImageId, ImageId>> {
    let mut owners = HashMap::new();
    for tag in tags {
        for platform in &tag.platforms {
            owners.entry(*platform).or_insert(tag.image);
        }
    }
    owners.extend(tags.iter().map(|tag| (tag.image, tag.image)));
    for id in store.images().list()? {
        owners.entry(id).or_insert(id);
    }
    Ok(owners)
}

/// Measures each image, together with the other platforms of its index and what the index lists beside them; beside that,
/// what several have, counted once.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn image_space(store: &Store) -> Result<(Vec<ImageSpace>, u64)> {
    // A config's blob may well have the digest of a layer; each is a file of its own.
    let mut parts: HashMap<PathBuf, (u64, usize)> = HashMap::new();
    let tags = store.refs().list()?;
    let owners = owners_among(store, &tags)?;
    let mut images: BTreeMap<ImageId, HashSet<PathBuf>> = BTreeMap::new();
    for id in store.images().list()? {
        // An image that is damaged has no say here; `check` tells of it.
        let Ok(image) = store.images().get(&id) else { continue };
        let forms = image.record.compressed.iter().flatten().map(|form| form.digest);
        let blobs = std::iter::once(id.0).chain(image.record.manifests.iter().copied()).chain(forms);
        let own = images.entry(owners.get(&id).copied().unwrap_or(id)).or_default();
        own.extend(blobs.map(|blob| store.blobs().path(&blob)));
        own.extend(image.layers().iter().map(|layer| store.layers().path(layer)));
        own.insert(store.images().directory(&id));
    }
    for tag in &tags {
        if let Some(own) = images.get_mut(&tag.image) {
            let kept = tag.attached.iter().filter(|blob| store.blobs().has(blob));
            own.extend(kept.map(|blob| store.blobs().path(blob)));
        }
    }
    for path in images.values().flatten() {
        match parts.get_mut(path) {
            Some((_, users)) => *users += 1,
            None => drop(parts.insert(path.clone(), (files::disk_usage(path)?, 1))),
        }
    }
    let space = images.into_iter().map(|(id, own)| {
        let mut space = ImageSpace { id, shared: 0, unique: 0 };
        for (bytes, users) in own.iter().filter_map(|path| parts.get(path)) {
            *if *users > 1 { &mut space.shared } else { &mut space.unique } += bytes;
        }
        space
    });
    let space = space.collect();
    Ok((space, parts.values().filter(|(_, users)| *users > 1).map(|(bytes, _)| bytes).sum()))
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
    usage.images.bytes = content_space(store)? - cached;
    let owners = owners(store)?;
    let owner = |id: &ImageId| owners.get(id).copied().unwrap_or(*id);
    usage.images.count = images.iter().map(owner).collect::<HashSet<_>>().len();
    let in_use = images.iter().filter(|id| used.contains(&id.0));
    usage.images.active = in_use.map(owner).collect::<HashSet<_>>().len();
    // Layers that both the build cache and unused images name go when both do.
    let (images, cache) = (ImageScope::Unused, CacheScope::All);
    let gone = gc::collect(store, &GcOptions { images, cache, dry_run: true, ..GcOptions::default() })?;
    usage.images.reclaimable = gone.content_bytes.saturating_sub(cached).min(usage.images.bytes);

    let part = |records: Records<'_>| -> Result<Part> {
        Ok(Part { count: records.ids_on_disk()?.len(), bytes: records.space()?, ..Part::default() })
    };
    (usage.containers, usage.volumes) = (part(store.containers())?, part(store.volumes())?);
    let cache = space("cache")? + cached;
    let parts = cache_prune::parts(store)?;
    let active = parts.iter().filter(|part| part.in_use).count();
    let reclaimable = gone.bytes.saturating_sub(usage.images.reclaimable).min(cache);
    usage.build_cache = Part { count: parts.len(), active, bytes: cache, reclaimable };
    let downloads = partial_downloads(store)?;
    let idle = downloads.iter().filter(|download| !download.in_use);
    usage.partial = Part {
        count: downloads.len(),
        active: downloads.iter().filter(|download| download.in_use).count(),
        bytes: space("ingest")?,
        reclaimable: idle.map(|download| download.bytes).sum(),
    };
    let others = others(store)?;
    usage.other = Part { count: others.len(), bytes: others.iter().map(|(_, bytes)| bytes).sum(), ..Part::default() };
    Ok(usage)
}

/// What tags, images, layers and blobs take, whoever needs them, bytes.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn content_space(store: &Store) -> Result<u64> {
    let names = ["layers", "blobs", "images", "chains", "refs"].into_iter();
    names.map(|name| files::disk_usage(&store.root().join(name))).sum()
}

/// What is told as other: networks, journal, locks, work in progress, and whatever else lies there, by name. The store's
/// directory itself is `.`.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn others(store: &Store) -> Result<Vec<(String, u64)>> {
    // The directory may be given as a link.
    let root = fs::canonicalize(store.root()).map_err(Error::io("resolve", store.root()))?;
    let mut found = vec![(".".to_owned(), files::own_usage(&root)?)];
    for name in files::names(store.root())?.into_iter().filter(|name| !TOLD.contains(&name.as_str())) {
        let bytes = files::disk_usage(&store.root().join(&name))?;
        found.push((name, bytes));
    }
    Ok(found)
}

/// A download that was not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialDownload {
    /// The digest of what is downloaded, in hex.
    pub name: String,
    /// Disk space, bytes.
    pub bytes: u64,
    /// Somebody is at it.
    pub in_use: bool,
}

/// The downloads that were not finished, by name.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn partial_downloads(store: &Store) -> Result<Vec<PartialDownload>> {
    let ingest = store.root().join("ingest");
    let mut found = Vec::new();
    for name in files::names(&ingest)? {
        let path = ingest.join(&name);
        let opened = fs::File::open(&path).map_err(Error::io("open", &path));
        let Some(file) = files::optional(opened)? else { continue };
        let in_use = !lock::try_lock(&file, LockMode::Shared).map_err(Error::io("lock", &path))?;
        found.push(PartialDownload { name, bytes: files::own_usage(&path)?, in_use });
    }
    Ok(found)
}

/// Disk space of the layers that build cache steps name and none of `images` does.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn cache_only_layers(store: &Store, images: &[ImageId]) -> Result<u64> {
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
        let own = |id: ImageId| {
            let (record, config) = (store.images().directory(&id), store.blobs().path(&id.0));
            files::disk_usage(&record).unwrap() + files::disk_usage(&config).unwrap()
        };
        assert_eq!(shared, bytes(base));
        assert_eq!(of(ids[0]), ImageSpace { id: ids[0], shared, unique: own(ids[0]) });
        assert_eq!(of(ids[1]), ImageSpace { id: ids[1], shared, unique: own(ids[1]) + bytes(one) });
        assert_eq!(of(ids[2]), ImageSpace { id: ids[2], shared: 0, unique: own(ids[2]) + bytes(two) });
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
        fs::write(store.root().join("journal"), [b'x'; 9000]).unwrap();
        let usage = usage(&store).unwrap();
        assert_eq!(usage.total(), files::disk_usage(store.root()).unwrap());
        assert!(usage.images.bytes > 100_000 && usage.build_cache.bytes > 50_000);
        assert_eq!((usage.images.count, usage.build_cache.count), (1, 1));
    }
}
