//! Reads manifests and indexes: pure, strict where a document could mean two things.
//!
//! OCI image manifest and index, Docker schema 2 manifest and manifest list. A document with the fields of both a
//! manifest and an index, or whose media type says another thing than its fields or its Content-Type, is refused
//! (CVE-2021-41190). Schema 1 is refused with an explanation. The digest is of the raw bytes, which are kept elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::media_type::{Kind, MediaType};
use crate::redact;

/// One image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's config, or an artifact's.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
    /// What kind of artifact this is, if it is one.
    pub artifact_type: Option<String>,
    /// Free remarks.
    pub annotations: BTreeMap<String, String>,
}

/// Manifests for several platforms, or of several kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The manifests, in the order of the document.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index is about.
    pub subject: Option<Descriptor>,
    /// What kind of artifact this is, if it is one.
    pub artifact_type: Option<String>,
    /// Free remarks.
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest that came as `media_type`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an index or anything else, [`Error::Protocol`] for what is no such document.
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self> {
        let what = format!("manifest {}", Digest::of(bytes));
        match parse(&what, &media_type.into(), bytes)?.1 {
            Document::Manifest(manifest) => Ok(*manifest),
            Document::Index(_) => Err(Error::Unsupported { what, why: "it is an index, not a manifest".into() }),
        }
    }
}

impl Index {
    /// Reads an index that came as `media_type`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a manifest or anything else, [`Error::Protocol`] for what is no such document.
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self> {
        let what = format!("manifest {}", Digest::of(bytes));
        match parse(&what, &media_type.into(), bytes)?.1 {
            Document::Index(index) => Ok(*index),
            Document::Manifest(_) => Err(Error::Unsupported { what, why: "it is a manifest, not an index".into() }),
        }
    }
}

/// A parsed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image, or an artifact.
    Manifest(Box<Manifest>),
    /// Several of them.
    Index(Box<Index>),
}

impl Document {
    /// Reads `bytes`, which were announced as `media_type`, for the action `what`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what could mean two things or is too old, [`Error::Protocol`] for what is no such
    /// document.
    pub fn parse(what: &str, media_type: &MediaType, bytes: &[u8]) -> Result<Self> {
        parse(what, media_type, bytes).map(|(_, document)| document)
    }
}

impl Manifest {
    /// Refuses what is no container image, layers that are no tars, and unless `foreign` those that are elsewhere.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check_image(&self, what: &str, foreign: bool) -> Result<()> {
        let refuse = |why: String| Err(Error::Unsupported { what: what.to_owned(), why });
        if !self.config.media_type.is_image_config() {
            let kind = self.artifact_type.as_deref().unwrap_or(self.config.media_type.as_str());
            return refuse(format!("it is not a container image but an artifact of type {}", redact::text(kind)));
        }
        for layer in &self.layers {
            let (kind, digest) = (&layer.media_type, layer.digest);
            if kind.is_foreign_layer() && !foreign {
                return refuse(format!("its layer {digest} is foreign: registries may not hold it"));
            }
            if kind.as_str().ends_with("+encrypted") {
                return refuse(format!("its layer {digest} is encrypted"));
            }
            if !kind.is_layer() {
                return refuse(format!(
                    "its layer {digest} is of type {}, which is no tar",
                    redact::text(kind.as_str())
                ));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Parses `bytes`, which came as `content_type`, for the action `what`. Also gives the media type that the document
/// really has.
///
/// # Errors
/// [`Error::Unsupported`] for what we refuse, [`Error::Protocol`] for what is no such document.
pub(crate) fn parse(what: &str, content_type: &MediaType, bytes: &[u8]) -> Result<(MediaType, Document)> {
    let refuse = |why: String| Error::Unsupported { what: what.to_owned(), why };
    if content_type.kind() == Some(Kind::Schema1) {
        return Err(schema1(what));
    }
    let document: Fields = serde_json::from_slice(bytes)
        .map_err(|error| Error::Protocol { what: what.to_owned(), why: format!("not a manifest: {error}") })?;
    let has_manifest = document.config.is_some() || document.layers.is_some();
    let has_index = document.manifests.is_some();
    if document.schema_version == Some(1) || document.fs_layers.is_some() {
        return Err(if has_manifest || has_index {
            refuse("it is several kinds of document at once".into())
        } else {
            schema1(what)
        });
    }
    if document.schema_version != Some(2) {
        return Err(refuse("its schemaVersion is not 2".into()));
    }
    let fields = match (has_manifest, has_index) {
        (true, true) => return Err(refuse("it is both a manifest and an index".into())),
        (true, false) => Kind::Manifest,
        (false, true) => Kind::Index,
        (false, false) => return Err(refuse("it is neither a manifest nor an index".into())),
    };
    for stated in [document.media_type.as_ref(), Some(content_type)].into_iter().flatten() {
        if stated.kind().is_some_and(|kind| kind != fields) {
            return Err(refuse(format!("its fields are those of another type than {stated}")));
        }
    }
    let media_type = media_type(what, content_type, document.media_type, fields)?;
    let annotations = document.annotations.unwrap_or_default();
    let (subject, artifact_type) = (document.subject, document.artifact_type);
    let missing = |field: &str| Error::Protocol { what: what.to_owned(), why: format!("the manifest has no {field}") };
    let parsed = match fields {
        Kind::Index => {
            let manifests = document.manifests.unwrap_or_default();
            Document::Index(Box::new(Index { manifests, subject, artifact_type, annotations }))
        }
        _ => Document::Manifest(Box::new(Manifest {
            config: document.config.ok_or_else(|| missing("config"))?,
            layers: document.layers.ok_or_else(|| missing("layers"))?,
            subject,
            artifact_type,
            annotations,
        })),
    };
    Ok((media_type, parsed))
}

/// What the document is: what it says itself, or else what the server says, or else what its fields say.
fn media_type(what: &str, content_type: &MediaType, stated: Option<MediaType>, fields: Kind) -> Result<MediaType> {
    let known = content_type.kind().is_some();
    match stated.filter(|stated| !stated.0.is_empty()) {
        Some(stated) if stated.kind().is_none() => Err(Error::Unsupported {
            what: what.to_owned(),
            why: format!("its media type {stated:?} is not one we know"),
        }),
        Some(stated) if known && stated != *content_type => {
            let why = format!("it says that it is {stated}, but was sent as {content_type}");
            Err(Error::Unsupported { what: what.to_owned(), why })
        }
        Some(stated) => Ok(stated),
        None if known => Ok(content_type.clone()),
        None if fields == Kind::Index => Ok(MediaType::OCI_INDEX.into()),
        None => Ok(MediaType::OCI_MANIFEST.into()),
    }
}

fn schema1(what: &str) -> Error {
    let why = "it is in Docker's first format (schema 1), which Docker itself no longer takes; push the image again with a \
               current tool";
    Error::Unsupported { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":3}}"#)
    }

    fn read(content_type: &str, json: &str) -> Result<(MediaType, Document)> {
        parse("test", &content_type.into(), json.as_bytes())
    }

    #[test]
    fn manifests_and_indexes() {
        let config = descriptor(MediaType::OCI_CONFIG);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let (media_type, parsed) = read("application/json", &manifest).unwrap();
        assert_eq!(media_type.as_str(), MediaType::OCI_MANIFEST);
        assert!(matches!(parsed, Document::Manifest(manifest) if manifest.config.size == 3));
        assert_eq!(read(MediaType::DOCKER_MANIFEST, &manifest).unwrap().0.as_str(), MediaType::DOCKER_MANIFEST);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{{"mediaType":"x","digest":"sha256:{HEX}","size":1,"platform":
               {{"os":"linux","architecture":"arm","variant":"v7","os.version":"1"}},"data":"eA=="}}]}}"#,
            MediaType::OCI_INDEX,
            descriptor(MediaType::OCI_MANIFEST)
        );
        let (_, parsed) = read(MediaType::OCI_INDEX, &index).unwrap();
        let Document::Index(index) = parsed else { panic!("no index") };
        assert_eq!(index.manifests[1].platform.as_ref().unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn documents_that_are_two_things_are_refused() {
        let config = descriptor(MediaType::OCI_CONFIG);
        let manifest = format!(r#""schemaVersion":2,"config":{config},"layers":[]"#);
        let (oci, docker, index) = (MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST, MediaType::OCI_INDEX);
        for (content_type, json) in [
            (oci, format!(r#"{{{manifest},"manifests":[]}}"#)),
            (index, r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.into()),
            (index, format!("{{{manifest}}}")),
            (docker, format!(r#"{{{manifest},"mediaType":"{oci}"}}"#)),
            (oci, format!(r#"{{{manifest},"mediaType":"{index}"}}"#)),
            (oci, format!(r#"{{{manifest},"mediaType":"application/x"}}"#)),
            (oci, format!(r#"{{{manifest},"fsLayers":[]}}"#)),
            (oci, format!(r#"{{{manifest},"config":{config}}}"#)),
            (oci, r#"{"schemaVersion":2}"#.into()),
            (oci, r#"{"schemaVersion":3,"manifests":[]}"#.into()),
            (oci, format!(r#"{{"schemaVersion":2,"config":{config}}}"#)),
            (oci, "[]".into()),
            (oci, String::new()),
            (oci, "[".repeat(100_000)),
            (oci, manifest_with_digest("sha256:../../x")),
            (oci, manifest_with_digest(&format!("sha512:{HEX}{HEX}"))),
        ] {
            assert!(read(content_type, &json).is_err(), "{}", &json[..json.len().min(300)]);
        }
    }

    fn manifest_with_digest(digest: &str) -> String {
        format!(r#"{{"schemaVersion":2,"layers":[],"config":{{"mediaType":"x","digest":"{digest}","size":3}}}}"#)
    }

    #[test]
    fn schema_1_is_explained() {
        for (content_type, json) in [
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}"),
            ("application/json", r#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#),
        ] {
            assert!(read(content_type, json).unwrap_err().to_string().contains("schema 1"));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse("test", &MediaType::OCI_MANIFEST.into(), &bytes);
        }
    }
}
