//! What the collector must leave: everything that a tag, an image that stays, a record, a cache step or a lease names.
//!
//! Leases are read first, for who gives one up has written before what takes its place.

use std::collections::HashSet;

use serde::de::IgnoredAny;

use super::{CacheScope, GcOptions, ImageScope};
use crate::Store;
use crate::digest::{ChainId, Digest, ImageId};
use crate::error::Result;
use crate::lease;
use crate::refs::Tag;

/// What stays.
pub(super) struct Marks {
    /// Images, layers, blobs, chains: whatever is named.
    pub(super) digests: HashSet<Digest>,
    /// The chains of the images that stay.
    pub(super) chains: HashSet<ChainId>,
    /// Keys of the build cache steps that go.
    pub(super) steps_gone: HashSet<Digest>,
}

impl Marks {
    pub(super) fn read(store: &Store, options: &GcOptions<'_>) -> Result<Self> {
        // Leases first; see the module.
        let mut named = lease::leased(store.root())?;
        for records in [store.containers(), store.volumes(), store.networks()] {
            let there = records.list::<IgnoredAny>()?.into_iter().filter(|record| !(options.ended)(&record.id));
            named.extend(there.flat_map(|record| record.uses));
        }
        let tags = store.refs().list()?;
        let tagged: HashSet<ImageId> = tags.iter().flat_map(|tag| tag.images()).collect();
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
        // A tag stays with its image, and an index whole with its tag.
        for tag in tags {
            if !marks.digests.contains(&tag.image.0) {
                continue;
            }
            marks.tag(store, &tag)?;
        }
        marks.digests.extend(named);
        marks.cache(store, options)?;
        Ok(marks)
    }

    /// What a tag that stays names beside its image.
    pub(super) fn tag(&mut self, store: &Store, tag: &Tag) -> Result<()> {
        for id in tag.platforms.iter().filter(|id| store.images().has(id)) {
            self.image(store, *id)?;
        }
        self.digests.extend(&tag.attached);
        Ok(())
    }

    /// An image that stays, and what it names.
    pub(super) fn image(&mut self, store: &Store, id: ImageId) -> Result<()> {
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
                CacheScope::Chosen(goes) => goes(&key),
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
