//! What the user asked of a container's mounts and storage, beside `-v`, `--mount` and `--tmpfs`.

use serde::{Deserialize, Serialize};

/// Words of the flags, kept in the container's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageOptions {
    /// `--volumes-from`
    pub volumes_from: Vec<String>,
    /// `--mount-entry`, and the lines of `--mount-file`.
    pub mount_entries: Vec<String>,
    /// `--image-volume`: `bind`, `tmpfs`, `ignore`.
    pub image_volume: Option<String>,
    /// `--storage-opt`, as `key=value`.
    pub storage: Vec<String>,
}
