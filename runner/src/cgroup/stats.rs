//! What a container uses: one set of figures, whatever version the controllers are on.
//!
//! A figure that nobody counts here is `None`, never zero. Processor time comes from the cgroup2 group, which counts it without
//! any controller. Without a memory group (version 1 makes one only for a limit) memory is added up from the processes, and
//! says so.

use std::fs;
use std::time::Duration;

use super::control::event;
use super::{Cgroup, Controller, Result, file};

/// A snapshot of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<CpuStats>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Processes and threads, where they are counted.
    pub pids: Option<PidsStats>,
    /// Block devices, one entry a device.
    pub io: Vec<IoStats>,
    /// Processes in the groups.
    pub processes: u64,
}

/// Processor time since the group was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All.
    pub usage: Duration,
    /// In user space.
    pub user: Option<Duration>,
    /// In the kernel.
    pub system: Option<Duration>,
    /// Periods in which a quota was enforced.
    pub periods: u64,
    /// Periods in which it ran out.
    pub throttled_periods: u64,
    /// Time spent waiting for the next one.
    pub throttled: Duration,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// The most ever in use.
    pub peak: Option<u64>,
    /// The limit; `None`: unlimited.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// Anonymous memory.
    pub anonymous: u64,
    /// Page cache.
    pub file: u64,
    /// Page cache not used lately: what `docker stats` subtracts.
    pub inactive_file: u64,
    /// The kernel's own, slab and stacks included.
    pub kernel: Option<u64>,
    /// Slab.
    pub slab: Option<u64>,
    /// Socket buffers.
    pub sockets: Option<u64>,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Added up from the processes, as no group counts: anonymous and shared memory only.
    pub estimated: bool,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The most ever.
    pub peak: Option<u64>,
    /// The limit; `None`: unlimited.
    pub limit: Option<u64>,
}

/// One block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub read_operations: u64,
    /// Writes.
    pub write_operations: u64,
}

/// A memory limit of version 1 as large as this is none: it is LONG_MAX in pages.
const UNLIMITED: u64 = 1 << 62;

impl Cgroup {
    /// What the container uses now.
    pub fn stats(&self) -> Result<Stats> {
        let processes = self.processes()?;
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: match self.memory_stats()? {
                Some(memory) => Some(memory),
                None if processes.is_empty() => None,
                None => Some(estimate(&processes)),
            },
            pids: self.pids_stats()?,
            io: self.io_stats()?,
            processes: processes.len() as u64,
        })
    }

    /// How many processes of the container the kernel killed for want of memory. Without a memory group: none by its
    /// limit, as it has no limit.
    pub fn oom_kills(&self) -> Result<u64> {
        let path = match (self.version1.get(&Controller::Memory), &self.unified) {
            (Some(directory), _) => directory.join("memory.oom_control"),
            (None, Some(directory)) => directory.join("memory.events"),
            (None, None) => return Ok(0),
        };
        Ok(file::read_if_there(&path)?.and_then(|text| event(&text, "oom_kill")).unwrap_or(0))
    }

    fn version1_text(&self, controller: Controller, name: &str) -> Result<Option<String>> {
        match self.version1.get(&controller) {
            Some(directory) => file::read_if_there(&directory.join(name)),
            None => Ok(None),
        }
    }

    fn version1_number(&self, controller: Controller, name: &str) -> Result<Option<u64>> {
        Ok(self.version1_text(controller, name)?.and_then(|text| text.trim().parse().ok()))
    }

    fn unified_text(&self, name: &str) -> Result<Option<String>> {
        match &self.unified {
            Some(directory) => file::read_if_there(&directory.join(name)),
            None => Ok(None),
        }
    }

    /// A number, or `None` for `max` and for a file that is not there.
    fn unified_number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.unified_text(name)?.and_then(|text| text.trim().parse().ok()))
    }

    fn cpu_stats(&self) -> Result<Option<CpuStats>> {
        let micros = |text: &str, key| event(text, key).map(Duration::from_micros);
        let mut found = None;
        if let Some(text) = self.unified_text("cpu.stat")? {
            found = Some(CpuStats {
                usage: micros(&text, "usage_usec").unwrap_or_default(),
                user: micros(&text, "user_usec"),
                system: micros(&text, "system_usec"),
                periods: event(&text, "nr_periods").unwrap_or(0),
                throttled_periods: event(&text, "nr_throttled").unwrap_or(0),
                throttled: micros(&text, "throttled_usec").unwrap_or_default(),
            });
        } else if let Some(nanoseconds) = self.version1_number(Controller::Cpuacct, "cpuacct.usage")? {
            found = Some(CpuStats { usage: Duration::from_nanos(nanoseconds), ..CpuStats::default() });
        }
        if let (Some(stats), Some(text)) = (&mut found, self.version1_text(Controller::Cpu, "cpu.stat")?) {
            stats.periods = event(&text, "nr_periods").unwrap_or(0);
            stats.throttled_periods = event(&text, "nr_throttled").unwrap_or(0);
            stats.throttled = Duration::from_nanos(event(&text, "throttled_time").unwrap_or(0));
        }
        Ok(found)
    }

    fn memory_stats(&self) -> Result<Option<MemoryStats>> {
        if let Some(usage) = self.version1_number(Controller::Memory, "memory.usage_in_bytes")? {
            let stat = self.version1_text(Controller::Memory, "memory.stat")?.unwrap_or_default();
            let number = |name| self.version1_number(Controller::Memory, name);
            return Ok(Some(MemoryStats {
                usage,
                peak: number("memory.max_usage_in_bytes")?,
                limit: number("memory.limit_in_bytes")?.filter(|&limit| limit < UNLIMITED),
                // Where both limits are the same it is the second that is hit.
                limit_hits: number("memory.failcnt")?.unwrap_or(0) + number("memory.memsw.failcnt")?.unwrap_or(0),
                anonymous: event(&stat, "total_rss").unwrap_or(0),
                file: event(&stat, "total_cache").unwrap_or(0),
                inactive_file: event(&stat, "total_inactive_file").unwrap_or(0),
                kernel: number("memory.kmem.usage_in_bytes")?,
                slab: None,
                sockets: number("memory.kmem.tcp.usage_in_bytes")?,
                swap: event(&stat, "total_swap"),
                oom_kills: self.oom_kills()?,
                estimated: false,
            }));
        }
        let Some(usage) = self.unified_number("memory.current")? else { return Ok(None) };
        let stat = self.unified_text("memory.stat")?.unwrap_or_default();
        let events = self.unified_text("memory.events")?.unwrap_or_default();
        Ok(Some(MemoryStats {
            usage,
            peak: self.unified_number("memory.peak")?,
            limit: self.unified_number("memory.max")?,
            limit_hits: event(&events, "max").unwrap_or(0),
            anonymous: event(&stat, "anon").unwrap_or(0),
            file: event(&stat, "file").unwrap_or(0),
            inactive_file: event(&stat, "inactive_file").unwrap_or(0),
            kernel: event(&stat, "kernel"),
            slab: event(&stat, "slab"),
            sockets: event(&stat, "sock"),
            swap: self.unified_number("memory.swap.current")?,
            oom_kills: event(&events, "oom_kill").unwrap_or(0),
            estimated: false,
        }))
    }

    fn pids_stats(&self) -> Result<Option<PidsStats>> {
        let version1 = |name| self.version1_number(Controller::Pids, name);
        if let Some(current) = version1("pids.current")? {
            return Ok(Some(PidsStats { current, peak: version1("pids.peak")?, limit: version1("pids.max")? }));
        }
        let Some(current) = self.unified_number("pids.current")? else { return Ok(None) };
        let (peak, limit) = (self.unified_number("pids.peak")?, self.unified_number("pids.max")?);
        Ok(Some(PidsStats { current, peak, limit }))
    }

    fn io_stats(&self) -> Result<Vec<IoStats>> {
        if let Some(text) = self.unified_text("io.stat")? {
            return Ok(unified_io(&text));
        }
        let bytes = self.version1_text(Controller::Io, "blkio.throttle.io_service_bytes_recursive")?;
        let operations = self.version1_text(Controller::Io, "blkio.throttle.io_serviced_recursive")?;
        Ok(version1_io(&bytes.unwrap_or_default(), &operations.unwrap_or_default()))
    }
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`, one line a device.
fn unified_io(text: &str) -> Vec<IoStats> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let mut one = IoStats { major, minor, ..IoStats::default() };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => one.read_bytes = value,
                "wbytes" => one.write_bytes = value,
                "rios" => one.read_operations = value,
                "wios" => one.write_operations = value,
                _ => {}
            }
        }
        all.push(one);
    }
    all
}

/// `8:0 Read 1`, one line a device and kind.
fn version1_io(bytes: &str, operations: &str) -> Vec<IoStats> {
    let mut all: Vec<IoStats> = Vec::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(number), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
            let (Some((major, minor)), Ok(value)) = (device(number), value.parse()) else { continue };
            let index = all.iter().position(|one| (one.major, one.minor) == (major, minor)).unwrap_or_else(|| {
                all.push(IoStats { major, minor, ..IoStats::default() });
                all.len() - 1
            });
            match (kind, is_bytes) {
                ("Read", true) => all[index].read_bytes = value,
                ("Write", true) => all[index].write_bytes = value,
                ("Read", false) => all[index].read_operations = value,
                ("Write", false) => all[index].write_operations = value,
                _ => {}
            }
        }
    }
    all
}

/// Anonymous and shared memory of processes, from /proc. Processes that are gone count nothing.
fn estimate(processes: &[i32]) -> MemoryStats {
    let mut anonymous = 0;
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let kilobytes = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        anonymous += (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024;
    }
    MemoryStats { usage: anonymous, anonymous, estimated: true, ..MemoryStats::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_both_versions() {
        let expect = vec![IoStats {
            major: 8,
            minor: 0,
            read_bytes: 10,
            write_bytes: 20,
            read_operations: 1,
            write_operations: 2,
        }];
        assert_eq!(unified_io("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"), expect);
        let bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n";
        assert_eq!(version1_io(bytes, "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n"), expect);
        assert_eq!(version1_io("", ""), []);
    }
}
