//! What a layer is on top of particular layers: its implied directories with the attributes from below, its hard
//! links to files of lower layers as files of its own, with all names those files still have.
//!
//! Both are needed because overlayfs shows a directory's attributes from the topmost layer that has it, and never
//! links across layers. Layers without such entries are self-contained and never come here.

use std::collections::{BTreeMap, HashMap};

use crate::erofs::{Use, follow_links};
use crate::error::Result;
use crate::layer::tree::Tree;
use crate::layer::{Entry, Kind, LayerPath};

/// A layer as it is on top of others.
pub(super) struct Stacked {
    /// Its entries, complete: sorted, the root first, no hard link to anything that is not among them.
    pub entries: Vec<Entry>,
    /// The layer, counted from the lowest, whose tar has the bytes of each entry.
    pub sources: Vec<usize>,
    /// Whether any layer of the chain says something of the root directory.
    pub has_root: bool,
    /// Whether this differs from the layer alone in more than the root directory.
    pub differs: bool,
}

/// What the image of a layer alone is good for.
pub(super) fn usable_alone(entries: &[&Entry]) -> Use {
    let mut usable = Use::SelfContained;
    for entry in entries {
        match &entry.kind {
            Kind::HardLink { .. } if links_below(entries, entry) => return Use::NeedsFiles,
            Kind::Directory { implied: true, .. } if !entry.path.is_root() => usable = Use::NeedsAttributes,
            _ => {}
        }
    }
    usable
}

/// Whether `entry`, one of `entries`, is a hard link to a file that the layer itself does not have.
pub(super) fn links_below(entries: &[&Entry], entry: &Entry) -> bool {
    match &entry.kind {
        Kind::HardLink { target } => {
            follow_links(entries, target).is_none_or(|found| matches!(entries[found].kind, Kind::Whiteout))
        }
        _ => false,
    }
}

/// Puts the layer `top` onto the merge of the layers below, which becomes the merge of them all.
///
/// # Errors
/// Those of [`Tree::apply`].
pub(super) fn stack(merged: &mut Tree, top: &[Entry]) -> Result<Stacked> {
    let own = merged.layers();
    merged.apply(top)?;
    let top: Vec<&Entry> = top.iter().collect();
    let mut differs = false;
    let mut stacked: BTreeMap<LayerPath, (Entry, usize)> = BTreeMap::new();
    let root = merged.root();
    let has_root = !matches!(root.kind(), Kind::Directory { implied: true, .. });
    stacked.insert(LayerPath::root(), (root.entry(), root.source()));
    // Files of lower layers that this layer links to, by inode.
    let mut linked = HashMap::new();
    for entry in &top {
        let mut here = ((*entry).clone(), own);
        match (&entry.kind, merged.get(&entry.path)) {
            (Kind::Directory { opaque, implied: true }, Some(node)) => {
                let opaque = *opaque;
                let inherited = node.entry();
                differs |= !entry.path.is_root() && inherited != Entry { kind: inherited.kind.clone(), ..here.0 };
                here.0 = Entry { kind: Kind::Directory { opaque, implied: false }, ..inherited };
            }
            (Kind::HardLink { .. }, Some(node)) if links_below(&top, entry) => {
                linked.insert(node.inode_number(), Vec::new());
                continue;
            }
            _ => {}
        }
        stacked.insert(entry.path.clone(), here);
    }
    if !linked.is_empty() {
        differs = true;
        for node in merged.walk() {
            if let Some(names) = linked.get_mut(&node.inode_number()) {
                names.push(node.path());
            }
        }
        add_linked(merged, linked.into_values(), &mut stacked);
    }
    let (entries, sources) = stacked.into_values().unzip();
    Ok(Stacked { entries, sources, has_root, differs })
}

/// Adds files of lower layers with all `names` that each has in the merged tree, and the directories they are in.
fn add_linked(
    merged: &Tree,
    files: impl Iterator<Item = Vec<LayerPath>>,
    stacked: &mut BTreeMap<LayerPath, (Entry, usize)>,
) {
    for names in files {
        let Some(first) = names.first().and_then(|first| merged.get(first)) else { continue };
        for path in &names {
            let mut entry = Entry { path: path.clone(), ..first.entry() };
            if *path != names[0] {
                entry.kind = Kind::HardLink { target: names[0].clone() };
            }
            stacked.insert(path.clone(), (entry, first.source()));
            let mut parent = path.parent();
            while let Some(path) = parent.filter(|path| !stacked.contains_key(path)) {
                if let Some(node) = merged.get(&path) {
                    stacked.insert(path.clone(), (node.entry(), node.source()));
                }
                parent = path.parent();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Time;

    fn path(raw: &str) -> LayerPath {
        LayerPath::parse(raw.as_bytes()).unwrap()
    }

    fn entry(raw: &str, kind: Kind, mode: u32) -> Entry {
        Entry { path: path(raw), kind, mode, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }

    fn dir(raw: &str, implied: bool) -> Entry {
        entry(raw, Kind::Directory { opaque: false, implied }, if implied { 0o755 } else { 0o700 })
    }

    fn file(raw: &str) -> Entry {
        entry(raw, Kind::file(0), 0o600)
    }

    fn link(raw: &str, target: &str) -> Entry {
        entry(raw, Kind::HardLink { target: path(target) }, 0)
    }

    fn usable(entries: &[Entry]) -> Use {
        usable_alone(&entries.iter().collect::<Vec<_>>())
    }

    #[test]
    fn knows_what_stands_alone() {
        assert_eq!(usable(&[dir("", true), dir("a", false), file("a/b"), link("c", "a/b")]), Use::SelfContained);
        assert_eq!(usable(&[dir("a", true), file("a/b")]), Use::NeedsAttributes);
        assert_eq!(usable(&[dir("a", true), link("c", "gone")]), Use::NeedsFiles);
        assert_eq!(usable(&[entry("b", Kind::Whiteout, 0), link("c", "b")]), Use::NeedsFiles);
    }

    #[test]
    fn inherits_attributes_and_brings_linked_files_with_all_names() {
        let mut below = Tree::new();
        below.apply(&[dir("d", false), dir("e", false), file("e/f"), link("e/g", "e/f"), link("e/h", "e/f")]).unwrap();
        let top = [
            dir("d", true),
            link("d/l", "e/f"),
            dir("e", true),
            entry("e/h", Kind::Whiteout, 0),
            dir("n", true),
            file("n/x"),
        ];
        let stacked = stack(&mut below, &top).unwrap();
        let shown: Vec<_> = stacked
            .entries
            .iter()
            .zip(&stacked.sources)
            .map(|(entry, source)| (entry.path.to_string(), entry.mode, *source))
            .collect();
        let expected = [
            ("/", 0o755, 0),
            ("/d", 0o700, 1),
            ("/d/l", 0o600, 0),
            ("/e", 0o700, 1),
            ("/e/f", 0o600, 0),
            ("/e/g", 0o600, 0),
            ("/e/h", 0, 1),
            ("/n", 0o755, 1),
            ("/n/x", 0o600, 1),
        ];
        assert_eq!(shown, expected.map(|(path, mode, source)| (path.to_owned(), mode, source)));
        assert!(stacked.differs && !stacked.has_root);
        assert_eq!(stacked.entries[5].kind, Kind::HardLink { target: path("d/l") });
    }

    #[test]
    fn a_layer_on_directories_nobody_has_is_what_it_is_alone() {
        let mut below = Tree::new();
        below.apply(&[dir("", false), file("x")]).unwrap();
        let stacked = stack(&mut below, &[dir("", true), dir("d", true), file("d/y")]).unwrap();
        assert!(!stacked.differs && stacked.has_root);
    }
}
