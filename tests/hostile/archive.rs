//! Archives of images as `load` takes them: OCI layouts and docker's own form, well-formed unless a row says otherwise.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tar::Tar;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// `sha256:…` of some bytes.
pub fn digest(bytes: impl AsRef<[u8]>) -> String {
    let hash = Sha256::digest(bytes.as_ref());
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Where a blob lies in a layout.
pub fn place(bytes: impl AsRef<[u8]>) -> String {
    format!("blobs/sha256/{}", &digest(bytes)[7..])
}

/// A descriptor of some bytes.
pub fn descriptor(media_type: &str, bytes: impl AsRef<[u8]>) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes.as_ref()), "size": bytes.as_ref().len() })
}

/// The config of an image of these uncompressed layers.
pub fn config(tars: &[&[u8]]) -> Value {
    let diff_ids: Vec<String> = tars.iter().map(digest).collect();
    json!({ "os": "linux", "architecture": "amd64", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids } })
}

/// An OCI layout as it grows.
#[derive(Clone)]
pub struct Layout(pub Tar);

impl Layout {
    pub fn new() -> Self {
        Self(Tar::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#))
    }

    /// Adds a blob under its digest.
    pub fn blob(self, bytes: impl AsRef<[u8]>) -> Self {
        let at = place(bytes.as_ref());
        Self(self.0.file(at, bytes))
    }

    /// Adds the index of these manifests, the first named `hostile`, and ends the archive.
    pub fn index(self, manifests: &[Value]) -> Vec<u8> {
        let mut manifests = manifests.to_vec();
        if let Some(first) = manifests.first_mut().filter(|first| first.get("annotations").is_none()) {
            first["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/hostile:latest" });
        }
        self.index_text(json!({ "schemaVersion": 2, "manifests": manifests }).to_string())
    }

    /// Adds this as index.json and ends the archive.
    pub fn index_text(self, text: impl AsRef<[u8]>) -> Vec<u8> {
        self.0.file("index.json", text).end()
    }

    /// Ends the archive with this document as the one image.
    pub fn image(self, manifest: &Value) -> Vec<u8> {
        let text = manifest.to_string();
        let entry = descriptor(OCI_MANIFEST, &text);
        self.blob(text).index(&[entry])
    }
}

/// The manifest of a config and layer blobs.
pub fn manifest(config: &Value, blobs: &[&[u8]]) -> Value {
    let layers: Vec<Value> = blobs.iter().map(|blob| descriptor(OCI_LAYER, blob)).collect();
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, config.to_string()), "layers": layers
    })
}

/// An OCI archive of an image called `hostile`, whose second layer is `blob`, said to be `tar` when inflated.
pub fn image(lower: &[u8], blob: &[u8], tar: &[u8]) -> Vec<u8> {
    let config = config(&[lower, tar]);
    let layout = Layout::new().blob(config.to_string()).blob(lower).blob(blob);
    layout.image(&manifest(&config, &[lower, blob]))
}

/// An archive in docker's own form: `manifest.json` as given, beside the config `config.json` and the layer `layer.tar`.
pub fn docker(layer: &[u8], manifest: &str) -> Tar {
    let config = config(&[layer]).to_string();
    Tar::new().file("config.json", config).file("layer.tar", layer).file("manifest.json", manifest)
}

/// The usual text of its `manifest.json`.
pub const DOCKER: &str = r#"[{"Config":"config.json","RepoTags":["hostile:latest"],"Layers":["layer.tar"]}]"#;
