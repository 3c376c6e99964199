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

impl Limits {
    /// These limits with what `newer` says in their place.
    #[must_use]
    pub fn changed_by(&self, newer: &Self) -> Self {
        fn list(old: &[String], newer: &[String]) -> Vec<String> {
            if newer.is_empty() { old.to_vec() } else { newer.to_vec() }
        }
        // One way to say it drives out the other.
        let quota = newer.cpu_quota.is_some() || newer.cpu_period.is_some();
        let cpus = newer.cpus.is_some();
        Self {
            memory: newer.memory.clone().or_else(|| self.memory.clone()),
            memory_swap: newer.memory_swap.clone().or_else(|| self.memory_swap.clone()),
            memory_reservation: newer.memory_reservation.clone().or_else(|| self.memory_reservation.clone()),
            memory_swappiness: newer.memory_swappiness.or(self.memory_swappiness),
            cpus: newer.cpus.clone().or_else(|| self.cpus.clone().filter(|_| !quota)),
            cpu_period: newer.cpu_period.or(self.cpu_period.filter(|_| !cpus)),
            cpu_quota: newer.cpu_quota.or(self.cpu_quota.filter(|_| !cpus)),
            cpu_rt_period: newer.cpu_rt_period.or(self.cpu_rt_period),
            cpu_rt_runtime: newer.cpu_rt_runtime.or(self.cpu_rt_runtime),
            cpu_shares: newer.cpu_shares.or(self.cpu_shares),
            cpuset_cpus: newer.cpuset_cpus.clone().or_else(|| self.cpuset_cpus.clone()),
            cpuset_mems: newer.cpuset_mems.clone().or_else(|| self.cpuset_mems.clone()),
            pids_limit: newer.pids_limit.or(self.pids_limit),
            blkio_weight: newer.blkio_weight.or(self.blkio_weight),
            oom_kill_disable: newer.oom_kill_disable || self.oom_kill_disable,
            blkio_weight_device: list(&self.blkio_weight_device, &newer.blkio_weight_device),
            device_read_bps: list(&self.device_read_bps, &newer.device_read_bps),
            device_write_bps: list(&self.device_write_bps, &newer.device_write_bps),
            device_read_iops: list(&self.device_read_iops, &newer.device_read_iops),
            device_write_iops: list(&self.device_write_iops, &newer.device_write_iops),
            hugetlb_limit: list(&self.hugetlb_limit, &newer.hugetlb_limit),
            cgroup_conf: list(&self.cgroup_conf, &newer.cgroup_conf),
        }
    }
}
