//! Maps of user and group ids, for user namespaces and for mounts.
//!
//! A map says which ids outside the ids inside are. It is written once, by the parent, to a namespace nobody has used
//! yet; a mount takes it as the descriptor of such a namespace (mount_setattr(2), `MOUNT_ATTR_IDMAP`). The rule: ranges
//! are checked before anything is made.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::LinuxIdMapping;

use crate::error::{Doing, Error, Result};
use crate::sys;

/// The most ranges a map may have (user_namespaces(7)).
const MAX_RANGES: usize = 340;

/// Consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one inside.
    pub inside: u32,
    /// The first one outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The maps of a user namespace or a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
}

impl IdMaps {
    /// Maps from a Spec, checked.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a range that is empty, goes beyond the last id, or overlaps another.
    pub fn from_oci(users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> Result<Self> {
        Ok(Self { users: ranges(users, "user")?, groups: ranges(groups, "group")? })
    }

    /// Maps of ranges that are known to be right: first id inside, first id outside, how many.
    pub fn of_ranges(users: &[(u32, u32, u32)], groups: &[(u32, u32, u32)]) -> Self {
        let all = |ranges: &[(u32, u32, u32)]| {
            ranges.iter().map(|&(inside, outside, count)| IdRange { inside, outside, count }).collect()
        };
        Self { users: all(users), groups: all(groups) }
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Whether there is a root inside.
    pub fn maps_root(&self) -> bool {
        let has = |ranges: &[IdRange]| ranges.iter().any(|range| range.inside == 0);
        has(&self.users) && has(&self.groups)
    }

    /// The ids outside of root inside.
    pub fn root(&self) -> Option<(u32, u32)> {
        let of = |ranges: &[IdRange]| {
            let range = ranges.iter().find(|range| range.inside == 0);
            range.map(|range| range.outside)
        };
        Some((of(&self.users)?, of(&self.groups)?))
    }

    /// Writes the maps of the user namespace that process `pid` was just born in.
    pub fn write(&self, pid: i32) -> Result<()> {
        for (name, ranges) in [("uid_map", &self.users), ("gid_map", &self.groups)] {
            let path = format!("/proc/{pid}/{name}");
            let file = std::fs::File::options().write(true).open(&path).doing(|| format!("open {path}"))?;
            // The kernel takes a map in one write only.
            rustix::io::write(&file, text(ranges).as_bytes()).doing(|| format!("write {path}"))?;
        }
        Ok(())
    }

    /// A user namespace with these maps and without processes. The caller must be single-threaded.
    pub fn namespace(&self) -> Result<OwnedFd> {
        let doing = || "make a user namespace for a mount".to_owned();
        let (reader, writer) = io::pipe().doing(doing)?;
        let (pid, pidfd) = match sys::clone_child(libc::CLONE_NEWUSER as u64, None).doing(doing)? {
            sys::Forked::Child => {
                drop(writer);
                // Only there to hold the namespace until it was opened.
                let _ = rustix::io::read(&reader, &mut [0u8; 1]);
                sys::exit(0)
            }
            sys::Forked::Parent(child) => child,
        };
        let opened = self.write(pid).and_then(|()| {
            let path = format!("/proc/{pid}/ns/user");
            std::fs::File::open(&path).doing(|| format!("open {path}"))
        });
        drop(writer);
        sys::wait(pidfd.as_fd()).doing(doing)?;
        Ok(opened?.into())
    }
}

fn ranges(list: &[LinuxIdMapping], kind: &str) -> Result<Vec<IdRange>> {
    let mut ranges: Vec<IdRange> = Vec::new();
    if list.len() > MAX_RANGES {
        return Err(Error::invalid(format!("the map of {kind} ids has more than {MAX_RANGES} ranges")));
    }
    for mapping in list {
        let new = IdRange { inside: mapping.container_id(), outside: mapping.host_id(), count: mapping.size() };
        let fits = |first: u32| first.checked_add(new.count).is_some();
        if new.count == 0 || !fits(new.inside) || !fits(new.outside) {
            return Err(Error::invalid(format!("a range of mapped {kind} ids is empty or goes beyond 4294967295")));
        }
        let overlap = |a: u32, b: u32, count: u32| a < b + count && b < a + new.count;
        let clash = ranges.iter().any(|range| {
            overlap(new.inside, range.inside, range.count) || overlap(new.outside, range.outside, range.count)
        });
        if clash {
            return Err(Error::invalid(format!("two ranges of mapped {kind} ids overlap")));
        }
        ranges.push(new);
    }
    Ok(ranges)
}

fn text(ranges: &[IdRange]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(list: &[(u32, u32, u32)]) -> Result<IdMaps> {
        let one = |&(inside, outside, count): &(u32, u32, u32)| -> LinuxIdMapping {
            let json = serde_json::json!({"containerID": inside, "hostID": outside, "size": count});
            serde_json::from_value(json).unwrap()
        };
        let list: Vec<_> = list.iter().map(one).collect();
        IdMaps::from_oci(&list, &list)
    }

    #[test]
    fn ranges_become_lines() {
        let maps = maps(&[(0, 100_000, 1000), (1000, 1000, 1)]).unwrap();
        assert_eq!(text(&maps.users), "0 100000 1000\n1000 1000 1\n");
        assert!(maps.maps_root());
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for list in
            [&[(0, 0, 0)][..], &[(1, 4_294_967_295, 1)], &[(0, 100, 10), (5, 900, 10)], &[(0, 100, 10), (50, 105, 10)]]
        {
            assert!(maps(list).is_err(), "{list:?}");
        }
        assert!(!maps(&[(1, 1, 1)]).unwrap().maps_root());
    }
}
