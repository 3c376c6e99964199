//! A network namespace that is made ahead, by a thread of its own, while its container is still being recorded.
//!
//! The kernel takes a tenth of a start for it, and nothing else of a start can be done by a second processor. The thread
//! ends with it: a container is made by a process with one thread. The rule: whatever goes wrong here is no error, for the
//! container's first process can be born in a new namespace all the same, and then the error is its own.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::sys;

/// Enough for two system calls, bytes.
const STACK: usize = 64 << 10;

/// Longest wait until the kernel has put a thread away that has ended.
const LIMIT: Duration = Duration::from_secs(2);

/// A network namespace that is on its way.
#[derive(Debug)]
pub struct NetworkAhead(JoinHandle<Option<OwnedFd>>);

impl NetworkAhead {
    /// Begins to make one, if the process has one thread; until [`NetworkAhead::finish`] it has two.
    #[must_use]
    pub fn begin() -> Option<Self> {
        if sys::thread_count().ok()? != 1 {
            return None;
        }
        let make = || {
            // Its working directory becomes its own too, or the caller could enter no mount namespace.
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNET).ok()?;
            Some(OwnedFd::from(File::open("/proc/thread-self/ns/net").ok()?))
        };
        std::thread::Builder::new().stack_size(STACK).spawn(make).ok().map(Self)
    }

    /// Waits for it. The process has one thread again.
    #[must_use]
    pub fn finish(self) -> ReadyNetwork {
        let made = self.0.join().ok().flatten();
        // Where all processors are busy it may be counted for a while.
        let start = Instant::now();
        while sys::thread_count().is_ok_and(|count| count > 1) && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_micros(20));
        }
        ReadyNetwork(Arc::new(Mutex::new(made)))
    }
}

/// A new network namespace for the first start of a container that wants one of its own; or none, which is as well.
#[derive(Clone, Debug, Default)]
pub struct ReadyNetwork(Arc<Mutex<Option<OwnedFd>>>);

impl ReadyNetwork {
    /// Takes it; it is there once.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
