//! `events`: what a container uses, in the form that runc prints, and news of memory running out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Runtime;
use crate::cgroup::{Cgroup, Stats};
use crate::error::{Error, Result};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `stats` or `oom`.
    pub kind: &'static str,
    /// Whose.
    pub id: String,
    /// What is told; nothing with `oom`.
    pub data: Option<Value>,
}

impl Event {
    /// As it is printed.
    pub fn json(&self) -> Value {
        let mut json = json!({"type": self.kind, "id": self.id});
        if let Some(data) = &self.data {
            json["data"] = data.clone();
        }
        json
    }
}

/// A stream of events, until the container ends.
#[derive(Debug)]
pub struct Events {
    id: String,
    path: String,
    directory: PathBuf,
    runtime: Runtime,
    interval: Duration,
    next: Instant,
    kills: u64,
}

/// How often it is looked whether memory ran out or the container ended.
const LOOK: Duration = Duration::from_millis(200);

impl Runtime {
    /// What a container uses now.
    pub fn stats(&self, id: &str) -> Result<Event> {
        let (record, _) = self.load(id)?;
        if record.pidfd()?.is_none() {
            return Err(Error::invalid(format!("container with id {id} is not running")));
        }
        let stats = Cgroup::open_at(&record.cgroup)?.stats()?;
        Ok(Event { kind: "stats", id: id.to_owned(), data: Some(stats_json(&stats)) })
    }

    /// Events from now on.
    pub fn events(&self, id: &str, interval: Duration) -> Result<Events> {
        let (record, directory) = self.load(id)?;
        if record.pidfd()?.is_none() {
            return Err(Error::invalid(format!("container with id {id} is not running")));
        }
        let kills = Cgroup::open_at(&record.cgroup)?.oom_kills()?;
        let next = Instant::now() + interval;
        let (id, path, runtime) = (id.to_owned(), record.cgroup, self.clone());
        Ok(Events { id, path, directory, runtime, interval, next, kills })
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        loop {
            std::thread::sleep(LOOK.min(self.next.saturating_duration_since(Instant::now())));
            if !self.directory.exists() {
                return None;
            }
            let lives = self.runtime.load(&self.id).and_then(|(record, _)| record.pidfd());
            match lives {
                Ok(Some(_)) => {}
                Ok(None) | Err(Error::NotFound(_)) => return None,
                Err(error) => return Some(Err(error)),
            }
            match Cgroup::open_at(&self.path).and_then(|cgroup| cgroup.oom_kills()) {
                Ok(kills) if kills > self.kills => {
                    self.kills = kills;
                    return Some(Ok(Event { kind: "oom", id: self.id.clone(), data: None }));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
            if Instant::now() >= self.next {
                self.next = Instant::now() + self.interval;
                return Some(self.runtime.stats(&self.id));
            }
        }
    }
}

/// The figures under runc's names. What nobody counts is 0 there too.
fn stats_json(stats: &Stats) -> Value {
    let nanoseconds = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos() as u64);
    let cpu = stats.cpu.clone().unwrap_or_default();
    let memory = stats.memory.clone().unwrap_or_default();
    let pids = stats.pids.clone().unwrap_or_default();
    let limit = memory.limit.unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut operations = Vec::new();
    for device in &stats.io {
        let entry =
            |op: &str, value: u64| json!({"major": device.major, "minor": device.minor, "op": op, "value": value});
        bytes.extend([entry("Read", device.read_bytes), entry("Write", device.write_bytes)]);
        operations.extend([entry("Read", device.read_operations), entry("Write", device.write_operations)]);
    }
    let mut pids_json = json!({"current": pids.current});
    if let Some(limit) = pids.limit {
        pids_json["limit"] = limit.into();
    }
    json!({
        "cpu": {
            "usage": {
                "total": nanoseconds(Some(cpu.usage)),
                "kernel": nanoseconds(cpu.system),
                "user": nanoseconds(cpu.user),
            },
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": nanoseconds(Some(cpu.throttled)),
            },
        },
        "cpuset": {},
        "memory": {
            "cache": memory.file,
            "usage": {
                "limit": limit,
                "usage": memory.usage,
                "max": memory.peak.unwrap_or(0),
                "failcnt": memory.limit_hits,
            },
            "swap": {"limit": 0, "usage": memory.swap.unwrap_or(0), "failcnt": 0},
            "kernel": {"limit": 0, "usage": memory.kernel.unwrap_or(0), "failcnt": 0},
            "kernelTCP": {"limit": 0, "usage": memory.sockets.unwrap_or(0), "failcnt": 0},
            "raw": {
                "anon": memory.anonymous,
                "file": memory.file,
                "inactive_file": memory.inactive_file,
                "oom_kill": memory.oom_kills,
            },
        },
        "pids": pids_json,
        "blkio": {"ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}
