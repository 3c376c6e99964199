//! The clone of a container's first process, with the namespaces that only its parent can put it into.
//!
//! Namespaces of pids and times hold for the children of whoever enters them; and those that belong to the host must be entered before a
//! user namespace is made. So the parent enters them, clones and goes back. The rule: with an error on the way back the
//! process must not go on, so the error is returned and nothing else is done.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::plan::{Plan, TimeOffset};
use crate::sys::{self, Forked};

/// Clones with the plan's new namespaces inside of `around` (flag and namespace file or pidfd).
pub(crate) fn clone_in(around: &[(i32, OwnedFd)], plan: &Plan, cgroup: &Cgroup) -> Result<Forked<(i32, OwnedFd)>> {
    if let Some(path) = &plan.joined_users {
        return clone_among(path, around, plan, cgroup);
    }
    let kinds = around.iter().map(|(kind, _)| *kind).chain(plan.time.as_ref().map(|_| libc::CLONE_NEWTIME));
    let homes = kinds
        .map(|kind| {
            let path = format!("/proc/self/ns/{}", name(kind));
            File::open(&path).map(|file| (kind, file)).doing(|| format!("open {path}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let child = enter(around, plan.time.as_deref()).and_then(|()| {
        let child = sys::clone_child(plan.new_namespaces, cgroup.directory_fd());
        child.doing(|| "start the container's first process (clone3)".into())
    });
    if !matches!(child, Ok(Forked::Child)) {
        for (kind, home) in &homes {
            sys::setns(home.as_fd(), *kind).doing(|| format!("return to the own {} namespace", name(*kind)))?;
        }
    }
    child
}

/// Clones in a user namespace that exists. Whoever enters one cannot go back: a process in between does, makes the child as our
/// own, and ends.
fn clone_among(
    users: &Path,
    around: &[(i32, OwnedFd)],
    plan: &Plan,
    cgroup: &Cgroup,
) -> Result<Forked<(i32, OwnedFd)>> {
    let users_file = File::open(users).doing(|| format!("open the namespace {}", users.display()))?;
    let doing = || "start the container's first process in another user namespace".to_owned();
    let (mut reader, mut writer) = std::io::pipe().doing(doing)?;
    let between = match sys::fork().doing(doing)? {
        Forked::Child => {
            let made = sys::enter_users(users_file.as_fd(), 0)
                .doing(|| format!("join the user namespace {}", users.display()))
                .and_then(|()| enter(around, plan.time.as_deref()))
                .and_then(|()| sys::clone_sibling(plan.new_namespaces, cgroup.directory_fd()).doing(doing));
            let answer = match made {
                Ok(Forked::Child) => return Ok(Forked::Child),
                Ok(Forked::Parent((pid, _))) => Ok(pid),
                Err(error) => Err(Failure::new("", &error)),
            };
            let bytes = serde_json::to_vec(&answer).unwrap_or_default();
            sys::exit(i32::from(writer.write_all(&bytes).is_err()))
        }
        Forked::Parent(pid) => pid,
    };
    drop(writer);
    let watched = open_process(between).doing(doing)?;
    // The child has the other end too, until it executes: what is read is one answer, not all until the end.
    sys::wait(watched.as_fd()).doing(doing)?;
    let mut bytes = vec![0; 64 * 1024];
    let count = reader.read(&mut bytes).doing(doing)?;
    let answer: std::result::Result<i32, Failure> = serde_json::from_slice(&bytes[..count])
        .map_err(|_| Error::invalid("the process between the user namespaces ended without an answer"))?;
    let pid = answer.map_err(Error::Start)?;
    // Our child, which nobody else reaps: the number is its own.
    let pidfd = open_process(pid).doing(doing)?;
    Ok(Forked::Parent((pid, pidfd)))
}

fn open_process(pid: i32) -> std::io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

fn enter(around: &[(i32, OwnedFd)], time: Option<&[TimeOffset]>) -> Result<()> {
    for (kind, fd) in around {
        sys::setns(fd.as_fd(), *kind).doing(|| format!("join the {} namespace", name(*kind)))?;
    }
    if let Some(offsets) = time {
        sys::unshare(libc::CLONE_NEWTIME).doing(|| "make a time namespace".into())?;
        let path = "/proc/self/timens_offsets";
        for TimeOffset { clock, seconds, nanoseconds } in offsets {
            std::fs::write(path, format!("{clock} {seconds} {nanoseconds}\n"))
                .doing(|| format!("set the clock {clock} off by {seconds} s"))?;
        }
    }
    Ok(())
}

/// The name of a namespace file in /proc.
fn name(kind: i32) -> &'static str {
    match kind {
        libc::CLONE_NEWPID => "pid",
        libc::CLONE_NEWNET => "net",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWTIME => "time",
        _ => "mnt",
    }
}
