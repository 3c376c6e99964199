//! Indexes whole in archives: written with every image and attestation that they list, and taken in so where an archive
//! has them all. An archive that has a part of what its index lists gives the image for this machine, as docker's do.

use std::io::Write;

use registry_client::{Descriptor, Document, Manifest as ImageManifest, Platform};
use store::image::ImageRecord;
use store::refs::Target;
use store::{Digest, ImageId};

use super::MANIFEST_MAX;
use super::contents::Contents;
use super::save::{Archive, Member};
use super::{ArchiveFormat, DockerImage};
use crate::engine::Engine;
use crate::engine::form::{Form, Manifest};
use crate::engine::indexes::{ATTACHED_MAX, Part, Whole, check_size, is_image};
use crate::engine::originals::LazyClient;
use crate::engine::progress::Progress;
use crate::engine::pull::to_store;
use crate::error::{CommandError, Result};

impl Engine {
    /// Writes all that an index lists, and the index. Gives it, and docker's line for the member's own image.
    pub(super) fn write_whole<W: Write>(
        &self,
        archive: &mut Archive<W>,
        member: &Member<'_>,
        whole: &Whole,
        format: ArchiveFormat,
        client: &LazyClient<'_>,
    ) -> Result<(Manifest, DockerImage)> {
        let mut own = None;
        for (entry, part) in &whole.parts {
            let listed = to_store(&entry.digest);
            match part {
                Part::Attached => {
                    let bytes = self.store.blobs().get(&listed, MANIFEST_MAX)?;
                    let document = ImageManifest::parse(entry.media_type.as_str(), &bytes)?;
                    for blob in std::iter::once(&document.config).chain(&document.layers) {
                        archive.blob(&self.store.blobs().get(&to_store(&blob.digest), ATTACHED_MAX)?, format)?;
                    }
                    archive.blob(&bytes, format)?;
                }
                Part::Image(image) => {
                    let form = Form { keep: member.form.keep, ..Form::of(image) };
                    let part = Member { image, names: Vec::new(), manifest: Some(listed), form, whole: None };
                    let (manifest, docker) = self.write_member(archive, &part, format, client)?;
                    if manifest.is_none_or(|manifest| Digest::of(&manifest.bytes) != listed) {
                        return Err(CommandError::new(format!(
                            "the image {} is not to be had in the form that the index lists",
                            image.id.short()
                        ))
                        .hint("--platform saves one platform alone"));
                    }
                    if image.id == member.image.id {
                        own = Some(docker);
                    }
                }
            }
        }
        archive.blob(&whole.bytes, format)?;
        let manifest = Manifest { media_type: whole.media_type.clone(), bytes: whole.bytes.clone() };
        let own = own.ok_or_else(|| CommandError::new("the index does not list the image that it was pulled as"))?;
        Ok((manifest, own))
    }

    /// Takes in all that the index behind `descriptor` lists; `None` if it is no index, or the archive has a part only.
    pub(super) fn load_whole(
        &self,
        contents: &Contents,
        descriptor: &Descriptor,
        keeps: &dyn Fn(&Digest) -> bool,
        progress: &dyn Progress,
    ) -> Result<Option<Target>> {
        let digest = to_store(&descriptor.digest);
        if !descriptor.media_type.is_index() {
            return Ok(None);
        }
        let bytes = contents.blob(&digest, MANIFEST_MAX)?;
        check_size(descriptor, bytes.len())?;
        let Document::Index(index) = Document::parse(&digest.to_string(), &descriptor.media_type, &bytes)? else {
            return Ok(None);
        };
        let has = |entry: &Descriptor| contents.has(&format!("blobs/sha256/{}", to_store(&entry.digest).hex()));
        let flat = index.manifests.iter().all(|entry| entry.media_type.is_manifest() && has(entry));
        if index.manifests.len() < 2 || !flat || !index.manifests.iter().any(is_image) {
            return Ok(None);
        }
        let host = Platform::host();
        let (mut images, mut attached) = (Vec::<(u32, ImageId)>::new(), Vec::new());
        for entry in &index.manifests {
            if !is_image(entry) {
                self.load_attached(contents, entry, &mut attached)?;
                continue;
            }
            let Some((id, _)) = self.load_oci_image(contents, entry, keeps, progress)? else { continue };
            let manifests = vec![self.store.blobs().put(&bytes)?];
            self.store.images().add_record(&id, &ImageRecord { manifests, ..ImageRecord::default() })?;
            images.push((entry.platform.as_ref().and_then(|offered| host.rank(offered)).unwrap_or(u32::MAX), id));
        }
        images.sort_by_key(|(rank, _)| *rank);
        let images: Vec<ImageId> = images.into_iter().map(|(_, id)| id).collect();
        Ok(Target::of_index(digest, &images, attached))
    }

    fn load_attached(&self, contents: &Contents, entry: &Descriptor, attached: &mut Vec<Digest>) -> Result<()> {
        let bytes = contents.blob(&to_store(&entry.digest), MANIFEST_MAX)?;
        check_size(entry, bytes.len())?;
        let document = ImageManifest::parse(entry.media_type.as_str(), &bytes)?;
        for blob in std::iter::once(&document.config).chain(&document.layers) {
            attached.push(self.store.blobs().put(&contents.blob(&to_store(&blob.digest), ATTACHED_MAX)?)?);
        }
        attached.push(self.store.blobs().put(&bytes)?);
        Ok(())
    }
}
