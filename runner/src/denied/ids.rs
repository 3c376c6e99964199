//! Refusals by a user namespace: ids that its map does not have, files that belong to none of them, and capabilities that hold
//! for what is its own only. In a container with the host's ids there are none of these.

use std::path::Path;

use rustix::fs::Stat;

use super::call::{self, Ended};
use super::cause::{Cause, short};
use super::place::Process;
use crate::running_ids::Range;
use crate::security::capabilities;

/// The layer.
const LAYER: &str = "user namespace";

/// The ids of a process, as its user namespace and the host have them.
#[derive(Debug)]
pub struct Ids {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl Ids {
    /// Those of a process; `None` if they are the host's.
    pub fn of(process: &Process) -> Option<Self> {
        let ids = Self { users: process.id_map("uid_map"), groups: process.id_map("gid_map") };
        (ids.users != [(0, 0, u32::MAX)]).then_some(ids)
    }

    /// What the namespace calls a user of the host.
    pub fn user(&self, outside: u32) -> Option<u32> {
        inside(&self.users, outside)
    }

    /// What the namespace calls a group of the host.
    pub fn group(&self, outside: u32) -> Option<u32> {
        inside(&self.groups, outside)
    }

    /// `EINVAL`: a call that names an id which is not in the map.
    pub fn unmapped(&self, call: &Ended) -> Option<Cause> {
        let asked = ids_of(call);
        let (kind, id) = asked.into_iter().find(|(kind, id)| {
            let map = if *kind == "user" { &self.users } else { &self.groups };
            !map.iter().any(|(first, _, count)| id >= first && id - first < *count)
        })?;
        let map = if kind == "user" { &self.users } else { &self.groups };
        let ranges: Vec<String> =
            map.iter().map(|(first, _, count)| format!("{first} to {}", first + (count - 1))).collect();
        let why = format!("the {kind} {id} is not in its map, which has {}", ranges.join(", "));
        let flag = if kind == "user" { "--uidmap" } else { "--gidmap" };
        Some((LAYER, why, Some(format!("by --userns auto:size={}, or a {flag} that has it", u64::from(id) + 1))))
    }

    /// `EPERM` and `EACCES` for somebody who has the capability: it does not hold for this file, or not for the machine.
    pub fn foreign(&self, call: &Ended, process: &Process, object: Option<&Path>) -> Option<Cause> {
        if let Some((path, stat)) = object.and_then(|path| Some((path, process.stat(path)?)))
            && self.is_nobodys(&stat)
        {
            let why = format!("it belongs to {}:{} of the host, whom its map does not have", stat.st_uid, stat.st_gid);
            let flag = match process.mount(path) {
                Some(mount) if mount.point != "/" => format!("by idmap in the option that mounts {}", mount.point),
                _ => "by a --uidmap and --gidmap that have them".to_owned(),
            };
            return Some((LAYER, why, Some(flag)));
        }
        let capability = call::capability(call.name).filter(|one| process.has(capabilities::number(*one)))?;
        let why = format!("CAP_{} holds inside of it, not for the machine", short(capability));
        Some((LAYER, why, Some("by --userns host".to_owned())))
    }

    /// Whether a file's owner or group is unknown in the namespace.
    fn is_nobodys(&self, stat: &Stat) -> bool {
        self.user(stat.st_uid).is_none() || self.group(stat.st_gid).is_none()
    }

    /// `EOVERFLOW`: something is to be made where there is no id for its maker.
    pub fn without_owner(process: &Process, object: &Path) -> Option<Cause> {
        let mount = process.mount(object)?;
        let why = format!("the map of {} has no id for user {}", mount.point, process.uid());
        let flag = format!("by ids for it in the option that mounts {}", mount.point);
        Some(("id-mapped mount", why, Some(flag)))
    }
}

fn inside(map: &[Range], outside: u32) -> Option<u32> {
    let range = map.iter().find(|(_, first, count)| outside >= *first && outside - first < *count);
    range.map(|(first_inside, first, _)| first_inside + (outside - first))
}

/// The ids that a call names; all ones means none.
fn ids_of(call: &Ended) -> Vec<(&'static str, u32)> {
    let of = |kind: &'static str, range: std::ops::Range<usize>| -> Vec<(&'static str, u32)> {
        range.map(|index| (kind, call.arguments[index] as u32)).collect()
    };
    let ids = match call.name {
        "chown" | "lchown" | "fchown" => [of("user", 1..2), of("group", 2..3)].concat(),
        "fchownat" => [of("user", 2..3), of("group", 3..4)].concat(),
        "setuid" => of("user", 0..1),
        "setreuid" => of("user", 0..2),
        "setresuid" => of("user", 0..3),
        "setgid" => of("group", 0..1),
        "setregid" => of("group", 0..2),
        "setresgid" => of("group", 0..3),
        _ => Vec::new(),
    };
    ids.into_iter().filter(|(_, id)| *id != u32::MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &'static str, arguments: [u64; 6]) -> Ended {
        Ended { architecture: 0, number: 0, name, arguments, error: libc::EINVAL }
    }

    #[test]
    fn ids_that_the_map_lacks_are_named() {
        let ids = Ids { users: vec![(0, 100_000, 10), (50, 7, 1)], groups: vec![(0, 200_000, 20)] };
        assert_eq!((ids.user(100_003), ids.user(7), ids.user(8)), (Some(3), Some(50), None));
        let none = u64::from(u32::MAX);
        let why = |name, arguments| ids.unmapped(&call(name, arguments)).map(|(_, why, _)| why);
        assert_eq!(why("fchownat", [3, 0, 9, 19, 0, 0]), None);
        assert_eq!(why("chown", [0, none, 19, 0, 0, 0]), None);
        assert_eq!(
            why("chown", [0, 10, none, 0, 0, 0]).unwrap(),
            "the user 10 is not in its map, which has 0 to 9, 50 to 50"
        );
        assert_eq!(
            why("setresgid", [5, none, 20, 0, 0, 0]).unwrap(),
            "the group 20 is not in its map, which has 0 to 19"
        );
        assert_eq!(why("openat", [0, 99, 99, 99, 0, 0]), None);
    }
}
