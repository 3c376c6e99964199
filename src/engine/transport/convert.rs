//! `--format`: a manifest in the other family of media types, OCI's or Docker's. Its digest is another one then, and that of
//! an index that lists it too; the blobs stay what they are.

use registry_client::MediaType;
use serde_json::Value;

use super::Document;
use crate::engine::form::translate;
use crate::error::{CommandError, Result};

/// A family of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OCI's.
    Oci,
    /// Docker's image manifest version 2, schema 2.
    Docker,
}

impl Family {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => MediaType::OCI_MANIFEST,
            Self::Docker => MediaType::DOCKER_MANIFEST,
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => MediaType::OCI_INDEX,
            Self::Docker => MediaType::DOCKER_LIST,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => MediaType::OCI_CONFIG,
            Self::Docker => MediaType::DOCKER_CONFIG,
        }
    }
}

/// A manifest in `family`; itself if it is of it already, or no image's but another artifact's.
pub(super) fn manifest(document: &Document, family: Family) -> Result<Document> {
    let mut value: Value = serde_json::from_slice(&document.bytes)?;
    let config = value["config"]["mediaType"].as_str().unwrap_or_default();
    let is_image = [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG].contains(&config);
    if document.media_type == family.manifest() || !is_image {
        return Ok(document.clone());
    }
    value["config"]["mediaType"] = family.config().into();
    for layer in value["layers"].as_array_mut().into_iter().flatten() {
        let before = layer["mediaType"].as_str().unwrap_or_default();
        if family == Family::Docker && before == MediaType::OCI_LAYER_ZSTD {
            return Err(
                CommandError::new("Docker's manifests know no zstd layers").hint("--format oci, or none, keeps them")
            );
        }
        layer["mediaType"] = translate(before, family == Family::Docker).into();
    }
    finish(value, family.manifest())
}

/// An index in `family` whose entries are now `entries`, in the same order.
pub(super) fn index(document: &Document, family: Family, entries: &[Document]) -> Result<Document> {
    let mut value: Value = serde_json::from_slice(&document.bytes)?;
    for (line, entry) in value["manifests"].as_array_mut().into_iter().flatten().zip(entries) {
        line["mediaType"] = entry.media_type.as_str().into();
        line["digest"] = entry.digest().to_string().into();
        line["size"] = entry.bytes.len().into();
    }
    finish(value, family.index())
}

fn finish(mut value: Value, media_type: &str) -> Result<Document> {
    value["mediaType"] = media_type.into();
    Ok(Document { media_type: media_type.to_owned(), bytes: serde_json::to_vec(&value)? })
}
