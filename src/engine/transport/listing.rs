//! All that an index lists, wherever it is: its images, and what else stands beside them. An index may list indexes (OCI image
//! spec, image-index.md): these are read too, and are kept as the documents they are. An image is what can be unpacked; an
//! attestation or another artifact is kept by its bytes and never chosen to run.

use std::collections::BTreeSet;

use ::store::Digest;
use registry_client::{Descriptor, Platform};

use super::directory::verified;
use super::{Document, Source, check_size};
use crate::engine::Engine;
use crate::engine::pull::to_store;
use crate::error::{CommandError, Result};

/// How deep indexes may lie in one another.
pub(in crate::engine) const INDEX_DEPTH: usize = 4;
/// Most manifests of one index, or of one copy.
pub(super) const MANIFESTS_MAX: usize = 1000;
/// Largest blob of an attestation that is kept, bytes.
pub(in crate::engine) const ATTACHED_MAX: u64 = 64 << 20;

/// An index and the manifests that it leads to, each once.
pub(in crate::engine) struct Listing {
    /// The index.
    pub index: Document,
    /// The images, as they are listed.
    pub images: Vec<(Descriptor, Document)>,
    /// Attestations and other artifacts, and indexes that the index lists.
    pub others: Vec<(Descriptor, Document)>,
}

/// Whether an entry of an index is an image, not an attestation.
pub(in crate::engine) fn is_image(entry: &Descriptor) -> bool {
    let referring =
        |notes: &std::collections::BTreeMap<String, String>| notes.contains_key("vnd.docker.reference.type");
    !entry.platform.as_ref().is_some_and(Platform::is_attestation)
        && !entry.annotations.as_ref().is_some_and(referring)
        && entry.artifact_type.is_none()
}

impl Listing {
    /// Reads all that `index` lists.
    ///
    /// # Errors
    /// A manifest that is not there or is not as its index says, indexes too deep in one another, too many manifests.
    pub fn read(source: &dyn Source, index: Document) -> Result<Self> {
        let mut this = Self { index: index.clone(), images: Vec::new(), others: Vec::new() };
        this.add(source, &index, INDEX_DEPTH, &mut BTreeSet::new())?;
        Ok(this)
    }

    fn add(&mut self, source: &dyn Source, index: &Document, depth: usize, seen: &mut BTreeSet<Digest>) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| CommandError::new("the indexes lie too deep in one another"))?;
        for entry in index.index()?.manifests {
            if !seen.insert(to_store(&entry.digest)) {
                continue;
            }
            if seen.len() > MANIFESTS_MAX {
                return Err(CommandError::new(format!("there are more than {MANIFESTS_MAX} manifests")));
            }
            let document = source.manifest(&entry)?;
            check_size(&entry, document.bytes.len())?;
            if entry.media_type.is_index() != document.is_index() {
                let (digest, stated, is) = (&entry.digest, &entry.media_type, &document.media_type);
                return Err(CommandError::new(format!("the index calls {digest} {stated}, and it is {is}")));
            }
            if document.is_index() {
                self.add(source, &document, depth, seen)?;
                self.others.push((entry, document));
            } else if is_image(&entry) && document.manifest()?.config.media_type.is_image_config() {
                self.images.push((entry, document));
            } else {
                self.others.push((entry, document));
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Keeps what an index lists beside images, and the index; gives the digests of all of it.
    ///
    /// # Errors
    /// A blob that is not there or too large, a full disk.
    pub(in crate::engine) fn keep_attached(&self, source: &dyn Source, listing: &Listing) -> Result<Vec<Digest>> {
        let mut attached = Vec::new();
        for (entry, document) in &listing.others {
            if !document.is_index() {
                let manifest = document.manifest()?;
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    if blob.size > ATTACHED_MAX {
                        return Err(CommandError::new(format!(
                            "the attestation {} has a blob of {} bytes, the limit is {ATTACHED_MAX}",
                            entry.digest, blob.size
                        )));
                    }
                    let digest = to_store(&blob.digest);
                    self.store.protect(&[digest])?;
                    if !self.store.blobs().has(&digest) {
                        self.keep_blob(&digest, blob.size, verified(source, blob)?)?;
                    }
                    attached.push(digest);
                }
            }
            attached.push(self.store.blobs().put(&document.bytes)?);
        }
        attached.push(self.store.blobs().put(&listing.index.bytes)?);
        let mut seen = BTreeSet::new();
        attached.retain(|digest| seen.insert(*digest));
        Ok(attached)
    }
}
