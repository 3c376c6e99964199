//! A container between its first record and its last: started, recorded, ended, taken back, perhaps several times.
//!
//! The rule: the program's end is recorded before anybody is told, and whatever was made for it is taken back by who made it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::failure;
use super::relay::{ProgramIo, Relay};
use super::restart::Run;
use super::task::Task;
use super::timeout::Timeout;
use super::ttys::Ttys;
use crate::container::Container;
use crate::create::{self, Created};
use crate::denied::Witness;
use crate::error::{Doing, Error, Result};
use crate::forward::Forward;
use crate::health::task::HealthTask;
use crate::log::{Log, Sender, Writer};
use crate::names::Names;
use crate::spec::parse::RestartPolicy;
use crate::state::{self, Exit, ProcessId, State, Status};
use crate::sys::{self, Ended};
use crate::timing::{self, Mark};
use crate::{network, verbs};

/// A container between its first record and its last.
pub(crate) struct Session<'a> {
    pub container: &'a Container,
    pub state: State,
    stdin: bool,
    recorded: bool,
    /// When the present run began, by a clock that nobody sets.
    began: Option<Instant>,
    /// What the program gets in place of pipes.
    pub own_stdio: Option<[OwnedFd; 3]>,
    /// Who watches the program, if refusals are to be explained.
    pub witness: Option<Witness>,
    /// The signals that end the wait for the program's start ([`create::interrupts`]).
    pub interrupts: Option<OwnedFd>,
}

/// The program of a session.
#[derive(Debug)]
pub(crate) struct Running {
    pub pidfd: OwnedFd,
    created: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    ttys: Vec<OwnedFd>,
    cgroup: crate::cgroup::Cgroup,
    network: Option<network::Network>,
    stubs: Vec<crate::inroot::Stub>,
}

impl<'a> Session<'a> {
    /// Records that the container is about to be made, if `recorded`; build steps leave no record.
    pub fn open(container: &'a Container, stdin: bool, recorded: bool) -> Result<Self> {
        create::check_id(&container.id)?;
        if !container.state_dir.is_absolute() || !container.run_dir.is_absolute() {
            return Err(Error::invalid("the run and state directories must be absolute paths"));
        }
        state::make_dir(&container.state_dir)?;
        let mut state = State::new(&container.id, &container.id, container.has_terminal(), container.stop_signal)?;
        state.monitor = ProcessId::of(rustix::process::getpid().as_raw_nonzero().get())?;
        if recorded {
            let _lock = state::lock(&container.state_dir)?;
            match state::load(&container.state_dir) {
                Ok(old) if old.status != Status::Stopped => return Err(Error::Running(container.id.clone())),
                Ok(_) | Err(Error::NotFound(_) | Error::Record { .. }) => {}
                Err(error) => return Err(error),
            }
            verbs::clear_stop_request(&container.state_dir)?;
            verbs::clear_changes(&container.state_dir)?;
            state.save(&container.state_dir)?;
        }
        timing::mark(Mark::Monitored);
        Ok(Self { container, state, stdin, recorded, began: None, own_stdio: None, witness: None, interrupts: None })
    }

    /// Starts the program; `idle` is called while the child is on its way to it.
    pub fn begin(&mut self, idle: &mut dyn FnMut()) -> Result<(Running, ProgramIo)> {
        let result = self.try_begin(idle);
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn try_begin(&mut self, idle: &mut dyn FnMut()) -> Result<(Running, ProgramIo)> {
        let (mut program, stdio) = if self.container.has_terminal() {
            (ProgramIo::default(), None)
        } else if let Some([input, output, error]) = &self.own_stdio {
            let again = |fd: &OwnedFd| fd.try_clone().doing(|| "pass standard input and output on".into());
            (ProgramIo::default(), Some([again(input)?, again(output)?, again(error)?]))
        } else {
            let (program, stdio) = pipes(self.stdin)?;
            (program, Some(stdio))
        };
        let created = self.start(stdio, idle)?;
        program.hold(created.1);
        Ok((created.0, program))
    }

    /// Starts the program on these descriptors and records it.
    pub fn start(&mut self, stdio: Option<[OwnedFd; 3]>, idle: &mut dyn FnMut()) -> Result<(Running, Option<OwnedFd>)> {
        let changed = if self.state.restarts > 0 { self.changed()? } else { None };
        let container = changed.as_ref().unwrap_or(self.container);
        let Created { process, pidfd, console, ttys, cgroup, network, stubs } =
            create::create(container, stdio, self.witness.as_ref(), self.interrupts.as_ref(), idle)?;
        self.state.process = Some(process);
        self.state.status = Status::Running;
        self.state.started_at = Some(state::now());
        self.began = Some(Instant::now());
        self.state.cgroup = cgroup.name().to_owned();
        self.state.network = network.as_ref().map(|network| network.state.clone());
        let running = Running { pidfd, created: Some(Parts { ttys, cgroup, network, stubs }) };
        if let Err(error) = self.save() {
            let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(running.pidfd.as_fd());
            self.take_back(running);
            return Err(error);
        }
        Ok((running, console))
    }

    /// The container as it is to be started again, if it is another since the last run: what it joins, and its networks.
    fn changed(&self) -> Result<Option<Container>> {
        let renewed = self.container.supervision.renewal.as_ref().map(|renewal| renewal.container()).transpose()?;
        Ok(match verbs::changed_network(&self.container.state_dir) {
            Some(network) => {
                let container = renewed.unwrap_or_else(|| self.container.clone());
                Some(Container { network: Some(network), ..container })
            }
            None => renewed,
        })
    }

    fn save(&self) -> Result<()> {
        if !self.recorded {
            return Ok(());
        }
        let _lock = state::lock(&self.container.state_dir)?;
        self.state.save_there(&self.container.state_dir)
    }

    /// The log, if one is kept.
    pub fn log(&self) -> Option<Box<dyn Log>> {
        match &self.container.supervision.log_service {
            _ if self.container.supervision.passthrough => None,
            Some(service) => Some(Box::new(Sender::new(service))),
            None => self.container.log.as_ref().map(|config| Box::new(Writer::open(config)) as Box<dyn Log>),
        }
    }

    /// Takes back what was made for the program, and records how it ended. `again` says how long to wait before the next run, if
    /// there is to be one: never is one recorded as stopped that goes on.
    pub fn end(
        &mut self,
        running: Running,
        ended: Ended,
        log_error: Option<Error>,
        again: impl FnOnce(&Run, u32) -> Option<Duration>,
    ) -> Result<(Exit, Option<Duration>)> {
        timing::mark(Mark::Ended);
        let oom = running.created.as_ref().is_some_and(|parts| parts.cgroup.oom_kills().is_ok_and(|count| count > 0));
        let (code, signal) = match ended {
            Ended::Exited(code) => (code, None),
            Ended::Signalled(signal) => (128 + signal, Some(signal)),
        };
        let requested = self.recorded && verbs::stop_was_requested(&self.container.state_dir);
        let log_error = log_error.map(|error| failure(&error).text);
        let exit = Exit { code: Some(code), signal, oom, requested, at: state::now(), log_error, error: None };
        self.take_back(running);
        let wait = again(&self.last_run(&exit), self.state.restarts);
        self.state.status = if wait.is_some() { Status::Restarting } else { Status::Stopped };
        self.state.process = None;
        self.state.network = None;
        self.state.exit = Some(exit.clone());
        match self.save() {
            // Removed by force while it ran: there is nothing to record.
            Err(Error::NotFound(_)) => {}
            result => result?,
        }
        timing::mark(Mark::TornDown);
        Ok((exit, wait))
    }

    /// Network, groups and mount points go. What resists is found by its name later ([`crate::sweep`]).
    fn take_back(&self, mut running: Running) {
        if let Some(Parts { mut cgroup, network, stubs, ttys: _ }) = running.created.take() {
            // Without a pid namespace of its own the container may have left processes.
            let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
            if let Some(network) = network {
                let dir = &self.container.state_dir;
                // As it is now: the container may have been put on other networks.
                let now = state::load_network(dir).filter(|_| self.recorded).unwrap_or(network.state);
                let _ = create::release_network(dir, &now);
                crate::networks::forget_unfinished(dir, &self.container.id);
            }
            let _ = create::remove_stubs(&self.container.rootfs, &stubs);
        }
    }

    /// The program could not be started: the record goes.
    pub fn abandon(&self) {
        if self.recorded && self.state.restarts == 0 {
            let _ = verbs::remove_records(&self.container.state_dir);
        }
    }

    /// How the last run was, for the restart policy.
    fn last_run(&self, exit: &Exit) -> Run {
        let length = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        Run { failed: exit.code != Some(0), requested: exit.requested, length }
    }

    /// Whether it is started again, as it is wanted now.
    pub fn restart_policy(&self) -> RestartPolicy {
        let changed = if self.recorded { verbs::changed_restart_policy(&self.container.state_dir) } else { None };
        changed.unwrap_or(self.container.supervision.restart)
    }

    /// Waits before the next start, with the clients still served. False: it was stopped meanwhile, and is to rest.
    pub fn wait_to_restart(&mut self, relay: &mut Relay<'_>, delay: Duration) -> bool {
        let dir = &self.container.state_dir;
        self.state.status = Status::Restarting;
        // Removed by force while it ran: there is nothing to start any more.
        let stopped = || verbs::stop_was_requested(dir) || !dir.join("state.json").exists();
        let go_on = self.save().is_ok() && relay.pause(Instant::now() + delay, stopped).is_ok_and(|go_on| go_on);
        if go_on {
            // Still recorded as restarting: who stops or removes it meanwhile knows that there is something to stop.
            self.state.restarts += 1;
            return self.save().is_ok();
        }
        false
    }

    /// Records that it could not be started again, which counts as a run that failed at once.
    pub fn not_started(&mut self, error: &Error) -> Run {
        let requested = self.recorded && verbs::stop_was_requested(&self.container.state_dir);
        let mut exit = Exit { code: Some(error.exit_code()), requested, ..Exit::unknown() };
        exit.error = Some(failure(error).text);
        self.state.process = None;
        self.state.exit = Some(exit);
        Run { failed: true, requested, length: Duration::ZERO }
    }

    /// Records that it is not started again.
    pub fn rest(&mut self) {
        self.state.status = Status::Stopped;
        if let Some(exit) = &mut self.state.exit {
            exit.requested |= verbs::stop_was_requested(&self.container.state_dir);
        }
        // A record that was removed needs no last word.
        let _ = self.save();
    }

    /// What the loop looks after beside the program that was just started.
    pub fn tasks(&self, running: &mut Running) -> Vec<Box<dyn Task + 'a>> {
        let mut tasks: Vec<Box<dyn Task + 'a>> = Vec::new();
        let network = running.created.as_mut().and_then(|parts| parts.network.as_mut());
        let config = self.container.network.as_ref().filter(|config| config.mode.needs_namespace());
        if let (Some(network), Some(config)) = (network, config) {
            let names = network.names.take();
            let relayed = std::mem::take(&mut network.relayed);
            // Without it the ports on ::1 are held and silent; the program runs all the same.
            if !relayed.is_empty()
                && let Ok(forward) = Forward::begin(relayed)
            {
                tasks.push(Box::new(forward));
            }
            tasks.push(Box::new(Names::new(&self.container.state_dir, &config.name_servers, names)));
        }
        let ttys = running.created.as_mut().map(|parts| std::mem::take(&mut parts.ttys)).unwrap_or_default();
        // Without it they are silent; the system has its console all the same.
        if !ttys.is_empty()
            && let Ok(task) = Ttys::begin(&self.container.state_dir, ttys)
        {
            tasks.push(Box::new(task));
        }
        if let Some(check) = &self.container.supervision.health {
            let (dir, grace) = (&self.container.state_dir, self.container.supervision.stop_timeout);
            // Without its record a health cannot be told; the program runs all the same.
            if let Ok(task) = HealthTask::begin(dir, check, self.container.stop_signal, grace) {
                tasks.push(Box::new(task));
            }
        }
        tasks.extend(
            self.container.supervision.timeout.map(|longest| Box::new(Timeout::new(longest)) as Box<dyn Task + 'a>),
        );
        tasks
    }
}

/// This process's own standard input, output and error once more.
pub(crate) fn own_stdio() -> Result<[OwnedFd; 3]> {
    use rustix::stdio::{stderr, stdin, stdout};
    let again = |fd: BorrowedFd<'_>| {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 3);
        fd.doing(|| "pass standard input and output on".into())
    };
    Ok([again(stdin())?, again(stdout())?, again(stderr())?])
}

/// Pipes for a program without a terminal: our ends, which never block, and its ends.
pub(crate) fn pipes(stdin: bool) -> Result<(ProgramIo, [OwnedFd; 3])> {
    use rustix::fs::{Mode, OFlags};
    use rustix::pipe::{PipeFlags, pipe_with};
    let doing = || "make pipes for the program".to_owned();
    let pipe = || pipe_with(PipeFlags::CLOEXEC).doing(doing);
    let non_blocking = |fd: OwnedFd| -> Result<OwnedFd> {
        rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK).doing(doing)?;
        Ok(fd)
    };
    let (their_in, our_in) = if stdin {
        let (read, write) = pipe()?;
        (read, Some(non_blocking(write)?))
    } else {
        (rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(doing)?, None)
    };
    let ((our_out, their_out), (our_err, their_err)) = (pipe()?, pipe()?);
    let program = ProgramIo {
        console: None,
        held: None,
        stdin: our_in,
        stdout: Some(non_blocking(our_out)?),
        stderr: Some(non_blocking(our_err)?),
    };
    Ok((program, [their_in, their_out, their_err]))
}
