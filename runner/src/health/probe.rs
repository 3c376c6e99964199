//! One health check under way: an exec with its output in a pipe and a time by which it must have ended.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Health, HealthCheck, MAX_OUTPUT, Probe};
use crate::error::{Doing, Error, Result};
use crate::exec;
use crate::state;
use crate::sys::{self, Ended};

/// A check that runs.
#[derive(Debug)]
pub(super) struct Running {
    process: exec::Session,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    start: u64,
    deadline: Option<Instant>,
    timeout: Duration,
}

impl Running {
    /// Starts the check.
    pub fn start(dir: &Path, check: &HealthCheck) -> Result<Self> {
        let doing = || "make a pipe for the health check".to_owned();
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
        rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).doing(doing)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "open /dev/null".into())?;
        let errors = theirs.try_clone().doing(doing)?;
        let start = state::now();
        let process = exec::Session::start(dir, &check.exec, [null, theirs, errors])?;
        let deadline = Instant::now().checked_add(check.timeout);
        Ok(Self { process, output: Some(ours), text: Vec::new(), start, deadline, timeout: check.timeout })
    }

    pub fn interests(&self) -> Vec<(RawFd, i16)> {
        let output = self.output.iter().map(AsRawFd::as_raw_fd);
        output.chain([self.process.pidfd().as_raw_fd()]).map(|fd| (fd, libc::POLLIN)).collect()
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.deadline
    }

    /// Goes on; gives the answer when it is there.
    pub fn turn(&mut self) -> Result<Option<Probe>> {
        self.read();
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.process.kill()?;
            let text = format!("health check exceeded timeout ({:?})", self.timeout);
            let output = if self.text.is_empty() { text } else { format!("{text}: {}", self.text()) };
            return Ok(Some(Probe { start: self.start, end: state::now(), exit_code: -1, output }));
        }
        let Some(ended) = sys::reap(self.process.pidfd().as_fd()).doing(|| "wait for the health check".into())? else {
            return Ok(None);
        };
        self.read();
        let exit_code = match ended {
            Ended::Exited(code) => code,
            Ended::Signalled(signal) => 128 + signal,
        };
        Ok(Some(Probe { start: self.start, end: state::now(), exit_code, output: self.text() }))
    }

    /// Takes what was written; what is too much is read and dropped.
    fn read(&mut self) {
        let mut buffer = [0u8; 4096];
        while let Some(output) = &self.output {
            match rustix::io::read(output, &mut buffer) {
                Ok(count) if count > 0 => {
                    let room = MAX_OUTPUT.saturating_sub(self.text.len());
                    self.text.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Ok(_) | Err(_) => self.output = None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// Runs one check now, waits for its answer and records it. The caller must be single-threaded.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::Start`].
pub fn run(dir: &Path, check: &HealthCheck) -> Result<(Probe, Health)> {
    let mut running = match Running::start(dir, check) {
        Ok(running) => running,
        Err(Error::Start(failure)) => return keep(dir, check, failed(failure.exit_code(), failure.to_string())),
        Err(error) => return Err(error),
    };
    loop {
        let mut entries: Vec<libc::pollfd> =
            running.interests().into_iter().map(|(fd, events)| libc::pollfd { fd, events, revents: 0 }).collect();
        let left = running.wake_at().map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        sys::poll(&mut entries, left).doing(|| "wait for the health check".into())?;
        if let Some(probe) = running.turn()? {
            return keep(dir, check, probe);
        }
    }
}

fn keep(dir: &Path, check: &HealthCheck, probe: Probe) -> Result<(Probe, Health)> {
    let (_, health) = super::record(dir, check, probe.clone())?;
    Ok((probe, health))
}

/// The answer of a check that could not be run.
pub(super) fn failed(exit_code: i32, output: String) -> Probe {
    let now = state::now();
    Probe { start: now, end: now, exit_code, output }
}
