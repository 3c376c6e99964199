//! Groups that a container may divide itself, and the way into those that it has divided.
//!
//! On cgroup2 whoever may write in the root of his tree may lift the limits there, unless the mount has `nsdelegate`. So such a
//! container lives in a group inside of its own: the outer one keeps its limits and is nothing it can see, the inner
//! one says the same for who reads it. And the kernel takes no process into a group whose controllers are handed on: once
//! the container's init has done that, whoever comes later goes where the init is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::layout::enable_controllers;
use super::{Cgroup, Result, file, plan};

/// The inner group.
pub(super) const PAYLOAD: &str = "img.payload";

impl Cgroup {
    /// Makes the inner group with every controller that can be had, before anybody is in the groups. Nothing where cgroup2 has
    /// no controllers: there the limits are in hierarchies that the container does not see.
    pub fn delegate(&mut self, resources: &LinuxResources) -> Result<()> {
        let (Some(unified), Some(directory)) = (&self.hierarchies.unified, &self.unified) else { return Ok(()) };
        let controllers: BTreeSet<&str> = unified.usable().collect();
        if controllers.is_empty() {
            return Ok(());
        }
        let payload = directory.join(PAYLOAD);
        enable_controllers(&unified.base, &self.path.join(PAYLOAD), &controllers)?;
        self.make_directory(&payload)?;
        self.payload = Some(payload);
        self.write_all(&plan(resources, self.hierarchies, false)?)?;
        self.open_descriptors()
    }

    /// The groups that are the container's to divide, if any are.
    pub fn delegated(&self) -> impl Iterator<Item = &Path> {
        self.version1.values().chain(self.payload.as_ref().or(self.unified.as_ref())).map(PathBuf::as_path)
    }

    /// Makes [`Cgroup::directory_fd`] the group of the container's first process, if the container has divided its own.
    pub fn follow(&mut self, first: i32) -> Result<()> {
        let Some(top) = &self.unified else { return Ok(()) };
        let control = self.payload.as_ref().unwrap_or(top).join("cgroup.subtree_control");
        if file::read_if_there(&control)?.is_none_or(|handed_on| handed_on.trim().is_empty()) {
            return Ok(());
        }
        let membership = file::read_if_there(Path::new(&format!("/proc/{first}/cgroup")))?.unwrap_or_default();
        match below(&membership, &self.path) {
            Some(inner) => self.open_directory(&top.join(inner)),
            None => Ok(()),
        }
    }
}

/// Where below the group `path` a process is that has this /proc/PID/cgroup.
fn below<'a>(membership: &'a str, path: &Path) -> Option<&'a str> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (_, inner) = own.split_once(&format!("/{}/", path.display()))?;
    Some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_process_is() {
        let path = Path::new("img/abc");
        let machine = "5:pids:/img/abc\n1:name=systemd:/\n0::/img/abc/img.payload/init.scope\n";
        assert_eq!(below(machine, path), Some("img.payload/init.scope"));
        assert_eq!(below("0::/user.slice/img/abc/unit\n", path), Some("unit"), "below a delegated group");
        assert_eq!(below("0::/img/abc\n", path), None, "it is in the group itself");
        assert_eq!(below("0::/img/abcdef/unit\n", path), None);
        assert_eq!(below("5:pids:/img/abc/unit\n", path), None);
    }
}
