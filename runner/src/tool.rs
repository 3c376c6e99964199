//! Programs of the host in other namespaces: fresh ones ([`unshare`]), or those of a running container ([`enter`]).
//!
//! Nothing else is changed: root file system, user and limits stay the caller's, except where a namespace brings its
//! own. The program runs in a forked child, since a pid namespace only takes children in; it dies with the caller. Both want a
//! single-threaded caller and give the program's exit code.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Doing, Error, Result};
use crate::init::dialogue::{Channel, Failure, FailureKind, Message};
use crate::mount::{self, Context};
use crate::sys::{self, Ended};
use crate::{init, state};

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Mounts.
    Mount,
    /// Host name.
    Uts,
    /// Shared memory, semaphores, message queues.
    Ipc,
    /// Interfaces, addresses, ports.
    Network,
    /// Process ids.
    Pid,
    /// User and group ids.
    User,
    /// The view of control groups.
    Cgroup,
    /// Clocks.
    Time,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Mount, Self::Uts, Self::Ipc, Self::Network, Self::Pid, Self::User, Self::Cgroup, Self::Time];

    fn flag(self) -> i32 {
        match self {
            Self::Mount => libc::CLONE_NEWNS,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Network => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        }
    }

    /// Its file in `/proc/PID/ns`.
    fn file(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// Runs a program in fresh namespaces of these kinds; everything else is shared with the caller. In a user namespace the
/// caller becomes root. With both a mount and a pid namespace, /proc shows the latter.
///
/// # Errors
/// A namespace that the kernel refuses, a program that cannot be executed ([`Error::Start`]).
pub fn unshare(spaces: &[Space], program: &[String]) -> Result<i32> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let has = |space| spaces.contains(&space);
    sys::unshare(flags(spaces.iter().copied())).doing(|| "make namespaces".into())?;
    if has(Space::User) {
        for (file, text) in
            [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1\n")), ("gid_map", format!("0 {gid} 1\n"))]
        {
            let path = format!("/proc/self/{file}");
            std::fs::write(&path, text).doing(|| format!("write {path}"))?;
        }
    }
    if has(Space::Mount) {
        init::isolate_mounts()?;
    }
    run(program, || match has(Space::Mount) && has(Space::Pid) {
        true => mount_proc().doing(|| "mount /proc".into()),
        false => Ok(()),
    })
}

/// Runs a program of the host in namespaces of a running container; those that it shares with the caller are passed over.
///
/// # Errors
/// [`Error::NotRunning`]; a program that cannot be executed ([`Error::Start`]).
pub fn enter(dir: &Path, spaces: &[Space], program: &[String]) -> Result<i32> {
    let state = state::load(dir)?;
    let pidfd = state.pidfd()?;
    let pid = state.process.map(|process| process.pid).ok_or_else(|| Error::NotRunning(state.id.clone()))?;
    let link = |pid: &str, space: Space| std::fs::read_link(format!("/proc/{pid}/ns/{}", space.file())).ok();
    let own = |space: &Space| link(&pid.to_string(), *space) != link("self", *space);
    let spaces: Vec<Space> = spaces.iter().copied().filter(own).collect();
    // The number meant that process all along if the process is still there.
    sys::pidfd_send_signal(pidfd.as_fd(), 0).map_err(|_| Error::NotRunning(state.id.clone()))?;
    if !spaces.is_empty() {
        sys::setns(pidfd.as_fd(), flags(spaces.iter().copied()))
            .doing(|| format!("enter namespaces of container {}", state.id))?;
    }
    if spaces.contains(&Space::User) {
        sys::set_user(0, 0, &[]).doing(|| "become the root of the user namespace".into())?;
    }
    run(program, || Ok(()))
}

fn flags(spaces: impl Iterator<Item = Space>) -> i32 {
    spaces.fold(0, |all, space| all | space.flag())
}

/// A procfs over /proc.
fn mount_proc() -> io::Result<()> {
    let proc =
        Context::new("proc")?.mount(mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC)?;
    mount::attach(&proc, std::fs::File::open("/proc")?)
}

/// Executes the program in a child, and waits for it. The terminal's signals are the child's to handle.
fn run(program: &[String], before: impl FnOnce() -> Result<()>) -> Result<i32> {
    let [name, arguments @ ..] = program else { return Err(Error::invalid("there is no program to run")) };
    let (ours, theirs) = Channel::pair().doing(|| "make the socket to the child".into())?;
    let _signals: OwnedFd = sys::signal_fd(&[libc::SIGINT, libc::SIGQUIT]).doing(|| "hold signals back".into())?;
    let child = match sys::fork().doing(|| format!("start {name}"))? {
        sys::Forked::Child => {
            drop(ours);
            let ready = sys::die_with_parent()
                .and_then(|()| sys::reset_signals())
                .doing(|| "prepare the program".into())
                .and_then(|()| before());
            let failure = match ready {
                Err(error) => Failure::new("prepare the program", &error),
                Ok(()) => not_executed(name, &Command::new(name).args(arguments).exec()),
            };
            let code = failure.exit_code();
            // If the parent is gone there is nobody to tell.
            let _ = theirs.send(&Message::Failed(failure), None);
            sys::exit(code)
        }
        sys::Forked::Parent(pid) => Pid::from_raw(pid).ok_or_else(|| Error::invalid("fork gave no process id"))?,
    };
    drop(theirs);
    let pidfd = pidfd_open(child, PidfdFlags::empty()).doing(|| format!("watch {name}"))?;
    let said = ours.receive().doing(|| "listen to the child".into())?;
    let ended = sys::wait(pidfd.as_fd()).doing(|| format!("wait for {name}"))?;
    match (said, ended) {
        (Some((Message::Failed(failure), _)), _) => Err(Error::Start(failure)),
        (_, Ended::Exited(code)) => Ok(code),
        (_, Ended::Signalled(signal)) => Ok(128 + signal),
    }
}

fn not_executed(name: &str, error: &io::Error) -> Failure {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT) => FailureKind::NotFound,
        _ => FailureKind::NotExecutable,
    };
    Failure { kind, text: format!("exec {name:?}: {error}"), ..Failure::new("execute the program", error) }
}
