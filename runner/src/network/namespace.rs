//! A short visit to another network namespace, and the switches below `/proc/sys/net`, which show the namespace of the
//! thread that opens them. Only the calling thread moves, and it is back when the visit ends.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use nix::sched::{CloneFlags, setns};

use super::error::{Error, Result};

/// Runs `visit` with the calling thread in the network namespace `netns` (setns(2)).
///
/// An error of the way back leaves the thread in `netns`; its message says so, and the process must then not go on.
pub(super) fn visit<T>(netns: BorrowedFd<'_>, visit: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = "/proc/thread-self/ns/net";
    let home = fs::File::open(own).map_err(Error::file("open the network namespace", own))?;
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(Error::system("enter the container's network namespace"))?;
    let result = visit();
    setns(&home, CloneFlags::CLONE_NEWNET)
        .map_err(Error::system("leave the container's network namespace (this process must end)"))?;
    result
}

/// Sets a switch below `/proc/sys/net` to 1; returns whether it was not before.
pub(super) fn switch_on(name: &str) -> Result<bool> {
    let path = format!("/proc/sys/net/{name}");
    let mut value = [0; 16];
    let length =
        fs::File::open(&path).and_then(|mut file| file.read(&mut value)).map_err(Error::file("read", &path))?;
    if value[..length].trim_ascii() == b"1" {
        return Ok(false);
    }
    write(&path).map_err(Error::file("write 1 to", &path))?;
    Ok(true)
}

/// Turns on IPv6 forwarding; returns whether it was off. A host that forwards takes no router's announcements any more,
/// and would lose its own addresses and default route: interfaces that took them go on doing so.
pub(super) fn forward_ipv6() -> Result<bool> {
    let (directory, name) = ("/proc/sys/net/ipv6/conf", "ipv6/conf/all/forwarding");
    let forwards = fs::read_to_string(format!("/proc/sys/net/{name}")).map_err(Error::file("read", name))?;
    if forwards.trim() == "1" {
        return Ok(false);
    }
    for entry in fs::read_dir(directory).map_err(Error::file("list", directory))? {
        let path = entry.map_err(Error::file("list", directory))?.path().join("accept_ra");
        // An interface may be going away just now.
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            let _ = fs::write(&path, "2");
        }
    }
    switch_on(name)
}

fn write(path: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(b"1")
}
