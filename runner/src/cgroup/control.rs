//! Processes of a group as one: list, move, freeze, thaw, kill.
//!
//! On cgroup2 each is one write, and the kernel does it to the whole tree at once; on version 1 alone the freezer
//! and signals do the same, round after round until nobody is left. Every wait has an end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Cgroup, Controller, Error, Result, file};

/// How long freezing, thawing or killing may take: a process in an uninterruptible wait holds them up.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The processes in the groups and the groups inside them, by their ids in our own PID namespace.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match self.unified.as_ref().or_else(|| self.version1.get(&Controller::Freezer)) {
            Some(directory) => processes_below(directory),
            None => match self.version1.values().next() {
                Some(directory) => processes_below(directory),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Whether any process is left.
    pub fn populated(&self) -> Result<bool> {
        if let Some(directory) = &self.unified {
            let events = file::read_if_there(&directory.join("cgroup.events"))?.unwrap_or_default();
            return Ok(event(&events, "populated") == Some(1));
        }
        Ok(!self.processes()?.is_empty())
    }

    /// Moves one process (all its threads) into every group. For processes that were not born here; costs up to 10 ms.
    pub fn join(&self, process: i32) -> Result<()> {
        let directories: BTreeSet<_> = self.version1.values().chain(&self.unified).collect();
        for directory in directories {
            file::write(&directory.join("cgroup.procs"), &process.to_string())?;
        }
        Ok(())
    }

    /// Stops all processes, and returns when they are stopped.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets all processes go on.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    /// Whether all processes are stopped by [`Cgroup::freeze`].
    pub fn is_frozen(&self) -> Result<bool> {
        if let Some(directory) = &self.unified {
            let text = file::read_if_there(&directory.join("cgroup.freeze"))?.unwrap_or_default();
            return Ok(text.trim() == "1");
        }
        let Some(directory) = self.version1.get(&Controller::Freezer) else { return Ok(false) };
        let text = file::read_if_there(&directory.join("freezer.state"))?.unwrap_or_default();
        Ok(text.trim() == "FROZEN")
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let doing = if frozen { "freeze" } else { "thaw" };
        if let Some(directory) = &self.unified {
            file::write(&directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
            let events = directory.join("cgroup.events");
            return self.wait_until(doing, || Ok(event(&file::read(&events)?, "frozen") == Some(u64::from(frozen))));
        }
        let Some(directory) = self.version1.get(&Controller::Freezer) else {
            return Err(Error::Unavailable { reason: "no freezer hierarchy is mounted".to_owned() });
        };
        let (path, wanted) = (directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" });
        // A process that forks at the wrong moment leaves the group FREEZING; ordering it again gets that one too.
        self.wait_until(doing, || {
            file::write(&path, wanted)?;
            Ok(file::read(&path)?.trim() == wanted)
        })
    }

    /// Kills every process in the groups with SIGKILL, frozen ones too, and returns when none is left but zombies. No group
    /// is no processes.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(directory) = &self.unified {
            // The usual end: the pid namespace has taken all with it. An order to kill would wait for the lock of all groups.
            if !self.populated()? {
                return Ok(());
            }
            match file::write_raw(&directory.join("cgroup.kill"), "1") {
                Ok(()) => return self.wait_until("kill", || Ok(!self.populated()?)),
                // Before kernel 5.14, or gone.
                Err(error) if file::is_gone(&error) => {}
                Err(source) => return Err(Error::io("kill control group", directory, source)),
            }
        }
        self.wait_until("kill", || {
            let processes = self.processes()?;
            for pid in processes.iter().filter_map(|&pid| Pid::from_raw(pid)) {
                // It may have gone by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            if let Some(directory) = self.version1.get(&Controller::Freezer) {
                let _ = file::write_raw(&directory.join("freezer.state"), "THAWED");
            }
            Ok(processes.is_empty())
        })
    }

    fn wait_until(&self, doing: &'static str, done: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(50);
        while !done()? {
            if Instant::now() >= deadline {
                return Err(Error::TimedOut { doing, name: self.name().to_owned(), seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// One value of a `key value` file.
pub(super) fn event(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The processes of one group alone; none if it is gone. Zombies are not listed by cgroup2.
pub(super) fn processes_in(directory: &Path) -> Result<Vec<i32>> {
    let text = file::read_if_there(&directory.join("cgroup.procs"))?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The processes of a group and all groups inside it.
pub(super) fn processes_below(directory: &Path) -> Result<Vec<i32>> {
    let mut all = processes_in(directory)?;
    for child in file::children(directory)? {
        all.extend(processes_below(&directory.join(child))?);
    }
    Ok(all)
}

/// Moves all processes that `list` finds into a group, again until no new one turns up. A process that goes away meanwhile is
/// no error.
pub(super) fn move_all(list: impl Fn() -> Result<Vec<i32>>, directory: &Path) -> Result<()> {
    let target = directory.join("cgroup.procs");
    let mut moved = BTreeSet::new();
    for _ in 0..64 {
        let new: Vec<i32> = list()?.into_iter().filter(|pid| !moved.contains(pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            match file::write_raw(&target, &pid.to_string()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(source) => return Err(Error::io("move a process to", target, source)),
            }
            moved.insert(pid);
        }
    }
    Err(Error::TimedOut { doing: "move all processes to", name: directory.display().to_string(), seconds: 0 })
}
