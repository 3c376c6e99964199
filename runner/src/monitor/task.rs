//! What a monitor's loop looks after beside the program: a health check, a name server.
//!
//! A task lives as long as one run of the program: it is made when that starts and dropped when it has ended. It says what it waits
//! for, is called when that happens, and may ask the loop for something. The rule: a task never waits by itself, and its failures
//! are its own.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::Happening;

/// Something that the loop looks after while the program runs.
pub trait Task {
    /// Which descriptors it waits for, each with the events of poll(2).
    fn interests(&self) -> Vec<(RawFd, i16)>;

    /// When it is to be called though nothing has happened.
    fn wake_at(&self) -> Option<Instant>;

    /// These of its descriptors are ready, or its time has come.
    fn turn(&mut self, ready: &[RawFd]) -> Vec<Request>;
}

/// What a task asks of the loop.
#[derive(Debug)]
pub enum Request {
    /// To tell whoever watches.
    Tell(Happening<'static>),
    /// To end the program.
    End(Ending),
}

/// How the loop ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The signal that asks for it.
    pub signal: i32,
    /// How long it has until SIGKILL.
    pub grace: Duration,
    /// What comes then.
    pub next: Next,
}

/// What comes after the program has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// What the restart policy says.
    #[default]
    ByPolicy,
    /// It is started again whatever the policy says.
    Restart,
    /// It is not started again, as if it had been stopped.
    Rest,
}
