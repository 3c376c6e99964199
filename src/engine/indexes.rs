//! Indexes that are kept whole: all images of one, and what else it lists, fetched by one pull and sent by one push.
//!
//! The tag names the image for this machine, as any tag does, and beside it the images of the other platforms and the
//! blobs of attestations, so that all of them stay and go with the tag. Each image's record has its own manifest and
//! the index; an index goes out in its very bytes, after everything that it lists.

use registry_client::{Client, Descriptor, Document, Index, MediaType, Platform, RawManifest, Reference};
use store::image::Image;
use store::refs::{Expect, Tag, Target};
use store::{Digest, ImageId};

use super::Engine;
use super::archive::MANIFEST_MAX;
use super::form::{Form, Keep};
use super::names::{Found, canonical_by_digest, retried};
use super::originals::LazyClient;
use super::progress::{Event, Progress};
use super::pull::{PullOptions, Pulled, to_client, to_store};
use super::transport::{self, ATTACHED_MAX, INDEX_DEPTH, Listing, Registry, media_type};
use crate::error::{CommandError, Context as _, Result};

/// What of a tag is sent.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The index, if it is whole here; else the image.
    Whole,
    /// The index, an error if only a part of it is here; what is no index, as the image that it is.
    All,
    /// The image that the name stands for on this machine.
    Own,
    /// The image of this platform.
    Platform(&'a Platform),
}

/// An index all parts of which are here.
pub struct Whole {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
    pub(super) parts: Vec<(Descriptor, Part)>,
}

pub(super) enum Part {
    Image(Box<Image>),
    Attached,
}

/// The platform of an image among the entries of an index: what the index says goes before what the image says.
pub(super) fn platform_among(entries: &[Descriptor], image: &Image) -> Platform {
    let own = entries.iter().find(|entry| image.record.manifests.contains(&to_store(&entry.digest)));
    own.and_then(|entry| entry.platform.clone()).unwrap_or_else(|| platform_of(image))
}

/// The images of an index, that for this machine first.
pub(super) fn best_first(mut images: Vec<(Platform, ImageId)>) -> Vec<ImageId> {
    let host = Platform::host();
    images.sort_by_key(|(platform, _)| host.rank(platform).unwrap_or(u32::MAX));
    images.into_iter().map(|(_, id)| id).collect()
}

/// What an image says of the platform it is for.
pub(super) fn platform_of(image: &Image) -> Platform {
    let config = &image.config;
    Platform::new(&config.os, &config.architecture, config.variant.as_deref())
}

impl Engine {
    /// Fetches every image of the index that `reference` stands for; of what is no index, the one image.
    pub(super) fn pull_whole(
        &self,
        client: &Client,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let root = client.manifest(reference, &[])?;
        let what = reference.canonical();
        let Document::Index(_) = Document::parse(&what, &root.media_type, &root.bytes)? else {
            return self.pull_with(client, reference, &Platform::host(), options, progress);
        };
        let source = Registry { client, reference: reference.clone() };
        let media_type = root.media_type.as_str().to_owned();
        let listing = Listing::read(&source, transport::Document { media_type, bytes: root.bytes.clone() })?;
        let (mut found, mut fetched) = (Vec::new(), false);
        for (entry, document) in &listing.images {
            let manifest = RawManifest {
                media_type: document.media_type.as_str().into(),
                digest: entry.digest,
                bytes: document.bytes.clone(),
                origin: root.origin.clone(),
            };
            let pinned = reference.with_digest(entry.digest);
            let resolved = client.image(&pinned, &root, manifest, entry.platform.clone())?;
            progress.event(Event::Note(&format!("Platform: {}", resolved.platform)));
            fetched |= self.fetch_resolved(client, reference, &resolved, options, progress)?;
            found.push(resolved);
        }
        let attached = self.keep_attached(&source, &listing)?;
        let (name, digest) = (canonical_by_digest(reference), to_store(&root.digest));
        let (target, same) = retried(|| {
            let recorded = found.iter().map(|image| Ok(self.record_image(reference, image)?.0));
            let ids = recorded.collect::<store::Result<Vec<ImageId>>>()?;
            let target = self.target_of(&listing, &ids, attached.clone())?;
            let same = self.store.refs().get(&name)?.is_some_and(|tag| Target::from(&tag) == target);
            if !same {
                self.store.refs().point(&name, &target, Expect::Any)?;
            }
            Ok((target, same))
        })?;
        self.image_event("pull", &target.image, Some(&name));
        let fetched = fetched || !same;
        Ok(Pulled { image: target.image, name, familiar: reference.familiar(), digest, fetched })
    }

    /// What the name of an index stands for whose images are here as `ids`: the one that this machine runs, or the first
    /// if there is none, and the others.
    pub(super) fn target_of(&self, listing: &Listing, ids: &[ImageId], attached: Vec<Digest>) -> store::Result<Target> {
        let mut images = Vec::new();
        for ((entry, _), id) in listing.images.iter().zip(ids) {
            let platform = match &entry.platform {
                Some(platform) => platform.clone(),
                None => platform_of(&self.store.images().get(id)?),
            };
            images.push((platform, *id));
        }
        let ids = best_first(images);
        let none = || store::Error::Invalid { what: "index", reason: "it lists no image".into() };
        Target::of_index(listing.index.digest(), &ids, attached).ok_or_else(none)
    }

    /// The index that a tag stands for, if all that it lists is here. Of one of which only a part is here the image is sent
    /// alone, and that is said; where everything was asked for it is an error.
    pub(super) fn whole_index(&self, tag: &Tag, all: bool, progress: &dyn Progress) -> Result<Option<Whole>> {
        let Some(digest) = tag.manifest.filter(|digest| self.store.blobs().has(digest)) else { return Ok(None) };
        let bytes = self.store.blobs().get(&digest, MANIFEST_MAX)?;
        let media_type = media_type(&bytes)?;
        let Document::Index(index) = Document::parse(&tag.name, &MediaType(media_type.clone()), &bytes)? else {
            return Ok(None);
        };
        if index.manifests.len() < 2 && !all && !tag.is_whole() {
            return Ok(None);
        }
        match self.parts(tag, &index)? {
            Some(parts) => Ok(Some(Whole { media_type, bytes, parts })),
            None if all => Err(CommandError::new(format!("only a part of the index {digest} is here"))
                .hint("`img pull --all-platforms` keeps an index whole")),
            None => {
                progress.event(Event::Note(&format!(
                    "only a part of the index {digest} is here: the manifest of one platform goes alone \
                     (`img pull --all-platforms` keeps an index whole)"
                )));
                Ok(None)
            }
        }
    }

    /// What an index lists, if all of it is here and stays while this process needs it. What an index in it lists comes
    /// before that one.
    fn parts(&self, tag: &Tag, index: &Index) -> Result<Option<Vec<(Descriptor, Part)>>> {
        let mut images = Vec::new();
        for id in tag.images() {
            images.extend(self.store.images().protect(&id)?);
        }
        self.store.protect(&tag.attached)?;
        let mut parts = Vec::new();
        for entry in self.listed(index, INDEX_DEPTH)? {
            let digest = to_store(&entry.digest);
            let part = match images.iter().find(|image| image.record.manifests.contains(&digest)) {
                Some(image) => Part::Image(Box::new(image.clone())),
                None if tag.attached.contains(&digest) && self.store.blobs().has(&digest) => Part::Attached,
                None => return Ok(None),
            };
            parts.push((entry, part));
        }
        Ok(Some(parts))
    }

    /// All entries of an index, those of an index in it that is here before its own.
    pub(super) fn listed(&self, index: &Index, depth: usize) -> Result<Vec<Descriptor>> {
        let depth = depth.checked_sub(1).ok_or_else(|| CommandError::new("the indexes lie too deep in one another"))?;
        let mut all = Vec::new();
        for entry in &index.manifests {
            let digest = to_store(&entry.digest);
            if entry.media_type.is_index() && self.store.blobs().has(&digest) {
                let bytes = self.store.blobs().get(&digest, MANIFEST_MAX)?;
                all.extend(self.listed(&Index::parse(entry.media_type.as_str(), &bytes)?, depth)?);
            }
            all.push(entry.clone());
        }
        Ok(all)
    }

    /// The entries of the index that a tag stands for, if it is kept whole.
    pub(super) fn entries(&self, tag: &Tag) -> Result<Vec<Descriptor>> {
        let Some(digest) = tag.manifest.filter(|digest| tag.is_whole() && self.store.blobs().has(digest)) else {
            return Ok(Vec::new());
        };
        let bytes = self.store.blobs().get(&digest, MANIFEST_MAX)?;
        match Document::parse(&tag.name, &MediaType(media_type(&bytes)?), &bytes)? {
            Document::Index(index) => self.listed(&index, INDEX_DEPTH),
            Document::Manifest(_) => Ok(Vec::new()),
        }
    }

    /// Sends an index after all that it lists; gives its digest.
    pub(super) fn push_whole(
        &self,
        client: &LazyClient<'_>,
        whole: &Whole,
        keep: Keep,
        target: &Reference,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        for (entry, part) in &whole.parts {
            let (pinned, listed) = (target.with_digest(entry.digest), to_store(&entry.digest));
            match part {
                Part::Attached => self.push_attached(client, &listed, &pinned)?,
                Part::Image(image) => {
                    let platform = platform_of(image);
                    let form = Form { keep, ..Form::of(image) };
                    let sent = self
                        .push_image(client, image, Some(listed), &pinned, &form, progress)
                        .with_context(|| format!("platform {platform}"))?;
                    if Digest::of(&sent.bytes) != listed {
                        return Err(CommandError::new(format!(
                            "the image for {platform} is not to be had in the form that the index lists"
                        ))
                        .hint(format!("--platform {platform} sends it alone")));
                    }
                }
            }
        }
        let pushed = client.get()?.push_manifest(target, &whole.media_type, &whole.bytes)?;
        let digest = Digest::of(&whole.bytes);
        if pushed != to_client(&digest) {
            return Err(CommandError::new(format!("the registry says the index is {pushed}, it is {digest}")));
        }
        Ok(digest)
    }

    fn push_attached(&self, client: &LazyClient<'_>, manifest: &Digest, pinned: &Reference) -> Result<()> {
        let (document, blobs) = self.attached(manifest)?;
        for blob in blobs {
            let content = self.store.blobs().get(&to_store(&blob.digest), ATTACHED_MAX)?;
            client.get()?.push_blob(pinned, &blob, &move |offset| super::push::at(&content, offset), None, None)?;
        }
        client.get()?.push_manifest(pinned, &document.media_type, &document.bytes)?;
        Ok(())
    }

    /// A document that is kept beside images, and the blobs that it names.
    pub(super) fn attached(&self, digest: &Digest) -> Result<(transport::Document, Vec<Descriptor>)> {
        let bytes = self.store.blobs().get(digest, MANIFEST_MAX)?;
        let document = transport::Document { media_type: media_type(&bytes)?, bytes };
        let mut blobs = Vec::new();
        if !document.is_index() {
            let manifest = document.manifest()?;
            blobs.push(manifest.config);
            blobs.extend(manifest.layers);
        }
        Ok((document, blobs))
    }

    /// The images that a name stands for, each with its platform, this machine's first; those that are here.
    pub(super) fn platforms_here(&self, found: &Found) -> Result<Vec<(Platform, Image)>> {
        let entries = found.tag.as_ref().map(|tag| self.entries(tag)).transpose()?.unwrap_or_default();
        let platform = |image: &Image| platform_among(&entries, image);
        let mut here = vec![(platform(&found.image), found.image.clone())];
        for id in found.tag.iter().flat_map(|tag| &tag.platforms) {
            match self.store.images().get(id) {
                Err(error) if error.is_not_found() => {}
                image => {
                    let image = image?;
                    here.push((platform(&image), image));
                }
            }
        }
        Ok(here)
    }

    /// Of the images that a name stands for, the one that serves `wanted` best.
    pub(super) fn fitting(&self, found: &Found, wanted: &Platform) -> Result<Option<Image>> {
        Ok(best(self.platforms_here(found)?, wanted))
    }

    /// As [`Engine::fitting`]; it is an error if there is none.
    pub(super) fn image_of_platform(&self, found: &Found, name: &str, wanted: &Platform) -> Result<Image> {
        if let Some(image) = self.fitting(found, wanted)? {
            return Ok(image);
        }
        let here = self.platforms_here(found)?;
        let offered: Vec<String> = here.iter().map(|(platform, _)| platform.to_string()).collect();
        Err(CommandError::new(format!("{name} is not here for {wanted}"))
            .hint(format!("it is here for {}", offered.join(", "))))
    }
}

fn best(here: Vec<(Platform, Image)>, wanted: &Platform) -> Option<Image> {
    // An image that says nothing of its platform is taken for any.
    let rank = |platform: &Platform| wanted.rank(platform).or(platform.architecture.is_empty().then_some(u32::MAX));
    let ranked = here.into_iter().filter_map(|(platform, image)| Some((rank(&platform)?, image)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image)
}
