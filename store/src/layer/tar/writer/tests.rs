use super::*;
use crate::layer::ingest;
use proptest::prelude::*;

fn write(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        let data = vec![b'x'; usize::try_from(entry.size()).unwrap()];
        writer.append(entry, Some(&mut &data[..])).unwrap();
    }
    writer.finish().unwrap()
}

fn entry(path: &[u8], kind: Kind) -> Entry {
    let path = LayerPath::parse(path).unwrap();
    Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: Time::default(), xattrs: vec![] }
}

#[test]
fn plain_entries_need_no_pax() {
    let file = entry(&[b"d".repeat(120), b"/f".to_vec()].concat(), Kind::file(3));
    let bytes = write(std::slice::from_ref(&file));
    assert_eq!(bytes.len(), 4 * 512);
    assert_eq!(bytes, write(&[file]), "the same again");
}

#[test]
fn refuses_data_of_another_size() {
    let file = entry(b"f", Kind::file(3));
    for data in [&b"xx"[..], b"xxxx"] {
        assert!(Writer::new(Vec::new()).append(&file, Some(&mut &data[..])).is_err());
    }
    assert!(Writer::new(Vec::new()).append(&file, None).is_err());
}

#[test]
fn times_go_round() {
    for (seconds, nanoseconds, text) in
        [(-86_401, 500_000_000, "-86400.5"), (-1, 999_999_999, "-0.000000001"), (5, 10, "5.00000001"), (7, 0, "7")]
    {
        assert_eq!(pax_time(Time { seconds, nanoseconds }), text);
    }
}

/// A name of 1 to 255 bytes, any but NUL and slash, and no whiteout.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'e', 1 => (1_u8..=255).prop_filter("no slash", |byte| *byte != b'/')];
    prop_oneof![
        6 => proptest::collection::vec(byte.clone(), 1..4),
        1 => proptest::collection::vec(byte, 100..=255),
    ]
    .prop_filter("plain", |name| name != b"." && name != b".." && !name.starts_with(b".wh."))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (any::<bool>()).prop_map(|opaque| Kind::Directory { opaque, implied: false }),
        4 => (0_u64..3000).prop_map(Kind::file),
        1 => proptest::collection::vec(1_u8..=255, 1..300).prop_map(|target| Kind::Symlink { target }),
        1 => (1_u32..4096, 0_u32..(1 << 20)).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        1 => (0_u32..4096, 0_u32..(1 << 20)).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Whiteout),
    ]
}

prop_compose! {
    fn attributes()(
        mode in 0_u32..=0o7777,
        uid in prop_oneof![Just(0), any::<u32>().prop_map(|id| id.min(u32::MAX - 1))],
        gid in prop_oneof![Just(0), any::<u32>().prop_map(|id| id.min(u32::MAX - 1))],
        seconds in prop_oneof![0_i64..2_000_000_000, -(1_i64 << 55)..(1_i64 << 55)],
        nanoseconds in prop_oneof![Just(0_u32), 0..1_000_000_000_u32],
        xattrs in proptest::collection::btree_map(
            "(user|security|trusted)\\.[a-z]{1,20}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..200), 0..3),
    ) -> (u32, u32, u32, Time, Vec<(Vec<u8>, Vec<u8>)>) {
        (mode, uid, gid, Time { seconds, nanoseconds }, xattrs.into_iter().collect())
    }
}

/// Trees as they come: parents may be missing, names may be in the way of each other.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let path = proptest::collection::vec(name(), 1..4);
    proptest::collection::vec((path, kind(), attributes()), 0..20).prop_map(|list| {
        let mut entries: std::collections::BTreeMap<LayerPath, Entry> = std::collections::BTreeMap::new();
        for (names, kind, (mode, uid, gid, mtime, xattrs)) in list {
            let Ok(path) = LayerPath::parse(&names.join(&b'/')) else { continue };
            let blocked = |other: &Entry| {
                (path.is_within(&other.path) && !other.is_directory())
                    || (other.path.is_within(&path) && !matches!(kind, Kind::Directory { .. }))
            };
            if entries.values().any(blocked) {
                continue;
            }
            entries.insert(path.clone(), Entry { path, kind, mode, uid, gid, mtime, xattrs });
        }
        entries.into_values().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read_back(entries in entries()) {
        let bytes = write(&entries);
        let (toc, notes) = ingest::contents(&bytes[..]).unwrap();
        prop_assert!(notes.is_empty() && toc.dirty_padding().is_empty());
        let hidden = |path: &LayerPath| entries.iter().any(|other| {
            matches!(other.kind, Kind::Directory { opaque: true, .. }) && path != &other.path && path.is_within(&other.path)
        });
        for entry in &entries {
            let Some(back) = toc.get(&entry.path) else {
                prop_assert!(entry.kind == Kind::Whiteout && hidden(&entry.path));
                continue;
            };
            match (&entry.kind, &back.kind) {
                (Kind::Whiteout, Kind::Whiteout) => continue,
                (Kind::File { size, .. }, Kind::File { size: other, extents }) => {
                    prop_assert_eq!(size, other);
                    for extent in extents {
                        let range = extent.offset as usize..(extent.offset + extent.length) as usize;
                        prop_assert!(extent.offset % 512 == 0 && bytes[range].iter().all(|&byte| byte == b'x'));
                    }
                }
                (kind, other) => prop_assert_eq!(kind, other),
            }
            prop_assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (back.mode, back.uid, back.gid, back.mtime));
            prop_assert_eq!(&entry.xattrs, &back.xattrs);
        }
        let known = |path: &LayerPath| entries.iter().any(|entry| &entry.path == path);
        for entry in toc.entries() {
            let is_implied = matches!(entry.kind, Kind::Directory { implied: true, .. });
            prop_assert!(known(&entry.path) || is_implied, "{:?}", entry);
        }
        let encoded = toc.encode();
        prop_assert_eq!(crate::layer::Toc::decode(&encoded).unwrap(), toc);
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = ingest::contents(&bytes[..]);
    }
}

#[test]
fn gnu_tar_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let long = [b"long".repeat(60), b"/".to_vec(), b"name".repeat(50)].concat();
    let mut entries = vec![
        entry(&long, Kind::file(700)),
        entry(b"not\xffutf8", Kind::Symlink { target: b"t".repeat(300) }),
        entry(b"z", Kind::HardLink { target: LayerPath::parse(&long).unwrap() }),
    ];
    entries[0].mtime = Time { seconds: 1_234_567_890, nanoseconds: 123_456_789 };
    std::fs::write(dir.path().join("t.tar"), write(&entries)).unwrap();
    let out = std::process::Command::new("tar").arg("xpf").arg("t.tar").current_dir(&dir).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let at = |name: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(name));
    let metadata = std::fs::metadata(at(b"z")).unwrap();
    assert_eq!((metadata.nlink(), metadata.len(), metadata.mtime_nsec()), (2, 700, 123_456_789));
    assert_eq!(std::fs::read_link(at(b"not\xffutf8")).unwrap().as_os_str().len(), 300);
}
