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
mod renewal;
mod restart;
mod session;
pub mod task;
mod timeout;
mod ttys;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

pub use keys::DetachKeys;
pub use renewal::Renewal;
pub(crate) use session::{Session, pipes};
pub(crate) use ttys::SOCKET as TTYS_SOCKET;
pub use ttys::connect_tty;

use crate::container::Container;
use crate::denied::{Denial, Witness};
use crate::error::{Doing, Error, Result};
use crate::health::{HealthCheck, HealthStatus};
use crate::init::dialogue::Failure;
use crate::log::Service;
use crate::spec::parse::RestartPolicy;
use crate::state::{Exit, State};
use crate::sys::Ended;
use crate::{create, sys, verbs};
use peer::Peer;
use relay::Relay;
use restart::Restarter;
use session::Running;
use task::Next;

/// The socket of a monitor for clients of its program.
pub(crate) const ATTACH_SOCKET: &str = "attach.sock";

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

/// What its monitor does for a container beside waiting for it.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// Whether it is started again when it has ended.
    pub restart: RestartPolicy,
    /// How it is asked for its health.
    pub health: Option<HealthCheck>,
    /// The service of the host that gets its output, in place of [`Container::log`].
    pub log_service: Option<Service>,
    /// The program has the standard input and outputs of who starts it; nothing is relayed and nothing logged.
    pub passthrough: bool,
    /// How long it has between its stop signal and SIGKILL when its monitor stops it.
    pub stop_timeout: Duration,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// It boots a system, which may power itself off or restart.
    pub system: bool,
    /// How many terminals it has beside its console; none without that.
    pub ttys: u8,
    /// How it is put together anew for each start but the first; else it stays as it is.
    pub renewal: Option<Renewal>,
}

impl Default for Supervision {
    fn default() -> Self {
        let stop_timeout = Duration::from_secs(10);
        Self {
            restart: RestartPolicy::No,
            health: None,
            log_service: None,
            passthrough: false,
            stop_timeout,
            timeout: None,
            system: false,
            ttys: 0,
            renewal: None,
        }
    }
}

/// What happens to a container, as its monitor tells it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening<'a> {
    /// The child is on its way to the program, and nothing is to be done until it is there. Told in the foreground alone: what can be
    /// done in a fraction of a millisecond costs nothing here.
    Starting,
    /// The program runs, for the first time or again.
    Started(&'a State),
    /// The program has ended; its network and cgroup are gone.
    Ended {
        /// How.
        exit: &'a Exit,
        /// It is going to be started again.
        again: bool,
    },
    /// It was going to be started again, and is not: it was stopped meanwhile, or could not be started.
    Rests(&'a Exit),
    /// Its health has changed.
    Health(HealthStatus),
}

/// Told by the monitor what happens. It must own no descriptors: those are closed in the monitor.
pub type Observer = Box<dyn FnMut(&Happening<'_>)>;

/// Runs a container to its end, with this process's own standard output, error and (if wanted) input. The caller must be
/// single-threaded, and the spec must not ask for a terminal. `observer` is told as soon as the program runs.
///
/// # Errors
/// [`Error::Start`] if the program could not be started (see [`Error::exit_code`]); nothing is left behind then.
pub fn run_foreground(
    container: &Container,
    options: Foreground,
    observer: &mut dyn FnMut(&Happening<'_>),
) -> Result<Exit> {
    run_watched(container, options, observer, None).map(|(exit, _)| exit)
}

/// As [`run_foreground`], with every refusal that the program met, put down to the layer that refused. Much slower; the program
/// is not started again, whatever its restart policy.
///
/// # Errors
/// As [`run_foreground`], and if nobody may be traced here.
pub fn run_explained(
    container: &Container,
    options: Foreground,
    observer: &mut dyn FnMut(&Happening<'_>),
) -> Result<(Exit, Vec<Denial>)> {
    let witness = Witness::start(container)?;
    run_watched(container, options, observer, Some(witness))
}

fn run_watched(
    container: &Container,
    options: Foreground,
    observer: &mut dyn FnMut(&Happening<'_>),
    witness: Option<Witness>,
) -> Result<(Exit, Vec<Denial>)> {
    if container.has_terminal() {
        return Err(Error::invalid("a container with a terminal needs a monitor"));
    }
    let mut session = Session::open(container, options.stdin, true)?;
    session.own_stdio = container.supervision.passthrough.then(session::own_stdio).transpose()?;
    // Blocked before the clone: a signal that comes in between waits here. The child sets its own.
    let signals =
        if options.forward_signals { Some(sys::signal_fd(&FORWARDED).doing(|| "watch signals".into())?) } else { None };
    session.witness = witness;
    session.interrupts = options.forward_signals.then(create::interrupts).transpose()?;
    let (running, program) = session.begin(&mut || observer(&Happening::Starting))?;
    session.interrupts = None;
    observer(&Happening::Started(&session.state));
    let mut relay = Relay::new(program, session.log(), container.stop_signal);
    relay.signals = signals;
    relay.add_peer(Peer::local(options.stdin));
    let exit = live(&mut session, running, &mut relay, observer)?;
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
    mut observer: Observer,
) -> Result<(State, Option<UnixStream>)> {
    let stdio = container.supervision.passthrough.then(session::own_stdio).transpose()?;
    let kept: Vec<_> = stdio.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    daemon::start(options.foreground, &kept, move |owner, report| {
        let mut session = match Session::open(&container, options.stdin, true) {
            Ok(session) => session,
            Err(error) => return report.send::<State>(Err(&error)),
        };
        session.own_stdio = stdio;
        let result =
            session.begin(&mut || {}).and_then(|started| Ok((started, session.log(), listen(&container.state_dir)?)));
        let ((running, program), log, listener) = match result {
            Ok(all) => all,
            Err(error) => {
                session.abandon();
                return report.send::<State>(Err(&error));
            }
        };
        // Before its starter goes on, and before anything is told of its end.
        observer(&Happening::Started(&session.state));
        report.send(Ok(&session.state));
        let mut relay = Relay::new(program, log, container.stop_signal);
        relay.listener = Some(listener);
        relay.signals = sys::signal_fd(&FORWARDED).ok();
        if let Some(owner) = owner.and_then(|stream| Peer::socket(stream, true).ok()) {
            relay.add_peer(owner);
        }
        crate::idle::trim_memory();
        // Who waits for the end of the connection learns from it that there is no code.
        if let Ok(exit) = live(&mut session, running, &mut relay, &mut *observer) {
            let _ = relay.finish(exit.code.unwrap_or(125));
        }
    })
}

/// Looks after a program that was just started until it has ended and is not started again.
fn live<'a>(
    session: &mut Session<'a>,
    mut running: Running,
    relay: &mut Relay<'a>,
    observer: &mut dyn FnMut(&Happening<'_>),
) -> Result<Exit> {
    let mut restarter = Restarter::default();
    loop {
        relay.tasks = session.tasks(&mut running);
        let (ended, next) = relay.run(&running.pidfd, observer)?;
        let (ended, next) = meaning(ended, next, session.container.supervision.system);
        if next == Next::Rest {
            // Without its directory it was removed by force, and is not started again either.
            let _ = verbs::request_stop(&session.container.state_dir);
        }
        // A witness tells of one run.
        let (watched, policy) = (session.witness.is_some(), session.restart_policy());
        let (exit, wait) = session.end(running, ended, relay.take_log_error(), |run, restarts| match next {
            _ if watched => None,
            Next::Restart => restarter.anew(run),
            _ => restarter.after(policy, run, restarts),
        })?;
        observer(&Happening::Ended { exit: &exit, again: wait.is_some() });
        let Some(wait) = wait else { return Ok(exit) };
        let Some((again, program)) = start_again(session, relay, &mut restarter, wait) else {
            session.rest();
            let exit = session.state.exit.clone().unwrap_or(exit);
            observer(&Happening::Rests(&exit));
            return Ok(exit);
        };
        running = again;
        relay.reconnect(program);
        observer(&Happening::Started(&session.state));
    }
}

/// Starts a program again after a wait, and tries once more as the policy says if that fails. `None`: it rests, and its last exit says why.
fn start_again<'a>(
    session: &mut Session<'a>,
    relay: &mut Relay<'a>,
    restarter: &mut Restarter,
    mut wait: Duration,
) -> Option<(Running, relay::ProgramIo)> {
    while session.wait_to_restart(relay, wait) {
        match session.begin(&mut || {}) {
            Ok(started) => return Some(started),
            Err(error) => {
                let run = session.not_started(&error);
                wait = restarter.after(session.restart_policy(), &run, session.state.restarts)?;
            }
        }
    }
    None
}

/// What the end of a system means. Its init was ended by the kernel, by one signal for restart and another for all else, if something
/// in it called reboot(2); nobody else's signals of these kinds end the first process of a pid namespace (reboot(2), "Behavior inside
/// PID namespaces").
fn meaning(ended: Ended, next: Next, system: bool) -> (Ended, Next) {
    match ended {
        Ended::Signalled(libc::SIGHUP) if system => {
            (Ended::Exited(0), if next == Next::Rest { next } else { Next::Restart })
        }
        Ended::Signalled(libc::SIGINT) if system => (Ended::Exited(0), Next::Rest),
        _ => (ended, next),
    }
}

/// The socket for clients, in the state directory. Bound below a descriptor: the directory's own path may be too long.
fn listen(dir: &Path) -> Result<UnixListener> {
    listen_in(dir, ATTACH_SOCKET)
}

fn listen_in(dir: &Path, name: &str) -> Result<UnixListener> {
    let doing = || format!("make the socket {name} in {}", dir.display());
    let (_folder, path) = socket_path(dir, name)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(doing(), error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).doing(doing)?;
    listener.set_nonblocking(true).doing(doing)?;
    Ok(listener)
}

/// Connects to a socket of a running container's monitor.
pub(crate) fn connect_in(dir: &Path, name: &str) -> Result<UnixStream> {
    let id = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (_folder, path) = match socket_path(dir, name) {
        Ok(found) => found,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NotFound(id()));
        }
        Err(error) => return Err(error),
    };
    match UnixStream::connect(&path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            Err(Error::NotRunning(id()))
        }
        result => result.doing(|| format!("connect to the monitor in {}", dir.display())),
    }
}

/// A short path of a socket in a state directory, good as long as the descriptor is open.
fn socket_path(dir: &Path, name: &str) -> Result<(OwnedFd, std::path::PathBuf)> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty()).doing(|| format!("open {}", dir.display()))?;
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    Ok((folder, path.into()))
}

/// A failure as it is told over the report pipe.
pub(crate) fn failure(error: &Error) -> Failure {
    Failure::new("", error)
}
