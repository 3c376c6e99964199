//! A caller that waits: pipes or the terminal between it and the program, signals passed on, and the exit code.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use super::Stdio;
use super::console::{code, foreground_terminal};
use crate::error::{Doing, Result};
use crate::monitor::peer::Peer;
use crate::monitor::relay::{ProgramIo, Relay};
use crate::monitor::{FORWARDED, pipes};
use crate::sys;

/// The caller's side of a program in the foreground.
#[derive(Debug)]
pub struct Foreground {
    signals: OwnedFd,
    program: RefCell<Option<ProgramIo>>,
}

impl Foreground {
    /// From now on signals are kept for the program.
    pub fn new() -> Result<Self> {
        let signals = sys::signal_fd(&FORWARDED).doing(|| "watch signals".into())?;
        Ok(Self { signals, program: RefCell::new(None) })
    }

    /// The program's ends of new pipes. With a terminal they are not used.
    pub fn stdio(&self) -> Result<Stdio> {
        let (ours, theirs) = pipes(true)?;
        self.program.replace(Some(ours));
        Ok(Stdio::Given(theirs))
    }

    /// Passes input, output and signals on until the program ends; returns its exit code. The program is a child of ours.
    pub fn wait(self, pidfd: &OwnedFd, console: Option<OwnedFd>) -> Result<i32> {
        if let Some(console) = console {
            return Ok(code(foreground_terminal(console, pidfd, self.signals)?));
        }
        let mut relay = Relay::new(self.program.take().unwrap_or_default(), None, libc::SIGTERM);
        relay.signals = Some(self.signals);
        relay.add_peer(Peer::local(true));
        let code = code(relay.run(pidfd, &mut |_| ())?.0);
        relay.finish(code)?;
        Ok(code)
    }
}

/// Makes this process the parent of the container's orphans.
pub fn inherit_orphans() -> Result<()> {
    sys::set_subreaper().doing(|| "become a subreaper".into())
}
