//! Writing the steps of a build for other machines. What is exported is what this build used or made: with mode `min` the
//! steps of the stages that the image stands on, with `max` those of all stages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use builder::{BuildOutput, UsedStep};
use registry_client::{Client, Descriptor, Reference};
use serde_json::{Value, json};
use store::cache::CacheRecord;
use store::image::{CompressedLayer, ImageRecord};
use store::layer::compression::compress;
use store::{DiffId, Digest, ImageId};

use super::document::{ARTIFACT, CONFIG, Document, INLINE, manifest};
use super::layout::Layout;
use super::spec::{CacheTo, How, Mode};
use crate::engine::Engine;
use crate::engine::form::layer_type;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::to_client;
use crate::engine::push::at;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Exports the cache of a build wherever it was asked for, but for inline caches.
    ///
    /// # Errors
    /// A place that cannot be written and whose errors are not to be ignored.
    pub(in crate::engine::build) fn export_cache(
        &self,
        to: &[CacheTo],
        output: &BuildOutput,
        progress: &dyn Progress,
    ) -> Result<()> {
        for to in to {
            let (shown, how, result) = match to {
                CacheTo::Inline => continue,
                CacheTo::Local { dest, tag, reset, how } => {
                    (dest.display().to_string(), how, self.export_local(&Layout::new(dest), tag, *reset, *how, output))
                }
                CacheTo::Registry { reference, how } => {
                    (reference.clone(), how, self.export_registry(reference, *how, output, progress))
                }
            };
            match result {
                Err(error) if how.ignore_error => {
                    progress.event(Event::Note(&format!("the cache was not exported to {shown}: {error}")));
                }
                result => result.with_context(|| format!("cannot export the cache to {shown}"))?,
            }
        }
        Ok(())
    }

    /// The records of the steps that `mode` means.
    fn steps(&self, mode: Mode, used: &[UsedStep]) -> Result<Vec<CacheRecord>> {
        let mut found = BTreeMap::new();
        for step in used.iter().filter(|step| mode == Mode::Max || step.in_target) {
            // One that is gone meanwhile is not missed: the cache may always have less.
            if let Some(record) = self.store.cache().get(&step.key)? {
                found.insert(step.key, record);
            }
        }
        Ok(found.into_values().collect())
    }

    fn export_local(&self, layout: &Layout, tag: &str, reset: bool, how: How, output: &BuildOutput) -> Result<()> {
        let steps = self.steps(how.mode, &output.steps)?;
        let mut put = |layer: &DiffId| {
            let mut size = 0;
            let digest = layout.put(|file| {
                let compressed = self.compress_layer(layer, file, how)?;
                size = compressed.size;
                Ok(compressed.digest)
            })?;
            Ok(CompressedLayer::new(layer_type(how.compression), digest, size))
        };
        let (document, layers) = collect(steps, &mut put)?;
        let config = document.encode()?;
        layout.put(|file| {
            io::Write::write_all(file, &config)?;
            Ok(Digest::of(&config))
        })?;
        layout.publish(tag, &manifest(&config, &layers)?, reset)
    }

    fn export_registry(&self, name: &str, how: How, output: &BuildOutput, progress: &dyn Progress) -> Result<()> {
        let target = self.reference(name)?;
        let client = self.client()?;
        let steps = self.steps(how.mode, &output.steps)?;
        let mut put = |layer: &DiffId| self.push_cache_layer(&client, &target, layer, how, progress);
        let (document, layers) = collect(steps, &mut put)?;
        let config = document.encode()?;
        let descriptor = Descriptor::of(CONFIG, &config);
        let bytes = config.clone();
        client.push_blob(&target, &descriptor, &move |offset| at(&bytes, offset), None, None)?;
        let bytes = manifest(&config, &layers)?;
        client
            .push_manifest(&target, registry_client::MediaType::OCI_MANIFEST, &bytes)
            .with_context(|| format!("the registry does not take a manifest of {ARTIFACT}"))?;
        Ok(())
    }

    fn push_cache_layer(
        &self,
        client: &Client,
        target: &Reference,
        layer: &DiffId,
        how: How,
        progress: &dyn Progress,
    ) -> Result<CompressedLayer> {
        let mut scratch = self.store.scratch_file()?;
        let id = layer.short();
        progress.event(Event::Started(&id, self.store.layers().info(layer)?.tar_size));
        let compressed = self.compress_layer(layer, &mut scratch, how)?;
        let media_type = layer_type(how.compression);
        let descriptor = Descriptor::new(media_type, to_client(&compressed.digest), compressed.size);
        let open = |offset: u64| -> io::Result<Box<dyn Read + Send>> {
            let mut file: File = scratch.try_clone()?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(file))
        };
        client.push_blob(target, &descriptor, &open, None, None)?;
        progress.event(Event::Done(&id, "Cache pushed"));
        Ok(CompressedLayer::new(media_type, compressed.digest, compressed.size))
    }

    fn compress_layer(
        &self,
        layer: &DiffId,
        into: &mut File,
        how: How,
    ) -> Result<store::layer::compression::Compressed> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let reader = self.store.layers().reader(layer)?;
        Ok(compress(reader, into, how.compression, how.level, threads)?)
    }

    /// Puts the cache of a build into the config of its image, which becomes another image; gives that.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(in crate::engine::build) fn embed_cache(&self, output: &BuildOutput) -> Result<ImageId> {
        let mut steps = self.steps(Mode::Min, &output.steps)?;
        for step in &mut steps {
            // What explains a step is for the machine that ran it.
            let kept = ["created", "duration_ms", "stage", "instruction"];
            if let Value::Object(value) = &mut step.value {
                value.retain(|key, _| kept.contains(&key.as_str()));
            }
        }
        let image = self.store.images().get(&output.image)?;
        let mut config: Value = serde_json::from_slice(&image.raw)?;
        config[INLINE] = json!(Document::new(steps, BTreeMap::new()));
        let record = ImageRecord { stored: None, ..image.record.clone() };
        Ok(self.store.images().put(&serde_json::to_vec(&config)?, &record)?)
    }
}

/// The document of these steps; `put` brings a layer where it is to be.
fn collect(
    steps: Vec<CacheRecord>,
    put: &mut dyn FnMut(&DiffId) -> Result<CompressedLayer>,
) -> Result<(Document, Vec<CompressedLayer>)> {
    let mut blobs = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in steps.iter().filter_map(|step| step.layer) {
        if let std::collections::btree_map::Entry::Vacant(free) = blobs.entry(layer) {
            let form = put(&layer)?;
            free.insert(form.digest);
            layers.push(form);
        }
    }
    if steps.is_empty() {
        return Err(CommandError::new("the build has no step that could be cached")
            .hint("a Buildfile of FROM and settings alone needs no cache"));
    }
    Ok((Document::new(steps, blobs), layers))
}
