//! Into this store from any source: the image of one platform, or an index with all that it lists. Layers are ingested as
//! they come.

use std::path::Path;

use ::store::image::{CONFIG_MAX, CompressedLayer, ImageConfig, ImageRecord, Provenance};
use ::store::refs::Expect;
use ::store::{Digest, ImageId};
use registry_client::Platform;

use super::copy::choose;
use super::directory::verified;
use super::{Document, INDEX_DEPTH, Listing, Source};
use crate::engine::Engine;
use crate::engine::originals::KeepCompressed;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::to_store;
use crate::engine::push::origin_of;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Takes in the image of `platform` under `name`, or without a name; gives its id and the digest of what the source
    /// stands for.
    pub(super) fn take_in(
        &self,
        source: &dyn Source,
        platform: &Platform,
        name: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<(ImageId, Digest)> {
        let name = name.map(|name| self.tag_reference(name)).transpose()?;
        let root = source.root()?;
        let mut document = root.clone();
        for _ in 0..INDEX_DEPTH {
            if document.is_index() {
                document = source.manifest(&choose(&document, platform)?)?;
            }
        }
        let index = root.is_index().then_some(&root);
        let image = self.take_image(source, &document, index, progress)?;
        if let Some(name) = &name {
            self.store.refs().set(name, &image, Some(root.digest()), Expect::Any)?;
            self.image_event("pull", &image, Some(name));
        }
        Ok((image, root.digest()))
    }

    /// Takes in all images of the index that the source stands for, and what else it lists, under `name`; what is no index,
    /// as the one image that it is. Gives the digest.
    pub(super) fn take_whole(&self, source: &dyn Source, name: &str, progress: &dyn Progress) -> Result<Digest> {
        let canonical = self.tag_reference(name)?;
        let root = source.root()?;
        if !root.is_index() {
            return self.take_in(source, &Platform::host(), Some(name), progress).map(|(_, digest)| digest);
        }
        let (listing, ids) = self.take_listed(source, root, progress)?;
        let attached = self.keep_attached(source, &listing)?;
        let target = self.target_of(&listing, &ids, attached)?;
        self.store.refs().point(&canonical, &target, Expect::Any)?;
        self.image_event("pull", &target.image, Some(&canonical));
        Ok(listing.index.digest())
    }

    /// Takes in all images that an index lists.
    pub(super) fn take_listed(
        &self,
        source: &dyn Source,
        index: Document,
        progress: &dyn Progress,
    ) -> Result<(Listing, Vec<ImageId>)> {
        let listing = Listing::read(source, index)?;
        let mut ids = Vec::new();
        for (entry, document) in &listing.images {
            if let Some(platform) = &entry.platform {
                progress.event(Event::Note(&format!("Platform: {platform}")));
            }
            ids.push(self.take_image(source, document, Some(&listing.index), progress)?);
        }
        Ok((listing, ids))
    }

    /// Takes in the image of a manifest, as a part of `index`.
    fn take_image(
        &self,
        source: &dyn Source,
        document: &Document,
        index: Option<&Document>,
        progress: &dyn Progress,
    ) -> Result<ImageId> {
        let manifest = document.manifest()?;
        if manifest.config.size > CONFIG_MAX {
            return Err(CommandError::new(format!("the config is larger than {CONFIG_MAX} bytes")));
        }
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut verified(source, &manifest.config)?, &mut raw)?;
        let config = ImageConfig::parse(&raw)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, ids) = (manifest.layers.len(), diff_ids.len());
            return Err(CommandError::new(format!("the manifest has {layers} layers and the config {ids}")));
        }
        let own = diff_ids.iter().map(|layer| layer.0).chain([Digest::of(&raw)]);
        self.store.protect(&own.collect::<Vec<_>>())?;
        let origin = source.registry().map(|(_, reference)| origin_of(reference));
        let keep = match self.settings.keep_compressed {
            KeepCompressed::Auto => origin.is_none(),
            keep => keep == KeepCompressed::Always,
        };
        if let Some((client, reference)) = source.registry() {
            // As `pull` does: side by side, and on from where an earlier try was cut.
            self.fetch_layers(client, reference, &manifest.layers, diff_ids, keep, progress)?;
        }
        let mut compressed = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let (short, digest) = (diff_id.short(), to_store(&descriptor.digest));
            let form = CompressedLayer::new(descriptor.media_type.as_str(), digest, descriptor.size);
            compressed.push(vec![CompressedLayer { origin: origin.clone(), ..form }]);
            let keeps = keep && digest != diff_id.0 && !self.store.blobs().has(&digest);
            if self.store.layers().has(diff_id) && !keeps {
                if source.registry().is_none() {
                    progress.event(Event::Done(&short, "Already exists"));
                }
                continue;
            }
            progress.event(Event::Started(&short, descriptor.size));
            let doing = || format!("layer {digest}");
            let announced = Some((digest, descriptor.size));
            if keeps {
                self.keep_blob(&digest, descriptor.size, verified(source, descriptor)?).with_context(doing)?;
                let reader = self.store.blobs().open(&digest)?;
                self.store.layers().ingest(reader, Some(diff_id), announced).with_context(doing)?;
            } else {
                let reader = source.blob(descriptor)?(0).with_context(doing)?;
                self.store.layers().ingest(reader, Some(diff_id), announced).with_context(doing)?;
            }
            progress.event(Event::Done(&short, "Copied"));
        }
        let mut manifests = vec![self.store.blobs().put(&document.bytes)?];
        if let Some(index) = index {
            manifests.push(self.store.blobs().put(&index.bytes)?);
        }
        let provenance = Provenance { source: origin.or_else(|| Some("a copy".into())), ..Provenance::default() };
        let provenance = vec![provenance; diff_ids.len()];
        let record = ImageRecord { provenance, compressed, manifests, ..ImageRecord::default() };
        Ok(self.store.images().put(&raw, &record)?)
    }

    /// Takes in one image of docker's archive, without a name: the one of this name, the one at `@POSITION`, or the only
    /// one there is.
    pub(super) fn take_docker(&self, path: &Path, name: Option<&str>, progress: &dyn Progress) -> Result<ImageId> {
        self.load_one(path, name, progress).with_context(|| format!("cannot read {}", path.display()))
    }
}
