//! Images in files: what `docker save`, `podman save` and skopeo write, and what they read.
//!
//! One archive holds both forms side by side, as newer dockers write it: `index.json` with `blobs/sha256/…` (OCI image
//! layout) and `manifest.json` (docker), which points to the same blobs.

mod contents;
mod keeping;
mod legacy;
mod load;
mod save;
mod whole;

use serde::{Deserialize, Serialize};

pub(super) use contents::{Contents, open_plain};
pub(super) use load::pick;
pub(super) use save::append;
pub use save::{Member, write_file};

/// The annotation that carries a whole name in `index.json`.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// The annotation that carries a tag, or a name, in `index.json` (OCI image spec, annotations.md).
pub(super) const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// Largest manifest or index read, bytes.
pub(super) const MANIFEST_MAX: u64 = 4 << 20;

/// Which archive `save` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// An OCI layout with docker's manifest.json beside it.
    Oci,
    /// An OCI layout as a directory.
    OciDirectory,
    /// Docker's form alone, as dockers before 25 write it.
    Docker,
}

/// One image of docker's `manifest.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}
