//! Who waits for a container: it owns the pty or the pipes, the log, the exit status and what must be cleaned up.
//!
//! Two forms. In the *foreground* the caller itself waits ([`run_foreground`]). Else a monitor is forked before the clone
//! ([`start_monitored`]), in a session of its own, with a socket for clients. Both are one [`Session`] around one [`relay`]; build
//! steps use it too ([`crate::run_in()`]). The rule: the program's end is recorded before anybody is told, and whatever was
//! made for it is taken back by who made it.

pub(crate) mod daemon;
pub(crate) mod frame;
mod keys;
pub(crate) mod peer;
pub(crate) mod relay;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

pub use keys::DetachKeys;

use crate::container::Container;
use crate::create::{self, Created};
use crate::denied::{Denial, Witness};
use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::log::Writer;
use crate::names::Server;
use crate::state::{self, Exit, ProcessId, State, Status};
use crate::sys::{self, Ended};
use crate::timing::{self, Mark};
use crate::{network, verbs};
use peer::Peer;
use relay::{ProgramIo, Relay};

/// Signals that a foreground passes on to the program.
pub(crate) const FORWARDED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGALRM,
];

/// How a foreground is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreground {
    /// Pass standard input on (`-i`).
    pub stdin: bool,
    /// Pass signals on (`--sig-proxy`).
    pub forward_signals: bool,
}

/// How a monitor is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorOptions {
    /// Keep standard input open for clients (`-i`).
    pub stdin: bool,
    /// A client follows at once, and the container ends if it vanishes without detaching.
    pub foreground: bool,
}

/// What a monitor does after the program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing more.
    Done,
    /// Start it again after this time, unless it is stopped meanwhile.
    Restart(Duration),
}

/// Called by the monitor each time the program has ended and its network and cgroup are gone, with how often it was started
/// again so far. It must own no descriptors: those are closed in the monitor.
pub type OnExit = Box<dyn FnMut(&Exit, u32) -> After>;

/// Runs a container to its end, with this process's own standard output, error and (if wanted) input. The caller must be
/// single-threaded, and the spec must not ask for a terminal. `started` is told the state as soon as the program runs.
///
/// # Errors
/// [`Error::Start`] if the program could not be started (see [`Error::exit_code`]); nothing is left behind then.
pub fn run_foreground(container: &Container, options: Foreground, started: impl FnOnce(&State)) -> Result<Exit> {
    run_watched(container, options, started, None).map(|(exit, _)| exit)
}

/// As [`run_foreground`], with every refusal that the program met, put down to the layer that refused. Much slower.
///
/// # Errors
/// As [`run_foreground`], and if nobody may be traced here.
pub fn run_explained(
    container: &Container,
    options: Foreground,
    started: impl FnOnce(&State),
) -> Result<(Exit, Vec<Denial>)> {
    let witness = Witness::start(container)?;
    run_watched(container, options, started, Some(witness))
}

fn run_watched(
    container: &Container,
    options: Foreground,
    started: impl FnOnce(&State),
    witness: Option<Witness>,
) -> Result<(Exit, Vec<Denial>)> {
    if container.has_terminal() {
        return Err(Error::invalid("a container with a terminal needs a monitor"));
    }
    let mut session = Session::open(container, options.stdin, true)?;
    // Blocked before the clone: a signal that comes in between waits here. The child sets its own.
    let signals =
        if options.forward_signals { Some(sys::signal_fd(&FORWARDED).doing(|| "watch signals".into())?) } else { None };
    session.witness = witness;
    let (mut running, program) = session.begin()?;
    started(&session.state);
    let mut relay = Relay::new(program, session.log(), container.stop_signal);
    relay.signals = signals;
    relay.aside = running.aside(&container.state_dir);
    relay.add_peer(Peer::local(options.stdin));
    let ended = relay.run(&running.pidfd)?;
    let exit = session.end(running, ended, relay.take_log_error())?;
    relay.finish(exit.code.unwrap_or(125))?;
    let denials = session.witness.take().map_or(Ok(Vec::new()), |witness| witness.finish(&exit))?;
    Ok((exit, denials))
}

/// Starts a container under a monitor and returns when the program runs, or could not be started. With
/// [`MonitorOptions::foreground`] the connection for [`crate::attach::attach`] comes along. The caller must be single-threaded.
///
/// # Errors
/// As [`run_foreground`].
pub fn start_monitored(
    container: Container,
    options: MonitorOptions,
    mut on_exit: OnExit,
) -> Result<(State, Option<UnixStream>)> {
    daemon::start(options.foreground, move |owner, report| {
        let mut session = match Session::open(&container, options.stdin, true) {
            Ok(session) => session,
            Err(error) => return report.send::<State>(Err(&error)),
        };
        let result = session.begin().and_then(|started| Ok((started, session.log(), listen(&container.state_dir)?)));
        let ((mut running, program), log, listener) = match result {
            Ok(all) => all,
            Err(error) => {
                session.abandon();
                return report.send::<State>(Err(&error));
            }
        };
        report.send(Ok(&session.state));
        let mut relay = Relay::new(program, log, container.stop_signal);
        relay.listener = Some(listener);
        relay.aside = running.aside(&container.state_dir);
        relay.signals = sys::signal_fd(&FORWARDED).ok();
        if let Some(owner) = owner.and_then(|stream| Peer::socket(stream, true).ok()) {
            relay.add_peer(owner);
        }
        sys::trim_memory();
        let exit = loop {
            let Ok(ended) = relay.run(&running.pidfd) else { break None };
            let log_error = relay.take_log_error();
            let Ok(exit) = session.end(running, ended, log_error) else { break None };
            let After::Restart(delay) = on_exit(&exit, session.state.restarts) else { break Some(exit) };
            if !session.pause_before_restart(delay) {
                break Some(exit);
            }
            match session.begin() {
                Ok((next, program)) => {
                    running = next;
                    relay.aside = running.aside(&container.state_dir);
                    relay.reconnect(program);
                }
                Err(_) => break Some(exit),
            }
        };
        // Who waits for the end of the connection learns that there is no code.
        if let Some(exit) = exit {
            let _ = relay.finish(exit.code.unwrap_or(125));
        }
    })
}

/// The socket for clients, in the state directory. Bound below a descriptor: the directory's own path may be too long.
fn listen(dir: &Path) -> Result<UnixListener> {
    let doing = || format!("make the attach socket in {}", dir.display());
    let (_folder, path) = socket_path(dir)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(doing(), error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).doing(doing)?;
    listener.set_nonblocking(true).doing(doing)?;
    Ok(listener)
}

/// A short path of the attach socket, good as long as the descriptor is open.
pub(crate) fn socket_path(dir: &Path) -> Result<(OwnedFd, std::path::PathBuf)> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty()).doing(|| format!("open {}", dir.display()))?;
    let path = format!("/proc/self/fd/{}/attach.sock", folder.as_raw_fd());
    Ok((folder, path.into()))
}

/// A container between its first record and its last.
pub(crate) struct Session<'a> {
    container: &'a Container,
    pub state: State,
    stdin: bool,
    recorded: bool,
    /// Who watches the program, if refusals are to be explained.
    witness: Option<Witness>,
}

/// The program of a session.
#[derive(Debug)]
pub(crate) struct Running {
    pub pidfd: OwnedFd,
    created: Option<Parts>,
}

impl Running {
    /// What is looked after beside the program: its questions for names.
    fn aside(&mut self, state_dir: &Path) -> Option<Box<dyn relay::Aside>> {
        let names = self.created.as_mut()?.network.as_mut()?.names.take()?;
        Some(Box::new(Server::new(names, state_dir)))
    }
}

#[derive(Debug)]
struct Parts {
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
            state.save(&container.state_dir)?;
        }
        timing::mark(Mark::Monitored);
        Ok(Self { container, state, stdin, recorded, witness: None })
    }

    /// Starts the program.
    pub fn begin(&mut self) -> Result<(Running, ProgramIo)> {
        let result = self.try_begin();
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn try_begin(&mut self) -> Result<(Running, ProgramIo)> {
        let (mut program, stdio) = if self.container.has_terminal() {
            (ProgramIo::default(), None)
        } else {
            let (program, stdio) = pipes(self.stdin)?;
            (program, Some(stdio))
        };
        let created = self.start(stdio)?;
        program.console = created.1;
        Ok((created.0, program))
    }

    /// Starts the program on these descriptors and records it.
    pub fn start(&mut self, stdio: Option<[OwnedFd; 3]>) -> Result<(Running, Option<OwnedFd>)> {
        let Created { process, pidfd, console, cgroup, network, stubs } =
            create::create(self.container, stdio, self.witness.as_ref())?;
        self.state.process = Some(process);
        self.state.status = Status::Running;
        self.state.started_at = Some(state::now());
        self.state.cgroup = cgroup.name().to_owned();
        self.state.network = network.as_ref().map(|network| network.state.clone());
        let running = Running { pidfd, created: Some(Parts { cgroup, network, stubs }) };
        if let Err(error) = self.save() {
            let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(running.pidfd.as_fd());
            self.take_back(running);
            return Err(error);
        }
        Ok((running, console))
    }

    fn save(&self) -> Result<()> {
        if !self.recorded {
            return Ok(());
        }
        let _lock = state::lock(&self.container.state_dir)?;
        self.state.save(&self.container.state_dir)
    }

    /// The log, if one is kept.
    pub fn log(&self) -> Option<Writer> {
        self.container.log.as_ref().map(Writer::open)
    }

    /// Takes back what was made for the program, and records how it ended.
    pub fn end(&mut self, running: Running, ended: Ended, log_error: Option<Error>) -> Result<Exit> {
        timing::mark(Mark::Ended);
        let oom = running.created.as_ref().is_some_and(|parts| parts.cgroup.oom_kills().is_ok_and(|count| count > 0));
        let (code, signal) = match ended {
            Ended::Exited(code) => (code, None),
            Ended::Signalled(signal) => (128 + signal, Some(signal)),
        };
        let requested = self.recorded && verbs::stop_was_requested(&self.container.state_dir);
        let log_error = log_error.map(|error| failure(&error).text);
        let exit = Exit { code: Some(code), signal, oom, requested, at: state::now(), log_error };
        self.take_back(running);
        self.state.status = Status::Stopped;
        self.state.process = None;
        self.state.network = None;
        self.state.exit = Some(exit.clone());
        match self.save() {
            // Removed by force while it ran: there is nothing to record.
            Err(Error::NotFound(_)) => {}
            result => result?,
        }
        timing::mark(Mark::TornDown);
        Ok(exit)
    }

    /// Network, groups and mount points go. What resists is found by its name later ([`crate::sweep`]).
    fn take_back(&self, mut running: Running) {
        if let Some(Parts { mut cgroup, network, stubs }) = running.created.take() {
            // Without a pid namespace of its own the container may have left processes.
            let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
            if let Some(network) = network {
                let _ = create::release_network(&self.container.state_dir, &network.state);
            }
            let _ = create::remove_stubs(&self.container.rootfs, &stubs);
        }
    }

    /// The program could not be started: the record goes.
    fn abandon(&self) {
        if self.recorded && self.state.restarts == 0 {
            let _ = verbs::remove_records(&self.container.state_dir);
        }
    }

    /// Waits before the next start. Returns false if the container is not to be started again.
    fn pause_before_restart(&mut self, delay: Duration) -> bool {
        let dir = &self.container.state_dir;
        self.state.status = Status::Restarting;
        if self.save().is_err() {
            return false;
        }
        let until = Instant::now() + delay;
        loop {
            // A stop request is a file: seen within a moment, without a signal that could hit the wrong process.
            if verbs::stop_was_requested(dir) || !dir.join("state.json").exists() {
                self.state.status = Status::Stopped;
                let _ = self.save();
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.state.restarts += 1;
        self.state.status = Status::Created;
        self.save().is_ok()
    }
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
        stdin: our_in,
        stdout: Some(non_blocking(our_out)?),
        stderr: Some(non_blocking(our_err)?),
    };
    Ok((program, [their_in, their_out, their_err]))
}

/// A failure as it is told over the report pipe.
pub(crate) fn failure(error: &Error) -> Failure {
    Failure::new("", error)
}
