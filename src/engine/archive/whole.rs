//! Indexes whole in archives: written with every image and attestation that they list, and taken in so where an archive
//! has them all. An archive that has a part of what its index lists gives the image for this machine, as docker's do.

use std::io::Write;

use registry_client::Descriptor;
use store::Digest;
use store::refs::Target;

use super::contents::Contents;
use super::keeping::Keeping;
use super::save::{Archive, Member};
use super::{ArchiveFormat, DockerImage};
use crate::engine::Engine;
use crate::engine::form::{Form, Manifest};
use crate::engine::indexes::{Part, Whole};
use crate::engine::originals::LazyClient;
use crate::engine::progress::Progress;
use crate::engine::pull::to_store;
use crate::engine::transport::{ATTACHED_MAX, Document, INDEX_DEPTH, Layout, Listing, Source as _};
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
                    let (document, blobs) = self.attached(&listed)?;
                    for blob in blobs {
                        archive.blob(&self.store.blobs().get(&to_store(&blob.digest), ATTACHED_MAX)?, format)?;
                    }
                    archive.blob(&document.bytes, format)?;
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
        keeping: &Keeping,
        progress: &dyn Progress,
    ) -> Result<Option<Target>> {
        if !descriptor.media_type.is_index() {
            return Ok(None);
        }
        let source = Layout::of(contents, descriptor.clone());
        let index = source.root()?;
        if !all_here(contents, &index, INDEX_DEPTH)? {
            return Ok(None);
        }
        let listing = Listing::read(&source, index)?;
        if listing.images.is_empty() || listing.images.len() + listing.others.len() < 2 {
            return Ok(None);
        }
        let filed = self.store.blobs().put(&listing.index.bytes)?;
        let mut ids = Vec::new();
        for (entry, _) in &listing.images {
            let Some((id, _)) = self.load_oci_image(contents, entry, Some(filed), keeping, progress)? else {
                return Ok(None);
            };
            ids.push(id);
        }
        let attached = self.keep_attached(&source, &listing)?;
        Ok(Some(self.target_of(&listing, &ids, attached)?))
    }
}

/// Whether an archive has all manifests that an index leads to.
fn all_here(contents: &Contents, index: &Document, depth: usize) -> Result<bool> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(false) };
    for entry in index.index()?.manifests {
        if !contents.has(&format!("blobs/sha256/{}", entry.digest.hex())) {
            return Ok(false);
        }
        let known = entry.media_type.is_manifest() || entry.media_type.is_index();
        let below = || Layout::of(contents, entry.clone()).root();
        if !known || entry.media_type.is_index() && !all_here(contents, &below()?, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}
