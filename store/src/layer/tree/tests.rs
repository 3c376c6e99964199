use super::*;
use crate::error::Error;
use std::io::{Read, Write};

fn path(raw: &str) -> LayerPath {
    LayerPath::parse(raw.as_bytes()).unwrap()
}

fn entry(raw: &str, kind: Kind) -> Entry {
    Entry { path: path(raw), kind, mode: 0o644, uid: 1, gid: 2, mtime: Time::default(), xattrs: Vec::new() }
}

fn dir(raw: &str) -> Entry {
    Entry { mode: 0o700, ..entry(raw, Kind::Directory { opaque: false, implied: false }) }
}

fn implied(raw: &str) -> Entry {
    Entry { mode: 0o755, uid: 0, gid: 0, ..entry(raw, Kind::Directory { opaque: false, implied: true }) }
}

fn opaque(raw: &str) -> Entry {
    entry(raw, Kind::Directory { opaque: true, implied: false })
}

fn file(raw: &str) -> Entry {
    entry(raw, Kind::file(0))
}

fn link(raw: &str, target: &str) -> Entry {
    entry(raw, Kind::HardLink { target: path(target) })
}

fn symlink(raw: &str, target: &str) -> Entry {
    entry(raw, Kind::Symlink { target: target.into() })
}

fn whiteout(raw: &str) -> Entry {
    entry(raw, Kind::Whiteout)
}

fn merged(layers: &[&[Entry]]) -> Tree {
    let mut tree = Tree::new();
    layers.iter().for_each(|layer| tree.apply(layer).unwrap());
    tree
}

fn names(tree: &Tree) -> Vec<String> {
    tree.walk().skip(1).map(|node| node.path().to_string()).collect()
}

#[test]
fn whiteouts_opaque_directories_and_replacements() {
    let base =
        [dir("a"), file("a/x"), file("a/y"), dir("b"), dir("b/c"), file("b/c/d"), file("e"), dir("f"), file("f/g")];
    let top = [
        dir("a"),
        whiteout("a/x"),
        file("a/z"),
        opaque("b"),
        file("b/n"),
        dir("e"),
        file("e/in"),
        file("f"),
        whiteout("none"),
    ];
    let tree = merged(&[&base, &top]);
    assert_eq!(names(&tree), ["/a", "/a/y", "/a/z", "/b", "/b/n", "/e", "/e/in", "/f"]);
    assert_eq!(tree.get(&path("a/y")).unwrap().source(), 0);
    assert_eq!(tree.get(&path("a/z")).unwrap().source(), 1);
    assert!(!tree.get(&path("f")).unwrap().is_directory());
    assert_eq!(tree.children(&path("a")).map(|node| node.name().to_vec()).collect::<Vec<_>>(), [b"y", b"z"]);
    assert_eq!(tree.children(&path("f")).count(), 0);
}

#[test]
fn implied_parents_inherit_and_default() {
    let tree = merged(&[&[dir("a")], &[implied("a"), file("a/x"), implied("n"), file("n/x")]]);
    let inherited = tree.get(&path("a")).unwrap();
    assert_eq!((inherited.mode(), inherited.uid(), inherited.source()), (0o700, 1, 0));
    let made = tree.get(&path("n")).unwrap();
    assert_eq!((made.mode(), made.uid(), made.source()), (0o755, 0, 1));
    let over_file = merged(&[&[file("a")], &[implied("a"), file("a/x")]]);
    assert_eq!(over_file.get(&path("a")).unwrap().mode(), 0o755);
}

#[test]
fn hard_links_keep_their_group_across_layers() {
    let base = [file("a"), link("b", "a"), file("lone")];
    let top = [whiteout("a"), dir("d"), link("d/c", "a"), link("lone2", "lone")];
    let tree = merged(&[&base, &top]);
    let group = |raw: &str| tree.get(&path(raw)).unwrap().link_group();
    assert_eq!(group("b"), group("d/c"));
    assert!(group("b").is_some() && group("b") != group("lone"));
    assert_eq!(group("lone"), group("lone2"));
    assert_eq!((tree.get(&path("b")).unwrap().nlink(), tree.get(&path("b")).unwrap().source()), (2, 0));
    // The layer's own file wins over the lower one of the same name, even when it comes later in order.
    let tree = merged(&[&[file("z")], &[link("a", "z"), file("z")]]);
    assert_eq!(tree.get(&path("a")).unwrap().source(), 1);
    let tree = merged(&[&[link("a", "b"), link("b", "c"), file("c")]]);
    assert_eq!(tree.get(&path("a")).unwrap().nlink(), 3);
}

#[test]
fn bad_layers_are_refused_and_leave_the_tree_alone() {
    let mut tree = merged(&[&[dir("d"), file("d/x")]]);
    let bad: [&[Entry]; 7] = [
        &[file("b"), file("a")],
        &[file("a"), file("a")],
        &[file("no/parent")],
        &[file("f"), file("f/x")],
        &[file("a"), link("l", "gone")],
        &[link("l", "d")],
        &[link("k", "l"), link("l", "k")],
    ];
    for layer in bad {
        assert!(matches!(tree.apply(layer), Err(Error::InvalidLayer(_))), "{layer:?}");
        assert_eq!(names(&tree), ["/d", "/d/x"]);
        assert_eq!(tree.layers(), 1);
    }
}

#[test]
fn resolves_inside_the_root() {
    let tree = merged(&[&[
        symlink("abs", "/d/f"),
        dir("d"),
        file("d/f"),
        symlink("d/up", "../../../d/./f"),
        symlink("loop", "loop"),
        symlink("to-dir", "d"),
        symlink("to-none", "gone/x"),
    ]]);
    let resolve = |raw: &str, follow| tree.resolve(raw.as_bytes(), follow).map(|path| path.to_string());
    assert_eq!(resolve("/abs", true).unwrap(), "/d/f");
    assert_eq!(resolve("abs", false).unwrap(), "/abs");
    assert_eq!(resolve("to-dir/up", true).unwrap(), "/d/f");
    assert_eq!(resolve("to-dir/", false).unwrap(), "/d");
    assert_eq!(resolve("../../to-dir/../abs", true).unwrap(), "/d/f");
    assert_eq!(resolve("to-none/y", true).unwrap(), "/gone/x/y");
    assert_eq!(resolve("d/new/a/../b", true).unwrap(), "/d/new/b");
    assert_eq!(resolve("", true).unwrap(), "/");
    assert!(matches!(resolve("loop", true), Err(Error::Limit { .. })));
    assert_eq!(resolve("loop", false).unwrap(), "/loop");
    for bad in ["d/f/x", "d/f/", "d/f/..", "abs/x", "d/nul\0"] {
        assert!(matches!(resolve(bad, true), Err(Error::Invalid { .. })), "{bad:?}");
    }
}

#[test]
fn reads_extents_and_holes() {
    let mut tar = tempfile::tempfile().unwrap();
    tar.write_all(b"0123456789").unwrap();
    let extent = |logical, offset, length| super::super::Extent { logical, offset, length };
    let kind = Kind::File { size: 12, extents: vec![extent(2, 0, 3), extent(5, 8, 2)].into() };
    let mut out = Vec::new();
    FileReader::new(&tar, &kind).unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, b"\0\x00012\x38\x39\0\0\0\0\0");
    let cut = Kind::File { size: 12, extents: extent(0, 0, 12).into() };
    assert!(FileReader::new(&tar, &cut).unwrap().read_to_end(&mut Vec::new()).is_err());
    for extents in [vec![extent(0, 0, 13)], vec![extent(0, 0, 3), extent(2, 0, 1)], vec![extent(u64::MAX, 0, 2)]] {
        assert!(FileReader::new(&tar, &Kind::File { size: 12, extents: extents.into() }).is_err());
    }
    assert!(FileReader::new(&tar, &Kind::Fifo).is_err());
}

#[test]
fn many_entries_are_quick() {
    let mut entries = Vec::new();
    for outer in 0..100 {
        entries.push(dir(&format!("{outer:04}")));
        entries.extend((0..1000).map(|inner| file(&format!("{outer:04}/{inner:05}"))));
    }
    let start = std::time::Instant::now();
    let tree = merged(&[&entries, &entries]);
    assert_eq!(tree.walk().count(), 100_101);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
