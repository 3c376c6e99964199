//! Which namespaces of a container a further process of it joins, and who its root is on the host.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Gid, Uid};

use crate::error::{Doing, Result};

/// The namespaces that every container has of its own, or shares; that of pids aside.
const ALWAYS: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// The flags for setns(2) with the pidfd of process `pid`: user and time namespaces can only be joined where they are others
/// than ours.
pub(crate) fn flags(pid: i32) -> i32 {
    let other = |file: &str| {
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{file}")).ok();
        link(&pid.to_string()) != link("self")
    };
    let also = [("user", libc::CLONE_NEWUSER), ("time", libc::CLONE_NEWTIME)];
    also.into_iter().filter(|(file, _)| other(file)).fold(ALWAYS, |flags, (_, flag)| flags | flag)
}

/// Gives pipes to the container's root on the host, who passes them on to the program's user.
pub(crate) fn give_pipes(stdio: &[OwnedFd], pid: i32) -> Result<()> {
    let root = |file: &str| -> Result<Option<u32>> {
        let path = format!("/proc/{pid}/{file}");
        let text = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let mut lines = text.lines().map(|line| line.split_whitespace().map(|word| word.parse().ok()));
        Ok(lines.find_map(|mut words| (words.next()?? == 0).then(|| words.next()?)?))
    };
    let (Some(uid), Some(gid)) = (root("uid_map")?, root("gid_map")?) else { return Ok(()) };
    for fd in stdio {
        let doing = || "give input and output to the container".to_owned();
        if FileType::from_raw_mode(rustix::fs::fstat(fd).doing(doing)?.st_mode) == FileType::Fifo {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).doing(doing)?;
        }
    }
    Ok(())
}
