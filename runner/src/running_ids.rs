//! The ids of a running container's user namespace, for whoever reads and writes its files from outside.
//!
//! Its root shows owners as the host sees them. What is made there must belong to an id that the container knows, so the
//! one who writes takes the ids of the container's root for that, and keeps the capabilities over the host's files.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Doing, Error, Result};
use crate::id_maps::IdMaps;
use crate::verbs::by_number;
use crate::{broker, security, sys};

/// Whom the kernel shows for an id that has no place in a namespace (/proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65_534;

/// First id inside, first id outside, how many.
pub type Range = (u32, u32, u32);

/// The map of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningIds {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl RunningIds {
    /// Those of the container with this state directory; `None` if it has the host's own.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`].
    pub fn of(state_dir: &Path) -> Result<Option<Self>> {
        let ids = by_number(state_dir, |_, pid| Self::read(&format!("/proc/{}", pid.as_raw_nonzero())))?;
        Ok((ids.users != [(0, 0, u32::MAX)]).then_some(ids))
    }

    /// Those of the user namespace whose file in nsfs this is; `None` if it is the caller's own. What a map says is told to
    /// others than its processes only as they see it: a helper enters the namespace and is looked at.
    ///
    /// # Errors
    /// A file that is no user namespace, one that cannot be entered.
    pub fn of_namespace(path: &Path) -> Result<Option<Self>> {
        let at = path.display();
        let number = |path: &Path| {
            let about = std::fs::metadata(path).doing(|| format!("open the user namespace {}", path.display()))?;
            Ok::<_, Error>((about.dev(), about.ino()))
        };
        if number(path)? == number(Path::new("/proc/self/ns/user"))? {
            return Ok(None);
        }
        let file = File::open(path).doing(|| format!("open the user namespace {at}"))?;
        let doing = || format!("enter the user namespace {at}");
        let (mut answer, tell) = std::io::pipe().doing(doing)?;
        let (hold, release) = std::io::pipe().doing(doing)?;
        let helper = broker::spawn(&[file.as_raw_fd(), tell.as_raw_fd(), hold.as_raw_fd()], || {
            let entered = sys::enter_users(file.as_fd(), 0);
            let number = if entered.is_ok() { std::process::id() } else { 0 };
            let told = (&tell).write_all(&number.to_ne_bytes());
            // Until the other end is closed.
            let _ = (&hold).read(&mut [0]);
            i32::from(told.is_err())
        })?;
        drop(tell);
        let mut number = [0; 4];
        let read = answer.read_exact(&mut number).doing(doing).and_then(|()| match u32::from_ne_bytes(number) {
            0 => Err(Error::invalid(format!("{at} is no user namespace that can be entered"))),
            // A child that nobody has reaped: the number is its own.
            pid => Self::read(&format!("/proc/{pid}")),
        });
        drop(release);
        sys::wait(helper.as_fd()).doing(doing)?;
        read.map(Some)
    }

    fn read(process: &str) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("{process}/{file}");
            std::fs::read_to_string(&path).map(|text| ranges(&text)).doing(|| format!("read {path}"))
        };
        Ok(Self { users: read("uid_map")?, groups: read("gid_map")? })
    }

    /// The ranges of users: first id inside, first id outside, how many.
    pub fn users(&self) -> &[Range] {
        &self.users
    }

    /// The ranges of groups, likewise.
    pub fn groups(&self) -> &[Range] {
        &self.groups
    }

    /// As a map that mounts can be given.
    pub(crate) fn maps(&self) -> IdMaps {
        IdMaps::of_ranges(&self.users, &self.groups)
    }

    /// An owner as the container sees it.
    pub fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let find = |ranges: &[Range], id: u32| {
            let range = ranges.iter().find(|(_, outside, count)| id >= *outside && id - outside < *count);
            range.map_or(NOBODY, |(inside, outside, _)| inside + (id - outside))
        };
        (find(&self.users, uid), find(&self.groups, gid))
    }

    /// An owner as the host sees it; `None` if the container has no such id.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> Option<(u32, u32)> {
        let find = |ranges: &[Range], id: u32| {
            let range = ranges.iter().find(|(inside, _, count)| id >= *inside && id - inside < *count);
            range.map(|(inside, outside, _)| outside + (id - inside))
        };
        Some((find(&self.users, uid)?, find(&self.groups, gid)?))
    }

    /// Makes files as the container's root from now on.
    ///
    /// # Errors
    /// A container without a root.
    pub fn act_as_root(&self) -> Result<()> {
        let (uid, gid) = self.outside((0, 0)).ok_or_else(|| Error::invalid("the container has no root"))?;
        let doing = || "take the ids of the container's root".to_owned();
        sys::set_fs_ids(uid, gid).doing(doing)?;
        security::raise_permitted().doing(doing)
    }
}

/// The lines of a map.
pub(crate) fn ranges(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        <[u32; 3]>::try_from(numbers).ok().map(|[inside, outside, count]| (inside, outside, count))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_in_and_out() {
        let map = ranges("         0     100000       1000\n      1000       5000          1\n");
        let ids = RunningIds { users: map.clone(), groups: map };
        assert_eq!(ids.inside((100_005, 5000)), (5, 1000));
        assert_eq!(ids.inside((0, 101_000)), (NOBODY, NOBODY));
        assert_eq!(ids.outside((5, 1000)), Some((100_005, 5000)));
        assert_eq!(ids.outside((5, 1001)), None);
    }
}
