//! The driver that unpacks nothing: one EROFS mount a layer, metadata image over tar.

use super::image::{self, Chain};
use super::{Snapshotter, View, into_view};
use crate::Store;
use crate::digest::DiffId;
use crate::erofs::Use;
use crate::error::Result;

/// Mounts layers as EROFS; for kernels that [`super::erofs_supported`] accepts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Erofs;

impl Snapshotter for Erofs {
    fn name(&self) -> &'static str {
        "erofs"
    }

    fn userxattr(&self) -> bool {
        false
    }

    fn examine(&self, store: &Store, layers: &[DiffId]) -> Result<View> {
        let mut chain = Chain::new(store, layers);
        let mut found = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let alone = image::of_layer(store, layer)?;
            let image = match (alone.label.usable, index) {
                (Use::SelfContained | Use::Chain, _) | (Use::NeedsAttributes, 0) => alone,
                _ => chain.image(index)?.unwrap_or(alone),
            };
            found.push((image.mount, image.root));
        }
        Ok(into_view(found))
    }
}
