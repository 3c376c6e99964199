//! One suite for all drivers: every view is mounted for real and compared, entry by entry, with what [`Tree`] merges.

mod gnu_tar;
mod kernel;
mod seen;

use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::layer::{Entry, Kind, LayerPath, Time};
use kernel::{can_mount, in_namespace};
use seen::{All, assert_equal, merged, mounted};

const USER: Directory = Directory { privilege: Privilege::UserNamespace };
const FULL: Directory = Directory { privilege: Privilege::Full };

fn path(raw: &str) -> LayerPath {
    LayerPath::parse(raw.as_bytes()).unwrap()
}

fn entry(raw: &str, kind: Kind) -> Entry {
    let mtime = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    Entry { path: path(raw), kind, mode: 0o640, uid: 10, gid: 20, mtime, xattrs: Vec::new() }
}

fn dir(raw: &str) -> Entry {
    Entry { mode: 0o751, ..entry(raw, Kind::Directory { opaque: false, implied: false }) }
}

fn opaque(raw: &str) -> Entry {
    Entry { mode: 0o700, ..entry(raw, Kind::Directory { opaque: true, implied: false }) }
}

fn file(raw: &str, size: u64) -> Entry {
    entry(raw, Kind::file(size))
}

fn link(raw: &str, target: &str) -> Entry {
    entry(raw, Kind::HardLink { target: path(target) })
}

fn symlink(raw: &str, target: &[u8]) -> Entry {
    entry(raw, Kind::Symlink { target: target.to_vec() })
}

fn whiteout(raw: &str) -> Entry {
    entry(raw, Kind::Whiteout)
}

/// A new store on a disk: files on tmpfs cannot be mounted.
fn disk_store() -> (tempfile::TempDir, Store) {
    const TMPFS: u64 = 0x0102_1994;
    let mut dir = tempfile::tempdir().unwrap();
    if rustix::fs::statfs(dir.path()).unwrap().f_type as u64 == TMPFS {
        dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).unwrap();
    }
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

/// Makes a layer; a file's bytes follow from its path, size and `seed`.
fn layer(store: &Store, seed: u8, entries: &[Entry]) -> Result<DiffId> {
    let mut writer = store.layers().writer()?;
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in sorted {
        let mut bytes: Vec<u8> = entry.path.as_bytes().iter().copied().cycle().take(entry.size() as usize).collect();
        bytes.iter_mut().for_each(|byte| *byte ^= seed);
        let mut data = Cursor::new(bytes);
        let is_file = matches!(entry.kind, Kind::File { .. });
        writer.add(entry, is_file.then_some(&mut data as &mut dyn std::io::Read))?;
    }
    Ok(writer.finish()?.diff_id)
}

/// Mounts what a driver makes of `layers` and gives it to `look`.
fn with_mounted<T: Send>(
    driver: &dyn Snapshotter,
    store: &Store,
    layers: &[DiffId],
    look: impl FnOnce(&Path) -> T + Send,
) -> Result<T> {
    let scratch = tempfile::tempdir().unwrap();
    let rw = scratch.path().join("rw");
    fs::create_dir(&rw).unwrap();
    let snapshot = driver.prepare(store, layers, &rw)?;
    let seen = in_namespace(|| look(&kernel::overlay(&snapshot, scratch.path())));
    driver.remove(&rw)?;
    Ok(seen)
}

/// Both drivers show what the tree says.
fn check(store: &Store, layers: &[DiffId]) -> All {
    let expected = merged(store, layers).unwrap();
    for driver in [&Erofs as &dyn Snapshotter, &FULL] {
        let seen = with_mounted(driver, store, layers, mounted).unwrap();
        assert_equal(driver.name(), &seen, &without_root_xattrs(&expected));
        // Once more, with all made: the same mounts.
        assert_eq!(driver.view(store, layers).unwrap(), driver.view(store, layers).unwrap());
    }
    expected
}

/// An upper directory gets no attributes but owner, mode and time from the image.
fn without_root_xattrs(all: &All) -> All {
    let mut all = all.clone();
    all.get_mut(b"".as_slice()).unwrap().xattrs.clear();
    all
}

#[test]
fn every_kind_of_entry() {
    if !can_mount() {
        return;
    }
    let (_dir, store) = disk_store();
    let xattr = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let mut entries = vec![
        Entry { mode: 0o1777, uid: 5, ..dir("") },
        Entry { mode: 0o6711, uid: 4_294_967_294, gid: 4_294_967_294, ..file("setuid", 70_000) },
        Entry { mtime: Time { seconds: -86_401, nanoseconds: 500_000_000 }, ..file("before-1970", 1) },
        file("empty", 0),
        file("block", 512),
        file("just-over", 513),
        link("z-first", "setuid"),
        link("a-second", "setuid"),
        symlink("short", b"../target"),
        symlink("long", &[b'l'; 4000]),
        symlink("not-utf8", b"\xff\xfe"),
        entry("fifo", Kind::Fifo),
        entry("char", Kind::CharDevice { major: 1, minor: 3 }),
        entry("large-device", Kind::BlockDevice { major: 4095, minor: 0xf_ffff }),
        Entry { xattrs: vec![xattr("security.capability", &CAPABILITY)], ..file("capable", 10) },
        Entry { xattrs: vec![xattr("trusted.x", b"t"), xattr("user.empty", b"")], ..dir("with-xattrs") },
        Entry { xattrs: vec![xattr("trusted.on-link", b"t")], ..symlink("link-with-xattr", b"x") },
        Entry { xattrs: vec![xattr("com.apple.provenance", b"no such namespace")], ..file("from-elsewhere", 3) },
        Entry { mode: 0o664, xattrs: vec![xattr("system.posix_acl_access", &ACL)], ..file("acl", 3) },
        dir("-"),
        dir("!"),
        dir("..."),
        dir(&"d".repeat(255)),
        dir("empty-directory"),
        dir("large"),
    ];
    let deep = (1..=60).map(|depth| vec!["deep-directory"; depth].join("/"));
    entries.extend(deep.map(|path| dir(&path)));
    entries.extend((0..5000).map(|n| file(&format!("large/{n:05}-{}", "n".repeat(n % 240)), (n % 3) as u64)));
    let mut odd = file("", 20);
    odd.path = LayerPath::parse(&[&b"\xff\xfe\n\\"[..], &[b'n'; 251]].concat()).unwrap();
    entries.push(odd);
    let base = layer(&store, 0, &entries).unwrap();
    let shown = check(&store, &[base]);
    assert!(shown.len() > 5000);
    assert_eq!(shown[b"a-second".as_slice()].first, b"a-second");
    assert_eq!(shown[b"z-first".as_slice()].first, b"a-second");
}

/// `vfs_cap_data` revision 2: cap_net_bind_service, effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// user::rw-, user:1000:rw-, group::r--, mask::rw-, other::r--.
const ACL: [u8; 44] = [
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 6, 0, 232, 3, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 6, 0, 255, 255, 255, 255, //
    32, 0, 4, 0, 255, 255, 255, 255,
];

#[test]
fn attribute_values_near_64_kib() {
    if !can_mount() {
        return;
    }
    let (_dir, store) = disk_store();
    let big = Entry { xattrs: vec![(b"user.big".to_vec(), vec![b'x'; 65_000])], ..file("big", 10) };
    let base = layer(&store, 0, &[dir(""), big]).unwrap();
    let expected = merged(&store, &[base]).unwrap();
    let seen = with_mounted(&Erofs, &store, &[base], mounted).unwrap();
    assert_equal("erofs", &seen, &expected);
    // ext4 keeps a block's worth, so `dir` can only say so, and leaves nothing behind.
    let unpacked = with_mounted(&FULL, &store, &[base], mounted);
    match unpacked {
        Ok(seen) => assert_equal("dir", &seen, &expected),
        Err(error) => {
            assert!(matches!(error, Error::Io { .. }), "{error}");
            assert!(!store.layers().path(&base).join("tree").exists());
        }
    }
}

#[test]
fn whiteouts_opaque_directories_and_replacements() {
    if !can_mount() {
        return;
    }
    let (_dir, store) = disk_store();
    let base = [
        dir(""),
        dir("keep"),
        file("keep/a", 5),
        file("keep/b", 5),
        dir("gone"),
        file("gone/x", 1),
        dir("cleared"),
        dir("cleared/sub"),
        file("cleared/sub/x", 1),
        file("cleared/y", 1),
        file("becomes-dir", 3),
        dir("becomes-file"),
        file("becomes-file/x", 3),
    ];
    let middle = [
        dir("keep"),
        whiteout("keep/a"),
        dir("only-here"),
        whiteout("only-here/nothing"),
        file("only-here/x", 2),
        whiteout("gone"),
        Entry { uid: 77, ..opaque("cleared") },
        file("cleared/new", 2),
        file("becomes-file", 9),
        dir("becomes-dir"),
        file("becomes-dir/x", 1),
    ];
    let top = [dir("gone"), file("gone/y", 4), dir("keep"), file("keep/a", 6), whiteout("becomes-file")];
    let layers: Vec<_> =
        [&base[..], &middle, &top].iter().zip(0..).map(|(e, seed)| layer(&store, seed, e).unwrap()).collect();
    check(&store, &layers[..1]);
    check(&store, &layers[1..2]);
    check(&store, &layers[..2]);
    let shown = check(&store, &layers);
    assert!(shown.contains_key(b"gone/y".as_slice()) && !shown.contains_key(b"gone/x".as_slice()));
    // The same layer twice, and another between.
    check(&store, &[layers[0], layers[1], layers[0], layers[1]]);
    // The form for user namespaces, which root can mount too.
    let seen = with_mounted(&USER, &store, &layers, mounted).unwrap();
    assert_equal("dir with userxattr", &seen, &shown);
}

#[test]
fn implied_parents_take_their_attributes_from_below() {
    if !can_mount() {
        return;
    }
    let (_dir, store) = disk_store();
    let acl = vec![(b"user.note".to_vec(), b"kept".to_vec())];
    let base = [
        Entry { mode: 0o700, ..dir("") },
        Entry { mode: 0o1733, uid: 3, xattrs: acl, ..dir("etc") },
        dir("etc/sub"),
        file("etc/sub/x", 1),
    ];
    let base = layer(&store, 0, &base).unwrap();
    let top = layer(&store, 1, &[file("etc/sub/new", 2), file("fresh/dir/x", 2)]).unwrap();
    let fresh = layer(&store, 2, &[file("other/x", 2)]).unwrap();
    let shown = check(&store, &[base, top, fresh]);
    assert_eq!((shown[b"etc".as_slice()].mode, shown[b"etc".as_slice()].uid), (0o1733, 3));
    assert_eq!(shown[b"".as_slice()].mode, 0o700);
    // Alone and as the lowest it needs no chain; on others it has an image of its own, unless nothing differs.
    let ids = |layers: &[DiffId]| -> Vec<_> {
        Erofs.view(&store, layers).unwrap().iter().map(|mount| mount.id()[..5].to_owned()).collect()
    };
    assert_eq!(ids(&[top]), ["layer"]);
    assert_eq!(ids(&[base, top, fresh]), ["layer", "chain", "layer"]);
    check(&store, &[top, base]);
    // It can be thrown away at will.
    for name in ["chains", "tmp"] {
        files::remove_all(&store.root().join(name)).unwrap();
        files::create_dir(&store.root().join(name)).unwrap();
    }
    let store = Store::open(store.root()).unwrap();
    check(&store, &[base, top, fresh]);
}

#[test]
fn hard_links_to_files_of_lower_layers() {
    if !can_mount() {
        return;
    }
    let (_dir, store) = disk_store();
    let base = [dir(""), dir("d"), file("d/a", 700), link("d/b", "d/a"), dir("e"), file("e/f", 3), symlink("s", b"x")];
    let middle = [dir("d"), whiteout("d/a"), file("own", 4)];
    let top = [link("n", "d/b"), dir("e"), link("e/g", "e/f"), link("t", "s"), link("u", "own"), file("z", 1)];
    let base = layer(&store, 0, &base).unwrap();
    let middle = layer(&store, 1, &middle).unwrap();
    let top = layer(&store, 2, &top).unwrap();
    let shown = check(&store, &[base, middle, top]);
    for (name, first) in [("n", "d/b"), ("e/g", "e/f"), ("t", "s"), ("u", "own")] {
        assert_eq!(shown[name.as_bytes()].first, first.as_bytes());
    }
    for driver in [&Erofs as &dyn Snapshotter, &FULL] {
        let error = driver.view(&store, &[middle, top]).unwrap_err();
        assert!(matches!(error, Error::InvalidLayer(_)), "{error}");
        let error = driver.view(&store, &[top]).unwrap_err();
        assert!(matches!(error, Error::InvalidLayer(_)), "{error}");
    }
}

#[test]
fn what_does_not_fit_together_is_damaged_and_what_is_lost_is_made_again() {
    let (_dir, store) = disk_store();
    let base = layer(&store, 0, &[dir(""), file("x", 5000)]).unwrap();
    let other = layer(&store, 1, &[dir(""), file("x", 5000)]).unwrap();
    let before = Erofs.view(&store, &[base]).unwrap();
    let at = |name: &str| store.layers().path(&base).join(name);
    fs::remove_file(at("erofs")).unwrap();
    assert_eq!(Erofs.view(&store, &[base]).unwrap(), before);
    let tar = fs::read(at("tar")).unwrap();
    fs::write(at("tar"), &tar[..tar.len() - 512]).unwrap();
    assert!(matches!(Erofs.view(&store, &[base]), Err(Error::Damaged(_))));
    fs::write(at("tar"), &tar).unwrap();
    fs::copy(store.layers().path(&other).join("erofs"), at("erofs")).unwrap();
    assert!(matches!(Erofs.view(&store, &[base]), Err(Error::Damaged(_))));
    let toc = store.layers().toc(&base).unwrap();
    assert!(!check_layer(&store, &base, &toc, true).unwrap());
    assert!(check_layer(&store, &base, &toc, true).unwrap());
    assert_eq!(Erofs.view(&store, &[base]).unwrap(), before);
    let gone = DiffId(crate::Digest::of(b"gone"));
    assert!(matches!(Erofs.view(&store, &[gone]), Err(Error::NotFound { kind: "layer", .. })));
    assert!(matches!(FULL.view(&store, &[gone]), Err(Error::NotFound { kind: "layer", .. })));
    assert_eq!(Erofs.view(&store, &[]).unwrap(), []);
}

#[test]
fn a_view_of_made_layers_takes_microseconds() {
    let (_dir, store) = disk_store();
    let layers: Vec<_> =
        (0..10).map(|seed| layer(&store, seed, &[dir(""), file(&format!("{seed}"), 5000)]).unwrap()).collect();
    Erofs.view(&store, &layers).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..100 {
        Erofs.view(&store, &layers).unwrap();
    }
    let each = start.elapsed() / 100;
    eprintln!("view of 10 layers: {each:?}");
    assert!(each.as_millis() < 20, "{each:?}");
}

#[test]
fn the_upper_directory_starts_as_the_images_root_and_keeps_what_a_container_did() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let (dir, store) = disk_store();
    let root = Entry { mode: 0o1755, uid: 9, ..entry("", Kind::Directory { opaque: false, implied: false }) };
    let layers = [layer(&store, 0, &[root]).unwrap(), layer(&store, 1, &[file("x", 1)]).unwrap()];
    let rw = dir.path().join("rw");
    fs::create_dir(&rw).unwrap();
    let upper = Erofs.prepare(&store, &layers, &rw).unwrap().upper;
    let found = || fs::metadata(&upper).unwrap();
    assert_eq!((found().mode() & 0o7777, found().uid(), found().mtime_nsec()), (0o1755, 9, 123_456_789));
    // As a mount and a container leave it.
    fs::create_dir(rw.join("work/work")).unwrap();
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o700)).unwrap();
    Erofs.prepare(&store, &layers, &rw).unwrap();
    assert_eq!(found().mode() & 0o7777, 0o700);
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let bare = FULL.prepare(&store, &[], &scratch).unwrap();
    assert_eq!((bare.layers.len(), fs::metadata(&bare.upper).unwrap().mode() & 0o7777), (0, 0o755));
    FULL.remove(&rw).unwrap();
    assert!(!rw.exists());
}

#[test]
fn many_at_once_make_a_chain_once() {
    let (_dir, store) = disk_store();
    let base = layer(&store, 0, &[dir(""), Entry { mode: 0o700, ..dir("d") }, file("d/a", 9)]).unwrap();
    let top = layer(&store, 1, &[file("d/x", 1), link("l", "d/a")]).unwrap();
    let views = std::thread::scope(|scope| {
        let look = |driver: &'static dyn Snapshotter| {
            let root = store.root();
            scope.spawn(move || driver.view(&Store::open(root).unwrap(), &[base, top]).unwrap())
        };
        let threads: Vec<_> = (0..8).map(|n| look(if n % 2 == 0 { &Erofs } else { &FULL })).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(views.iter().step_by(2).all(|view| *view == views[0]));
    assert!(views.iter().skip(1).step_by(2).all(|view| *view == views[1]));
    assert_eq!(fs::read_dir(store.root().join("chains")).unwrap().count(), 1);
}

/// Layers over a handful of names, so that they meet each other in all ways.
fn arbitrary_layers() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("-c")];
    let item = (proptest::collection::vec(name.clone(), 1..4), 0..10_u8, 0..3000_u64, any::<u16>());
    let target = proptest::collection::vec(name, 1..4);
    proptest::collection::vec(proptest::collection::vec((item, target), 0..10), 1..5).prop_map(|layers| {
        let entry_of = |((names, kind, size, number), target): ((Vec<&str>, u8, u64, u16), Vec<&str>)| {
            let kind = match kind {
                0 | 1 => Kind::Directory { opaque: false, implied: false },
                2 => Kind::Directory { opaque: true, implied: false },
                3 => Kind::Symlink { target: b"a/b".to_vec() },
                4 | 5 => Kind::Whiteout,
                6 => Kind::HardLink { target: path(&target.join("/")) },
                7 => Kind::Fifo,
                _ => Kind::file(size),
            };
            let mtime = Time { seconds: i64::from(number), nanoseconds: u32::from(number) };
            let uid = u32::from(number % 5);
            Entry { mode: u32::from(number) & 0o7777, uid, gid: 1, mtime, ..entry(&names.join("/"), kind) }
        };
        layers.into_iter().map(|entries| entries.into_iter().map(entry_of).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stack_of_layers_looks_the_same_everywhere(stack in arbitrary_layers()) {
        if !can_mount() {
            return Ok(());
        }
        let (_dir, store) = disk_store();
        // What cannot be one layer is not of interest here.
        let layers: Vec<_> = stack.iter().zip(0..).filter_map(|(entries, seed)| layer(&store, seed, entries).ok()).collect();
        prop_assume!(!layers.is_empty());
        let Ok(expected) = merged(&store, &layers) else {
            for driver in [&Erofs as &dyn Snapshotter, &FULL] {
                prop_assert!(matches!(driver.view(&store, &layers), Err(Error::InvalidLayer(_))));
            }
            return Ok(());
        };
        for driver in [&Erofs as &dyn Snapshotter, &FULL, &USER] {
            let seen = with_mounted(driver, &store, &layers, mounted).unwrap();
            assert_equal(driver.name(), &seen, &expected);
        }
    }
}
