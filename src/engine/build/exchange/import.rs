//! Looking steps up in the caches of other machines. Of each cache only the list of steps is read at first; a layer is
//! fetched when a step that made it is found, and verified against both its digests on the way into the store. A cache that
//! cannot be read is told of and left out, as BuildKit does: a first build has none yet.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use builder::{PortError, SharedCache};
use registry_client::{Descriptor, MediaType, Reference};
use serde_json::Value;
use store::cache::CacheRecord;
use store::image::{CONFIG_MAX, ImageConfig};
use store::{DiffId, Digest};

use super::document::{Blob, CONFIG, CONFIG_MAX as STEPS_MAX, Document, INLINE, Manifest};
use super::layout::Layout;
use super::spec::CacheFrom;
use crate::engine::Engine;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::to_client;
use crate::error::{Cause, CommandError, Context as _, Result};

/// The caches of one build.
pub struct SharedSteps<'a> {
    engine: &'a Engine,
    progress: &'a dyn Progress,
    caches: Vec<Cache>,
}

/// One cache.
struct Cache {
    shown: String,
    place: Place,
    steps: HashMap<Digest, CacheRecord>,
    layers: HashMap<DiffId, Blob>,
}

/// Where the blobs of a cache are.
enum Place {
    Layout(Layout),
    Registry(Reference),
}

impl<'a> SharedSteps<'a> {
    /// Reads the lists of steps.
    pub fn open(engine: &'a Engine, from: &[CacheFrom], platform: &str, progress: &'a dyn Progress) -> Self {
        let mut caches = Vec::new();
        for from in from {
            let opened = match from {
                CacheFrom::Local { src, tag } => open_local(src, tag),
                CacheFrom::Registry(reference) => engine.open_registry_cache(reference, platform),
            };
            match opened {
                Ok(cache) => caches.push(cache),
                Err(error) => {
                    let text = format!("the cache {} is left out: {error}", from.shown());
                    progress.event(Event::Note(&text));
                }
            }
        }
        Self { engine, progress, caches }
    }

    fn find(&self, key: &Digest) -> Result<Option<CacheRecord>> {
        for cache in &self.caches {
            let Some(record) = cache.steps.get(key) else { continue };
            let fetched = record.layer.map_or(Ok(()), |layer| self.fetch(cache, &layer));
            match fetched {
                Ok(()) => {
                    self.engine.store().cache().put(record)?;
                    return Ok(Some(record.clone()));
                }
                Err(error) => {
                    let text = format!("a step in the cache {} is left out: {error}", cache.shown);
                    self.progress.event(Event::Note(&text));
                }
            }
        }
        Ok(None)
    }

    /// Brings a layer of a cache into the store.
    fn fetch(&self, cache: &Cache, layer: &DiffId) -> Result<()> {
        let store = self.engine.store();
        store.protect(&[layer.0])?;
        let blob = cache
            .layers
            .get(layer)
            .ok_or_else(|| CommandError::new(format!("it names the layer {layer}, but does not have it")))?;
        if store.layers().has(layer) {
            return Ok(());
        }
        match &cache.place {
            Place::Layout(layout) => {
                let file = layout.open(&blob.digest)?;
                store.layers().ingest(file, Some(layer), Some((blob.digest, blob.size)))?;
            }
            Place::Registry(reference) => {
                let client = self.engine.client()?;
                let descriptor = Descriptor::new(&blob.media_type, to_client(&blob.digest), blob.size);
                self.engine.fetch_layer(&client, reference, &descriptor, layer, false, self.progress)?;
            }
        }
        Ok(())
    }
}

impl SharedCache for SharedSteps<'_> {
    fn look_up(&self, key: &Digest) -> std::result::Result<Option<CacheRecord>, PortError> {
        self.find(key).map_err(|error| Box::new(Cause(error)) as PortError)
    }
}

impl Cache {
    /// A cache that is an artifact of its own.
    fn new(shown: String, place: Place, manifest: Manifest, document: Document) -> Self {
        let by_digest: HashMap<Digest, Blob> = manifest.layers.into_iter().map(|blob| (blob.digest, blob)).collect();
        let layers = document
            .blobs
            .iter()
            .filter_map(|(layer, digest)| Some((*layer, by_digest.get(digest)?.clone())))
            .collect();
        let steps = document.steps.into_iter().map(|step| (step.key, step)).collect();
        Self { shown, place, steps, layers }
    }
}

fn open_local(path: &Path, tag: &str) -> Result<Cache> {
    let layout = Layout::new(path);
    let shown = path.display().to_string();
    let manifest: Manifest =
        serde_json::from_slice(&layout.find(tag)?).with_context(|| format!("cannot read the cache in {shown}"))?;
    if manifest.config.media_type != CONFIG {
        return Err(CommandError::new(format!("{shown} holds {}, no build cache of img", manifest.config.media_type))
            .hint("BuildKit's caches have a format of their own"));
    }
    let document = Document::parse(&layout.read(&manifest.config, STEPS_MAX)?, &shown)?;
    Ok(Cache::new(shown, Place::Layout(layout), manifest, document))
}

impl Engine {
    /// Reads the cache that `name` stands for: an artifact, or an image with an inline cache.
    fn open_registry_cache(&self, name: &str, platform: &str) -> Result<Cache> {
        let reference = self.reference(name)?;
        let shown = reference.familiar();
        let client = self.client()?;
        let raw = client.manifest(&reference, &MediaType::MANIFESTS)?;
        let found: Option<Manifest> = serde_json::from_slice(&raw.bytes).ok();
        if let Some(manifest) = found.filter(|manifest| manifest.config.media_type == CONFIG) {
            let config = &manifest.config;
            if config.size > STEPS_MAX {
                return Err(CommandError::new(format!(
                    "the list of steps in {shown} is larger than {STEPS_MAX} bytes"
                )));
            }
            let descriptor = Descriptor::new(&config.media_type, to_client(&config.digest), config.size);
            let mut bytes = Vec::new();
            client.blob(&reference, &descriptor, 0)?.take(STEPS_MAX).read_to_end(&mut bytes)?;
            let document = Document::parse(&bytes, &shown)?;
            return Ok(Cache::new(shown, Place::Registry(reference), manifest, document));
        }
        let resolved = client.resolve(&reference, &self.platform(Some(platform))?)?;
        if resolved.config_bytes.len() as u64 > CONFIG_MAX {
            return Err(CommandError::new(format!("the config of {shown} is too large")));
        }
        let config = ImageConfig::parse(&resolved.config_bytes)?;
        let all: Value = serde_json::from_slice(&resolved.config_bytes)?;
        let inline = all
            .get(INLINE)
            .ok_or_else(|| CommandError::new(format!("{shown} is an image without an inline build cache of img")))?;
        let document = Document::parse(&serde_json::to_vec(inline)?, &shown)?;
        let blobs = resolved.layers.iter().map(|layer| Blob {
            media_type: layer.media_type.as_str().to_owned(),
            digest: crate::engine::pull::to_store(&layer.digest),
            size: layer.size,
        });
        let layers = config.rootfs.diff_ids.iter().copied().zip(blobs).collect();
        let steps = document.steps.into_iter().map(|step| (step.key, step)).collect();
        Ok(Cache { shown, place: Place::Registry(reference), steps, layers })
    }
}
