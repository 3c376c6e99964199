//! A container that stands still while somebody works with its files, and goes on whatever becomes of them.
//!
//! A process of its own waits at the end of a pipe that the worker holds: when that ends, for whatever reason, the pipe is closed, and
//! the container is let go on. It is there before the container is frozen, so there is no moment at which a kill would leave it frozen.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::state::{self, Status};
use crate::{broker, interrupt, sys, verbs};

/// A container that is frozen as long as this lives, and no longer than this process.
#[derive(Debug)]
pub struct Standstill {
    directory: PathBuf,
    hold: Option<PipeWriter>,
    keeper: OwnedFd,
}

impl Standstill {
    /// Freezes a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`], a process that cannot be started.
    pub fn of(directory: &Path) -> Result<Self> {
        let (end, hold) = io::pipe().doing(|| "make a pipe".into())?;
        let (mut ready, tell) = io::pipe().doing(|| "make a pipe".into())?;
        let path = directory.to_path_buf();
        let keeper = broker::spawn(&[end.as_raw_fd(), tell.as_raw_fd()], || {
            // What a terminal ends a command with must not end this.
            let signals = rustix::process::setsid().is_ok().then(|| sys::signal_fd(&interrupt::WATCHED));
            if !matches!(signals, Some(Ok(_))) || (&tell).write_all(&[0]).is_err() {
                return 125;
            }
            // Nothing is ever written: it ends when nobody holds the other end.
            let _ = (&end).read(&mut [0]);
            i32::from(verbs::let_go_on(&path).is_err())
        })?;
        drop((end, tell));
        let still = Self { directory: directory.to_path_buf(), hold: Some(hold), keeper };
        ready.read_exact(&mut [0]).doing(|| "start a process that lets the container go on".into())?;
        verbs::pause(directory)?;
        Ok(still)
    }

    /// Lets the container go on.
    ///
    /// # Errors
    /// It stays frozen.
    pub fn end(mut self) -> Result<()> {
        self.go_on()
    }

    fn go_on(&mut self) -> Result<()> {
        if self.hold.take().is_none() {
            return Ok(());
        }
        sys::wait(self.keeper.as_fd()).doing(|| "wait for a helper process".into())?;
        // Somebody may have killed that process.
        match state::load(&self.directory) {
            Ok(state) if state.status == Status::Paused => verbs::let_go_on(&self.directory),
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        // Who wants to know whether it worked calls `end`.
        let _ = self.go_on();
    }
}
