//! Where a container stands among its neighbours: control group, namespaces, what it may open of devices.

use serde::{Deserialize, Serialize};

/// Control group and namespaces, as they were said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// `--cgroupns`: `private` or `host`.
    pub cgroupns: Option<String>,
    /// `--ipc`
    pub ipc: Option<String>,
    /// `--pid`
    pub pid: Option<String>,
    /// `--uts`
    pub uts: Option<String>,
    /// `--device-cgroup-rule`
    pub device_cgroup_rules: Vec<String>,
    /// `--oom-score-adj`
    pub oom_score_adj: Option<i32>,
}
