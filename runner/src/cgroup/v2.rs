//! Resources as files of cgroup version 2 (kernel: Documentation/admin-guide/cgroup-v2.rst).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::Result;
use super::hierarchy::{Controller, Hierarchies};
use super::plan::{Write, unsupported};

/// CPU shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100): shares × 100 / 1024.
///
/// The one published rule that keeps both the default (1024 is 100) and proportions (1024 to 512 stays 2 to 1); the OCI
/// runtimes' older linear rule gave 39 for the default, their newer logarithmic one gives 100 and 59.
pub fn cpu_weight(shares: u64) -> u64 {
    (shares.saturating_mul(100) / 1024).clamp(1, 10_000)
}

/// A blkio weight (10 to 1000) as an io.weight (1 to 10000), end points to end points.
pub fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// Version 2 writes "no limit" as `max`.
pub(super) fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

pub(super) fn memory(memory: &LinuxMemory) -> Result<Vec<Write>> {
    let new = |file: &str, value: String, what| Write::new(Controller::Memory, false, file, value, what);
    if memory.kernel().or(memory.kernel_tcp()).is_some_and(|limit| limit > 0) {
        return unsupported("kernel memory", "cgroup v2 counts it in with all memory; use --memory");
    }
    if memory.swappiness().is_some() {
        return unsupported("swappiness", "cgroup v2 has no swappiness of a group; use --memory-swap");
    }
    if memory.disable_oom_killer() == Some(true) {
        return unsupported("the OOM killer", "cgroup v2 cannot switch it off for a group");
    }
    let mut writes = Vec::new();
    let limit = memory.limit().filter(|&limit| limit != 0);
    if let Some(swap) = memory.swap().filter(|&swap| swap != 0) {
        let value = match (swap, limit) {
            (swap, _) if swap < 0 => "max".to_owned(),
            (_, Some(limit)) if limit > 0 => match swap.checked_sub(limit) {
                Some(swap @ 0..) => swap.to_string(),
                _ => return unsupported("swap", "memory and swap together are less than memory alone"),
            },
            _ => return unsupported("swap", "the sum of memory and swap needs a limit of memory"),
        };
        let mut write = new("memory.swap.max", value, "swap");
        // The derived default of `-m` alone, as in version 1.
        write.optional = limit.is_some_and(|limit| limit > 0 && limit.checked_mul(2) == Some(swap));
        writes.push(write);
    }
    if let Some(limit) = limit {
        writes.push(new("memory.max", or_max(limit), "memory"));
    }
    if let Some(low) = memory.reservation().filter(|&low| low != 0) {
        writes.push(new("memory.low", or_max(low), "memory reservation"));
    }
    Ok(writes)
}

pub(super) fn cpu(cpu: &LinuxCpu) -> Result<Vec<Write>> {
    let new = |file: &str, value: String, what| Write::new(Controller::Cpu, false, file, value, what);
    if cpu.realtime_runtime().is_some_and(|r| r > 0) || cpu.realtime_period().is_some_and(|p| p > 0) {
        return unsupported("real-time CPU time", "cgroup v2 does not limit real-time scheduling");
    }
    let mut writes = Vec::new();
    if let Some(shares) = cpu.shares().filter(|&shares| shares > 0) {
        writes.push(new("cpu.weight", cpu_weight(shares).to_string(), "CPU shares"));
    }
    let quota = cpu.quota().filter(|&quota| quota != 0);
    let period = cpu.period().filter(|&period| period > 0);
    if quota.is_some() || period.is_some() {
        let mut value = quota.map_or("max".to_owned(), or_max);
        if let Some(period) = period {
            value.push_str(&format!(" {period}"));
        }
        writes.push(new("cpu.max", value, "the CPU quota"));
    }
    if let Some(burst) = cpu.burst() {
        writes.push(new("cpu.max.burst", burst.to_string(), "the CPU burst"));
    }
    if let Some(idle) = cpu.idle() {
        writes.push(new("cpu.idle", idle.to_string(), "idle scheduling"));
    }
    Ok(writes)
}

pub(super) fn io(io: &LinuxBlockIo) -> Result<Vec<Write>> {
    if io.leaf_weight().is_some_and(|weight| weight > 0) {
        return unsupported("the leaf weight of block I/O", "cgroup v2 has no leaf weights");
    }
    let mut writes = Vec::new();
    // BFQ keeps the scale of version 1, the cost model uses that of version 2.
    let mut weighted = |prefix: String, weight: u16| {
        let mut write =
            Write::new(Controller::Io, false, "io.bfq.weight", format!("{prefix}{weight}"), "the weight of block I/O");
        write.instead = Some(("io.weight".to_owned(), format!("{prefix}{}", io_weight(weight))));
        writes.push(write);
    };
    if let Some(weight) = io.weight().filter(|&weight| weight > 0) {
        weighted(String::new(), weight);
    }
    for device in io.weight_device().iter().flatten() {
        if device.leaf_weight().is_some_and(|weight| weight > 0) {
            return unsupported("the leaf weight of block I/O", "cgroup v2 has no leaf weights");
        }
        if let Some(weight) = device.weight() {
            weighted(format!("{}:{} ", device.major(), device.minor()), weight);
        }
    }
    for (key, devices) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
            writes.push(Write::new(Controller::Io, false, "io.max", value, "the rate of block I/O"));
        }
    }
    Ok(writes)
}

/// A file of cgroup2 by its own name (OCI `unified`). The file must belong to a controller of that mount.
pub(super) fn raw(file: &str, value: &str, hierarchies: &Hierarchies) -> Result<Write> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let prefix = file.split('.').next().unwrap_or_default();
    if !file.bytes().all(plain) || !file.contains('.') || value.contains('\n') {
        return unsupported(file, "it is not the name of a control file with a one-line value");
    }
    let controllers = [
        Controller::Memory,
        Controller::Cpu,
        Controller::Cpuset,
        Controller::Pids,
        Controller::Io,
        Controller::Hugetlb,
        Controller::Rdma,
    ];
    let controller = match prefix {
        // Limits on the tree; what moves processes or controllers is not a resource.
        "cgroup" if matches!(file, "cgroup.max.depth" | "cgroup.max.descendants" | "cgroup.pressure") => {
            Controller::Pids
        }
        _ => match controllers.into_iter().find(|controller| controller.name(false) == prefix) {
            Some(controller) => controller,
            None => return unsupported(file, "no controller of that name can be set here"),
        },
    };
    if prefix != "cgroup" && hierarchies.version1_has(controller) != Some(false) {
        return unsupported(file, format!("the `{prefix}` controller is not on cgroup v2 on this machine"));
    }
    if prefix == "cgroup" && hierarchies.unified.is_none() {
        return unsupported(file, "no cgroup v2 hierarchy is mounted");
    }
    Ok(Write::new(controller, false, file, value, "a control file"))
}
