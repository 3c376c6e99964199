//! Which control files get which values for a set of resources.
//!
//! Pure: resources and hierarchies in, an ordered list of writes out, so everything can be tested without a
//! group. Each controller's limits go to where that controller lives, version 1 or 2; what a version does not have is
//! refused here, before anything is made.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxResources;

use super::hierarchy::{Controller, Hierarchies};
use super::{Error, Result, v1, v2};

/// One value for one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose file it is.
    pub controller: Controller,
    /// In version 1's hierarchy or in the cgroup2 group.
    pub version1: bool,
    /// The file's name.
    pub file: String,
    /// What to write.
    pub value: String,
    /// The resource in the user's words, for errors.
    pub what: &'static str,
    /// A file that may be missing without harm.
    pub optional: bool,
    /// Another file to use where the first one is not there.
    pub instead: Option<(String, String)>,
}

impl Write {
    pub(super) fn new(
        controller: Controller,
        version1: bool,
        file: &str,
        value: impl ToString,
        what: &'static str,
    ) -> Self {
        Write {
            controller,
            version1,
            file: file.to_owned(),
            value: value.to_string(),
            what,
            optional: false,
            instead: None,
        }
    }
}

/// All writes for `resources`, in an order the kernel takes. `update` says that the group has been running, so that
/// "unlimited" must be written instead of left alone.
pub fn plan(resources: &LinuxResources, hierarchies: &Hierarchies, update: bool) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory() {
        let wanted = memory.limit().is_some_and(|limit| update || limit > 0)
            || memory.reservation().is_some_and(|limit| update || limit > 0)
            || memory.swap().is_some_and(|swap| update || swap != 0)
            || memory.kernel().is_some_and(|kernel| kernel > 0)
            || memory.kernel_tcp().is_some_and(|limit| limit > 0)
            || memory.swappiness().is_some()
            || memory.disable_oom_killer() == Some(true);
        if wanted {
            let to = if hierarchies.require(Controller::Memory, "memory")? { v1::memory } else { v2::memory };
            writes.extend(to(memory)?);
        }
    }
    if let Some(cpu) = resources.cpu() {
        let wanted = cpu.shares().is_some_and(|shares| shares > 0)
            || cpu.quota().is_some_and(|quota| update || quota > 0)
            || cpu.period().is_some_and(|period| period > 0)
            || cpu.burst().is_some()
            || cpu.idle().is_some()
            || cpu.realtime_runtime().is_some_and(|runtime| runtime > 0)
            || cpu.realtime_period().is_some_and(|period| period > 0);
        if wanted {
            let to = if hierarchies.require(Controller::Cpu, "CPU time")? { v1::cpu } else { v2::cpu };
            writes.extend(to(cpu)?);
        }
        let sets = [("cpuset.cpus", cpu.cpus(), "CPUs"), ("cpuset.mems", cpu.mems(), "memory nodes")];
        for (file, list, what) in sets {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                let version1 = hierarchies.require(Controller::Cpuset, what)?;
                writes.push(Write::new(Controller::Cpuset, version1, file, list, what));
            }
        }
    }
    if let Some(limit) = resources.pids().map(|pids| pids.limit()).filter(|&limit| limit > 0 || (update && limit < 0)) {
        let version1 = hierarchies.require(Controller::Pids, "the number of processes")?;
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        writes.push(Write::new(Controller::Pids, version1, "pids.max", value, "the number of processes"));
    }
    if let Some(io) = resources.block_io() {
        let empty = |list: &Option<Vec<_>>| list.as_ref().is_none_or(Vec::is_empty);
        let throttles = empty(io.throttle_read_bps_device())
            && empty(io.throttle_write_bps_device())
            && empty(io.throttle_read_iops_device())
            && empty(io.throttle_write_iops_device());
        let weights = io.weight().is_none_or(|weight| weight == 0)
            && io.leaf_weight().is_none_or(|weight| weight == 0)
            && io.weight_device().as_ref().is_none_or(Vec::is_empty);
        if !(throttles && weights) {
            let to = if hierarchies.require(Controller::Io, "block I/O")? { v1::io } else { v2::io };
            writes.extend(to(io)?);
        }
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let version1 = hierarchies.require(Controller::Hugetlb, "huge pages")?;
        let size = limit.page_size();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return unsupported("huge pages", format!("`{size}` is not a page size like 2MB"));
        }
        let (file, value) = match (version1, limit.limit()) {
            (true, value) => (format!("hugetlb.{size}.limit_in_bytes"), value.to_string()),
            (false, value) => (format!("hugetlb.{size}.max"), v2::or_max(value)),
        };
        writes.push(Write::new(Controller::Hugetlb, version1, &file, value, "huge pages"));
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let version1 = hierarchies.require(Controller::Rdma, "RDMA")?;
        let mut value = device.clone();
        for (key, number) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(number) = number {
                value.push_str(&format!(" {key}={number}"));
            }
        }
        writes.push(Write::new(Controller::Rdma, version1, "rdma.max", value, "RDMA"));
    }
    if let Some(network) = resources.network() {
        writes.extend(v1::network(network, hierarchies)?);
    }
    for (file, value) in resources.unified().iter().flatten() {
        writes.push(v2::raw(file, value, hierarchies)?);
    }
    Ok(writes)
}

/// The version 1 controllers that a list of writes needs groups of.
pub fn version1_controllers(writes: &[Write]) -> BTreeSet<Controller> {
    writes.iter().filter(|write| write.version1).map(|write| write.controller).collect()
}

/// The cgroup2 controllers that a list of writes needs enabled.
pub fn unified_controllers(writes: &[Write]) -> BTreeSet<&'static str> {
    let named = |write: &&Write| !write.version1 && !write.file.starts_with("cgroup.");
    writes.iter().filter(named).map(|write| write.controller.name(false)).collect()
}

pub(super) fn unsupported<T>(what: &str, reason: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported { what: what.to_owned(), reason: reason.into() })
}
