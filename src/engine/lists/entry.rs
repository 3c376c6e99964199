//! The entries of a list, as JSON: what is not understood of them stays as it is.

use std::collections::BTreeMap;

use registry_client::{MediaType, Platform};
use serde_json::{Value, json};

use crate::error::{CommandError, Result};

/// What a user says of an entry, over what its image says.
#[derive(Clone, Debug, Default)]
pub struct EntryOptions {
    /// `--os`
    pub os: Option<String>,
    /// `--arch`
    pub architecture: Option<String>,
    /// `--variant`
    pub variant: Option<String>,
    /// `--os-version`
    pub os_version: Option<String>,
    /// `--os-features`
    pub os_features: Vec<String>,
    /// `--features`
    pub features: Vec<String>,
    /// `--annotation`
    pub annotations: BTreeMap<String, String>,
}

impl EntryOptions {
    /// The platform that is meant, if any word of it was said.
    pub(super) fn platform(&self) -> Option<Platform> {
        (self.os.is_some() || self.architecture.is_some()).then(|| {
            let host = Platform::host();
            let (os, architecture) = (self.os.as_ref(), self.architecture.as_ref());
            let (os, architecture) = (os.unwrap_or(&host.os), architecture.unwrap_or(&host.architecture));
            Platform::new(os, architecture, self.variant.as_deref())
        })
    }

    /// Writes it into an entry.
    pub(super) fn apply(&self, entry: &mut Value) {
        let words = [
            ("os", &self.os),
            ("architecture", &self.architecture),
            ("variant", &self.variant),
            ("os.version", &self.os_version),
        ];
        for (key, word) in words {
            if let Some(word) = word {
                entry["platform"][key] = json!(word);
            }
        }
        for (key, list) in [("os.features", &self.os_features), ("features", &self.features)] {
            if !list.is_empty() {
                entry["platform"][key] = json!(list);
            }
        }
        annotate(entry, &self.annotations);
    }
}

/// An index that lists nothing.
pub(super) fn empty_index() -> Value {
    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [] })
}

/// Notes something on an index or an entry.
pub(super) fn annotate(document: &mut Value, annotations: &BTreeMap<String, String>) {
    for (key, value) in annotations {
        document["annotations"][key] = json!(value);
    }
}

/// The entries of an index.
pub(super) fn entries(index: &mut Value) -> Result<&mut Vec<Value>> {
    index
        .get_mut("manifests")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| CommandError::new("the index is malformed: it has no manifests"))
}

/// Puts an entry into an index, in the place of one of the same digest.
pub(super) fn put(index: &mut Value, entry: Value) -> Result<()> {
    let entries = entries(index)?;
    match entries.iter_mut().find(|other| other.get("digest") == entry.get("digest")) {
        Some(other) => *other = entry,
        None => entries.push(entry),
    }
    Ok(())
}
