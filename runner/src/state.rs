//! The transient state of containers: one small JSON file each, and what of it is still true.
//!
//! `<state_dir>/state.json` is replaced by rename under a lock, never synced: after a reboot nothing of it is believed. A process is named by
//! pid *and* start time *and* boot id, so a number used again is never mistaken for the old process; [`State::pidfd`] checks
//! that before it hands out a descriptor. [`load`] tells the truth: a container whose process is gone is stopped,
//! whatever the file says.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::{network, sys};

/// The version of the file; a newer one is refused.
const VERSION: u32 = 1;

/// The largest state file that is read.
const MAX_STATE: u64 = 1 << 20;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Created,
    /// Its first process lives.
    Running,
    /// It lives and is frozen.
    Paused,
    /// Between two runs; its monitor waits to start it again.
    Restarting,
    /// It has ended.
    Stopped,
}

/// A process that is not mistaken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the host's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 and the signal's number if a signal ended it. `None`: unknown, its monitor was killed.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of it because memory ended.
    pub oom: bool,
    /// Whether it was asked to stop ([`crate::stop`]) rather than having ended by itself.
    pub requested: bool,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// Why the log is not complete, if it is not.
    pub log_error: Option<String>,
    /// Why it could not be started again, if that was its end.
    #[serde(default)]
    pub error: Option<String>,
}

impl Exit {
    /// An end that nobody saw, noticed now.
    pub fn unknown() -> Self {
        Self { code: None, signal: None, oom: false, requested: false, at: now(), log_error: None, error: None }
    }
}

/// What is known of a container that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process.
    pub process: Option<ProcessId>,
    /// The process that waits for it.
    pub monitor: Option<ProcessId>,
    /// The boot during which it was started.
    pub boot_id: String,
    /// The name of its cgroup.
    pub cgroup: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: u64,
    /// When its program was started.
    pub started_at: Option<u64>,
    /// How it ended, the last time.
    pub exit: Option<Exit>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its network.
    pub network: Option<network::State>,
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The id of this boot (random(4)).
pub fn boot_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let id = sys::read_small(path).doing(|| format!("read {path}"))?;
    Ok(ID.get_or_init(|| id.trim().to_owned()))
}

impl ProcessId {
    /// The process of that number as it is now; `None` if there is none, or only its remains.
    pub fn of(pid: i32) -> Result<Option<Self>> {
        Ok(read_stat(pid)?.map(|stat| Self { pid, start_time: stat.start_time }))
    }

    /// A pidfd, if it is still this process.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(Error::io(format!("open the process {}", self.pid), error)),
        };
        // The descriptor holds one process: checked after it was opened, it is the one that was checked.
        Ok(self.lives()?.then_some(fd))
    }
}

impl ProcessId {
    /// Its directory in /proc, which is another process's once this one has ended: whoever opens something in it asks
    /// [`ProcessId::lives`] afterwards.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }

    /// Whether it is still there. Then its number has meant it all the time.
    pub fn lives(&self) -> Result<bool> {
        Ok(Self::of(self.pid)? == Some(*self))
    }

    /// Whether it has ended, or is about to: the kernel takes its namespaces and files from a process before that is gone.
    pub(crate) fn is_ending(&self) -> Result<bool> {
        Ok(read_stat(self.pid)?.is_none_or(|stat| stat.ending || stat.start_time != self.start_time))
    }

    /// Waits for its end; false if the time is over first.
    pub fn wait(&self, limit: Duration) -> Result<bool> {
        match self.open()? {
            None => Ok(true),
            Some(pidfd) => wait_for(&pidfd, Some(limit)),
        }
    }
}

/// Waits for a pidfd; false if the time is over first.
pub(crate) fn wait_for(pidfd: &OwnedFd, limit: Option<Duration>) -> Result<bool> {
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let mut entry = [libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        if sys::poll(&mut entry, left).doing(|| "wait for a process".into())? > 0 {
            return Ok(true);
        }
        if until.is_some_and(|at| Instant::now() >= at) {
            return Ok(false);
        }
    }
}

/// What is read in `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    start_time: u64,
    /// It is in exit(2), or was killed and has begun to end.
    ending: bool,
}

/// Reads it for a process that is there and no zombie.
fn read_stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    match sys::read_small(&path) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(Error::io(format!("read {path}"), error)),
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    /// Of the kernel's flags of a process.
    const PF_EXITING: u64 = 4;
    // The name in parentheses may contain anything: fields are counted from the last one.
    let rest = text.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let status = fields.next()?;
    if matches!(status, "Z" | "X" | "x") {
        return None;
    }
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    Some(Stat { start_time: fields.nth(12)?.parse().ok()?, ending: flags & PF_EXITING != 0 })
}

impl State {
    pub(crate) fn new(id: &str, cgroup: &str, terminal: bool, stop_signal: i32) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            id: id.to_owned(),
            status: Status::Created,
            process: None,
            monitor: None,
            boot_id: boot_id()?.to_owned(),
            cgroup: cgroup.to_owned(),
            terminal,
            stop_signal,
            created_at: now(),
            started_at: None,
            exit: None,
            restarts: 0,
            network: None,
        })
    }

    /// Whether its first process lives (running or paused).
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Whether it has not ended for good: it lives, or waits to be started again.
    pub fn is_up(&self) -> bool {
        self.is_running() || self.status == Status::Restarting
    }

    /// Whether its monitor is there: then what it left is its own to take back, and its records are its own to write.
    ///
    /// # Errors
    /// The process cannot be asked for.
    pub fn is_monitored(&self) -> Result<bool> {
        match self.monitor {
            Some(monitor) if self.boot_id == boot_id()? => monitor.lives(),
            _ => Ok(false),
        }
    }

    /// A pidfd of its first process.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if that is gone.
    pub fn pidfd(&self) -> Result<OwnedFd> {
        let process = self.process.filter(|_| self.is_running());
        process.map(|process| process.open()).transpose()?.flatten().ok_or_else(|| Error::NotRunning(self.id.clone()))
    }

    /// Writes the file, by rename.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        replace(&dir.join("state.json"), self)
    }

    /// As [`State::save`], where the directory may be removed this very moment: then [`Error::NotFound`].
    pub(crate) fn save_there(&self, dir: &Path) -> Result<()> {
        match self.save(dir) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound(self.id.clone()))
            }
            saved => saved,
        }
    }
}

/// Writes a record, by rename: whoever reads sees the old one or the new one.
pub(crate) fn replace(path: &Path, record: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|source| Error::Record { path: path.to_path_buf(), source })?;
    replace_bytes(path, &bytes)
}

/// As [`replace`], for what is no record of ours.
pub(crate) fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.new"));
    fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&fresh, path))
        .doing(|| format!("write {}", path.display()))
}

/// Makes the state directory, 0700 whatever the umask.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .doing(|| format!("make the state directory {}", dir.display()))
}

/// The state as the file has it; `None` if there is no file.
fn read(dir: &Path) -> Result<Option<State>> {
    let path = dir.join("state.json");
    let bytes = match fs::File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::with_capacity(4096);
            io::Read::read_to_end(&mut io::Read::take(file, MAX_STATE), &mut bytes)
                .doing(|| format!("read {}", path.display()))?;
            bytes
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("read {}", path.display()), error)),
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|source| Error::Record { path: path.clone(), source })?;
    if state.version > VERSION {
        return Err(Error::invalid(format!("{} was written by a newer version of this program", path.display())));
    }
    Ok(Some(state))
}

/// The network as the file has it, whatever became of the container.
pub(crate) fn load_network(dir: &Path) -> Option<network::State> {
    read(dir).ok().flatten()?.network
}

/// The session of a process, by the number of its leader; `None` if there is no such process.
pub(crate) fn session_of(pid: i32) -> Result<Option<i32>> {
    let path = format!("/proc/{pid}/stat");
    match sys::read_small(&path) {
        // After the name: state, parent, group, session.
        Ok(text) => Ok(text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)?.parse().ok())),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(Error::io(format!("read {path}"), error)),
    }
}

/// The state of the container whose state directory is `dir`, with what has changed since it was written.
///
/// # Errors
/// [`Error::NotFound`] if there is none.
pub fn load(dir: &Path) -> Result<State> {
    let name = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut state = read(dir)?.ok_or_else(|| Error::NotFound(name()))?;
    let this_boot = state.boot_id == boot_id()?;
    let lives = |process: Option<ProcessId>| match process {
        Some(process) if this_boot => process.lives(),
        _ => Ok::<bool, Error>(false),
    };
    let gone = match state.status {
        Status::Running | Status::Paused => !lives(state.process)?,
        Status::Restarting | Status::Created => !lives(state.monitor)?,
        Status::Stopped => false,
    };
    if gone {
        // A monitor that lives is about to write how it ended; let it, for a moment.
        if lives(state.monitor)? && state.status != Status::Restarting {
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline && lives(state.monitor)? {
                match read(dir)? {
                    Some(now) if now != state => return Ok(now),
                    Some(_) => std::thread::sleep(Duration::from_millis(1)),
                    None => return Err(Error::NotFound(name())),
                }
            }
        }
        // It may have written how it ended, and be gone, between our reading and our looking for it.
        if let Some(now) = read(dir)?.filter(|now| *now != state) {
            return Ok(now);
        }
        state.status = Status::Stopped;
        state.process = None;
        if state.started_at.is_some() {
            state.exit.get_or_insert_with(Exit::unknown);
        }
    }
    Ok(state)
}

/// All containers below a directory of state directories, those whose record is unreadable as errors.
pub fn list(dir: &Path) -> Result<Vec<(PathBuf, Result<State>)>> {
    let loaded = directories(dir, None)?.into_iter().map(|path| {
        let state = load(&path);
        (path, state)
    });
    // A directory that is just being made, or the container was removed meanwhile.
    let mut found: Vec<_> = loaded.filter(|(_, state)| !matches!(state, Err(Error::NotFound(_)))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The state directories in a directory. With `most` no more than that, others each time: for who may not take longer where there
/// are many.
pub(crate) fn directories(dir: &Path, most: Option<usize>) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("list {}", dir.display()), error)),
    };
    let mut found = entries
        .map(|entry| Ok(entry.doing(|| format!("list {}", dir.display()))?.path()))
        .collect::<Result<Vec<_>>>()?;
    if let Some(most) = most.filter(|most| *most < found.len()) {
        let first = usize::try_from(now() / 1000).unwrap_or_default() % found.len();
        found.rotate_left(first);
        found.truncate(most);
    }
    Ok(found)
}

/// Changes the state under its lock.
pub(crate) fn update(dir: &Path, change: impl FnOnce(&mut State)) -> Result<State> {
    let _lock = lock(dir)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut state = read(dir)?.ok_or(Error::NotFound(name))?;
    change(&mut state);
    state.save_there(dir).map(|()| state)
}

/// The lock of one container's state; let go when dropped.
pub(crate) fn lock(dir: &Path) -> Result<fs::File> {
    let path = dir.join("lock");
    let file = match fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound(dir.file_name().unwrap_or_default().to_string_lossy().into_owned()));
        }
        result => result.doing(|| format!("lock {}", path.display()))?,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = file.try_lock() {
        match error {
            fs::TryLockError::WouldBlock if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            fs::TryLockError::WouldBlock => {
                return Err(Error::Timeout { doing: format!("waiting for the lock {}", path.display()), seconds: 30 });
            }
            fs::TryLockError::Error(error) => return Err(Error::io(format!("lock {}", path.display()), error)),
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(dir: &Path) -> State {
        let mut state = State::new("c", "c", false, libc::SIGTERM).unwrap();
        state.status = Status::Running;
        state.started_at = Some(1);
        state.process = ProcessId::of(std::process::id() as i32).unwrap();
        state.save(dir).unwrap();
        state
    }

    #[test]
    fn a_living_process_is_running_and_a_reused_number_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = running(dir.path());
        assert_eq!(load(dir.path()).unwrap(), state);
        state.pidfd().unwrap();
        state.process.as_mut().unwrap().start_time += 1;
        state.save(dir.path()).unwrap();
        assert!(matches!(state.pidfd(), Err(Error::NotRunning(_))));
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.status, Status::Stopped);
        assert_eq!(loaded.exit.unwrap().code, None, "unknown, not invented");
    }

    #[test]
    fn some_are_others_each_time() {
        let all = tempfile::tempdir().unwrap();
        for number in 0..40 {
            fs::create_dir(all.path().join(number.to_string())).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let some = directories(all.path(), Some(16)).unwrap();
            assert_eq!(some.len(), 16);
            seen.extend(some);
            if seen.len() == 40 {
                return;
            }
        }
        panic!("only {} of 40 were ever looked at", seen.len());
    }

    #[test]
    fn nothing_is_believed_after_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = running(dir.path());
        state.boot_id = "another".into();
        state.save(dir.path()).unwrap();
        assert_eq!(load(dir.path()).unwrap().status, Status::Stopped);
    }

    #[test]
    fn stat_lines_with_strange_names() {
        let text = "12 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = Stat { start_time: 777, ending: false };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(parse_stat(&text.replace("4194560", "4194564")), Some(Stat { ending: true, ..stat }));
        assert_eq!(parse_stat(&text.replace(") S", ") Z")), None);
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn damaged_and_newer_records_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(Error::NotFound(_))));
        fs::write(dir.path().join("state.json"), "{").unwrap();
        assert!(matches!(load(dir.path()), Err(Error::Record { .. })));
        let mut state = running(dir.path());
        state.version = 99;
        state.save(dir.path()).unwrap();
        assert!(load(dir.path()).is_err());
        assert_eq!(list(dir.path().parent().unwrap()).unwrap().iter().filter(|(p, _)| p == dir.path()).count(), 1);
    }
}
