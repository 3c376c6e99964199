//! The media types of images (OCI image spec, media-types.md; Docker image manifest v2 schema 2).
//!
//! A [`MediaType`] is kept as the text it came as, since that text is part of what a digest covers; this module only
//! says what it means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type as a registry or manifest gives it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(pub String);

/// What a manifest document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One image.
    Manifest,
    /// One image for each platform.
    Index,
    /// Docker's first format, no longer used.
    Schema1,
}

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer: a plain tar.
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer: a tar under gzip.
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer: a tar under zstd.
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer: a tar under gzip.
    pub const DOCKER_LAYER: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// The manifests and indexes that [`crate::Client::resolve`] understands, as an Accept header lists them.
    pub const MANIFESTS: [&'static str; 4] =
        [Self::OCI_INDEX, Self::DOCKER_LIST, Self::OCI_MANIFEST, Self::DOCKER_MANIFEST];

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a manifest of one image, OCI or Docker.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        self.kind() == Some(Kind::Manifest)
    }

    /// Whether this is an image index or manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.kind() == Some(Kind::Index)
    }

    /// Whether this is the config of a container image.
    #[must_use]
    pub fn is_image_config(&self) -> bool {
        matches!(self.as_str(), Self::OCI_CONFIG | Self::DOCKER_CONFIG)
    }

    /// Whether registries may not hold this layer, only point to where it is (OCI "nondistributable", Docker "foreign").
    #[must_use]
    pub fn is_foreign_layer(&self) -> bool {
        self.0.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || self.0.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }

    /// Whether this is a tar of a layer, compressed or not; types that say nothing count as one.
    #[must_use]
    pub fn is_layer(&self) -> bool {
        const TARS: [&str; 4] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        let compressed = |rest: &str| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd");
        let silent = ["", "application/octet-stream", "application/x-tar", "application/gzip", "application/x-gzip"];
        silent.contains(&self.as_str()) || TARS.iter().any(|tar| self.0.strip_prefix(tar).is_some_and(compressed))
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.as_str() {
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => Some(Kind::Manifest),
            Self::OCI_INDEX | Self::DOCKER_LIST => Some(Kind::Index),
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Some(Kind::Schema1),
            _ => None,
        }
    }

    /// From a Content-Type header: parameters such as `charset` are dropped.
    pub(crate) fn from_content_type(header: &str) -> Self {
        Self(header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert!(MediaType::from(MediaType::DOCKER_LIST).is_index());
        assert!(MediaType::from(MediaType::OCI_MANIFEST).is_manifest());
        assert!(MediaType::from("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_foreign_layer());
        assert!(!MediaType::from(MediaType::OCI_LAYER_ZSTD).is_foreign_layer());
        assert_eq!(MediaType::from("application/json").kind(), None);
        for layer in [MediaType::OCI_LAYER, MediaType::OCI_LAYER_ZSTD, MediaType::DOCKER_LAYER, "application/x-tar"] {
            assert!(MediaType::from(layer).is_layer(), "{layer}");
        }
        for other in [MediaType::OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain"] {
            assert!(!MediaType::from(other).is_layer(), "{other}");
        }
        assert_eq!(
            MediaType::from_content_type("application/vnd.OCI.image.index.v1+json; charset=utf-8").as_str(),
            MediaType::OCI_INDEX
        );
    }
}
