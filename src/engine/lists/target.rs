//! What the name of a list stands for, and the manifests that its images have in it.

use std::collections::BTreeSet;

use registry_client::{Index, Platform};
use serde_json::json;
use store::image::{CompressedLayer, Image, ImageRecord};
use store::layer::Compression;
use store::layer::compression::compress;
use store::refs::Target;
use store::{Digest, ImageId};

use crate::engine::Engine;
use crate::engine::archive::MANIFEST_MAX;
use crate::engine::form::{Form, Manifest, layer_type};
use crate::engine::indexes::{best_first, platform_among};
use crate::engine::originals::threads;
use crate::engine::pull::to_store;
use crate::engine::transport::{INDEX_DEPTH, media_type};
use crate::error::{CommandError, Result};

impl Engine {
    /// What a list's name stands for. While it lists no image, that is one without files.
    pub(super) fn list_target(&self, bytes: &[u8], candidates: &[ImageId]) -> Result<Target> {
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(CommandError::new(format!(
                "the list would be an index of {} bytes, and {MANIFEST_MAX} is the most that registries take",
                bytes.len()
            ))
            .hint("list fewer images, or say less of them in annotations"));
        }
        let index = Index::parse(&media_type(bytes)?, bytes)?;
        let images = candidates.iter().map(|id| self.store.images().get(id)).collect::<store::Result<Vec<_>>>()?;
        let (mut listed, mut attached) = (Vec::new(), BTreeSet::new());
        for entry in self.listed(&index, INDEX_DEPTH)? {
            let digest = to_store(&entry.digest);
            if let Some(image) = images.iter().find(|image| image.record.manifests.contains(&digest)) {
                listed.push((platform_among(std::slice::from_ref(&entry), image), image.id));
                continue;
            }
            attached.extend(self.attached(&digest)?.1.iter().map(|blob| to_store(&blob.digest)));
            attached.insert(digest);
        }
        let mut ids = best_first(listed);
        if ids.is_empty() {
            let Platform { os, architecture, .. } = Platform::host();
            let nothing = json!({ "os": os, "architecture": architecture, "config": {},
                                  "rootfs": { "type": "layers", "diff_ids": [] } });
            ids.push(self.store.images().put(&serde_json::to_vec(&nothing)?, &ImageRecord::default())?);
        }
        let index = self.store.blobs().put(bytes)?;
        attached.insert(index);
        Target::of_index(index, &ids, attached.into_iter().collect())
            .ok_or_else(|| CommandError::new("the list has no image"))
    }

    /// The manifest that an image has, or gets now.
    pub(super) fn manifest_of(&self, image: &Image, named: Option<&Digest>) -> Result<Manifest> {
        if let Some(kept) = self.kept_manifest(image, named)? {
            let bytes = self.store.blobs().get(&kept.digest, MANIFEST_MAX)?;
            return Ok(Manifest { media_type: media_type(&bytes)?, bytes });
        }
        let (compression, mut layers) = (Compression::Gzip, Vec::new());
        let level = compression.usual_level();
        for layer in image.layers() {
            let mut scratch = self.store.scratch_file()?;
            let made = compress(self.store.layers().reader(layer)?, &mut scratch, compression, level, threads())?;
            let form = CompressedLayer::new(layer_type(compression), made.digest, made.size);
            layers.push(CompressedLayer { level, ..form });
        }
        let manifest = Form::of(image).manifest(image, &layers, &self.known_manifests(image)?)?;
        let manifests = vec![self.store.blobs().put(&manifest.bytes)?];
        let compressed = layers.into_iter().map(|layer| vec![layer]).collect();
        let record = ImageRecord { compressed, manifests, ..ImageRecord::default() };
        self.store.images().add_record(&image.id, &record)?;
        Ok(manifest)
    }
}
