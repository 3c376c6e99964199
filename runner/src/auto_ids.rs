//! Ids that no other container has (`--userns auto`), chosen when a container starts.
//!
//! What is on the disk has the container's own ids, so a range only matters while it runs, and the kernel itself knows the
//! ranges in use: every process tells its map. There is no list of leases that a crash could leave wrong. From the choice until the
//! first process has its map a lock is held, which ends with its holder.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Spec};

use crate::error::{Doing, Error, Result};
use crate::spec::AUTO_IDS_ANNOTATION;

/// The lock; one for all stores of the machine.
const LOCK: &str = "/run/img/ids.lock";
const GIVEN: &str = "every required field was given";

/// A spec whose ids are known, and the lock that must be held until its first process has them.
#[derive(Debug)]
pub struct Allotted {
    /// The spec.
    pub spec: Spec,
    _lock: File,
}

/// Chooses a range, if the spec leaves that to us.
///
/// # Errors
/// No range is free.
pub fn allot(spec: &Spec) -> Result<Option<Allotted>> {
    let asked = spec.annotations().as_ref().and_then(|all| all.get(AUTO_IDS_ANNOTATION));
    let Some(text) = asked else { return Ok(None) };
    let numbers: Vec<u32> = text.split(':').filter_map(|part| part.parse().ok()).collect();
    let &[size, first, last] = numbers.as_slice() else {
        return Err(Error::invalid(format!("{text:?} does not say which ids to choose from")));
    };
    std::fs::create_dir_all(Path::new(LOCK).parent().unwrap_or(Path::new("/"))).doing(|| "make /run/img".into())?;
    let lock = File::options().create(true).append(true).open(LOCK).doing(|| format!("open {LOCK}"))?;
    lock.lock().doing(|| format!("lock {LOCK}"))?;
    let start = free(size, first, last, &in_use()?).ok_or_else(|| {
        Error::invalid(format!("no {size} ids are free between {first} and {last} for a user namespace"))
    })?;
    let mut spec = spec.clone();
    let range = || -> Vec<LinuxIdMapping> {
        vec![LinuxIdMappingBuilder::default().container_id(0u32).host_id(start).size(size).build().expect(GIVEN)]
    };
    if let Some(linux) = spec.linux_mut() {
        linux.set_uid_mappings(Some(range())).set_gid_mappings(Some(range()));
    }
    Ok(Some(Allotted { spec, _lock: lock }))
}

/// The first range of this size that touches none in use.
fn free(size: u32, first: u32, last: u32, used: &BTreeSet<(u32, u32)>) -> Option<u32> {
    let mut start = first;
    loop {
        let end = start.checked_add(size)?;
        if size == 0 || end - 1 > last {
            return None;
        }
        let clash = used.iter().find(|(from, count)| *from < end && start < from.saturating_add(*count));
        match clash {
            None => return Some(start),
            Some((from, count)) => start = from.checked_add(*count)?,
        }
    }
}

/// The ids of all user namespaces that a process is in.
fn in_use() -> Result<BTreeSet<(u32, u32)>> {
    let mut used = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").doing(|| "list the processes".into())? {
        let entry = entry.doing(|| "list the processes".into())?;
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        for file in ["uid_map", "gid_map"] {
            // A process that has ended meanwhile is in none.
            let text = std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            used.extend(ranges(&text));
        }
    }
    Ok(used)
}

/// The outer ids of a map; the whole range, which is the host's own map, is none.
fn ranges(text: &str) -> impl Iterator<Item = (u32, u32)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1).map(|word| word.parse().ok());
        let (outside, count) = (words.next()??, words.next()??);
        (count != u32::MAX).then_some((outside, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_use_are_passed_over() {
        let used: BTreeSet<_> =
            ["0 100 10\n100 500 5\n", "0 110 20\n", "0 0 4294967295\n"].into_iter().flat_map(ranges).collect();
        assert_eq!(used.len(), 3);
        assert_eq!(free(10, 100, 200, &used), Some(130));
        assert_eq!(free(10, 50, 200, &used), Some(50));
        assert_eq!(free(60, 50, 200, &used), Some(130));
        assert_eq!(free(80, 50, 200, &used), None);
        assert_eq!(free(0, 50, 200, &used), None);
        assert_eq!(free(10, u32::MAX - 5, u32::MAX, &used), None);
    }
}
