//! What can be done to a container from outside: signal, stop, wait, pause, limits, delete, sweep.
//!
//! Every verb takes the state directory, loads the truth, acts through a pidfd or the cgroup, and is done; nothing is kept. The
//! rule: a pid is never signalled by its number, and deleting twice is no error.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::process::Pid;

use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::spec::parse::RestartPolicy;
use crate::state::{self, Exit, State, Status};
use crate::{create, initctl, network, sys};

/// How long SIGKILL may take to be seen to have worked.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The restart policy, if it was changed since the start.
const RESTART_POLICY: &str = "restart-policy.json";

/// The networks, if they were changed since the start.
const NETWORKS: &str = "networks.json";

/// Files of ours in a state directory.
const OWN_FILES: [&str; 15] = [
    "state.json",
    ".state.json.new",
    "health.json",
    ".health.json.new",
    "stop-requested",
    RESTART_POLICY,
    ".restart-policy.json.new",
    NETWORKS,
    ".networks.json.new",
    crate::added_mounts::ADDED,
    ".added-mounts.json.new",
    crate::monitor::ATTACH_SOCKET,
    crate::monitor::TTYS_SOCKET,
    "lock",
    crate::networks::JOINING,
];

fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Sends a signal to the container's first process, or to all of its processes. One that ends it, SIGKILL or its own stop signal,
/// also means that it is not started again, whatever its restart policy.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn kill(dir: &Path, signal: i32, all: bool) -> Result<()> {
    let state = state::load(dir)?;
    let ends = signal == libc::SIGKILL || signal == state.stop_signal;
    if state.status == Status::Restarting && ends {
        return stop(dir, Some(signal), None).map(drop);
    }
    while_running(dir, |state| {
        let pidfd = state.pidfd()?;
        if ends {
            request_stop(dir)?;
        }
        match all {
            true => signal_all(state, signal),
            false => sys::pidfd_send_signal(pidfd.as_fd(), signal).doing(|| format!("signal container {}", state.id)),
        }
    })
}

/// Sends a signal to all processes of a container.
fn signal_all(state: &State, signal: i32) -> Result<()> {
    let cgroup = Cgroup::open(&state.cgroup)?;
    if signal == libc::SIGKILL {
        return Ok(cgroup.kill_all()?);
    }
    for pid in cgroup.processes()? {
        let process = Pid::from_raw(pid);
        let Some(Ok(process)) =
            process.map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
        else {
            continue;
        };
        // Between the list and the descriptor the number may have been given to a process elsewhere.
        if cgroup.processes()?.contains(&pid) {
            match sys::pidfd_send_signal(process.as_fd(), signal) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result.doing(|| format!("signal process {pid} of container {}", state.id))?,
            }
        }
    }
    Ok(())
}

/// Asks the container to stop with `signal` (its own if `None`), waits, and kills it when the time is over (`None`: never). Ends
/// a pending restart too. A container that is not running is stopped already.
pub fn stop(dir: &Path, signal: Option<i32>, timeout: Option<Duration>) -> Result<Option<Exit>> {
    let mut state = state::load(dir)?;
    if state.status == Status::Stopped {
        return Ok(state.exit);
    }
    request_stop(dir)?;
    let mut ended = None;
    let mut deadline = Instant::now() + KILL_LIMIT;
    loop {
        match open_first(&state)? {
            // Its monitor is about to record its end.
            Some(_) if state.process == ended => {}
            // What was started again just before the request was seen is stopped as well.
            Some(pidfd) => {
                end_process(dir, &state, &pidfd, signal, timeout)?;
                ended = state.process;
                deadline = Instant::now() + KILL_LIMIT;
            }
            None => wake_monitor(&state)?,
        }
        state = match state::load(dir) {
            Ok(state) if state.status == Status::Stopped => return Ok(state.exit),
            // `--rm`: its monitor has removed it.
            Err(Error::NotFound(_)) => return Ok(None),
            Ok(state) if Instant::now() < deadline => state,
            Ok(_) => {
                let doing = format!("waiting for the monitor of container {}", name_of(dir));
                return Err(Error::Timeout { doing, seconds: KILL_LIMIT.as_secs() });
            }
            Err(error) => return Err(error),
        };
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Signals the first process, waits, and kills it when the time is over.
fn end_process(
    dir: &Path,
    state: &State,
    pidfd: &OwnedFd,
    signal: Option<i32>,
    timeout: Option<Duration>,
) -> Result<()> {
    if state.status == Status::Paused || is_frozen(dir).is_ok_and(|frozen| frozen) {
        // A frozen process takes no signal.
        let_go_on(dir)?;
    }
    // An init that is asked by SIGPWR may listen to more than that.
    let by_pipe = signal.is_none() && state.stop_signal == libc::SIGPWR && initctl::power_off(dir).unwrap_or(false);
    if !by_pipe {
        match sys::pidfd_send_signal(pidfd.as_fd(), signal.unwrap_or(state.stop_signal)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result.doing(|| format!("signal container {}", state.id))?,
        }
    }
    if !state::wait_for(pidfd, timeout)? {
        // Its first process, and with it the pid namespace; then whatever else is in its groups.
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        if !state::wait_for(pidfd, Some(KILL_LIMIT))? {
            return Err(Error::Timeout {
                doing: format!("killing container {}", state.id),
                seconds: KILL_LIMIT.as_secs(),
            });
        }
    }
    Ok(())
}

/// A monitor that waits for the next start looks for the request at once.
fn wake_monitor(state: &State) -> Result<()> {
    if state.status == Status::Restarting
        && let Some(monitor) = state.monitor.map(|monitor| monitor.open()).transpose()?.flatten()
    {
        // One that has no use for the signal goes on; it may also just have ended.
        let _ = sys::pidfd_send_signal(monitor.as_fd(), libc::SIGCONT);
    }
    Ok(())
}

fn open_first(state: &State) -> Result<Option<OwnedFd>> {
    match state.pidfd() {
        Ok(fd) => Ok(Some(fd)),
        Err(Error::NotRunning(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Leaves word that the container is to end and is not to be started again.
pub(crate) fn request_stop(dir: &Path) -> Result<()> {
    let marker = dir.join("stop-requested");
    std::fs::write(&marker, "").doing(|| format!("write {}", marker.display()))
}

/// Whether somebody has asked the container to end, and it may not have ended yet.
pub fn stop_was_requested(dir: &Path) -> bool {
    dir.join("stop-requested").exists()
}

pub(crate) fn clear_stop_request(dir: &Path) -> Result<()> {
    remove_marker(&dir.join("stop-requested"))
}

/// Changes the restart policy of a container that runs, or waits to be started again: its monitor reads it when the program ends.
/// It holds until the container is started by hand again.
///
/// # Errors
/// The state directory cannot be written.
pub fn set_restart_policy(dir: &Path, policy: RestartPolicy) -> Result<()> {
    state::replace(&dir.join(RESTART_POLICY), &policy)
}

/// The policy that was set while the container ran.
pub(crate) fn changed_restart_policy(dir: &Path) -> Option<RestartPolicy> {
    let bytes = std::fs::read(dir.join(RESTART_POLICY)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Sets the network that a running container has when its monitor starts it again.
///
/// # Errors
/// The state directory cannot be written.
pub fn set_network(dir: &Path, network: &network::Config) -> Result<()> {
    state::replace(&dir.join(NETWORKS), network)
}

/// The network that was set while the container ran.
pub(crate) fn changed_network(dir: &Path) -> Option<network::Config> {
    let bytes = std::fs::read(dir.join(NETWORKS)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Forgets what was changed while the container ran the last time.
pub(crate) fn clear_changes(dir: &Path) -> Result<()> {
    remove_marker(&dir.join(RESTART_POLICY))?;
    remove_marker(&dir.join(NETWORKS))
}

fn remove_marker(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Waits until the container has stopped, however often it is started again meanwhile, and says how it ended.
///
/// # Errors
/// [`Error::Timeout`]; [`Error::NotFound`] if it was removed before it could be seen how it ended.
pub fn wait(dir: &Path, timeout: Option<Duration>) -> Result<Exit> {
    let until = timeout.map(|time| Instant::now() + time);
    loop {
        let state = state::load(dir)?;
        if state.status == Status::Stopped {
            return state.exit.ok_or_else(|| Error::invalid(format!("container {} was never started", state.id)));
        }
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let doing = format!("waiting for container {}", state.id);
            return Err(Error::Timeout { doing, seconds: timeout.unwrap_or_default().as_secs() });
        }
        match open_first(&state)? {
            Some(pidfd) => drop(state::wait_for(&pidfd, left)?),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Freezes all processes of the container.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn pause(dir: &Path) -> Result<()> {
    set_paused(dir, true)
}

/// Lets a paused container go on.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn unpause(dir: &Path) -> Result<()> {
    set_paused(dir, false)
}

/// As [`unpause`], where one that somebody else has ended just now is as good.
pub(crate) fn let_go_on(dir: &Path) -> Result<()> {
    match unpause(dir) {
        Err(Error::NotRunning(_) | Error::NotFound(_)) => Ok(()),
        result => result,
    }
}

fn set_paused(dir: &Path, paused: bool) -> Result<()> {
    in_groups(dir, |cgroup| {
        let record = |status| {
            let change = |state: &mut State| {
                if state.is_running() {
                    state.status = status;
                }
            };
            state::update(dir, change).map(drop)
        };
        // Whoever is killed in between leaves one that says it is paused, which is what `unpause` asks for.
        if !paused {
            cgroup.thaw()?;
            return record(Status::Running);
        }
        record(Status::Paused)?;
        cgroup.freeze().or_else(|error| {
            // Some of its processes may be frozen.
            cgroup.thaw()?;
            record(Status::Running)?;
            Err(error.into())
        })
    })
}

/// Works with the groups of a running container.
fn in_groups<T>(dir: &Path, work: impl FnOnce(&mut Cgroup) -> Result<T>) -> Result<T> {
    while_running(dir, |state| work(&mut Cgroup::open(&state.cgroup)?))
}

/// Works with a running container: its groups, its namespaces. One that ends meanwhile has ended, whatever failed for that: its
/// monitor takes the groups away before it records the end.
pub(crate) fn while_running<T>(dir: &Path, work: impl FnOnce(&State) -> Result<T>) -> Result<T> {
    let state = state::load(dir)?;
    if !state.is_running() {
        return Err(Error::NotRunning(state.id));
    }
    let runs = |process: state::ProcessId| process.is_ending().is_ok_and(|ending| !ending);
    work(&state).map_err(|error| if state.process.is_some_and(runs) { error } else { Error::NotRunning(state.id) })
}

/// As [`while_running`], for what is done by the number of the container's first process: the number was that process's if the
/// process is still there after it.
pub(crate) fn by_number<T>(dir: &Path, work: impl FnOnce(&State, Pid) -> Result<T>) -> Result<T> {
    while_running(dir, |state| {
        let not_running = || Error::NotRunning(state.id.clone());
        let pidfd = state.pidfd()?;
        let pid = state.process.and_then(|process| Pid::from_raw(process.pid)).ok_or_else(not_running)?;
        let done = work(state, pid);
        sys::pidfd_send_signal(pidfd.as_fd(), 0).map_err(|_| not_running())?;
        done
    })
}

/// Whether the processes of a container are frozen, whatever its record says.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn is_frozen(dir: &Path) -> Result<bool> {
    in_groups(dir, |cgroup| Ok(cgroup.is_frozen()?))
}

/// Changes limits of a running container; what `resources` does not name stays.
///
/// # Errors
/// [`Error::NotRunning`], or a limit that the kernel refuses.
pub fn update(dir: &Path, resources: &LinuxResources) -> Result<()> {
    in_groups(dir, |cgroup| Ok(cgroup.update(resources)?))
}

/// Removes all that is left of a container that has ended: cgroup, network, state directory. One that is running is killed
/// first if `force`, else it is an error. Deleting what is not there is no error.
pub fn delete(dir: &Path, force: bool) -> Result<()> {
    let state = match state::load(dir) {
        Ok(state) => Some(state),
        Err(Error::NotFound(_)) => None,
        // A record that cannot be read must not keep the rest from going.
        Err(Error::Record { .. }) if force => None,
        Err(error) => return Err(error),
    };
    if let Some(state) = &state
        && state.status != Status::Stopped
    {
        if !force {
            return Err(Error::Running(state.id.clone()));
        }
        stop(dir, Some(libc::SIGKILL), Some(KILL_LIMIT))?;
    }
    let cgroup = state.as_ref().map_or_else(|| name_of(dir), |state| state.cgroup.clone());
    if let Ok(mut cgroup) = Cgroup::open(&cgroup) {
        cgroup.kill_all()?;
        cgroup.remove()?;
    }
    if let Some(network) = state.as_ref().and_then(|state| state.network.as_ref()) {
        create::teardown_network(dir, network)?;
    }
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        match std::fs::remove_dir_all(dir) {
            // Its monitor was about to write its last record, and finds no directory the next time.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {}
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", dir.display()), error));
            }
            _ => return Ok(()),
        }
    }
}

/// As [`delete`], for a container whose end was recorded by this process just now: its group and network are gone, and its
/// state directory is only moved out of sight, to `retired/` beside the folder of all. [`clear_retired`] of a later run, for
/// which nobody waits, removes it.
pub fn retire(dir: &Path) -> Result<()> {
    let clean = state::load(dir).is_ok_and(|state| {
        state.status == Status::Stopped
            && state.network.is_none()
            && state.exit.as_ref().is_some_and(|exit| exit.code.is_some())
    });
    let place = retired_of(dir).and_then(|place| Some(place.join(dir.file_name()?)));
    let (true, Some(place)) = (clean, place) else { return delete(dir, false) };
    match std::fs::rename(dir, &place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(folder) = place.parent() {
                state::make_dir(folder)?;
            }
            if std::fs::rename(dir, &place).is_ok() { Ok(()) } else { delete(dir, false) }
        }
        Err(_) => delete(dir, false),
        Ok(()) => Ok(()),
    }
}

/// Where retired state directories lie: never where states are looked for.
fn retired_of(dir: &Path) -> Option<PathBuf> {
    Some(dir.parent()?.parent()?.join("retired"))
}

/// Removes state directories that [`retire`] moved away, a few at a time; `dir` is the state directory of the caller's container.
pub fn clear_retired(dir: &Path) -> Result<()> {
    let Some(place) = retired_of(dir) else { return Ok(()) };
    let entries = match std::fs::read_dir(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(|| format!("read {}", place.display()))?,
    };
    for entry in entries.flatten().take(8) {
        match std::fs::remove_dir_all(entry.path()) {
            // Somebody else clears too.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.doing(|| format!("remove {}", entry.path().display()))?,
        }
    }
    Ok(())
}

/// Removes our records from a state directory, and the directory if nothing else is in it.
pub(crate) fn remove_records(dir: &Path) -> Result<()> {
    for name in OWN_FILES {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", path.display()), error));
            }
            _ => {}
        }
    }
    let execs = dir.join(crate::exec_records::FOLDER);
    match std::fs::remove_dir_all(&execs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(format!("remove {}", execs.display()), error));
        }
        _ => {}
    }
    match std::fs::remove_dir(dir) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTEMPTY)) => {
            Err(Error::io(format!("remove {}", dir.display()), error))
        }
        _ => Ok(()),
    }
}

/// What [`sweep`] found.
#[derive(Debug, Default)]
pub struct Swept {
    /// The state directories of containers whose dead monitor had left something.
    pub taken_back: Vec<PathBuf>,
    /// The other containers that do not run.
    pub stopped: Vec<(PathBuf, State)>,
}

/// Takes back what dead monitors left: processes, cgroups, networks. The state directories stay, with an unknown exit,
/// for the caller to show or to [`delete`]. With `most` no more containers than that are looked at, others each time.
pub fn sweep(containers: &Path, most: Option<usize>) -> Result<Swept> {
    let mut swept = Swept::default();
    for dir in state::directories(containers, most)? {
        // Loaded just before it is judged: a monitor that ended by itself in between would be taken for a dead one.
        let Ok(state) = state::load(&dir) else { continue };
        if take_back_of(&dir, &state)? {
            swept.taken_back.push(dir);
        } else if state.status == Status::Stopped {
            swept.stopped.push((dir, state));
        }
    }
    crate::networks::sweep(containers, !swept.taken_back.is_empty());
    Ok(swept)
}

/// Takes back what the dead monitor of one container left, and says whether that was anything.
pub(crate) fn take_back(dir: &Path) -> Result<bool> {
    match state::load(dir) {
        Ok(state) => take_back_of(dir, &state),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn take_back_of(dir: &Path, state: &State) -> Result<bool> {
    let orphan = state.is_running();
    let stale = state.status == Status::Stopped && state.exit.as_ref().is_some_and(|exit| exit.code.is_none());
    // Its monitor died before the program was started.
    let unborn = state.status == Status::Stopped && state.exit.is_none();
    // A monitor that lives takes back itself, however long the kernel needs for that.
    if !(orphan || stale || unborn) || state.is_monitored()? {
        return Ok(false);
    }
    let mut found = orphan || unborn;
    if let Ok(mut cgroup) = Cgroup::open(&state.cgroup) {
        cgroup.kill_all()?;
        cgroup.remove()?;
        found = true;
    }
    if let Some(network) = &state.network {
        create::teardown_network(dir, network)?;
        crate::networks::forget_unfinished(dir, &state.id);
    }
    let updated = state::update(dir, |state| {
        state.status = Status::Stopped;
        state.process = None;
        state.network = None;
        state.exit = Some(Exit::unknown());
    });
    match updated {
        Ok(_) => Ok(found),
        // Somebody else sweeps too, and was faster.
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
