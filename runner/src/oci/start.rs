//! `start`: opens the gate of a container that waits, and tells whether its program runs.
//!
//! The other end of the second fifo closes when the program is executed; a child that fails writes why before.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use super::Runtime;
use super::record::{FAILURES, ORDER, Status};
use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::{hooks, state, sys};

impl Runtime {
    /// Starts a container that was created.
    ///
    /// # Errors
    /// It is not waiting; a hook failed; the program could not be executed.
    pub fn start(&self, id: &str) -> Result<()> {
        let (record, directory) = self.load(id)?;
        let _lock = state::lock(&directory)?;
        match record.status(&directory)? {
            Status::Created => {}
            Status::Stopped => return Err(Error::invalid("cannot start a container that has stopped")),
            Status::Running => return Err(Error::invalid("cannot start an already running container")),
            other => {
                return Err(Error::invalid(format!("cannot start a container in the {} state", other.word())));
            }
        }
        let open = |name: &str, mode: OFlags| {
            let path = directory.join(name);
            let flags = mode | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open {}", path.display()))
        };
        let failures = open(FAILURES, OFlags::RDONLY)?;
        let order = open(ORDER, OFlags::WRONLY)?;
        for name in [ORDER, FAILURES] {
            let path = directory.join(name);
            std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
        }
        rustix::io::write(&order, b"s").doing(|| "start the container".into())?;
        drop(order);
        rustix::fs::fcntl_setfl(&failures, OFlags::empty()).doing(|| "wait for the program".into())?;
        let mut words = Vec::new();
        File::from(failures).take(1 << 20).read_to_end(&mut words).doing(|| "wait for the program".into())?;
        if !words.is_empty() {
            let failure: Failure = serde_json::from_slice(&words)
                .map_err(|_| Error::invalid("the container's process failed and said nothing sensible"))?;
            return Err(Error::Start(failure));
        }
        let config = self.config(id)?;
        let hooks = config.hooks().as_ref().and_then(|hooks| hooks.poststart().as_deref()).unwrap_or_default();
        hooks::run("poststart", hooks, &record.hook_state(Status::Running)).inspect_err(|_| {
            if let Ok(Some(pidfd)) = record.pidfd() {
                // It may have ended by itself.
                let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        })
    }
}
