//! What the build cache takes, part by part, and making it smaller: by choice, or down to a size. Records that name the same
//! layer are one part, since only all of them together hold it.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use serde_json::Value;

use crate::Store;
use crate::budget::Budget;
use crate::digest::{DiffId, Digest};
use crate::error::Result;
use crate::{files, lease};

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Steps that made the same layer, or one that made none.
    Steps {
        /// Their keys.
        keys: Vec<Digest>,
        /// The layer.
        layer: Option<DiffId>,
        /// What the builder noted with the first.
        value: Value,
    },
    /// A cache mount, by its id.
    Mount(String),
}

/// A part of the build cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePart {
    /// What it is.
    pub kind: PartKind,
    /// Disk space that goes with it: nothing but its records for a layer that an image has too. Bytes.
    pub size: u64,
    /// When it was last of use; of steps to within ten minutes.
    pub last_used: SystemTime,
    /// Somebody uses it right now: a build that runs.
    pub in_use: bool,
    /// An image has the layer too.
    pub shared: bool,
}

/// All parts, least recently used first.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Damaged`].
pub fn parts(store: &Store) -> Result<Vec<CachePart>> {
    let cache = store.cache();
    let mut of_images = HashSet::new();
    for id in store.images().list()? {
        // An image that is damaged has no say here; `check` tells of it.
        if let Ok(image) = store.images().get(&id) {
            of_images.extend(image.layers().to_vec());
        }
    }
    let leased = lease::leased(store.root())?;
    let mut by_layer: BTreeMap<DiffId, CachePart> = BTreeMap::new();
    let mut found = Vec::new();
    for key in cache.list()? {
        let (Some(record), Some(last_used)) = (cache.read(&key)?, cache.last_used(&key)?) else { continue };
        let size = files::disk_usage(&cache.path(&key))?;
        let kind = PartKind::Steps { keys: vec![key], layer: record.layer, value: record.value };
        let part = CachePart { kind, size, last_used, in_use: false, shared: false };
        let Some(layer) = record.layer else {
            found.push(part);
            continue;
        };
        match by_layer.get_mut(&layer) {
            None => {
                let shared = of_images.contains(&layer);
                let own = if shared { 0 } else { files::disk_usage(&store.layers().path(&layer))? };
                let in_use = leased.contains(&layer.0);
                by_layer.insert(layer, CachePart { size: size + own, shared, in_use, ..part });
            }
            Some(first) => {
                first.size += size;
                first.last_used = first.last_used.max(last_used);
                if let PartKind::Steps { keys, .. } = &mut first.kind {
                    keys.push(key);
                }
            }
        }
    }
    found.extend(by_layer.into_values());
    found.extend(cache.mounts()?.into_iter().map(|mount| CachePart {
        kind: PartKind::Mount(mount.id),
        size: mount.size,
        last_used: mount.last_used,
        in_use: mount.in_use,
        shared: false,
    }));
    found.sort_by_key(|part| part.last_used);
    Ok(found)
}

/// The parts that must go, least recently used first, so that what is left keeps to `budget`, when so many bytes of the file
/// system are free now; all that `may_go` allows if the budget sets no limit. What is in use stays, whatever it takes.
#[must_use]
pub fn choose(
    parts: Vec<CachePart>,
    budget: &Budget,
    free: u64,
    may_go: impl Fn(&CachePart) -> bool,
) -> Vec<CachePart> {
    let mut left: u64 = parts.iter().map(|part| part.size).sum();
    let mut freed = 0;
    let mut chosen = Vec::new();
    for part in parts {
        if budget.is_kept(left, free + freed) {
            break;
        }
        if !part.in_use && may_go(&part) {
            left -= part.size;
            freed += part.size;
            chosen.push(part);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::cache::CacheRecord;
    use crate::gc::tests::{image, layer};
    use crate::testing;

    #[test]
    fn parts_are_layers_and_what_an_image_has_takes_nothing() {
        let (_dir, store) = testing::store();
        let (own, shared) = (layer(&store, "own", 200_000), layer(&store, "shared", 200_000));
        image(&store, &[shared.diff_id]);
        for (key, layer) in [("a", Some(&own)), ("b", Some(&own)), ("c", Some(&shared)), ("d", None)] {
            let layer = layer.map(|layer| layer.diff_id);
            store.cache().put(&CacheRecord { key: Digest::of(key.as_bytes()), layer, value: Value::Null }).unwrap();
        }
        let parts = parts(&store).unwrap();
        assert_eq!(parts.len(), 3);
        let size = |wanted: Option<DiffId>| {
            let is = |part: &&CachePart| matches!(part.kind, PartKind::Steps { layer, .. } if layer == wanted);
            parts.iter().find(is).unwrap().size
        };
        assert!(size(Some(own.diff_id)) > 200_000 && size(Some(shared.diff_id)) < 100_000 && size(None) < 100_000);
        assert!(parts.iter().any(|part| part.in_use), "the handle that made the layers still leases them");
        let free: Vec<CachePart> = parts.into_iter().map(|part| CachePart { in_use: false, ..part }).collect();
        assert_eq!(choose(free, &Budget::default(), 0, |_| true).len(), 3);
    }

    #[test]
    fn least_recently_used_goes_first_and_only_as_much_as_must() {
        let part = |name: &str, size, used, in_use| CachePart {
            kind: PartKind::Mount(name.to_owned()),
            size,
            last_used: UNIX_EPOCH + Duration::from_secs(used),
            in_use,
            shared: false,
        };
        let all = vec![
            part("old", 10, 1, false),
            part("used", 10, 2, true),
            part("mid", 10, 3, false),
            part("new", 10, 4, false),
        ];
        let names = |chosen: Vec<CachePart>| {
            chosen.into_iter().map(|part| format!("{:?}", part.kind)).collect::<Vec<_>>().join(" ")
        };
        let most = |bytes| Budget { max_used: Some(bytes), ..Budget::default() };
        assert_eq!(names(choose(all.clone(), &most(40), 0, |_| true)), "");
        assert_eq!(names(choose(all.clone(), &most(39), 0, |_| true)), "Mount(\"old\")");
        assert_eq!(names(choose(all.clone(), &most(20), 0, |_| true)), "Mount(\"old\") Mount(\"mid\")");
        assert_eq!(names(choose(all.clone(), &most(0), 0, |part| part.size == 0)), "");
        let room = Budget { min_free: Some(25), ..Budget::default() };
        assert_eq!(names(choose(all.clone(), &room, 10, |_| true)), "Mount(\"old\") Mount(\"mid\")");
        assert_eq!(choose(all, &most(0), 0, |_| true).len(), 3, "what is in use stays");
    }
}
