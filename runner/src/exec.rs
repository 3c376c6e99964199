//! A further process in a running container: the same sandbox, other beginnings.
//!
//! The parent joins the container's pid namespace for its children, clones into its cgroup, and the child joins the rest by the
//! container's pidfd and goes through the same last steps as a first process. Three forms as with containers: in the
//! foreground, under a monitor of its own with a client (a terminal, or to be detached from), or under one that only waits. The rule: a foreground exec dies with its client.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, Process, Spec};

use crate::cgroup::Cgroup;
use crate::create::{self, Started};
use crate::error::{Doing, Error, Result};
use crate::exec_records::{ExecRecord, Recorded};
use crate::exec_spaces;
use crate::init::Materials;
use crate::monitor::peer::Peer;
use crate::monitor::relay::{ProgramIo, Relay};
use crate::monitor::{FORWARDED, Foreground, daemon, pipes};
use crate::plan::Plan;
use crate::security::seccomp;
use crate::state::{self, ProcessId, State, Status};
use crate::sys::{self, Ended};
use crate::verbs::while_running;

/// What is executed.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Program, arguments, environment, user, limits, capabilities; as in a container's spec.
    pub process: Process,
    /// Names of further groups, looked up in the container.
    pub group_names: Vec<String>,
    /// The system call filter; that of the container's spec, usually.
    pub seccomp: Option<LinuxSeccomp>,
    /// The id under which it is recorded while it runs, if it is.
    pub id: Option<String>,
    /// Descriptors of ours, 3 and above and not close-on-exec, that the program keeps; only for [`exec_foreground`].
    pub passed_on: Vec<RawFd>,
}

impl Exec {
    /// An exec like the container's own first process, to be changed as wished: same user, environment, limits, filter.
    ///
    /// # Errors
    /// The spec has no process.
    pub fn like(spec: &Spec) -> Result<Self> {
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
        let mut process = create::process_of(spec)?.clone();
        process.set_terminal(Some(false));
        Ok(Self { process, group_names: create::group_names(spec), seccomp, id: None, passed_on: Vec::new() })
    }
}

fn code_of(ended: Ended) -> i32 {
    match ended {
        Ended::Exited(code) => code,
        Ended::Signalled(signal) => 128 + signal,
    }
}

/// Runs a program in the container with this process's standard output, error and (if wanted) input, and returns its
/// exit code. The caller must be single-threaded, and the process must not ask for a terminal.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::Start`].
pub fn exec_foreground(dir: &Path, exec: &Exec, options: Foreground) -> Result<i32> {
    if exec.process.terminal() == Some(true) {
        return Err(Error::invalid("an exec with a terminal needs a monitor"));
    }
    let (program, stdio) = pipes(options.stdin)?;
    let signals =
        if options.forward_signals { Some(sys::signal_fd(&FORWARDED).doing(|| "watch signals".into())?) } else { None };
    let interrupts = options.forward_signals.then(create::interrupts).transpose()?;
    let (started, recorded) = start_recorded(dir, exec, Some(stdio), true, interrupts.as_ref())?;
    let mut relay = Relay::new(program, None, libc::SIGTERM);
    relay.signals = signals;
    relay.add_peer(Peer::local(options.stdin));
    let code = code_of(relay.run(&started.pidfd, &mut |_| ())?.0);
    drop(recorded);
    relay.finish(code)?;
    Ok(code)
}

/// Runs a program under a monitor of its own and returns as soon as it runs, with the connection for
/// [`crate::attach::attach`]. If the client vanishes without detaching, the program is ended. `told` hears of its exit code, in the
/// monitor and before the client; it must own no descriptors. The caller must be single-threaded.
///
/// # Errors
/// As [`exec_foreground`].
pub fn exec_monitored(dir: &Path, exec: &Exec, stdin: bool, told: impl FnOnce(i32)) -> Result<(ProcessId, UnixStream)> {
    // The monitor's working directory is the root.
    let dir = &std::path::absolute(dir).doing(|| format!("find {}", dir.display()))?;
    let (id, client) = daemon::start(true, &[], |owner, report| {
        let terminal = exec.process.terminal() == Some(true);
        let result = (|| {
            let (mut program, stdio) = if terminal {
                (ProgramIo::default(), None)
            } else {
                let (program, stdio) = pipes(stdin)?;
                (program, Some(stdio))
            };
            let (started, recorded) = start_recorded(dir, exec, stdio, true, None)?;
            program.console = started.console;
            Ok::<_, Error>((started.process, started.pidfd, program, recorded))
        })();
        match result {
            Err(error) => report.send::<ProcessId>(Err(&error)),
            Ok((id, pidfd, program, recorded)) => {
                report.send(Ok(&id));
                let mut relay = Relay::new(program, None, libc::SIGTERM);
                if let Some(owner) = owner.and_then(|stream| Peer::socket(stream, true).ok()) {
                    relay.add_peer(owner);
                }
                crate::idle::trim_memory();
                if let Ok((ended, _)) = relay.run(&pidfd, &mut |_| ()) {
                    drop(recorded);
                    told(code_of(ended));
                    // The client may have gone.
                    let _ = relay.finish(code_of(ended));
                }
            }
        }
    })?;
    let client = client.ok_or_else(|| Error::invalid("the monitor gave no connection"))?;
    Ok((id, client))
}

/// Starts a program in the background (`exec -d`): its input is empty, its output is dropped, it ends with the container. A monitor
/// waits for it, which tells `told` its exit code; that must own no descriptors. The caller must be single-threaded.
///
/// # Errors
/// As [`exec_foreground`].
pub fn exec_detached(dir: &Path, exec: &Exec, told: impl FnOnce(i32)) -> Result<ProcessId> {
    use rustix::fs::{Mode, OFlags};
    let null = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).doing(|| "open /dev/null".into())
    };
    let mut exec = exec.clone();
    exec.process.set_terminal(Some(false));
    // The monitor's working directory is the root.
    let dir = &std::path::absolute(dir).doing(|| format!("find {}", dir.display()))?;
    let (id, _) = daemon::start(false, &[], |_, report| {
        let started = null().and_then(|input| Ok([input, null()?, null()?]));
        // It outlives a monitor that is killed.
        match started.and_then(|stdio| start_recorded(dir, &exec, Some(stdio), false, None)) {
            Err(error) => report.send::<ProcessId>(Err(&error)),
            Ok((started, recorded)) => {
                report.send(Ok(&started.process));
                crate::idle::trim_memory();
                let ended = sys::wait(started.pidfd.as_fd());
                drop(recorded);
                if let Ok(ended) = ended {
                    told(code_of(ended));
                }
            }
        }
    })?;
    Ok(id)
}

/// Starts the process and records it, if it has an id.
fn start_recorded(
    dir: &Path,
    exec: &Exec,
    stdio: Option<[OwnedFd; 3]>,
    die_with_parent: bool,
    interrupts: Option<&OwnedFd>,
) -> Result<(Started, Option<Recorded>)> {
    let started = start(dir, exec, stdio, die_with_parent, interrupts)?;
    let Some(id) = exec.id.clone() else { return Ok((started, None)) };
    let args = exec.process.args().clone().unwrap_or_default();
    match Recorded::write(dir, &ExecRecord { id, process: started.process, args }) {
        Ok(recorded) => Ok((started, Some(recorded))),
        Err(error) => {
            let _ = sys::pidfd_send_signal(started.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(started.pidfd.as_fd());
            Err(error)
        }
    }
}

/// A process in a container that is ended with everything of its session, at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    started: Started,
    cgroup: Cgroup,
}

impl Session {
    /// Starts the process. The caller must be single-threaded.
    pub fn start(dir: &Path, exec: &Exec, stdio: [OwnedFd; 3]) -> Result<Self> {
        while_running(dir, |state| {
            let cgroup = Cgroup::open(&state.cgroup)?;
            Ok(Self { started: start_in(state, exec, Some(stdio), true, None)?, cgroup })
        })
    }

    /// The process.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.started.pidfd
    }

    /// Ends it and what it has started, unless that has made a session of its own.
    pub fn kill(&mut self) -> Result<()> {
        let leader = self.started.process.pid;
        let _ = sys::pidfd_send_signal(self.started.pidfd.as_fd(), libc::SIGKILL);
        // As long as its leader is not reaped, the number of a session is given to nobody else.
        for pid in self.cgroup.processes()? {
            if let Some(process) = ProcessId::of(pid)?
                && state::session_of(pid)? == Some(leader)
                && let Some(pidfd) = process.open()?
            {
                let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        sys::wait(self.started.pidfd.as_fd()).doing(|| "end a process in the container".into()).map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // One that was reaped already is no child any more.
        if matches!(sys::reap(self.started.pidfd.as_fd()), Ok(None)) {
            let _ = self.kill();
        }
    }
}

/// Starts the process. A container that ends meanwhile is not running, whatever was missing of it.
fn start(
    dir: &Path,
    exec: &Exec,
    stdio: Option<[OwnedFd; 3]>,
    die_with_parent: bool,
    interrupts: Option<&OwnedFd>,
) -> Result<Started> {
    while_running(dir, |state| start_in(state, exec, stdio, die_with_parent, interrupts))
}

fn start_in(
    state: &State,
    exec: &Exec,
    stdio: Option<[OwnedFd; 3]>,
    die_with_parent: bool,
    interrupts: Option<&OwnedFd>,
) -> Result<Started> {
    if state.status == Status::Paused {
        return Err(Error::invalid(format!("container {} is paused", state.id)));
    }
    let container = state.pidfd()?;
    let plan = Plan::for_exec(&exec.process, exec.seccomp.is_some())?;
    let seccomp = exec.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let mut cgroup = Cgroup::open(&state.cgroup)?;
    if let Some(process) = state.process {
        cgroup.follow(process.pid)?;
    }
    // A child that is born frozen would never answer.
    if cgroup.is_frozen()? {
        return Err(Error::invalid(format!("container {} is paused", state.id)));
    }
    let kinds = state.process.map_or(0, |process| exec_spaces::flags(process.pid));
    if let (Some(process), Some(stdio)) = (state.process, stdio.as_ref().filter(|_| kinds & libc::CLONE_NEWUSER != 0)) {
        exec_spaces::give_pipes(stdio, process.pid)?;
    }
    // Its number in /proc was its own if it is there still.
    sys::pidfd_send_signal(container.as_fd(), 0).map_err(|_| Error::NotRunning(state.id.clone()))?;
    // A pidfd names all namespaces of its process at once; the pid namespace goes the way of the parent.
    let pid_namespace = container.as_fd().try_clone_to_owned().doing(|| "use the container's process".into())?;
    let materials = Materials {
        plan: &plan,
        process: &exec.process,
        group_names: &exec.group_names,
        exact_groups: false,
        tasks: cgroup.tasks_fds(),
        namespaces: vec![(kinds, container)],
        rootfs: None,
        root_place: None,
        devices: BTreeMap::new(),
        hooks: None,
        gate: None,
        binds: Default::default(),
        layers: BTreeMap::new(),
        files: &[],
        cgroup_view: Vec::new(),
        seccomp,
        stdio,
        passed_on: exec.passed_on.clone(),
        ttys: 0,
        die_with_parent,
    };
    let around = [(libc::CLONE_NEWPID, pid_namespace)];
    let work = create::Work { meanwhile: |_| Ok(()), mounted: |_| Ok(()), idle: &mut || {}, root: None, interrupts };
    let (started, ()) = create::start_child(&cgroup, &around, materials, work)?;
    Ok(started)
}
