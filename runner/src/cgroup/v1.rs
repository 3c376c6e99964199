//! Resources as files of cgroup version 1 (kernel: Documentation/admin-guide/cgroup-v1).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork};

use super::Result;
use super::hierarchy::{Controller, Hierarchies};
use super::plan::{Write, unsupported};

pub(super) fn memory(memory: &LinuxMemory) -> Result<Vec<Write>> {
    let new = |file: &str, value: String, what| Write::new(Controller::Memory, true, file, value, what);
    let mut writes = Vec::new();
    if memory.kernel().is_some_and(|limit| limit > 0) {
        return unsupported("kernel memory", "kernels since 5.4 no longer limit it apart; use --memory");
    }
    if memory.use_hierarchy() == Some(false) {
        return unsupported("memory", "kernels since 5.11 always account children to their parents");
    }
    if let Some(limit) = memory.limit().filter(|&limit| limit != 0) {
        writes.push(new("memory.limit_in_bytes", limit.to_string(), "memory"));
    }
    if let Some(swap) = memory.swap().filter(|&swap| swap != 0) {
        let mut write = new("memory.memsw.limit_in_bytes", swap.to_string(), "memory and swap");
        // The derived default of `-m` alone; a kernel that does not account swap cannot give more than this either.
        write.optional = memory.limit().is_some_and(|limit| limit > 0 && limit.checked_mul(2) == Some(swap));
        writes.push(write);
    }
    if let Some(limit) = memory.reservation().filter(|&limit| limit != 0) {
        writes.push(new("memory.soft_limit_in_bytes", limit.to_string(), "memory reservation"));
    }
    if let Some(limit) = memory.kernel_tcp().filter(|&limit| limit > 0) {
        writes.push(new("memory.kmem.tcp.limit_in_bytes", limit.to_string(), "TCP memory"));
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            return unsupported("swappiness", format!("{swappiness} is not between 0 and 100"));
        }
        writes.push(new("memory.swappiness", swappiness.to_string(), "swappiness"));
    }
    if let Some(disabled) = memory.disable_oom_killer() {
        writes.push(new("memory.oom_control", u8::from(disabled).to_string(), "the OOM killer"));
    }
    Ok(writes)
}

pub(super) fn cpu(cpu: &LinuxCpu) -> Result<Vec<Write>> {
    let new = |file: &str, value: String, what| Write::new(Controller::Cpu, true, file, value, what);
    let mut writes = Vec::new();
    if let Some(shares) = cpu.shares().filter(|&shares| shares > 0) {
        writes.push(new("cpu.shares", shares.to_string(), "CPU shares"));
    }
    if let Some(period) = cpu.period().filter(|&period| period > 0) {
        writes.push(new("cpu.cfs_period_us", period.to_string(), "the CPU period"));
    }
    if let Some(quota) = cpu.quota().filter(|&quota| quota != 0) {
        writes.push(new("cpu.cfs_quota_us", quota.to_string(), "the CPU quota"));
    }
    if let Some(burst) = cpu.burst() {
        writes.push(new("cpu.cfs_burst_us", burst.to_string(), "the CPU burst"));
    }
    if let Some(period) = cpu.realtime_period().filter(|&period| period > 0) {
        writes.push(new("cpu.rt_period_us", period.to_string(), "the real-time period"));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&runtime| runtime > 0) {
        writes.push(new("cpu.rt_runtime_us", runtime.to_string(), "the real-time runtime"));
    }
    if let Some(idle) = cpu.idle() {
        writes.push(new("cpu.idle", idle.to_string(), "idle scheduling"));
    }
    Ok(writes)
}

pub(super) fn io(io: &LinuxBlockIo) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if io.leaf_weight().is_some_and(|weight| weight > 0) {
        return unsupported("the leaf weight of block I/O", "it went with the CFQ scheduler in kernel 5.0");
    }
    let weighted = |file: &str, bfq: &str, value: String| {
        let mut write = Write::new(Controller::Io, true, file, value.clone(), "the weight of block I/O");
        write.instead = Some((bfq.to_owned(), value));
        write
    };
    if let Some(weight) = io.weight().filter(|&weight| weight > 0) {
        writes.push(weighted("blkio.weight", "blkio.bfq.weight", weight.to_string()));
    }
    for device in io.weight_device().iter().flatten() {
        if device.leaf_weight().is_some_and(|weight| weight > 0) {
            return unsupported("the leaf weight of block I/O", "it went with the CFQ scheduler in kernel 5.0");
        }
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            writes.push(weighted("blkio.weight_device", "blkio.bfq.weight_device", value));
        }
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.push(Write::new(Controller::Io, true, file, value, "the rate of block I/O"));
        }
    }
    Ok(writes)
}

pub(super) fn network(network: &LinuxNetwork, hierarchies: &Hierarchies) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let require = |controller, what: &str| match hierarchies.version1.contains_key(&controller) {
        true => Ok(()),
        false => unsupported(what, "only cgroup version 1 tags packets, and its hierarchy is not mounted"),
    };
    if let Some(class) = network.class_id() {
        require(Controller::NetCls, "the network class")?;
        writes.push(Write::new(Controller::NetCls, true, "net_cls.classid", class, "the network class"));
    }
    for priority in network.priorities().iter().flatten() {
        require(Controller::NetPrio, "the network priority")?;
        let value = format!("{} {}", priority.name(), priority.priority());
        writes.push(Write::new(Controller::NetPrio, true, "net_prio.ifpriomap", value, "the network priority"));
    }
    Ok(writes)
}
