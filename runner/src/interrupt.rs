//! Signals that ask a command with threads to end: seen by a thread that only waits for them.
//!
//! The first one is told to the caller, who stops what runs and cleans up. The rule: nobody has to wait for that. A second signal, or
//! the end of the time given, ends the process as if nobody had listened; what it leaves then is found by [`crate::sweep`].

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::error::{Doing, Result};
use crate::sys;

/// What a terminal and an administrator end a program with.
pub(crate) const WATCHED: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Calls `tell` with the first of SIGINT, SIGTERM and SIGHUP that comes, and ends the process by the same signal after `patience` or at
/// the next one. To be called before the process has other threads: they inherit that the signals are blocked.
///
/// # Errors
/// The kernel gives no descriptor or no thread.
pub fn watch(patience: Duration, tell: impl FnOnce(i32) + Send + 'static) -> Result<()> {
    let signals = sys::signal_fd(&WATCHED).doing(|| "listen for signals".into())?;
    let thread = std::thread::Builder::new().name("signals".into());
    let wait = move || {
        let Some(signal) = next(&signals, None) else { return };
        tell(signal);
        let last = next(&signals, Some(patience)).unwrap_or(signal);
        // The default action again: the process ends here.
        if sys::reset_signals().is_ok() {
            let _ = sys::kill(rustix::process::getpid().as_raw_nonzero().get(), last);
        }
    };
    thread.spawn(wait).doing(|| "start a thread for signals".into()).map(drop)
}

/// The next signal; `None` when the time is over.
fn next(signals: &OwnedFd, patience: Option<Duration>) -> Option<i32> {
    use std::os::fd::AsFd;
    let until = patience.map(|time| Instant::now() + time);
    loop {
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let mut entry = [libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        sys::poll(&mut entry, left).ok()?;
        if let Some(signal) = sys::read_signal(signals.as_fd()).ok()? {
            return Some(signal);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
    }
}
