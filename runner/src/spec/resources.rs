//! Limits as the flags give them to OCI resources.

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use super::options::{DeviceNodeKind, Options, ResourceOptions};
use super::parse::cpu_list;
use super::{Error, Result};

const GIVEN: &str = "every required field was given";
/// Below this a process cannot even start.
const LEAST_MEMORY: u64 = 6 << 20;
const PERIOD: u64 = 100_000;

/// Resources without device rules; also what `update` takes.
pub fn limits(options: &ResourceOptions) -> Result<LinuxResources> {
    let mut builder = LinuxResourcesBuilder::default();
    let memory_given = options.memory.is_some()
        || options.memory_swap.is_some()
        || options.memory_reservation.is_some()
        || options.memory_swappiness.is_some()
        || options.oom_kill_disable;
    if memory_given {
        builder = builder.memory(memory(options)?);
    }
    let cpu_given = options.nano_cpus.is_some()
        || options.cpu_period.is_some()
        || options.cpu_quota.is_some()
        || options.cpu_rt_period.is_some()
        || options.cpu_rt_runtime.is_some()
        || options.cpu_shares.is_some()
        || options.cpuset_cpus.is_some()
        || options.cpuset_mems.is_some();
    if cpu_given {
        builder = builder.cpu(cpu(options)?);
    }
    if let Some(limit) = options.pids_limit {
        let limit = if limit <= 0 { -1 } else { limit };
        builder = builder.pids(LinuxPidsBuilder::default().limit(limit).build().expect(GIVEN));
    }
    if let Some(io) = block_io(options)? {
        builder = builder.block_io(io);
    }
    if !options.hugetlb.is_empty() {
        let limits = options.hugetlb.iter().map(|(size, bytes)| {
            let limit = i64::try_from(*bytes).unwrap_or(i64::MAX);
            LinuxHugepageLimitBuilder::default().page_size(size.clone()).limit(limit).build().expect(GIVEN)
        });
        builder = builder.hugepage_limits(limits.collect::<Vec<_>>());
    }
    if !options.unified.is_empty() {
        builder = builder.unified(options.unified.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
    }
    Ok(builder.build().expect(GIVEN))
}

fn memory(options: &ResourceOptions) -> Result<oci_spec::runtime::LinuxMemory> {
    let error = |reason: String, hint: &str| Err(Error::Conflict { reason, hint: Some(hint.to_owned()) });
    let mut builder = LinuxMemoryBuilder::default();
    let limit = options.memory.filter(|&limit| limit > 0);
    if let Some(limit) = limit {
        if limit < LEAST_MEMORY {
            return error(format!("a memory limit of {limit} bytes is too small"), "the least is 6m");
        }
        builder = builder.limit(limit as i64);
    }
    match (limit, options.memory_swap) {
        (_, Some(swap)) if swap < -1 => {
            return error(format!("{swap} is no limit of memory and swap"), "-1 is unlimited");
        }
        (Some(limit), None | Some(0)) => builder = builder.swap(limit.saturating_mul(2).min(i64::MAX as u64) as i64),
        (Some(limit), Some(swap)) if swap > 0 && (swap as u64) < limit => {
            return error(
                format!("--memory-swap ({swap} bytes) is less than --memory ({limit} bytes)"),
                "--memory-swap is memory and swap together; the same value as --memory means no swap",
            );
        }
        (Some(_), Some(swap)) => builder = builder.swap(swap),
        (None, Some(swap)) if swap > 0 => {
            return error("--memory-swap needs --memory".to_owned(), "it limits memory and swap together");
        }
        (None, _) => {}
    }
    if let Some(reservation) = options.memory_reservation.filter(|&bytes| bytes > 0) {
        if limit.is_some_and(|limit| reservation > limit) {
            return error(
                "--memory-reservation is more than --memory".to_owned(),
                "the reservation must be the smaller one",
            );
        }
        builder = builder.reservation(reservation as i64);
    }
    if let Some(swappiness) = options.memory_swappiness {
        if swappiness > 100 {
            return error(format!("a swappiness of {swappiness} is out of range"), "it goes from 0 to 100");
        }
        builder = builder.swappiness(swappiness);
    }
    if options.oom_kill_disable {
        builder = builder.disable_oom_killer(true);
    }
    Ok(builder.build().expect(GIVEN))
}

fn cpu(options: &ResourceOptions) -> Result<oci_spec::runtime::LinuxCpu> {
    let error = |reason: String, hint: &str| Err(Error::Conflict { reason, hint: Some(hint.to_owned()) });
    let mut builder = LinuxCpuBuilder::default();
    if let Some(nano) = options.nano_cpus {
        if options.cpu_quota.is_some() || options.cpu_period.is_some() {
            return error(
                "--cpus excludes --cpu-quota and --cpu-period".to_owned(),
                "--cpus 1.5 is a quota of 150000 in a period of 100000",
            );
        }
        let quota = (u128::from(nano) * u128::from(PERIOD) / 1_000_000_000) as i64;
        builder = builder.quota(quota).period(PERIOD);
    }
    if let Some(period) = options.cpu_period.filter(|&period| period > 0) {
        if !(1_000..=1_000_000).contains(&period) {
            return error(
                format!("a CPU period of {period} µs is out of range"),
                "it goes from 1000 (1 ms) to 1000000 (1 s)",
            );
        }
        builder = builder.period(period);
    }
    if let Some(quota) = options.cpu_quota.filter(|&quota| quota != 0) {
        if quota > 0 && quota < 1_000 {
            return error(format!("a CPU quota of {quota} µs is too small"), "the least is 1000 (1 ms)");
        }
        builder = builder.quota(quota.max(-1));
    }
    if let Some(shares) = options.cpu_shares.filter(|&shares| shares > 0) {
        if !(2..=262_144).contains(&shares) {
            return error(
                format!("{shares} CPU shares are out of range"),
                "they go from 2 to 262144; 1024 is the default",
            );
        }
        builder = builder.shares(shares);
    }
    if let Some(runtime) = options.cpu_rt_runtime {
        if options.cpu_rt_period.is_some_and(|period| runtime > period as i64) {
            return error(
                "--cpu-rt-runtime is more than --cpu-rt-period".to_owned(),
                "runtime is the part of each period",
            );
        }
        builder = builder.realtime_runtime(runtime);
    }
    if let Some(period) = options.cpu_rt_period {
        builder = builder.realtime_period(period);
    }
    if let Some(list) = &options.cpuset_cpus {
        cpu_list("list of CPUs", list)?;
        builder = builder.cpus(list.clone());
    }
    if let Some(list) = &options.cpuset_mems {
        cpu_list("list of memory nodes", list)?;
        builder = builder.mems(list.clone());
    }
    Ok(builder.build().expect(GIVEN))
}

fn block_io(options: &ResourceOptions) -> Result<Option<oci_spec::runtime::LinuxBlockIo>> {
    let throttle = |list: &[((u32, u32), u64)]| -> Vec<LinuxThrottleDevice> {
        let one = |((major, minor), rate): &((u32, u32), u64)| {
            LinuxThrottleDeviceBuilder::default().major(*major).minor(*minor).rate(*rate).build().expect(GIVEN)
        };
        list.iter().map(one).collect()
    };
    let none = options.blkio_weight.is_none()
        && options.blkio_weight_device.is_empty()
        && options.device_read_bps.is_empty()
        && options.device_write_bps.is_empty()
        && options.device_read_iops.is_empty()
        && options.device_write_iops.is_empty();
    if none {
        return Ok(None);
    }
    let weights = options.blkio_weight.iter().chain(options.blkio_weight_device.iter().map(|(_, weight)| weight));
    if let Some(weight) = weights.copied().find(|&weight| weight != 0 && !(10..=1000).contains(&weight)) {
        return Err(Error::conflict(
            format!("a block I/O weight of {weight} is out of range"),
            "weights go from 10 to 1000",
        ));
    }
    let by_device = options.blkio_weight_device.iter().map(|((major, minor), weight)| {
        LinuxWeightDeviceBuilder::default().major(*major).minor(*minor).weight(*weight).build().expect(GIVEN)
    });
    let mut builder = LinuxBlockIoBuilder::default()
        .weight_device(by_device.collect::<Vec<_>>())
        .throttle_read_bps_device(throttle(&options.device_read_bps))
        .throttle_write_bps_device(throttle(&options.device_write_bps))
        .throttle_read_iops_device(throttle(&options.device_read_iops))
        .throttle_write_iops_device(throttle(&options.device_write_iops));
    if let Some(weight) = options.blkio_weight.filter(|&weight| weight > 0) {
        builder = builder.weight(weight);
    }
    Ok(Some(builder.build().expect(GIVEN)))
}

/// Device rules: nothing but making nodes, the usual six, terminals, and what was asked for. None at all for a privileged
/// container, and none for a rootless one, which cannot make nodes anyway.
pub(super) fn device_rules(options: &Options) -> Vec<LinuxDeviceCgroup> {
    if options.privileged || options.rootless {
        return Vec::new();
    }
    use LinuxDeviceType::{A, B, C};
    let rule = |allow: bool, kind: LinuxDeviceType, major: Option<u32>, minor: Option<u32>, access: &str| {
        let mut builder = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access);
        if let Some(major) = major {
            builder = builder.major(major);
        }
        if let Some(minor) = minor {
            builder = builder.minor(minor);
        }
        builder.build().expect(GIVEN)
    };
    let mut rules =
        vec![rule(false, A, None, None, "rwm"), rule(true, C, None, None, "m"), rule(true, B, None, None, "m")];
    // null, zero, full, random, urandom, tty, console, ptmx, and terminals.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, C, Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, C, Some(136), None, "rwm"));
    for device in &options.devices {
        let kind = if device.kind == DeviceNodeKind::Block { B } else { C };
        rules.push(rule(true, kind, Some(device.major), Some(device.minor), &device.access));
    }
    for asked in &options.device_rules {
        let kind = match asked.kind {
            'b' => B,
            'c' => C,
            _ => A,
        };
        rules.push(rule(true, kind, asked.major, asked.minor, &asked.access));
    }
    rules
}
