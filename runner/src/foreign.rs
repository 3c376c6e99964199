//! A clone of what another container has mounted: its /dev/shm for containers that share its IPC namespace, its /proc for some
//! that share its processes.
//!
//! A mount can only be cloned in the mount namespace it belongs to. The caller enters that of the other container for this
//! one call and comes back; nothing there is executed, and the path is looked up below that container's root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::inroot::Root;
use crate::layers::Inside;
use crate::{mount, sys};

/// The process and the path in its root that `/proc/PID/root/PATH` means; `None` for any other path.
pub fn of(path: &Path) -> Option<(Pid, PathBuf)> {
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    let Component::Normal(pid) = parts.next()? else { return None };
    let pid = Pid::from_raw(pid.to_str()?.parse().ok()?)?;
    let inside = parts.as_path().strip_prefix("root").ok()?;
    Some((pid, Path::new("/").join(inside)))
}

/// A detached clone of the mount at `path` in the root of another process, `recursive` with those below. Single-threaded
/// callers only.
pub fn clone_mount(pid: Pid, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let home = Inside::remember()?;
    sys::setns(process.as_fd(), libc::CLONE_NEWNS)?;
    // Entering a mount namespace leads to its root, which is the container's.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let clone = Root::new(root).open(path, OFlags::PATH).and_then(|found| mount::clone_fd(found, recursive));
    drop(home);
    clone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_other_processes_are_told_apart() {
        let (pid, path) = of(Path::new("/proc/17/root/dev/shm")).unwrap();
        assert_eq!((pid.as_raw_nonzero().get(), path.as_path()), (17, Path::new("/dev/shm")));
        for path in ["/dev/shm", "/proc/17/cwd/x", "/proc/self/root/x", "/proc/cpuinfo", "/proc/0/root/x"] {
            assert!(of(Path::new(path)).is_none(), "{path}");
        }
    }
}
