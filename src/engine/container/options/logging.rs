//! What the user asked of a container's log, as it was said.

use serde::{Deserialize, Serialize};

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggingOptions {
    /// `--log-driver`
    pub driver: Option<String>,
    /// `--log-opt`, each `KEY=VALUE`
    pub options: Vec<String>,
}
