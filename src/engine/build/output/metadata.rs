//! `--metadata-file`: facts of a build for programs, under the keys that buildx writes. docs/buildfile.md lists them.

use serde_json::{Map, Value, json};
use store::image::Image;

use super::Delivered;
use crate::engine::build::Built;

impl Built {
    /// The facts.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let mut facts = Map::new();
        if let Some(reference) = &self.reference {
            facts.insert("buildx.build.ref".into(), json!(reference));
        }
        facts.insert("containerimage.config.digest".into(), json!(self.image));
        // Without a manifest the image has no other digest than that of its config: docker's own builder says so too.
        facts.insert("containerimage.digest".into(), json!(self.image));
        if let Some(descriptor) = &self.descriptor {
            facts.insert("containerimage.digest".into(), descriptor["digest"].clone());
            facts.insert("containerimage.descriptor".into(), descriptor.clone());
        }
        if !self.names.is_empty() {
            facts.insert("image.name".into(), json!(self.names.join(",")));
        }
        Value::Object(facts)
    }
}

/// The descriptor of the manifest or index that was delivered.
pub(in crate::engine::build) fn descriptor(image: &Image, delivered: &Delivered) -> Option<Value> {
    let manifest = delivered.manifest.as_ref()?;
    let notes = &delivered.annotations;
    // An index is for no platform.
    Some(match manifest.is_index() {
        true => manifest.descriptor(None, &notes.index_descriptor),
        false => manifest.descriptor(Some(image), &notes.descriptor),
    })
}
