//! An image of this store as a source: with the manifest it came with, and its layers in the bytes that this one names; or,
//! if it never had one, with a manifest of its layers as the tars they are. An index that is kept whole is a source too.

use std::collections::BTreeMap;
use std::fs::File;

use ::store::Digest;
use ::store::image::{CompressedLayer, Image};
use ::store::layer::Compression;
use ::store::layer::compression::compress;
use registry_client::Descriptor;

use super::directory::media_type;
use super::{Document, Source};
use crate::engine::Engine;
use crate::engine::form::{Form, layer_type};
use crate::engine::indexes::{Part, Whole};
use crate::engine::originals::{Kept, LazyClient, Opener, Original, opener, out_of_reach, threads};
use crate::engine::pull::to_store;
use crate::error::{CommandError, Result};

/// The image.
pub(super) struct StoreImage<'a> {
    engine: &'a Engine,
    client: LazyClient<'a>,
    image: Image,
    root: Document,
    kept: Option<Digest>,
    layers: Vec<Original>,
    /// Layers that were compressed for this copy, by digest.
    anew: BTreeMap<Digest, File>,
}

impl<'a> StoreImage<'a> {
    /// An image under the manifest that `named` is or lists; with `recompress`, layers whose bytes are out of reach are
    /// compressed now.
    pub fn open(engine: &'a Engine, image: Image, named: Option<Digest>, recompress: bool) -> Result<Self> {
        engine.store.protect(&[image.id.0])?;
        let kept = engine.kept_manifest(&image, named.as_ref())?;
        let mut this = Self {
            engine,
            client: LazyClient::new(engine),
            root: Document { media_type: String::new(), bytes: Vec::new() },
            kept: kept.as_ref().map(|kept| kept.digest),
            layers: Vec::new(),
            anew: BTreeMap::new(),
            image,
        };
        let mut stays = true;
        match kept {
            Some(Kept { layers, .. }) => {
                for (at, original) in layers.into_iter().enumerate() {
                    let anew = if recompress { this.compress_missing(at, &original)? } else { None };
                    stays &= anew.is_none();
                    this.layers.push(anew.unwrap_or(original));
                }
            }
            None => {
                for layer in this.image.layers() {
                    let size = engine.store.layers().info(layer)?.tar_size;
                    let form = CompressedLayer::new(layer_type(Compression::None), layer.0, size);
                    this.layers.push(Original { form, origins: Vec::new() });
                }
            }
        }
        let forms: Vec<CompressedLayer> = this.layers.iter().map(|layer| layer.form.clone()).collect();
        let known = engine.known_manifests(&this.image)?;
        let own = known.into_iter().find(|known| stays && Some(Digest::of(&known.bytes)) == this.kept);
        let manifest = match own {
            Some(own) => own.bytes,
            None => Form::of(&this.image).manifest(&this.image, &forms, &[])?.bytes,
        };
        this.root = Document { media_type: media_type(&manifest)?, bytes: manifest };
        Ok(this)
    }

    /// Whether it has a blob of this digest.
    fn has(&self, digest: &Digest) -> bool {
        *digest == self.image.id.0 || self.layers.iter().any(|layer| layer.form.digest == *digest)
    }

    /// The layer compressed anew, if its own bytes are out of reach.
    fn compress_missing(&mut self, at: usize, original: &Original) -> Result<Option<Original>> {
        let Some(layer) = self.image.layers().get(at) else { return Ok(None) };
        if self.engine.reach(&self.client, layer, original)?.is_ok() {
            return Ok(None);
        }
        let mut scratch = self.engine.store.scratch_file()?;
        let reader = self.engine.store.layers().reader(layer)?;
        let made = compress(reader, &mut scratch, Compression::Gzip, None, threads())?;
        self.anew.insert(made.digest, scratch);
        let form = CompressedLayer::new(layer_type(Compression::Gzip), made.digest, made.size);
        Ok(Some(Original { form, origins: Vec::new() }))
    }
}

impl Source for StoreImage<'_> {
    fn root(&self) -> Result<Document> {
        Ok(self.root.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Document> {
        Err(CommandError::new(format!("the store has no manifest {} of this image", descriptor.digest)))
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> Result<Opener<'a>> {
        let digest = to_store(&descriptor.digest);
        if digest == self.image.id.0 {
            return Ok(Box::new(|offset| crate::engine::push::at(&self.image.raw, offset)));
        }
        if let Some(file) = self.anew.get(&digest) {
            return Ok(opener(file.try_clone()?));
        }
        let at = self.layers.iter().position(|layer| layer.form.digest == digest);
        let found = at.and_then(|at| Some((self.image.layers().get(at)?, self.layers.get(at)?)));
        let (layer, original) = found.ok_or_else(|| CommandError::new(format!("the image has no blob {digest}")))?;
        self.engine
            .reach(&self.client, layer, original)?
            .map_err(|reasons| out_of_reach(&self.kept.unwrap_or(self.image.id.0), reasons))
    }
}

/// An index with everything that it lists.
pub(super) struct StoreIndex<'a> {
    engine: &'a Engine,
    root: Document,
    images: Vec<StoreImage<'a>>,
}

impl<'a> StoreIndex<'a> {
    /// An index that is whole here. Its images must be to be had in the form that it lists.
    pub fn open(engine: &'a Engine, whole: Whole) -> Result<Self> {
        let mut images = Vec::new();
        for (entry, part) in whole.parts {
            if let Part::Image(image) = part {
                let listed = to_store(&entry.digest);
                let image = StoreImage::open(engine, *image, Some(listed), false)?;
                if image.root.digest() != listed {
                    return Err(CommandError::new(format!(
                        "the image {} is not to be had in the form {listed} that the index lists",
                        image.image.id.short()
                    ))
                    .hint("without --all the image of one platform is copied"));
                }
                images.push(image);
            }
        }
        Ok(Self { engine, root: Document { media_type: whole.media_type, bytes: whole.bytes }, images })
    }
}

impl Source for StoreIndex<'_> {
    fn root(&self) -> Result<Document> {
        Ok(self.root.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Document> {
        let digest = to_store(&descriptor.digest);
        match self.images.iter().find(|image| image.root.digest() == digest) {
            Some(image) => image.root(),
            None => Ok(self.engine.attached(&digest)?.0),
        }
    }

    fn blob<'b>(&'b self, descriptor: &'b Descriptor) -> Result<Opener<'b>> {
        let digest = to_store(&descriptor.digest);
        match self.images.iter().find(|image| image.has(&digest)) {
            Some(image) => image.blob(descriptor),
            None => Ok(opener(self.engine.store.blobs().open(&digest)?)),
        }
    }
}
