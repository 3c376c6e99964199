//! Which compressed layers of an archive stay in the store. What an image here was pulled with can be fetched again from where
//! it came: an image of the archive that shares such a layer notes that place for itself, for the other one may go.

use std::collections::BTreeMap;

use store::Digest;
use store::image::CompressedLayer;

use crate::engine::Engine;
use crate::engine::originals::KeepCompressed;
use crate::error::Result;

/// What is to stay, and what need not.
pub struct Keeping {
    keep: KeepCompressed,
    /// Registry and repository of the layers that can be fetched again.
    origins: BTreeMap<Digest, String>,
}

impl Keeping {
    /// No compressed bytes stay.
    pub const NOTHING: Self = Self { keep: KeepCompressed::Never, origins: BTreeMap::new() };

    /// Whether the bytes of the layer stay.
    pub fn keeps(&self, layer: &CompressedLayer) -> bool {
        self.keep != KeepCompressed::Never && layer.origin.is_none()
    }

    /// A compressed layer of the archive, with the place where it can be had instead.
    pub fn layer(&self, media_type: &str, digest: Digest, size: u64) -> CompressedLayer {
        CompressedLayer { origin: self.origins.get(&digest).cloned(), ..CompressedLayer::new(media_type, digest, size) }
    }
}

impl Engine {
    /// What stays if the user wants `keep`.
    ///
    /// # Errors
    /// A damaged store.
    pub(super) fn keeping(&self, keep: KeepCompressed) -> Result<Keeping> {
        let mut origins = BTreeMap::new();
        if keep == KeepCompressed::Auto {
            for id in self.store.images().list()? {
                let record = match self.store.images().record(&id) {
                    // Removed meanwhile.
                    Err(error) if error.is_not_found() => continue,
                    record => record?,
                };
                let forms = record.compressed.into_iter().flatten();
                origins.extend(forms.filter_map(|form| Some((form.digest, form.origin?))));
            }
        }
        Ok(Keeping { keep, origins })
    }
}
