//! The clone of a container's first process, with the namespaces that only its parent can put it into.
//!
//! Namespaces of pids and times hold for the children of whoever enters them; and those that belong to the host must be entered before a
//! user namespace is made. So the parent enters them, clones and goes back. The rule: with an error on the way back the
//! process must not go on, so the error is returned and nothing else is done.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use crate::cgroup::Cgroup;
use crate::error::{Doing, Result};
use crate::plan::{Plan, TimeOffset};
use crate::sys::{self, Forked};

/// Clones with the plan's new namespaces inside of `around` (flag and namespace file or pidfd).
pub(crate) fn clone_in(around: &[(i32, OwnedFd)], plan: &Plan, cgroup: &Cgroup) -> Result<Forked<(i32, OwnedFd)>> {
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
