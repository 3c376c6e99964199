//! What containers use: processor time between two looks, memory, network, block devices, processes.

use std::time::{Duration, Instant};

use runner::cgroup::{Cgroup, Stats};
use runner::{ProcessId, State};

use crate::engine::Engine;
use crate::engine::processes::machine_memory;
use crate::error::{CommandError, Result};

/// What a container used at one moment.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was looked at.
    pub at: Instant,
    /// What its control groups counted; all zero for one that does not run.
    pub stats: Stats,
    /// Bytes that came in by the network and went out; `None` if it has the host's.
    pub network: Option<(u64, u64)>,
}

impl Usage {
    /// Processor time used since an earlier look, as a part of one processor; since its start if there is none.
    #[must_use]
    pub fn cpu_since(&self, earlier: &Self) -> f64 {
        let total = |usage: &Self| usage.stats.cpu.as_ref().map_or(Duration::ZERO, |cpu| cpu.usage);
        let passed = self.at.duration_since(earlier.at).as_secs_f64();
        // Started anew in between: what it used is less than it was.
        let used = total(self).checked_sub(total(earlier)).unwrap_or_else(|| total(self));
        if passed > 0.0 { used.as_secs_f64() / passed } else { 0.0 }
    }

    /// Memory in use without the page cache that nobody used lately, as docker counts it.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.stats.memory.as_ref().map_or(0, |memory| memory.usage.saturating_sub(memory.inactive_file))
    }

    /// The limit of memory: its own, or what the machine has.
    #[must_use]
    pub fn memory_limit(&self) -> u64 {
        let machine = machine_memory();
        self.stats.memory.as_ref().and_then(|memory| memory.limit).map_or(machine, |limit| limit.min(machine))
    }

    /// Bytes read from and written to block devices.
    #[must_use]
    pub fn block(&self) -> (u64, u64) {
        self.stats.io.iter().fold((0, 0), |(read, write), one| (read + one.read_bytes, write + one.write_bytes))
    }
}

impl Engine {
    /// What a container uses now.
    ///
    /// # Errors
    /// No such container.
    pub fn usage(&self, name: &str) -> Result<Usage> {
        let record = self.container_named(name)?;
        let mut usage = Usage {
            id: record.id.clone(),
            name: record.name,
            at: Instant::now(),
            stats: Stats::default(),
            network: None,
        };
        let Some(state) = self.state(&record.id)?.filter(State::is_running) else { return Ok(usage) };
        match Cgroup::open(&state.cgroup).and_then(|group| group.stats()) {
            Ok(stats) => usage.stats = stats,
            // It ended while it was looked at.
            Err(_) if !self.state(&record.id)?.is_some_and(|state| state.is_running()) => return Ok(usage),
            Err(error) => return Err(CommandError::from(runner::Error::from(error))),
        }
        usage.network = state.process.and_then(network);
        Ok(usage)
    }
}

/// Bytes that came in and went out in the network namespace of a process; `None` if that is ours.
fn network(id: ProcessId) -> Option<(u64, u64)> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let process = id.pid.to_string();
    if namespace(&process)? == namespace("self")? {
        return None;
    }
    let devices = std::fs::read_to_string(format!("/proc/{process}/net/dev")).ok()?;
    // Else the number may have been another's by then.
    id.lives().ok()?.then(|| device_bytes(&devices))
}

/// The sums of all devices but loopback.
fn device_bytes(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':').filter(|(name, _)| name.trim() != "lo") else { continue };
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        if let (false, Some(input), Some(output)) = (name.contains('|'), counters.first(), counters.get(8)) {
            sum = (sum.0 + input, sum.1 + output);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_added_up_without_loopback() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  \
                    eth0: 100 2 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n  eth1:7 0 0 0 0 0 0 0 3 0 0 0 0 0 0 0\n";
        assert_eq!(device_bytes(text), (107, 53));
    }

    #[test]
    fn processor_time_is_what_was_used_between_two_looks() {
        let look = |used: u64, at: Instant| Usage {
            id: String::new(),
            name: String::new(),
            at,
            stats: Stats {
                cpu: Some(runner::cgroup::CpuStats { usage: Duration::from_millis(used), ..Default::default() }),
                ..Default::default()
            },
            network: None,
        };
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        assert!((look(1500, later).cpu_since(&look(500, start)) - 0.5).abs() < 1e-9);
        assert!((look(100, later).cpu_since(&look(500, start)) - 0.05).abs() < 1e-9, "started anew");
        assert!(look(100, start).cpu_since(&look(50, start)).abs() < 1e-9);
    }
}
