//! Into this store: the image of one platform from any source, its layers ingested as they come.

use std::path::Path;

use ::store::image::{CONFIG_MAX, CompressedLayer, ImageConfig, ImageRecord, Provenance};
use ::store::refs::Expect;
use ::store::{Digest, ImageId};
use registry_client::Platform;

use super::Source;
use super::copy::choose;
use super::directory::verified;
use crate::engine::Engine;
use crate::engine::originals::KeepCompressed;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::to_store;
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
        let document = if root.is_index() { source.manifest(&choose(&root, platform)?)? } else { root.clone() };
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
        self.store.protect(&diff_ids.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
        let origin = source.repository();
        let keep = match self.settings.keep_compressed {
            KeepCompressed::Auto => origin.is_none(),
            keep => keep == KeepCompressed::Always,
        };
        let mut compressed = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let (short, digest) = (diff_id.short(), to_store(&descriptor.digest));
            let form = CompressedLayer::new(descriptor.media_type.as_str(), digest, descriptor.size);
            compressed.push(vec![CompressedLayer { origin: origin.clone(), ..form }]);
            let keeps = keep && digest != diff_id.0 && !self.store.blobs().has(&digest);
            if self.store.layers().has(diff_id) && !keeps {
                progress.event(Event::Done(&short, "Already exists"));
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
        if root.is_index() {
            manifests.push(self.store.blobs().put(&root.bytes)?);
        }
        let provenance = Provenance { source: origin.or_else(|| Some("a copy".into())), ..Provenance::default() };
        let provenance = vec![provenance; diff_ids.len()];
        let record = ImageRecord { provenance, compressed, manifests, ..ImageRecord::default() };
        let image = self.store.images().put(&raw, &record)?;
        if let Some(name) = &name {
            self.store.refs().set(name, &image, Some(root.digest()), Expect::Any)?;
            self.image_event("pull", &image, Some(name));
        }
        Ok((image, root.digest()))
    }

    /// Takes in one image of docker's archive, without a name: the one of this name, the one at `@POSITION`, or the only
    /// one there is.
    pub(super) fn take_docker(&self, path: &Path, name: Option<&str>, progress: &dyn Progress) -> Result<ImageId> {
        self.load_one(path, name, progress).with_context(|| format!("cannot read {}", path.display()))
    }
}
