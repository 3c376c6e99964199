//! What lies in a container's upper directory without being its doing: mount points that had to be made for it, which
//! go when it ends, and directories that overlayfs copied up only to make them.

use std::collections::{BTreeMap, BTreeSet};

use store::layer::tree::Tree;
use store::layer::{Entry, Kind, LayerPath};

use super::Engine;
use super::container::ContainerRecord;
use crate::error::Result;

impl Engine {
    /// The paths of `entries`, an upper directory of the container `record` over `below`, that are none of its changes.
    ///
    /// # Errors
    /// The container's record makes no sense.
    pub(super) fn stubs(
        &self,
        record: &ContainerRecord,
        below: &Tree,
        entries: &[Entry],
    ) -> Result<BTreeSet<LayerPath>> {
        let running = self.state(&record.id)?.is_some_and(|state| state.is_running());
        let spec = self.spec_of(&record.id, &record.data)?;
        let mut targets: Vec<String> = ["hosts", "hostname", "resolv.conf"].map(|name| format!("/etc/{name}")).into();
        for mount in spec.mounts().iter().flatten() {
            targets.extend(mount.destination().to_str().map(str::to_owned));
        }
        targets.extend(record.data.mounts()?.into_iter().map(|mount| mount.target));
        // A target that the layers cannot resolve was made or refused as it stands.
        let resolve = |target: &String| {
            below.resolve(target.as_bytes(), true).or_else(|_| LayerPath::parse(target.as_bytes())).ok()
        };
        Ok(not_changes(below, entries, &targets.iter().filter_map(resolve).collect(), running))
    }
}

/// The paths of `entries` that exist for the mounts at `targets` alone. Those that no layer has count only while the
/// container runs: afterwards they are gone, and what is there is its own.
fn not_changes(below: &Tree, entries: &[Entry], targets: &BTreeSet<LayerPath>, running: bool) -> BTreeSet<LayerPath> {
    let ways: BTreeSet<LayerPath> = targets.iter().flat_map(|target| ancestors(target.clone())).collect();
    let mut left: BTreeMap<LayerPath, usize> = BTreeMap::new();
    let mut out = BTreeSet::new();
    // From the last to the first: what is in a directory comes before the directory.
    for entry in entries.iter().rev() {
        let parent = entry.path.parent().unwrap_or_default();
        let empty = left.get(&entry.path).is_none_or(|count| *count == 0);
        let on_the_way = ways.contains(&entry.path);
        let is_stub = empty && (on_the_way || targets.contains(&entry.path)) && {
            match (below.get(&entry.path), &entry.kind) {
                (Some(node), Kind::Directory { opaque: false, .. }) => {
                    node.is_directory()
                        && (node.mode(), node.uid(), node.gid()) == (entry.mode, entry.uid, entry.gid)
                        && node.xattrs() == entry.xattrs
                }
                (None, Kind::Directory { .. }) => running,
                (None, Kind::File { size: 0, .. }) => running && !on_the_way,
                _ => false,
            }
        };
        if is_stub {
            out.insert(entry.path.clone());
        } else {
            *left.entry(parent).or_default() += 1;
        }
    }
    out
}

/// All directories above a path, the root left out.
fn ancestors(mut path: LayerPath) -> Vec<LayerPath> {
    let mut found = Vec::new();
    while let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
        found.push(parent.clone());
        path = parent;
    }
    found
}

#[cfg(test)]
mod tests {
    use store::layer::Time;

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        let path = LayerPath::parse(path.as_bytes()).unwrap();
        Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }

    fn directory(path: &str) -> Entry {
        entry(path, Kind::Directory { opaque: false, implied: false })
    }

    fn file(path: &str, size: u64) -> Entry {
        entry(path, Kind::file(size))
    }

    #[test]
    fn stubs_go_and_changes_stay() {
        let mut below = Tree::new();
        below.apply(&[directory("etc"), directory("srv")]).unwrap();
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        let targets: BTreeSet<_> = ["etc/hosts", "a/b", "srv/used", "proc"].into_iter().map(path).collect();
        let upper = [
            directory("a"),
            directory("a/b"),
            directory("etc"),
            file("etc/hosts", 0),
            directory("proc"),
            directory("srv"),
            directory("srv/used"),
            file("srv/used/own", 1),
            directory("tmp"),
        ];
        let shown = |running| {
            let out = not_changes(&below, &upper, &targets, running);
            upper.iter().filter(|entry| !out.contains(&entry.path)).map(|e| e.path.to_string()).collect::<Vec<_>>()
        };
        let own = [directory("srv"), directory("srv/used"), file("srv/used/own", 1), directory("tmp")];
        assert_eq!(shown(true), own.map(|entry| entry.path.to_string()));
        assert_eq!(shown(false).len(), upper.len(), "nothing but an untouched directory is left out");
        let out = not_changes(&below, &[directory("etc")], &targets, false);
        assert_eq!(out.len(), 1, "a directory that was copied up and holds nothing has not changed");
    }
}
