use super::*;
use crate::layer::{LayerPath, Time};
use crate::testing;

fn entry(path: &str, kind: Kind) -> Entry {
    let path = LayerPath::parse(path.as_bytes()).unwrap();
    Entry { path, kind, mode: 0o755, uid: 1, gid: 2, mtime: Time { seconds: 5, nanoseconds: 0 }, xattrs: vec![] }
}

#[test]
fn writes_a_layer_twice_the_same() {
    let (_dir, store) = testing::store();
    let big = vec![7; 1_000_000];
    let write = || {
        let mut writer = store.layers().writer().unwrap();
        writer.add(&entry("a", Kind::Directory { opaque: true, implied: false }), None).unwrap();
        writer.add(&entry("a/big", Kind::file(1_000_000)), Some(&mut &big[..])).unwrap();
        writer.add(&entry("a/link", Kind::HardLink { target: LayerPath::parse(b"a/big").unwrap() }), None).unwrap();
        writer.add(&entry("b/c", Kind::Whiteout), None).unwrap();
        writer.add(&entry("b/empty", Kind::file(0)), None).unwrap();
        writer.finish().unwrap()
    };
    let info = write();
    assert_eq!(write(), info);
    assert_eq!(info.implied_directories, 1);
    let toc = store.layers().toc(&info.diff_id).unwrap();
    let (read_back, _) =
        crate::layer::ingest::contents(io::BufReader::new(store.layers().open_tar(&info.diff_id).unwrap())).unwrap();
    assert_eq!(read_back, toc, "what the writer says is what a reader sees");
    assert_eq!(crate::check::check(&store, crate::check::CheckOptions::default()).unwrap().problems, []);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let (_dir, store) = testing::store();
    let mut writer = store.layers().writer().unwrap();
    writer.add(&entry("a", Kind::Fifo), None).unwrap();
    assert!(writer.add(&entry("a/b", Kind::Fifo), None).is_err());
    drop(writer);
    assert!(store.layers().list().unwrap().is_empty());
    let tmp = store.root().join("tmp");
    let owner = crate::files::names(&tmp).unwrap();
    assert_eq!(crate::files::names(&tmp.join(&owner[0])).unwrap(), ["lease"]);
}
