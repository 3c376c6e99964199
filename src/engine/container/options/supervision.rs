//! What the user asked of a container's monitor, as it was said.

use serde::{Deserialize, Serialize};

/// Restarting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SupervisionOptions {
    /// `--restart`
    pub restart: Option<String>,
}
