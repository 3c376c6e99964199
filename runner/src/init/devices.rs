//! The steps that fill a fresh /dev: nodes, links, and the container's own terminal.
//!
//! /dev is a tmpfs of the container that no image content has touched yet, so the nodes are what they claim. The terminal comes from the
//! container's own devpts; its master goes to the parent through the dialogue and no host device is ever shown.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, makedev, mknodat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::Child;
use super::dialogue::Message;
use super::filesystem::open_ptmx;
use crate::error::{Doing, Error, Result};
use crate::inroot::Missing;
use crate::mount;
use crate::plan::{DeviceNode, Step};

/// Links every program expects: name, target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Whether the very device is there already, as in a root file system that brings its own /dev.
fn is_there(folder: &OwnedFd, name: &std::ffi::OsStr, node: &DeviceNode) -> bool {
    let found = rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|stat| {
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(node.kind)
            && number == (node.major, node.minor)
    })
}

impl Child<'_> {
    pub(super) fn make_devices(&mut self, nodes: &[DeviceNode]) -> Result<()> {
        let materials = self.materials;
        let root = self.root()?;
        for node in nodes {
            let at = node.path.display();
            let (Some(folder), Some(name)) = (node.path.parent(), node.path.file_name()) else { continue };
            let folder = root.find(folder, Missing::Directory).doing(|| format!("find the directory of {at}"))?.fd;
            let kind = FileType::from_raw_mode(node.kind);
            let device = if kind == FileType::Fifo { 0 } else { makedev(node.major, node.minor) };
            let doing = || format!("make the device node {at}");
            if let Some(host) = materials.devices.get(&node.path) {
                let place = root.find(&node.path, Missing::File).doing(doing)?.fd;
                mount::attach(host, &place).doing(doing)?;
                continue;
            }
            if is_there(&folder, name, node) {
                continue;
            }
            mknodat(&folder, name, kind, Mode::from_raw_mode(node.mode), device).doing(doing)?;
            let fd =
                rustix::fs::openat(&folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .doing(doing)?;
            let (uid, gid) = node.owner;
            if (uid, gid) != (0, 0) {
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::chownat(&fd, "", uid, gid, rustix::fs::AtFlags::EMPTY_PATH).doing(doing)?;
            }
        }
        let dev = root.open(Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY).doing(|| "open /dev".into())?;
        for (name, target) in LINKS {
            match rustix::fs::symlinkat(target, &dev, name) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Error::io(format!("make the link /dev/{name}"), error)),
            }
        }
        Ok(())
    }

    pub(super) fn open_console(&mut self) -> Result<()> {
        // The user may write to its own terminal: it belongs to whom the program runs as; known later, so by the number now.
        self.console = Some(self.open_terminal("/dev/console", &Message::Console)?);
        for number in 1..=self.materials.ttys {
            self.open_terminal(&format!("/dev/tty{number}"), &Message::Terminal)?;
        }
        Ok(())
    }

    /// Makes a terminal, shows it at `place` if /dev is ours, and hands its master to the parent with `message`.
    fn open_terminal(&mut self, place: &str, message: &Message) -> Result<OwnedFd> {
        let master = open_ptmx(self.root()?)?;
        unlockpt(&master).doing(|| "unlock the terminal".into())?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .doing(|| "open the terminal".into())?;
        if self.materials.plan.steps.iter().any(|step| matches!(step, Step::MakeDevices(_))) {
            let target = self.root()?.find(Path::new(place), Missing::File);
            let target = target.doing(|| format!("make {place}"))?.fd;
            let clone = mount::clone_fd(&slave, false).doing(|| "bind the terminal".into())?;
            mount::attach(&clone, &target).doing(|| format!("mount the terminal on {place}"))?;
        }
        self.channel.send(message, Some(master.as_fd())).doing(|| "hand the terminal to the parent".into())?;
        Ok(slave)
    }
}
