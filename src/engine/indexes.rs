//! Indexes that are kept whole: all images of one, and what else it lists, fetched by one pull and sent by one push.
//!
//! The tag names the image for this machine, as any tag does, and beside it the images of the other platforms and the
//! blobs of attestations, so that all of them stay and go with the tag. Each image's record has its own manifest and
//! the index; an index goes out in its very bytes, after everything that it lists.

use registry_client::{Client, Descriptor, Document, Index, MediaType, Platform, Reference, ResolvedImage};
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
use super::transport::media_type;
use crate::error::{CommandError, Context as _, Result};

/// Largest blob of an attestation that is kept, bytes.
pub(super) const ATTACHED_MAX: u64 = 64 << 20;

/// What of a tag is sent.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The index, if it is whole here; else the image.
    Whole,
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

/// Whether an entry of an index is an image, not an attestation.
pub(super) fn is_image(entry: &Descriptor) -> bool {
    let referring =
        |notes: &std::collections::BTreeMap<String, String>| notes.contains_key("vnd.docker.reference.type");
    !entry.platform.as_ref().is_some_and(Platform::is_attestation)
        && !entry.annotations.as_ref().is_some_and(referring)
        && entry.artifact_type.is_none()
}

/// What an image says of the platform it is for.
fn platform_of(image: &Image) -> Platform {
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
        let Document::Index(index) = Document::parse(&what, &root.media_type, &root.bytes)? else {
            return self.pull_with(client, reference, &Platform::host(), options, progress);
        };
        let host = Platform::host();
        let (mut found, mut attached, mut fetched) = (Vec::new(), Vec::new(), false);
        for entry in &index.manifests {
            let pinned = reference.with_digest(entry.digest);
            if !is_image(entry) {
                self.fetch_attached(client, &pinned, entry, &mut attached)?;
                continue;
            }
            let resolved = client.resolve(&pinned, entry.platform.as_ref().unwrap_or(&host))?;
            if resolved.index.is_some() {
                return Err(CommandError::new(format!("{what} lists another index, {}", entry.digest))
                    .hint("without --all-platforms the image for this machine is taken"));
            }
            check_size(entry, resolved.manifest.bytes.len())?;
            progress.event(Event::Note(&format!("Platform: {}", resolved.platform)));
            fetched |= self.fetch_resolved(client, reference, &resolved, options, progress)?;
            found.push(ResolvedImage { index: Some(root.clone()), ..resolved });
        }
        // The tag stands for the image that this machine runs; the first, if there is none.
        found.sort_by_key(|image| host.rank(&image.platform).unwrap_or(u32::MAX));
        let name = canonical_by_digest(reference);
        let (target, digest, same) = retried(|| {
            let recorded = found.iter().map(|image| self.record_image(reference, image));
            let (images, digests): (Vec<ImageId>, Vec<Digest>) =
                recorded.collect::<store::Result<Vec<_>>>()?.into_iter().unzip();
            let target = digests.first().and_then(|index| Target::of_index(*index, &images, attached.clone()));
            let (Some(target), Some(&digest)) = (target, digests.first()) else {
                return Err(store::Error::Invalid { what: "index", reason: "it lists no image".into() });
            };
            let same = self.store.refs().get(&name)?.is_some_and(|tag| Target::from(&tag) == target);
            if !same {
                self.store.refs().point(&name, &target, Expect::Any)?;
            }
            Ok((target, digest, same))
        })?;
        self.image_event("pull", &target.image, Some(&name));
        let fetched = fetched || !same;
        Ok(Pulled { image: target.image, name, familiar: reference.familiar(), digest, fetched })
    }

    /// Keeps the manifest and all blobs of an attestation.
    fn fetch_attached(
        &self,
        client: &Client,
        pinned: &Reference,
        entry: &Descriptor,
        attached: &mut Vec<Digest>,
    ) -> Result<()> {
        let manifest = client.manifest(pinned, &[])?;
        check_size(entry, manifest.bytes.len())?;
        let document = manifest.manifest()?;
        for blob in std::iter::once(&document.config).chain(&document.layers) {
            if blob.size > ATTACHED_MAX {
                return Err(CommandError::new(format!(
                    "the attestation {} has a blob of {} bytes, the limit is {ATTACHED_MAX}",
                    entry.digest, blob.size
                )));
            }
            let digest = to_store(&blob.digest);
            self.store.protect(&[digest])?;
            if !self.store.blobs().has(&digest) {
                self.keep_blob(&digest, blob.size, client.blob(pinned, blob, 0)?)?;
            }
            attached.push(digest);
        }
        attached.push(self.store.blobs().put(&manifest.bytes)?);
        Ok(())
    }

    /// The index that a tag stands for, if all that it lists is here. One of which only a part is here is told of.
    pub(super) fn whole_index(&self, tag: &Tag, progress: &dyn Progress) -> Result<Option<Whole>> {
        let Some(digest) = tag.manifest.filter(|digest| self.store.blobs().has(digest)) else { return Ok(None) };
        let bytes = self.store.blobs().get(&digest, MANIFEST_MAX)?;
        let media_type = media_type(&bytes)?;
        let Document::Index(index) = Document::parse(&tag.name, &MediaType(media_type.clone()), &bytes)? else {
            return Ok(None);
        };
        if index.manifests.len() < 2 {
            return Ok(None);
        }
        Ok(match self.parts(tag, &index)? {
            Some(parts) => Some(Whole { media_type, bytes, parts }),
            None => {
                progress.event(Event::Note(&format!(
                    "only a part of the index {digest} is here: the manifest of one platform goes alone \
                     (`img pull --all-platforms` keeps an index whole)"
                )));
                None
            }
        })
    }

    /// What an index lists, if all of it is here and stays while this process needs it.
    fn parts(&self, tag: &Tag, index: &Index) -> Result<Option<Vec<(Descriptor, Part)>>> {
        let mut images = Vec::new();
        for id in tag.images() {
            images.extend(self.store.images().protect(&id)?);
        }
        self.store.protect(&tag.attached)?;
        let mut parts = Vec::new();
        for entry in &index.manifests {
            let digest = to_store(&entry.digest);
            let part = match images.iter().find(|image| image.record.manifests.contains(&digest)) {
                Some(image) => Part::Image(Box::new(image.clone())),
                None if tag.attached.contains(&digest) && self.store.blobs().has(&digest) => Part::Attached,
                None => return Ok(None),
            };
            parts.push((entry.clone(), part));
        }
        Ok(Some(parts))
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
        let bytes = self.store.blobs().get(manifest, MANIFEST_MAX)?;
        let media_type = media_type(&bytes)?;
        let document = registry_client::Manifest::parse(&media_type, &bytes)?;
        for blob in std::iter::once(&document.config).chain(&document.layers) {
            let content = self.store.blobs().get(&to_store(&blob.digest), ATTACHED_MAX)?;
            client.get()?.push_blob(pinned, blob, &move |offset| super::push::at(&content, offset), None, None)?;
        }
        client.get()?.push_manifest(pinned, &media_type, &bytes)?;
        Ok(())
    }

    /// The images that a name stands for, each with its platform, this machine's first; those that are here.
    pub(super) fn platforms_here(&self, found: &Found) -> Result<Vec<(Platform, Image)>> {
        let mut here = vec![(platform_of(&found.image), found.image.clone())];
        for id in found.tag.iter().flat_map(|tag| &tag.platforms) {
            match self.store.images().get(id) {
                Err(error) if error.is_not_found() => {}
                image => {
                    let image = image?;
                    here.push((platform_of(&image), image));
                }
            }
        }
        Ok(here)
    }

    /// Of the images that a name stands for, the one that serves `wanted` best; its own if none does.
    pub(super) fn prefer_platform(&self, found: Found, wanted: &Platform) -> Result<Image> {
        let best = best(self.platforms_here(&found)?, wanted);
        Ok(best.unwrap_or(found.image))
    }

    /// Of the images that a name stands for, the one that serves `wanted` best.
    pub(super) fn image_of_platform(&self, found: &Found, name: &str, wanted: &Platform) -> Result<Image> {
        let here = self.platforms_here(found)?;
        let offered: Vec<String> = here.iter().map(|(platform, _)| platform.to_string()).collect();
        best(here, wanted).ok_or_else(|| {
            CommandError::new(format!("{name} is not here for {wanted}"))
                .hint(format!("it is here for {}", offered.join(", ")))
        })
    }
}

fn best(here: Vec<(Platform, Image)>, wanted: &Platform) -> Option<Image> {
    let ranked = here.into_iter().filter_map(|(platform, image)| Some((wanted.rank(&platform)?, image)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image)
}

pub(super) fn check_size(entry: &Descriptor, bytes: usize) -> Result<()> {
    if entry.size == bytes as u64 {
        return Ok(());
    }
    Err(CommandError::new(format!("{} has {bytes} bytes, its index says {}", entry.digest, entry.size)))
}
