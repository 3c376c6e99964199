//! Health checks: what is asked, what was answered, and what follows.
//!
//! The container's own monitor runs the checks ([`task`]), each an exec inside of the container; whoever else runs one ([`run`]) writes
//! its answer into the same record. The record is `health.json` in the state directory, replaced by rename under the state's lock. The rule:
//! an answer is bounded, and only the last few are kept.

mod probe;
pub(crate) mod task;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::exec::Exec;
use crate::state;

pub use probe::run;

/// The record's name in the state directory.
pub(crate) const FILE: &str = "health.json";

/// How many answers are kept.
const MAX_LOG: usize = 5;

/// How much of an answer is kept, in bytes.
const MAX_OUTPUT: usize = 4096;

/// The largest record that is read.
const MAX_FILE: u64 = 1 << 20;

/// How a container is asked for its health, as Docker has it.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// What is run; its exit code 0 means healthy.
    pub exec: Exec,
    /// Time between two checks.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// Time after the start during which failures do not count.
    pub start_period: Duration,
    /// Time between two checks during the start period.
    pub start_interval: Duration,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
    /// What is done then.
    pub on_failure: OnUnhealthy,
}

/// What is done with a container that becomes unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// Nothing.
    #[default]
    Nothing,
    /// It is killed; what comes then is its restart policy's.
    Kill,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
}

/// What is known of a container's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not yet known.
    #[default]
    Starting,
    /// The last check went well.
    Healthy,
    /// As many checks as count have failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// As Docker writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One check and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it was begun, in nanoseconds since 1970.
    pub start: u64,
    /// When it had its answer.
    pub end: u64,
    /// 0: healthy; -1: there was none in time.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

/// The record of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// How many checks have failed in a row.
    pub failing_streak: u32,
    /// The last checks, oldest first.
    pub log: Vec<Probe>,
}

impl Health {
    /// Takes an answer in. Failures of the start period do not count until a check went well.
    fn add(&mut self, probe: Probe, retries: u32, in_start_period: bool) {
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || !in_start_period {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(probe);
        let surplus = self.log.len().saturating_sub(MAX_LOG);
        self.log.drain(..surplus);
    }
}

/// The health of a container; `None` if it has no check, or was not started yet.
///
/// # Errors
/// The record cannot be read.
pub fn load(dir: &Path) -> Result<Option<Health>> {
    let path = dir.join(FILE);
    let doing = || format!("read {}", path.display());
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(doing(), error)),
    };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_FILE), &mut bytes).doing(doing)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Record { path, source })
}

/// Changes the record under the state's lock, and gives it as it was before and is now.
fn update(dir: &Path, change: impl FnOnce(&mut Health)) -> Result<(Health, Health)> {
    let _lock = state::lock(dir)?;
    // A damaged record begins anew.
    let before = load(dir).ok().flatten().unwrap_or_default();
    let mut health = before.clone();
    change(&mut health);
    state::replace(&dir.join(FILE), &health)?;
    Ok((before, health))
}

/// Begins to watch a run of the program: nothing is known, what was answered before is kept to be read.
pub(crate) fn begin(dir: &Path) -> Result<()> {
    update(dir, |health| (health.status, health.failing_streak) = (HealthStatus::Starting, 0)).map(drop)
}

/// Takes an answer in.
fn record(dir: &Path, check: &HealthCheck, probe: Probe) -> Result<(Health, Health)> {
    let started = state::load(dir)?.started_at.unwrap_or(probe.start);
    let young = u128::from(probe.start.saturating_sub(started)) < check.start_period.as_nanos();
    update(dir, |health| health.add(probe, check.retries, young))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: 1, end: 2, exit_code, output: String::new() }
    }

    #[test]
    fn failures_in_a_row_count() {
        let mut health = Health::default();
        let mut after = |code, young| {
            health.add(probe(code), 2, young);
            (health.status, health.failing_streak)
        };
        assert_eq!(after(1, true), (HealthStatus::Starting, 0), "the start period forgives");
        assert_eq!(after(1, false), (HealthStatus::Starting, 1));
        assert_eq!(after(0, false), (HealthStatus::Healthy, 0));
        assert_eq!(after(1, true), (HealthStatus::Healthy, 1), "once it was healthy nothing is forgiven");
        assert_eq!(after(-1, false), (HealthStatus::Unhealthy, 2));
        assert_eq!(after(0, false), (HealthStatus::Healthy, 0));
        assert_eq!(health.log.len(), MAX_LOG);
    }

    #[test]
    fn records_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        begin(dir.path()).unwrap();
        update(dir.path(), |health| health.add(probe(0), 3, false)).unwrap();
        let health = load(dir.path()).unwrap().unwrap();
        assert_eq!((health.status, health.log.len()), (HealthStatus::Healthy, 1));
        begin(dir.path()).unwrap();
        let health = load(dir.path()).unwrap().unwrap();
        assert_eq!((health.status, health.log.len()), (HealthStatus::Starting, 1));
    }
}
