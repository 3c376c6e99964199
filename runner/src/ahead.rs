//! What of a start is made ahead, by a thread of its own: the network namespace while the container is recorded, and its
//! root while the rest of it is worked out.
//!
//! Each takes the kernel a tenth of a start, and nothing else of a start can be done by a second processor. The thread is gone
//! before anything is cloned, for a container is made by a process with one thread. The rule: whatever goes wrong here is no error; the
//! start does itself what is not there, and then the error is its own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::container::Rootfs;
use crate::layers;
use crate::rootfs::{self, Prepared};
use crate::sys;

/// The thread's stack, bytes.
const STACK: usize = 256 << 10;

/// Longest wait until the kernel has put a thread away that has ended.
const LIMIT: Duration = Duration::from_secs(2);

/// The thread that works ahead.
#[derive(Debug)]
pub struct Ahead {
    thread: JoinHandle<Parts>,
    roots: Sender<(PathBuf, Rootfs)>,
}

/// What was made.
#[derive(Debug, Default)]
struct Parts {
    network: Option<OwnedFd>,
    root: Option<(Rootfs, Prepared)>,
}

impl Ahead {
    /// Begins with a network namespace, if the process has one thread; until [`Ahead::finish`] it has two.
    #[must_use]
    pub fn begin() -> Option<Self> {
        if sys::thread_count().ok()? != 1 {
            return None;
        }
        let (roots, asked) = channel();
        let thread = Builder::new().stack_size(STACK).spawn(move || work(&asked)).ok()?;
        Some(Self { thread, roots })
    }

    /// Has the root file system of an ordinary container joined, as `rootfs` says, with `run` for [`crate::Container::run_dir`].
    pub fn join_root(&self, run: PathBuf, rootfs: Rootfs) {
        if matches!(rootfs, Rootfs::Overlay { .. }) {
            // Without a thread there is nobody to tell.
            let _ = self.roots.send((run, rootfs));
        }
    }

    /// Waits for what was begun. The process has one thread again.
    #[must_use]
    pub fn finish(self) -> Ready {
        drop(self.roots);
        let parts = self.thread.join().unwrap_or_default();
        // Where all processors are busy it may be counted for a while.
        let start = Instant::now();
        while sys::thread_count().is_ok_and(|count| count > 1) && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_micros(20));
        }
        Ready(Arc::new(Mutex::new(parts)))
    }
}

fn work(roots: &Receiver<(PathBuf, Rootfs)>) -> Parts {
    let mut parts = Parts::default();
    // The working directory becomes the thread's own too: the caller's must not be, for it to enter a mount namespace.
    if unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNET).is_err() {
        return parts;
    }
    parts.network = File::open("/proc/thread-self/ns/net").ok().map(OwnedFd::from);
    for (run, rootfs) in roots {
        // A machine's first start mounts its layers, and older kernels want more processes: more than can be left to chance.
        if layers::is_pinned(&run)
            && !rootfs::is_older()
            && let Ok(root) = rootfs::prepare(&run, &rootfs, false, true, None)
        {
            parts.root = Some((rootfs, root));
        }
    }
    parts
}

/// What was made ahead, for the first start of a container.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Mutex<Parts>>);

impl Ready {
    /// A new network namespace; it is there once.
    pub(crate) fn network(&self) -> Option<OwnedFd> {
        self.lock().network.take()
    }

    /// The root, if it is `rootfs` as [`rootfs::prepare`] makes it for a start without `devices` and an owner; it is there once. One
    /// that is another ends here.
    pub(crate) fn root(&self, rootfs: &Rootfs) -> Option<Prepared> {
        self.lock().root.take().filter(|(made, _)| made == rootfs).map(|(_, root)| root)
    }

    /// The descriptors, for a process that closes all it does not know.
    pub(crate) fn raw_fds(&self) -> Vec<RawFd> {
        let parts = self.lock();
        let network = parts.network.as_ref().map(AsRawFd::as_raw_fd);
        network.into_iter().chain(parts.root.iter().flat_map(|(_, root)| root.raw_fds())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
