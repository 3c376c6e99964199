//! The longest time that a program may run (`--timeout`): then it is killed, and not started again.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::task::{Ending, Next, Request, Task};

/// Ends the program when its time is over.
#[derive(Debug)]
pub struct Timeout {
    at: Option<Instant>,
}

impl Timeout {
    /// One that begins now.
    pub fn new(longest: Duration) -> Self {
        Self { at: Instant::now().checked_add(longest) }
    }
}

impl Task for Timeout {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        Vec::new()
    }

    fn wake_at(&self) -> Option<Instant> {
        self.at
    }

    fn turn(&mut self, _: &[RawFd]) -> Vec<Request> {
        match self.at.take_if(|at| Instant::now() >= *at) {
            Some(_) => vec![Request::End(Ending { signal: libc::SIGKILL, grace: Duration::ZERO, next: Next::Rest })],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_once_and_not_before_its_time() {
        let mut far = Timeout::new(Duration::from_secs(1000));
        assert!(far.turn(&[]).is_empty() && far.wake_at().is_some());
        let mut near = Timeout::new(Duration::ZERO);
        assert!(matches!(
            near.turn(&[]).as_slice(),
            [Request::End(Ending { signal: libc::SIGKILL, next: Next::Rest, .. })]
        ));
        assert!(near.turn(&[]).is_empty() && near.wake_at().is_none());
    }
}
