//! `delete`: ends what is left of a container, runs its poststop hooks, and removes groups and record.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::Hooks;

use super::Runtime;
use super::record::{Record, Status};
use crate::error::{Doing, Error, Result};
use crate::{hooks, state, sys};

/// How long SIGKILL may take to be seen to have worked.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl Runtime {
    /// Deletes a container. One that runs is killed with `force`, and is an error without; one that is not there is an error
    /// without `force`. Poststop hooks that failed change nothing (OCI runtime spec, "Lifecycle"); what they said is returned.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<Error>> {
        let (record, directory) = match self.load(id) {
            Err(Error::NotFound(_)) if force => {
                // Killed before it had a record.
                return match std::fs::remove_dir_all(self.directory(id)?) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(Error::io(format!("remove {id}"), error))
                    }
                    _ => Ok(Vec::new()),
                };
            }
            result => result?,
        };
        let _lock = state::lock(&directory)?;
        let status = record.status(&directory)?;
        if !force && matches!(status, Status::Running | Status::Paused) {
            return Err(Error::invalid(format!("cannot delete container {id} that is not stopped: {}", status.word())));
        }
        let config = match self.config(id) {
            Ok(config) => Some(config),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        self.take_back(&record, &directory, config.as_ref().and_then(|config| config.hooks().as_ref()))
    }

    /// Ends, hooks, removes.
    pub(super) fn take_back(&self, record: &Record, directory: &Path, all: Option<&Hooks>) -> Result<Vec<Error>> {
        end(record)?;
        if let Some(mut cgroup) = record.groups()? {
            cgroup.kill_all()?;
            cgroup.remove()?;
        }
        let list = all.and_then(|all| all.poststop().as_deref()).unwrap_or_default();
        let state = record.hook_state(Status::Stopped);
        let failed = list.iter().filter_map(|hook| hooks::run("poststop", std::slice::from_ref(hook), &state).err());
        let failed = failed.collect();
        std::fs::remove_dir_all(directory).doing(|| format!("remove {}", directory.display()))?;
        Ok(failed)
    }
}

/// Kills the first process if it lives, and waits until it does not.
fn end(record: &Record) -> Result<()> {
    let Some(pidfd) = record.pidfd()? else { return Ok(()) };
    if let Some(cgroup) = record.groups()?
        && cgroup.is_frozen()?
    {
        // SIGKILL reaches a frozen process of cgroup2, but not one of version 1.
        cgroup.thaw()?;
    }
    match sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        result => result.doing(|| format!("kill container {}", record.id))?,
    }
    let mut entry = [libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let gone = sys::poll(&mut entry, Some(KILL_LIMIT)).doing(|| "wait for the container's end".into())? > 0;
    if gone {
        return Ok(());
    }
    Err(Error::Timeout { doing: format!("killing container {}", record.id), seconds: KILL_LIMIT.as_secs() })
}
