//! In which form an image leaves the store: how its layers are compressed, which media types name them, and what is noted
//! on its manifest. Push and archives share it, so that both write the same manifest for the same wishes.

use std::collections::BTreeMap;

use registry_client::MediaType;
use serde_json::{Map, Value, json};
use store::Digest;
use store::image::{CompressedLayer, Image};
use store::layer::Compression;

use crate::error::{CommandError, Result};

/// Docker's type of a layer that is not compressed (image manifest v2 schema 2).
const DOCKER_LAYER_PLAIN: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Remarks on an image (OCI image spec, annotations.md).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// In the manifest.
    pub manifest: BTreeMap<String, String>,
    /// On the manifest's descriptor, where an index lists it.
    pub descriptor: BTreeMap<String, String>,
    /// In the index of the image.
    pub index: BTreeMap<String, String>,
    /// On that index's descriptor, where the index of an archive lists it.
    pub index_descriptor: BTreeMap<String, String>,
}

impl Annotations {
    /// Adds one as `--annotation` takes it: `[LEVEL:]KEY=VALUE`, several levels joined by commas.
    ///
    /// # Errors
    /// Text without a key.
    pub fn add(&mut self, text: &str) -> Result<()> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| CommandError::usage(format!("an annotation is KEY=VALUE, not {text:?}")))?;
        let (levels, key) = name.split_once(':').filter(|(levels, _)| is_levels(levels)).unwrap_or(("manifest", name));
        if key.is_empty() {
            return Err(CommandError::usage(format!("the annotation {text:?} has no key")));
        }
        for level in levels.split(',') {
            self.add_at(level, key, value)?;
        }
        Ok(())
    }

    /// Adds one at a level.
    ///
    /// # Errors
    /// A level that there is not.
    pub fn add_at(&mut self, level: &str, key: &str, value: &str) -> Result<()> {
        let at = match level {
            "manifest" => &mut self.manifest,
            "manifest-descriptor" => &mut self.descriptor,
            "index" => &mut self.index,
            "index-descriptor" => &mut self.index_descriptor,
            _ => {
                return Err(CommandError::usage(format!("there is no annotation level {level:?}"))
                    .hint(format!("there are {}", LEVELS.join(", "))));
            }
        };
        at.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Those of `other` as well, over ours.
    pub fn extend(&mut self, other: &Self) {
        self.manifest.extend(other.manifest.clone());
        self.descriptor.extend(other.descriptor.clone());
        self.index.extend(other.index.clone());
        self.index_descriptor.extend(other.index_descriptor.clone());
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.manifest.is_empty() && self.descriptor.is_empty() && !self.want_index()
    }

    /// Whether the image needs an index for them, though it is for one platform.
    pub fn want_index(&self) -> bool {
        !self.index.is_empty() || !self.index_descriptor.is_empty()
    }
}

/// Where annotations may be.
const LEVELS: [&str; 4] = ["manifest", "index", "manifest-descriptor", "index-descriptor"];

fn is_levels(text: &str) -> bool {
    text.split(',').all(|level| LEVELS.contains(&level))
}

/// The wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// How layers are compressed; `None`: gzip for a registry, not at all in an archive.
    pub compression: Option<Compression>,
    /// How hard; `None`: the usual.
    pub level: Option<u32>,
    /// Also layers that exist in another compressed form already.
    pub force: bool,
    /// Docker's media types in place of OCI's. What only OCI has (zstd, annotations) overrules it, as in BuildKit.
    pub docker_types: bool,
    /// Remarks.
    pub annotations: Annotations,
    /// These remarks and no others: not those of a manifest that the image came with.
    pub exact: bool,
    /// Whether it leaves under the manifest it has.
    pub keep: Keep,
}

/// Whether an image that has a manifest keeps it, and with it its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nobody asked: its layers are written as the form says.
    #[default]
    Free,
    /// Yes; layers whose compressed bytes are out of reach are an error.
    Must,
    /// Where it can; what is out of reach is compressed anew.
    Try,
}

/// A manifest as it is sent or written.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Form {
    /// Whether Docker's media types will do.
    fn is_docker(&self, layers: &[CompressedLayer]) -> bool {
        let zstd = layers.iter().any(|layer| layer.media_type.ends_with("zstd"));
        self.docker_types && self.annotations.is_empty() && !zstd
    }

    /// Whether a layer that exists in this form can be used as it is.
    pub fn accepts(&self, layer: &CompressedLayer) -> bool {
        !self.force || self.compression.is_none_or(|wanted| compression_of(&layer.media_type) == Some(wanted))
    }

    /// The plain form of an image, with the remarks that its build left and the manifest it has.
    pub fn of(image: &Image) -> Self {
        let (manifest, descriptor) = image.record.annotations.clone();
        let annotations = Annotations { manifest, descriptor, ..Annotations::default() };
        Self { annotations, keep: Keep::Must, ..Self::default() }
    }

    /// The manifest of `image` with its layers in these forms: the very one it was pulled or pushed as if that says the
    /// same, so that its digest stays.
    ///
    /// # Errors
    /// None in practice: JSON of our own making.
    pub fn manifest(&self, image: &Image, layers: &[CompressedLayer], known: &[Manifest]) -> Result<Manifest> {
        if !self.docker_types
            && let Some(same) = self.known(image, layers, known)
        {
            return Ok(same);
        }
        let docker = self.is_docker(layers);
        let (media_type, config_type) = match docker {
            true => (MediaType::DOCKER_MANIFEST, MediaType::DOCKER_CONFIG),
            false => (MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG),
        };
        let layers = layers.iter().map(|layer| {
            let media_type = translate(&layer.media_type, docker);
            json!({ "mediaType": media_type, "digest": layer.digest, "size": layer.size })
        });
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": { "mediaType": config_type, "digest": image.id, "size": image.raw.len() },
            "layers": layers.collect::<Vec<Value>>(),
        });
        if !self.annotations.manifest.is_empty() {
            manifest["annotations"] = annotations(&self.annotations.manifest);
        }
        Ok(Manifest { media_type: media_type.to_owned(), bytes: serde_json::to_vec(&manifest)? })
    }

    /// The index around a manifest of `image`, if annotations want one.
    ///
    /// # Errors
    /// None in practice: JSON of our own making.
    pub fn index(&self, image: &Image, manifest: &Manifest) -> Result<Option<Manifest>> {
        if !self.annotations.want_index() {
            return Ok(None);
        }
        let mut index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": [manifest.descriptor(Some(image), &self.annotations.descriptor)],
        });
        if !self.annotations.index.is_empty() {
            index["annotations"] = annotations(&self.annotations.index);
        }
        Ok(Some(Manifest { media_type: MediaType::OCI_INDEX.to_owned(), bytes: serde_json::to_vec(&index)? }))
    }

    /// The known manifest that says the same.
    fn known(&self, image: &Image, layers: &[CompressedLayer], known: &[Manifest]) -> Option<Manifest> {
        let blobs: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        known.iter().find_map(|manifest| {
            let document = serde_json::from_slice::<Document>(&manifest.bytes).ok()?;
            let annotations = document.annotations.unwrap_or_default();
            let alike = annotations == self.annotations.manifest || self.annotations.is_empty() && !self.exact;
            let same = document.layers.iter().map(|layer| layer.digest).eq(blobs.iter().copied());
            let media_type = document.media_type.unwrap_or_else(|| MediaType::OCI_MANIFEST.to_owned());
            (document.config.digest == image.id.0 && same && alike)
                .then(|| Manifest { media_type, bytes: manifest.bytes.clone() })
        })
    }
}

impl Manifest {
    /// Its descriptor with these annotations, and with the platform of `image` if it is the manifest of one.
    pub fn descriptor(&self, image: Option<&Image>, notes: &BTreeMap<String, String>) -> Value {
        let mut descriptor =
            json!({ "mediaType": self.media_type, "digest": Digest::of(&self.bytes), "size": self.bytes.len() });
        if let Some(image) = image {
            descriptor["platform"] = json!({ "architecture": image.config.architecture, "os": image.config.os });
            if let Some(variant) = &image.config.variant {
                descriptor["platform"]["variant"] = json!(variant);
            }
        }
        if !notes.is_empty() {
            descriptor["annotations"] = annotations(notes);
        }
        descriptor
    }

    /// Whether it is an index.
    pub fn is_index(&self) -> bool {
        self.media_type == MediaType::OCI_INDEX
    }
}

/// Annotations as JSON.
fn annotations(from: &BTreeMap<String, String>) -> Value {
    Value::Object(from.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>())
}

/// The OCI type of a layer under this compression.
pub fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => MediaType::OCI_LAYER,
        Compression::Gzip => MediaType::OCI_LAYER_GZIP,
        Compression::Zstd => MediaType::OCI_LAYER_ZSTD,
    }
}

/// The compression that a layer's media type says, where it is one we write.
pub fn compression_of(media_type: &str) -> Option<Compression> {
    match media_type {
        MediaType::OCI_LAYER | DOCKER_LAYER_PLAIN => Some(Compression::None),
        MediaType::OCI_LAYER_GZIP | MediaType::DOCKER_LAYER => Some(Compression::Gzip),
        MediaType::OCI_LAYER_ZSTD => Some(Compression::Zstd),
        _ => None,
    }
}

/// The same layer's type in the other family; what has none there keeps its own.
pub fn translate(media_type: &str, docker: bool) -> &str {
    match (compression_of(media_type), docker) {
        (Some(Compression::None), true) => DOCKER_LAYER_PLAIN,
        (Some(Compression::Gzip), true) => MediaType::DOCKER_LAYER,
        (Some(compression), false) => layer_type(compression),
        _ => media_type,
    }
}

/// As much of a manifest as is compared.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: Option<String>,
    config: BlobName,
    layers: Vec<BlobName>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(serde::Deserialize)]
struct BlobName {
    digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_go_where_they_say() {
        let mut found = Annotations::default();
        found.add("a=1").unwrap();
        found.add("manifest-descriptor:b=x:y=z").unwrap();
        found.add("manifest,manifest-descriptor:c=").unwrap();
        found.add("org.example:d=2").unwrap();
        let keys = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&found.manifest), ["a", "c", "org.example:d"]);
        assert_eq!(found.descriptor["b"], "x:y=z");
        assert_eq!(keys(&found.descriptor), ["b", "c"]);
        assert!(!found.want_index() && found.add_at("nowhere", "k", "v").is_err());
        found.add("index,index-descriptor:e=5").unwrap();
        assert_eq!((keys(&found.index), keys(&found.index_descriptor)), (vec!["e".to_owned()], vec!["e".to_owned()]));
        assert!(found.want_index());
        for wrong in ["", "=v", "novalue", "manifest:=v"] {
            assert!(found.add(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_are_those_of_one_family() {
        assert_eq!(translate(MediaType::DOCKER_LAYER, false), MediaType::OCI_LAYER_GZIP);
        assert_eq!(translate(MediaType::OCI_LAYER, true), DOCKER_LAYER_PLAIN);
        assert_eq!(translate("application/x", true), "application/x");
        let zstd = CompressedLayer::new(MediaType::OCI_LAYER_ZSTD, Digest::of(b""), 0);
        let form = Form { docker_types: true, ..Form::default() };
        assert!(form.is_docker(&[]) && !form.is_docker(std::slice::from_ref(&zstd)), "Docker's types know no zstd");
        let forced = Form { compression: Some(Compression::Gzip), force: true, ..Form::default() };
        assert!(!forced.accepts(&zstd) && Form { force: false, ..forced }.accepts(&zstd));
    }
}
