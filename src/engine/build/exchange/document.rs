//! The format of a cache: an OCI image manifest whose config is the list of steps and whose layers are the layers they made,
//! compressed. The types are ours, so that nobody takes it for an image.
//!
//! ```text
//! manifest: artifactType application/vnd.img.buildcache.v1
//!   config: application/vnd.img.buildcache.config.v1+json
//!     { "version": 1, "steps": [{ "key", "layer", "value" }], "blobs": { DIFF-ID: DIGEST } }
//!   layers: application/vnd.oci.image.layer.v1.tar+zstd …
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::cache::CacheRecord;
use store::image::CompressedLayer;
use store::{DiffId, Digest};

use crate::error::{CommandError, Result};

/// What kind of artifact it is.
pub const ARTIFACT: &str = "application/vnd.img.buildcache.v1";
/// The type of its config.
pub const CONFIG: &str = "application/vnd.img.buildcache.config.v1+json";
/// The key of an image's config that holds an inline cache.
pub const INLINE: &str = "img.buildcache.v1";
/// Largest list of steps read, bytes.
pub const CONFIG_MAX: u64 = 32 << 20;
/// Largest manifest read, bytes.
pub const MANIFEST_MAX: u64 = 8 << 20;
/// The only version there is.
const VERSION: u32 = 1;

/// The config of a cache.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    version: u32,
    /// The steps.
    pub steps: Vec<CacheRecord>,
    /// The blob of each layer; absent inline, where the image's manifest has them in order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blobs: BTreeMap<DiffId, Digest>,
}

/// As much of a manifest as is needed.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// The config.
    pub config: Blob,
    /// The layers.
    #[serde(default)]
    pub layers: Vec<Blob>,
}

/// A descriptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
}

impl Document {
    /// A cache of these steps.
    pub fn new(steps: Vec<CacheRecord>, blobs: BTreeMap<DiffId, Digest>) -> Self {
        Self { version: VERSION, steps, blobs }
    }

    /// Reads what came from elsewhere; `what` names it.
    ///
    /// # Errors
    /// Text that is no such document, or of a newer version; a step with a time that is none.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let wrong = |reason: String| CommandError::new(format!("{what} is no build cache of img: {reason}"));
        let document: Self = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if document.version != VERSION {
            return Err(wrong(format!("it has version {}, this program knows {VERSION}", document.version)));
        }
        for step in &document.steps {
            // It goes into configs and histories as it is.
            let created = step.value.get("created").and_then(Value::as_str);
            if created.is_none_or(|created| created.parse::<Timestamp>().is_err()) {
                return Err(wrong(format!("the step {} has no time", step.key)));
            }
        }
        Ok(document)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// None in practice: JSON of our own making.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// The manifest of a cache.
///
/// # Errors
/// None in practice: JSON of our own making.
pub fn manifest(config: &[u8], layers: &[CompressedLayer]) -> Result<Vec<u8>> {
    let layers = layers
        .iter()
        .map(|layer| json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size }))
        .collect::<Vec<Value>>();
    Ok(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": registry_client::MediaType::OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": { "mediaType": CONFIG, "digest": Digest::of(config), "size": config.len() },
        "layers": layers,
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cache_is_refused() {
        let record = |value| CacheRecord { key: Digest::of(b"k"), layer: None, value };
        let good = Document::new(vec![record(json!({ "created": "2026-01-02T03:04:05Z" }))], BTreeMap::new());
        assert_eq!(Document::parse(&good.encode().unwrap(), "x").unwrap().steps, good.steps);
        let bad = Document::new(vec![record(json!({ "created": "\u{1b}[31m" }))], BTreeMap::new());
        assert!(Document::parse(&bad.encode().unwrap(), "x").is_err());
        assert!(Document::parse(br#"{"version":2,"steps":[]}"#, "x").is_err());
        assert!(Document::parse(b"{}", "x").is_err());
    }
}
