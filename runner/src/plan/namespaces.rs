//! Which namespaces a container is born in, which it joins, and what follows from that.
//!
//! A new user namespace needs its ids, a new time namespace its clocks; kernel parameters are only for containers that have
//! the namespace they belong to.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use crate::error::{Error, Result};
use crate::id_maps::IdMaps;

/// How far one clock of a time namespace is off (`linux.timeOffsets`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// The namespaces of a Spec.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// `CLONE_NEW*` flags of those to be born in.
    pub new: u64,
    /// Those to join: flag and file.
    pub joined: Vec<(i32, PathBuf)>,
    /// A cgroup namespace is to be made: after the groups were joined, which become its root.
    pub own_cgroup: bool,
    /// The ids of a new user namespace, or what is said of those of an existing one.
    pub id_maps: Option<IdMaps>,
    /// An existing user namespace.
    pub joined_users: Option<PathBuf>,
    /// The clocks of a new time namespace.
    pub time: Option<Vec<TimeOffset>>,
}

impl Namespaces {
    /// Reads and checks the list.
    pub fn read(linux: &Linux) -> Result<Self> {
        let mut all =
            Self { new: 0, joined: Vec::new(), own_cgroup: false, id_maps: None, joined_users: None, time: None };
        let mut seen = Vec::new();
        let (mut own_user, mut own_time) = (false, false);
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            if seen.contains(&kind) {
                return Err(Error::invalid(format!("the {kind} namespace is named twice")));
            }
            seen.push(kind);
            let flag = match kind {
                LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
                LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
                LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
                LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
                LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
                LinuxNamespaceType::Network => libc::CLONE_NEWNET,
                LinuxNamespaceType::User => libc::CLONE_NEWUSER,
                LinuxNamespaceType::Time => libc::CLONE_NEWTIME,
            };
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                Some(_) if kind == LinuxNamespaceType::Mount => {
                    return Err(Error::invalid("a container cannot be made in another mount namespace"));
                }
                Some(path) if kind == LinuxNamespaceType::User => all.joined_users = Some(path.clone()),
                Some(path) => all.joined.push((flag, path.clone())),
                None if kind == LinuxNamespaceType::Cgroup => all.own_cgroup = true,
                None if kind == LinuxNamespaceType::Time => own_time = true,
                None => {
                    own_user |= kind == LinuxNamespaceType::User;
                    all.new |= flag as u64;
                }
            }
        }
        all.read_ids(linux, own_user)?;
        all.read_clocks(linux, own_time)?;
        Ok(all)
    }

    fn read_ids(&mut self, linux: &Linux, own: bool) -> Result<()> {
        let (users, groups) = (linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref());
        let (users, groups) = (users.unwrap_or_default(), groups.unwrap_or_default());
        match (own, users.is_empty() && groups.is_empty()) {
            (false, true) => return Ok(()),
            // An existing one has its ids already; they are named for mounts, and for those who cannot look.
            (false, false) if self.joined_users.is_some() => {}
            (false, false) => return Err(Error::invalid("a map of ids needs a user namespace of its own")),
            (true, _) if users.is_empty() || groups.is_empty() => {
                return Err(Error::invalid("a user namespace of its own needs maps of user and group ids"));
            }
            (true, _) => {}
        }
        let maps = IdMaps::from_oci(users, groups)?;
        if !maps.maps_root() {
            return Err(Error::invalid("the maps of ids leave out root (0), which sets the container up"));
        }
        self.id_maps = Some(maps);
        Ok(())
    }

    fn read_clocks(&mut self, linux: &Linux, own: bool) -> Result<()> {
        let mut offsets = Vec::new();
        for (clock, offset) in linux.time_offsets().iter().flatten() {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(Error::invalid(format!(
                    "the clock `{clock}` cannot be set off, only monotonic and boottime"
                )));
            }
            let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            offsets.push(TimeOffset { clock: clock.clone(), seconds, nanoseconds });
        }
        if !own && !offsets.is_empty() {
            return Err(Error::invalid("clocks can be set off in a time namespace of its own only"));
        }
        offsets.sort_by(|a, b| a.clock.cmp(&b.clock));
        self.time = own.then_some(offsets);
        Ok(())
    }

    /// Whether it has a namespace of its own; one that it joins counts if `joined`.
    pub fn has(&self, flag: i32, joined: bool) -> bool {
        self.new & flag as u64 != 0 || (joined && self.joined.iter().any(|(kind, _)| *kind == flag))
    }

    /// Refuses a kernel parameter that would change the whole machine.
    pub fn check_sysctl(&self, name: &str, path: &str) -> Result<()> {
        let flag = if path.starts_with("net/") {
            libc::CLONE_NEWNET
        } else if path.starts_with("fs/mqueue/")
            || path
                .strip_prefix("kernel/")
                .is_some_and(|rest| rest.starts_with("msg") || rest.starts_with("shm") || rest == "sem")
        {
            libc::CLONE_NEWIPC
        } else if matches!(path, "kernel/hostname" | "kernel/domainname") {
            libc::CLONE_NEWUTS
        } else {
            return Err(Error::invalid(format!("the kernel parameter {name} is not in a namespace")));
        };
        if self.has(flag, true) {
            return Ok(());
        }
        Err(Error::invalid(format!("the kernel parameter {name} is not in a namespace of the container's own")))
    }
}
