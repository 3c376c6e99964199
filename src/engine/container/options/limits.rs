//! The limits that `run`, `create` and `update` share, as they were said.

use serde::{Deserialize, Serialize};

/// What a container may use of the machine. Kept in the record beside the other flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `-m`
    pub memory: Option<String>,
    /// `--memory-swap`
    pub memory_swap: Option<String>,
    /// `--memory-reservation`
    pub memory_reservation: Option<String>,
    /// `--memory-swappiness`; -1 is the kernel's own.
    pub memory_swappiness: Option<i64>,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// `--cpus`
    pub cpus: Option<String>,
    /// `--cpu-period`, microseconds
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period`, microseconds
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpu-shares`
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device`
    pub blkio_weight_device: Vec<String>,
    /// `--device-read-bps`
    pub device_read_bps: Vec<String>,
    /// `--device-write-bps`
    pub device_write_bps: Vec<String>,
    /// `--device-read-iops`
    pub device_read_iops: Vec<String>,
    /// `--device-write-iops`
    pub device_write_iops: Vec<String>,
    /// `--hugetlb-limit`
    pub hugetlb_limit: Vec<String>,
    /// `--cgroup-conf`
    pub cgroup_conf: Vec<String>,
}
