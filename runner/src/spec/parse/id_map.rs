//! The mapping of an id-mapped mount: `uids=FROM-TO-COUNT[#…];gids=…`, where FROM is the id in the file system and TO the
//! one that is seen in the mount.

use super::{Error, Result};

/// One run of ids: first id in the file system, first id as it is seen, how many.
pub type IdRange = (u32, u32, u32);

/// Which ids are shown as which. What no range names is shown as nobody's and cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// Shows the user and group `from` of the file system as `to`, and the other way round; all else as it is.
    #[must_use]
    pub fn swapping(from: (u32, u32), to: (u32, u32)) -> Self {
        Self { uids: swap(from.0, to.0), gids: swap(from.1, to.1) }
    }
}

/// All ids onto themselves, but for `a` and `b`, which change places. The last id is no id.
fn swap(a: u32, b: u32) -> Vec<IdRange> {
    let (low, high) = (a.min(b), a.max(b));
    let runs = [
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high.saturating_sub(low + 1)),
        (high, low, u32::from(low != high)),
        (high + 1, high + 1, u32::MAX - (high + 1)),
    ];
    runs.into_iter().filter(|run| run.2 > 0).collect()
}

/// `uids=0-1000-1#1-1-999;gids=0-1000-1`: ranges after `uids=` and `gids=`, which stand apart by `;` or `#`.
///
/// # Errors
/// What is no range, users without groups, ids that two ranges name.
pub fn id_map(text: &str) -> Result<IdMap> {
    let error = |reason: String| {
        Error::invalid("mapping of ids", text, reason).with_hint("as idmap=uids=1000-0-1#gids=1000-0-1")
    };
    let mut map = IdMap::default();
    let mut list: Option<&mut Vec<IdRange>> = None;
    for word in text.split(['#', ';']).filter(|word| !word.is_empty()) {
        let range = match word.split_once('=') {
            Some(("uids", range)) => {
                list = Some(&mut map.uids);
                range
            }
            Some(("gids", range)) => {
                list = Some(&mut map.gids);
                range
            }
            Some((other, _)) => return Err(error(format!("`{other}` is neither `uids` nor `gids`"))),
            None => word,
        };
        let numbers: Option<Vec<u32>> = range.split('-').map(|number| number.parse().ok()).collect();
        let Some(&[from, to, count]) = numbers.as_deref() else {
            return Err(error(format!("`{range}` is not FROM-TO-COUNT")));
        };
        if count == 0 || from.checked_add(count).is_none() || to.checked_add(count).is_none() {
            return Err(error(format!("`{range}` has no ids, or more than there are")));
        }
        list.as_mut()
            .ok_or_else(|| error("it begins with neither `uids=` nor `gids=`".to_owned()))?
            .push((from, to, count));
    }
    if map.uids.is_empty() || map.gids.is_empty() {
        return Err(error("it needs both users and groups".to_owned()));
    }
    let overlap = |a: u32, b: u32, (count_a, count_b): (u32, u32)| a < b + count_b && b < a + count_a;
    for list in [&map.uids, &map.gids] {
        for (at, one) in list.iter().enumerate() {
            let twice = list[at + 1..]
                .iter()
                .any(|other| overlap(one.0, other.0, (one.2, other.2)) || overlap(one.1, other.1, (one.2, other.2)));
            if twice {
                return Err(error("two ranges name the same id".to_owned()));
            }
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_change_places_and_the_rest_stays() {
        let rest = (1001, 1001, u32::MAX - 1001);
        assert_eq!(swap(1000, 0), [(0, 1000, 1), (1, 1, 999), (1000, 0, 1), rest]);
        assert_eq!(swap(0, 1000), swap(1000, 0));
        assert_eq!(swap(0, 0), [(0, 0, 1), (1, 1, u32::MAX - 1)]);
        assert_eq!(swap(5, 6), [(0, 0, 5), (5, 6, 1), (6, 5, 1), (7, 7, u32::MAX - 7)]);
        for map in [swap(1000, 0), swap(5, 6), swap(7, 7)] {
            let total: u64 = map.iter().map(|run| u64::from(run.2)).sum();
            assert_eq!(total, u64::from(u32::MAX), "every id has a place");
        }
    }

    #[test]
    fn mappings() {
        let map = id_map("uids=0-1000-1#1-1-999;gids=0-1000-1").unwrap();
        assert_eq!((map.uids, map.gids), (vec![(0, 1000, 1), (1, 1, 999)], vec![(0, 1000, 1)]));
        assert_eq!(id_map("uids=1-2-3#gids=4-5-6").unwrap().gids, [(4, 5, 6)]);
        for bad in ["", "uids=0-1-1", "0-1-1", "uids=0-1#gids=0-1-1", "uids=0-0-0#gids=0-0-1", "pids=0-0-1"] {
            assert!(id_map(bad).is_err(), "{bad}");
        }
        for twice in ["uids=0-5-2#1-9-1#gids=0-0-1", "uids=0-5-2#7-6-1#gids=0-0-1"] {
            assert!(id_map(twice).unwrap_err().to_string().contains("same id"), "{twice}");
        }
    }
}
