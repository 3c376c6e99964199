//! `push`: blobs the registry does not have, then the config, then the manifest, then our memory of it.
//!
//! A layer that was pulled or pushed before is known in its compressed form: the registry has that blob, or can mount it
//! from the repository it came from, or it is streamed from where it is to be had, and the manifest keeps its digest. A
//! layer that was never compressed is compressed now, and what came out is remembered with the image.

use std::io::{self, Read, Seek};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use registry_client::{Client, Descriptor, MediaType, Platform, Reference};
use store::image::{CompressedLayer, Image, ImageRecord};
use store::layer::Compression;
use store::layer::compression::compress;
use store::refs::Expect;
use store::{DiffId, Digest};

use super::Engine;
use super::archive::MANIFEST_MAX;
use super::form::Keep;
use super::form::{Form, Manifest, layer_type};
use super::indexes::Which;
use super::names::familiar_parts;
use super::originals::{KeepCompressed, Kept, LazyClient, Original, opener, out_of_reach, threads};
use super::progress::{Event, Progress};
use super::pull::{names_one, to_client};
use super::transport::Access;
use crate::error::{CommandError, Context as _, Result};

/// Layers pushed at one time.
const STREAMS: usize = 2;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Where it went, as docker shows it.
    pub name: String,
    /// The manifest's digest.
    pub digest: Digest,
}

impl Engine {
    /// Pushes the image `name` to `destination`, or to the name it has.
    ///
    /// # Errors
    /// No such image, a registry that refuses or cannot be reached.
    pub fn push(
        &self,
        name: &str,
        destination: Option<&str>,
        recompress: bool,
        platform: Option<&Platform>,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Pushed> {
        let keep = if recompress { Keep::Try } else { Keep::Must };
        let client = match self.reference(destination.unwrap_or(name)) {
            Ok(target) => self.client_for(access, &target, None)?,
            // An image id, say: what is wrong with it is said below.
            Err(_) => self.client()?,
        };
        self.push_by(client, name, destination, keep, platform.map_or(Which::Whole, Which::Platform), progress)
    }

    /// As [`Engine::push`], by a client of the caller's.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub(super) fn push_by(
        &self,
        client: Client,
        name: &str,
        destination: Option<&str>,
        keep: Keep,
        which: Which<'_>,
        progress: &dyn Progress,
    ) -> Result<Pushed> {
        let mut found = self.find_image(name)?;
        let target = match (destination, &found.tag) {
            (Some(destination), _) => self.reference(destination)?,
            (None, Some(tag)) => Reference::parse(&tag.name)?,
            (None, None) => {
                return Err(CommandError::usage(format!("{name} is an id, which says nothing of where to push it"))
                    .hint("`img tag` gives it a name, or name the destination as a second word"));
            }
        };
        let client = LazyClient::of(self, client);
        if let (Which::Whole | Which::All, Some(tag)) = (which, &found.tag)
            && let Some(index) = self.whole_index(tag, matches!(which, Which::All), progress)?
        {
            let pushed = self.push_whole(&client, &index, keep, &target, progress);
            let digest = pushed.with_context(|| format!("cannot push {}", target.familiar()))?;
            self.image_event("push", &found.image.id, Some(&target.canonical()));
            return Ok(Pushed { name: target.familiar(), digest });
        }
        if let Which::Platform(platform) = which {
            found.image = self.image_of_platform(&found, name, platform)?;
        }
        let form = Form { keep, ..Form::of(&found.image) };
        let named = found.tag.as_ref().and_then(|tag| tag.manifest);
        let manifest = self.push_with(&client, &found.image, named, &target, &form, progress)?;
        Ok(Pushed { name: target.familiar(), digest: Digest::of(&manifest.bytes) })
    }

    /// The names, with their tags, that a repository has here.
    ///
    /// # Errors
    /// A name that says which tag, a repository without tags.
    pub fn local_tags(&self, repository: &str) -> Result<Vec<String>> {
        let reference = self.reference(repository)?;
        if names_one(repository, &reference) {
            return Err(CommandError::usage(format!("{repository} names one image already"))
                .hint("all tags are those of a repository: leave the tag out"));
        }
        let (wanted, _) = familiar_parts(&reference.canonical());
        let tags = self.store.refs().list()?.into_iter().filter_map(|tag| match familiar_parts(&tag.name) {
            (name, Some(tag)) if name == wanted => Some(format!("{name}:{tag}")),
            _ => None,
        });
        let tags: Vec<String> = tags.collect();
        if tags.is_empty() {
            return Err(CommandError::new(format!("there is no image of the repository {wanted}")));
        }
        Ok(tags)
    }

    /// Pushes an image to `target` in the form that is wished for; gives the manifest it has there.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn push_as(&self, image: &Image, target: &Reference, form: &Form, progress: &dyn Progress) -> Result<Manifest> {
        self.push_with(&LazyClient::new(self), image, None, target, form, progress)
    }

    /// As [`Engine::push_as`]; of several manifests that the image has, `named` is or lists the one that stays.
    fn push_with(
        &self,
        client: &LazyClient<'_>,
        image: &Image,
        named: Option<Digest>,
        target: &Reference,
        form: &Form,
        progress: &dyn Progress,
    ) -> Result<Manifest> {
        let here = self.store.images().protect(&image.id)?;
        here.ok_or_else(|| CommandError::new(format!("no such image: {}", image.id)).hint("it was removed just now"))?;
        let manifest = self
            .push_image(client, image, named, target, form, progress)
            .with_context(|| format!("cannot push {}", target.familiar()))?;
        let digest = Digest::of(&manifest.bytes);
        // An index that is whole here stays so, whichever of its images was sent.
        let own = self.store.refs().get(&target.canonical())?;
        if own.is_some_and(|tag| tag.image == image.id && !tag.is_whole()) {
            self.store.refs().set(&target.canonical(), &image.id, Some(digest), Expect::Any)?;
        }
        self.image_event("push", &image.id, Some(&target.canonical()));
        Ok(manifest)
    }

    pub(super) fn push_image(
        &self,
        lazy: &LazyClient<'_>,
        image: &Image,
        named: Option<Digest>,
        target: &Reference,
        form: &Form,
        progress: &dyn Progress,
    ) -> Result<Manifest> {
        let kept = if form.keep == Keep::Free { None } else { self.kept_manifest(image, named.as_ref())? };
        let layers = self.push_layers(lazy, image, kept.as_ref(), target, form, progress)?;
        let client = lazy.get()?;

        let config = Descriptor::of(MediaType::OCI_CONFIG, &image.raw);
        let raw = image.raw.clone();
        client.push_blob(target, &config, &move |offset| at(&raw, offset), None, None)?;

        let manifest = form.manifest(image, &layers, &self.known_manifests(image)?)?;
        let index = form.index(image, &manifest)?;
        let digest = self.store.blobs().put(&manifest.bytes)?;
        let push = |target: &Reference, manifest: &Manifest| {
            let pushed = client.push_manifest(target, &manifest.media_type, &manifest.bytes)?;
            let digest = to_client(&Digest::of(&manifest.bytes));
            if digest != pushed {
                return Err(CommandError::new(format!("the registry says the manifest is {pushed}, it is {digest}")));
            }
            Ok(())
        };
        match &index {
            None => push(target, &manifest)?,
            // The name is the index's; what it lists must be there first.
            Some(index) => {
                push(&target.with_digest(to_client(&digest)), &manifest)?;
                push(target, index)?;
            }
        }
        let compressed = layers.into_iter().map(|layer| vec![layer]).collect();
        let record = ImageRecord { compressed, manifests: vec![digest], ..ImageRecord::default() };
        self.store.images().add_record(&image.id, &record)?;
        Ok(index.unwrap_or(manifest))
    }

    /// The manifests that the image was pulled or pushed as before.
    pub(super) fn known_manifests(&self, image: &Image) -> Result<Vec<Manifest>> {
        let read = |digest: &Digest| {
            Ok(Manifest { media_type: String::new(), bytes: self.store.blobs().get(digest, MANIFEST_MAX)? })
        };
        image.record.manifests.iter().map(read).collect()
    }

    /// Sends all layers, several at a time; gives their compressed forms in order.
    fn push_layers(
        &self,
        client: &LazyClient<'_>,
        image: &Image,
        kept: Option<&Kept>,
        target: &Reference,
        form: &Form,
        progress: &dyn Progress,
    ) -> Result<Vec<CompressedLayer>> {
        let layers = image.layers();
        let wishes = wishes(image, kept, form.keep);
        let results: Vec<Mutex<Option<Result<CompressedLayer>>>> = layers.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..STREAMS.min(layers.len()) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let (Some(layer), Some(slot)) = (layers.get(at), results.get(at)) else { break };
                        let Some(wish) = wishes.get(at) else { break };
                        let result = self.push_layer(client, layer, wish, target, form, progress);
                        if result.is_err() {
                            next.store(layers.len(), Ordering::Relaxed);
                        }
                        if let Ok(mut slot) = slot.lock() {
                            *slot = Some(result);
                        }
                    }
                });
            }
        });
        let mut results: Vec<Option<Result<CompressedLayer>>> =
            results.into_iter().map(|slot| slot.into_inner().unwrap_or(None)).collect();
        if let Some(at) = results.iter().position(|result| matches!(result, Some(Err(_))))
            && let Some(Some(Err(error))) = results.get_mut(at).map(Option::take)
        {
            return Err(error);
        }
        let done = results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(CommandError::new("a worker of the push ended unexpectedly"))));
        done.collect()
    }

    /// Brings one layer to the registry by the cheapest way that works: it is there, is mounted, is sent as it came, or is
    /// compressed now.
    fn push_layer(
        &self,
        client: &LazyClient<'_>,
        layer: &DiffId,
        wish: &Wish<'_>,
        target: &Reference,
        wanted: &Form,
        progress: &dyn Progress,
    ) -> Result<CompressedLayer> {
        let id = layer.short();
        let arrived = |original: &Original, how: &'static str| {
            progress.event(Event::Done(&id, how));
            CompressedLayer { origin: Some(origin_of(target)), ..original.form.clone() }
        };
        let mut reasons = Vec::new();
        for original in wish.forms.iter().filter(|original| wanted.accepts(&original.form)) {
            let descriptor = original.descriptor();
            if client.get()?.has_blob(target, &descriptor.digest)? {
                return Ok(arrived(original, "Layer already exists"));
            }
            for repository in original.repositories(target.registry()) {
                if repository != target.repository() && mount(client.get()?, target, &descriptor, repository)? {
                    return Ok(arrived(original, "Mounted"));
                }
            }
            match self.reach(client, layer, original)? {
                Ok(open) => {
                    progress.event(Event::Started(&id, descriptor.size));
                    client.get()?.push_blob(target, &descriptor, &open, None, None)?;
                    return Ok(arrived(original, "Pushed"));
                }
                Err(more) => reasons.extend(more),
            }
        }
        if let Some(kept) = wish.only {
            return Err(out_of_reach(kept, reasons));
        }
        let mut scratch = self.store.scratch_file()?;
        progress.event(Event::Started(&id, self.store.layers().info(layer)?.tar_size));
        let compression = wanted.compression.unwrap_or(Compression::Gzip);
        let level = wanted.level.or(compression.usual_level());
        let reader = self.store.layers().reader(layer)?;
        let compressed = compress(reader, &mut scratch, compression, level, threads())?;
        let form = CompressedLayer::new(layer_type(compression), compressed.digest, compressed.size);
        let original = Original { form: CompressedLayer { level, ..form }, origins: Vec::new() };
        if self.settings.keep_compressed == KeepCompressed::Always && original.form.digest != layer.0 {
            let mut from = scratch.try_clone()?;
            from.rewind()?;
            self.keep_blob(&compressed.digest, compressed.size, from)?;
        }
        client.get()?.push_blob(target, &original.descriptor(), &opener(scratch), None, None)?;
        Ok(arrived(&original, "Pushed"))
    }
}

/// In which forms a layer may be pushed, the best first.
struct Wish<'a> {
    forms: Vec<Original>,
    /// The manifest that has to stay: in no other form.
    only: Option<&'a Digest>,
}

/// The forms of each layer: those of the manifest that stays, and unless it must, whatever else is known.
fn wishes<'a>(image: &Image, kept: Option<&'a Kept>, keep: Keep) -> Vec<Wish<'a>> {
    let mut wishes: Vec<Wish<'a>> =
        Engine::originals(image).into_iter().map(|forms| Wish { forms, only: None }).collect();
    let Some(kept) = kept else { return wishes };
    for (wish, own) in wishes.iter_mut().zip(&kept.layers) {
        if keep == Keep::Must {
            *wish = Wish { forms: vec![own.clone()], only: Some(&kept.digest) };
        } else {
            wish.forms.retain(|other| other.form.digest != own.form.digest);
            wish.forms.insert(0, own.clone());
        }
    }
    wishes
}

/// Asks the registry to take a blob from another of its repositories; says whether it did. We do not have the bytes, so
/// an upload that it wants instead is broken off before it begins.
fn mount(client: &Client, target: &Reference, descriptor: &Descriptor, repository: &str) -> Result<bool> {
    let refused = AtomicBool::new(false);
    let open = |_| {
        refused.store(true, Ordering::Relaxed);
        Err(io::Error::new(io::ErrorKind::NotFound, "the compressed layer is not kept"))
    };
    match client.push_blob(target, descriptor, &open, Some(repository), None) {
        Ok(_) => Ok(true),
        Err(_) if refused.load(Ordering::Relaxed) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Registry and repository, as an image's record names where it came from.
pub(in crate::engine) fn origin_of(target: &Reference) -> String {
    format!("{}/{}", target.registry(), target.repository())
}

/// The bytes from `offset` on.
pub(super) fn at(bytes: &[u8], offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    Ok(Box::new(io::Cursor::new(bytes[start..].to_vec())))
}
