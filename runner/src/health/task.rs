//! The health check as a task of the monitor's loop: it sleeps until the next check is due, runs it, and says what follows.

use std::os::fd::RawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::probe::{self, Running};
use super::{HealthCheck, HealthStatus, OnUnhealthy, Probe, record};
use crate::error::{Error, Result};
use crate::monitor::Happening;
use crate::monitor::task::{Ending, Next, Request, Task};
use crate::state::{self, Status};

/// The checks of one run of a program.
#[derive(Debug)]
pub(crate) struct HealthTask<'a> {
    dir: &'a Path,
    check: &'a HealthCheck,
    stop: Ending,
    begun: Instant,
    status: HealthStatus,
    next: Option<Instant>,
    running: Option<Running>,
}

impl<'a> HealthTask<'a> {
    /// Begins to watch a program that was just started. `stop` is how it is asked to end.
    pub fn begin(dir: &'a Path, check: &'a HealthCheck, signal: i32, grace: Duration) -> Result<Self> {
        super::begin(dir)?;
        let stop = Ending { signal, grace, next: Next::Rest };
        let begun = Instant::now();
        let mut task = Self { dir, check, stop, begun, status: HealthStatus::Starting, next: None, running: None };
        task.schedule();
        Ok(task)
    }

    /// The time of the next check.
    fn schedule(&mut self) {
        let young = self.status == HealthStatus::Starting && self.begun.elapsed() < self.check.start_period;
        let pause = if young { self.check.start_interval } else { self.check.interval };
        self.next = Instant::now().checked_add(pause);
    }

    /// Starts a check, or goes on with the one under way; gives its answer when it is there.
    fn go_on(&mut self) -> Option<Probe> {
        let result = match &mut self.running {
            Some(running) => running.turn(),
            None if self.next.is_some_and(|at| Instant::now() >= at) => self.start(),
            None => return None,
        };
        match result {
            Ok(None) => None,
            Ok(probe) => probe,
            // What is wrong with the check is its answer.
            Err(Error::Start(failure)) => Some(probe::failed(failure.exit_code(), failure.to_string())),
            Err(error) => Some(probe::failed(125, error.to_string())),
        }
    }

    fn start(&mut self) -> Result<Option<Probe>> {
        // A frozen program can say nothing; nor does it become unhealthy by that.
        if state::load(self.dir)?.status == Status::Paused {
            self.schedule();
            return Ok(None);
        }
        self.next = None;
        self.running = Some(Running::start(self.dir, self.check)?);
        Ok(None)
    }

    /// What an answer makes of the program.
    fn judge(&mut self, probe: Probe) -> Vec<Request> {
        let mut requests = Vec::new();
        // A container that was removed meanwhile has no record any more.
        if let Ok((before, now)) = record(self.dir, self.check, probe) {
            self.status = now.status;
            if now.status != before.status {
                requests.push(Request::Tell(Happening::Health(now.status)));
                if now.status == HealthStatus::Unhealthy {
                    requests.extend(self.consequence().map(Request::End));
                }
            }
        }
        self.schedule();
        requests
    }

    fn consequence(&self) -> Option<Ending> {
        match self.check.on_failure {
            OnUnhealthy::Nothing => None,
            OnUnhealthy::Kill => Some(Ending { signal: libc::SIGKILL, grace: Duration::ZERO, next: Next::ByPolicy }),
            OnUnhealthy::Restart => Some(Ending { next: Next::Restart, ..self.stop }),
            OnUnhealthy::Stop => Some(self.stop),
        }
    }
}

impl Task for HealthTask<'_> {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        self.running.as_ref().map(Running::interests).unwrap_or_default()
    }

    fn wake_at(&self) -> Option<Instant> {
        self.running.as_ref().map_or(self.next, Running::wake_at)
    }

    fn turn(&mut self, _: &[RawFd]) -> Vec<Request> {
        match self.go_on() {
            Some(probe) => {
                self.running = None;
                self.judge(probe)
            }
            None => Vec::new(),
        }
    }
}
