//! The gate before the program: the child has done everything but the exec, and waits for an order that comes from another
//! process, perhaps hours later.
//!
//! Two fifos in the container's state directory, both opened by the parent: the child reads the order from one and, if what
//! comes after it fails, writes to the other. Whoever gives the order sees the other one end when the program runs, as both
//! close on exec. The rule: past the seccomp filter the child only reads and writes what is open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::Child;
use super::dialogue::Failure;
use crate::error::{Doing, Error, Result};
use crate::{broker, hooks, sys};

/// The child's ends of the two fifos.
#[derive(Debug)]
pub struct Gate {
    /// Here comes one byte; open for writing too, so that it does not end before.
    pub order: OwnedFd,
    /// Here goes a failure.
    pub failures: OwnedFd,
}

impl Gate {
    /// Tells of a failure whoever gave the order.
    pub(super) fn report(&self, failure: &Failure) {
        let bytes = serde_json::to_vec(failure).unwrap_or_default();
        // What fits into a pipe is written whole; if nobody reads any more there is nobody to tell.
        let _ = rustix::io::write(&self.failures, &bytes);
    }
}

impl Child<'_> {
    /// Ends the dialogue with the parent, who may go, and waits.
    pub(super) fn await_start(&mut self) -> Result<()> {
        let gate = self.materials.gate.as_ref();
        let gate = gate.ok_or_else(|| Error::invalid("there is no gate to wait at"))?;
        self.waited = true;
        rustix::net::shutdown(self.channel, rustix::net::Shutdown::Both).doing(|| "end the dialogue".into())?;
        // Whoever reads the runtime's output waits for its end, and nothing of the host shall be held meanwhile.
        let needed = [Some(gate.order.as_raw_fd()), Some(gate.failures.as_raw_fd())];
        let root = self.root.as_ref().map(|root| root.as_fd().as_raw_fd());
        let passed_on = self.materials.passed_on.iter().copied();
        let keep: Vec<i32> = needed.into_iter().chain([root]).flatten().chain(passed_on).collect();
        broker::close_all_but(&keep).doing(|| "close descriptors".into())?;
        loop {
            match rustix::io::read(&gate.order, &mut [0u8; 1]) {
                Ok(1) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Err(Error::io("wait for the start", io::Error::from(io::ErrorKind::UnexpectedEof))),
                Err(error) => return Err(Error::io("wait for the start", error)),
            }
        }
    }

    /// Tells the parent that everything is mounted, and waits while it runs hooks.
    pub(super) fn await_hooks(&mut self) -> Result<()> {
        use super::dialogue::Message;
        self.channel.send(&Message::Mounted, None).doing(|| "ask for the hooks".into())?;
        match self.channel.receive().doing(|| "wait for the hooks".into())? {
            Some((Message::Go, _)) => Ok(()),
            _ => sys::exit(125),
        }
    }

    /// Runs the hooks of one kind where we are.
    pub(super) fn run_hooks(&mut self, kind: &str, status: &str) -> Result<()> {
        let Some(all) = &self.materials.hooks else { return Ok(()) };
        let hooks = match kind {
            "createContainer" => all.hooks.create_container(),
            _ => all.hooks.start_container(),
        };
        let Some(list) = hooks.as_ref().filter(|list| !list.is_empty()) else { return Ok(()) };
        let mut state = all.state.clone();
        state["status"] = status.into();
        state["pid"] = self.pid_outside.into();
        hooks::run(kind, list, &state)
    }
}
