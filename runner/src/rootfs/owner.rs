//! Layers for a container in a user namespace: what is on the disk keeps the container's ids, and mounts show them as the
//! host's.
//!
//! Overlayfs itself cannot be id-mapped, so what goes into it is: each layer below, and the writable one, by a mapped clone. So
//! nothing is chowned, layers stay shared, and the same container may have other ids at its next start. What overlayfs
//! makes for itself belongs to whoever mounts it, who must be known in the mapping: for that one call the
//! caller has the file system ids of the container's root.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Doing, Error, Result};
use crate::id_maps::IdMaps;
use crate::security;
use crate::{mount, sys};

/// The ids of a container's user namespace.
#[derive(Debug)]
pub struct Owner {
    namespace: OwnedFd,
    uid: u32,
    gid: u32,
}

impl Owner {
    /// For these maps. Single-threaded callers only.
    pub fn new(maps: &IdMaps) -> Result<Self> {
        let (uid, gid) = maps.root().ok_or_else(|| Error::invalid("the maps of ids leave out root"))?;
        Ok(Self { namespace: maps.namespace()?, uid, gid })
    }

    /// Maps a detached mount, and what is mounted below it.
    pub fn map(&self, mounted: &OwnedFd, what: &str) -> Result<()> {
        mount::map_ids(mounted, true, &self.namespace).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::EPERM) => Error::invalid(format!(
                "cannot map the ids of {what}: its file system does not allow that ({error}); a user namespace needs it"
            )),
            _ => Error::io(format!("map the ids of {what}"), error),
        })
    }

    /// A mapped clone of a mount.
    pub fn clone(&self, mounted: impl AsFd, what: &str) -> Result<OwnedFd> {
        let clone = mount::clone_fd(mounted, false).doing(|| format!("clone {what}"))?;
        self.map(&clone, what)?;
        Ok(clone)
    }

    /// Does `work` with the file system ids of the container's root, and with all capabilities that the caller has.
    pub fn acting<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let doing = || "take the ids of the container's root".to_owned();
        // Leaving root's ids takes the capabilities over files away; the overlay keeps those of this moment for good.
        sys::set_fs_ids(self.uid, self.gid).doing(doing)?;
        let done = security::raise_permitted().doing(doing).and_then(|()| work());
        sys::set_fs_ids(0, 0).doing(|| "take the own ids back".into())?;
        done
    }

    /// Lets the container's root make groups in its own ones and move its processes between them; their limits stay the host's.
    pub fn own_groups<'a>(&self, groups: impl Iterator<Item = &'a std::path::Path>) -> Result<()> {
        for group in groups {
            for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"] {
                let path = group.join(name);
                match std::os::unix::fs::lchown(&path, Some(self.uid), Some(self.gid)) {
                    // Each version has some of them.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    result => result.doing(|| format!("give {} to the container", path.display()))?,
                }
            }
        }
        Ok(())
    }

    /// Gives pipes to the container's root, who passes them on to its user: else nobody inside could open them again.
    pub fn give(&self, stdio: &[OwnedFd]) -> Result<()> {
        for fd in stdio {
            let doing = || "give input and output to the container".to_owned();
            let mode = rustix::fs::fstat(fd).doing(doing)?.st_mode;
            if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Fifo {
                let (uid, gid) = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
                rustix::fs::fchown(fd, Some(uid), Some(gid)).doing(doing)?;
            }
        }
        Ok(())
    }
}
