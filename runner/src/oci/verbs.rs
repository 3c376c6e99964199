//! What is done to a container that runs: signals, pause and resume, limits, and the list of its processes.

use std::os::fd::AsFd;

use oci_spec::runtime::LinuxResources;

use super::Runtime;
use super::record::{Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::sys;

impl Runtime {
    /// Sends a signal to the first process, or with `all` to every process of the container.
    ///
    /// # Errors
    /// The container has ended; with `all` that is none.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let (record, _) = self.load(id)?;
        if all {
            return self.kill_all(&record, signal);
        }
        let Some(pidfd) = record.pidfd()? else { return Err(Error::invalid("container not running")) };
        match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(Error::invalid("container not running")),
            result => result.doing(|| format!("signal container {id}")),
        }
    }

    fn kill_all(&self, record: &Record, signal: i32) -> Result<()> {
        let Some(cgroup) = record.groups()? else { return Ok(()) };
        if signal == libc::SIGKILL {
            return Ok(cgroup.kill_all()?);
        }
        // Frozen, so that none is missed that is just being born.
        let was_frozen = cgroup.is_frozen()?;
        cgroup.freeze()?;
        let sent = cgroup.processes().map_err(Error::from).and_then(|all| {
            all.into_iter().try_for_each(|pid| match sys::kill(pid, signal) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                result => result.doing(|| format!("signal process {pid} of container {}", record.id)),
            })
        });
        if !was_frozen {
            cgroup.thaw()?;
        }
        sent
    }

    /// Freezes all processes.
    pub fn pause(&self, id: &str) -> Result<()> {
        let (record, directory) = self.load(id)?;
        match record.status(&directory)? {
            Status::Running | Status::Created => Ok(Cgroup::open_at(&record.cgroup)?.freeze()?),
            other => Err(Error::invalid(format!("container not running or created: {}", other.word()))),
        }
    }

    /// Lets all processes go on.
    pub fn resume(&self, id: &str) -> Result<()> {
        let (record, _) = self.load(id)?;
        let lives = record.pidfd()?.is_some();
        match Cgroup::open_at(&record.cgroup) {
            Ok(cgroup) if lives && cgroup.is_frozen()? => Ok(cgroup.thaw()?),
            Err(error) if lives => Err(error.into()),
            _ => Err(Error::invalid("container not paused")),
        }
    }

    /// Changes limits; what is not named stays.
    pub fn update(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let (record, _) = self.load(id)?;
        if record.pidfd()?.is_none() {
            return Err(Error::invalid("container not running"));
        }
        Ok(Cgroup::open_at(&record.cgroup)?.update(resources)?)
    }

    /// The container's processes, by their numbers here.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>> {
        let (record, _) = self.load(id)?;
        record.groups()?.map_or(Ok(Vec::new()), |cgroup| Ok(cgroup.processes()?))
    }
}
