//! Whose ids a container has on the host, as it was said.

use serde::{Deserialize, Serialize};

/// User namespace and clocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    /// `--userns`
    pub userns: Option<String>,
    /// `--uidmap`
    pub uidmap: Vec<String>,
    /// `--gidmap`
    pub gidmap: Vec<String>,
    /// `--subuidname`
    pub subuidname: Option<String>,
    /// `--subgidname`
    pub subgidname: Option<String>,
    /// `--timens-offset`
    pub timens_offset: Vec<String>,
}
