use super::*;
use crate::layer::tree::Entries;
use crate::layer::{Extent, Time};
use proptest::prelude::*;

fn file(path: &str, extents: &[(u64, u64, u64)], size: u64) -> Entry {
    let extents = extents.iter().map(|&(logical, offset, length)| Extent { logical, offset, length });
    Entry {
        path: LayerPath::parse(path.as_bytes()).unwrap(),
        kind: Kind::File { size, extents: extents.collect::<Vec<_>>().into() },
        mode: 0o644,
        uid: 1000,
        gid: 4_294_967_294,
        mtime: Time { seconds: -5, nanoseconds: 7 },
        xattrs: vec![(b"user.a".to_vec(), vec![0, 255])],
    }
}

fn directory(path: &str) -> Entry {
    Entry { kind: Kind::Directory { opaque: false, implied: false }, ..file(path, &[], 0) }
}

fn sample() -> Toc {
    let entries = vec![
        directory(""),
        directory("a"),
        file("a/b", &[(0, 1024, 5)], 5),
        file("a/c", &[(0, 4096, 512), (9000, 4608, 10)], 10_000),
        Entry { kind: Kind::Whiteout, ..file("a-", &[], 0) },
        file("b", &[], 1 << 40),
    ];
    Toc::new(entries, vec![2]).unwrap()
}

#[test]
fn goes_round() {
    let toc = sample();
    assert_eq!(Toc::decode(&toc.encode()).unwrap(), toc);
    assert_eq!(toc.get(&LayerPath::parse(b"a/c").unwrap()).unwrap().size(), 10_000);
    assert!(toc.get(&LayerPath::parse(b"nope").unwrap()).is_none());
}

#[test]
fn entries_are_the_same_one_at_a_time() {
    let toc = sample();
    let bytes = toc.encode();
    let mut seen = Vec::new();
    let encoded = Listing::new(bytes.clone()).unwrap();
    encoded
        .each(&mut |index, entry| {
            assert_eq!(index, seen.len());
            seen.push(entry.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!((encoded.count(), seen.as_slice()), (seen.len(), toc.entries()));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Listing::new(bad).is_err(), "byte {at}");
    }
    let faulty = Toc { entries: vec![directory(""), Entry { mode: 0o10000, ..file("a", &[], 0) }], dirty: vec![] };
    let bytes = faulty.encode();
    assert!(Listing::new(bytes).unwrap().each(&mut |_, _| Ok(())).is_err());
}

#[test]
fn listed_entries_are_found_by_path_and_place() {
    for count in [0, 1, 30, 31, 32, 33, 100] {
        let files = (0..count).map(|number| file(&format!("d/file{number:03}"), &[(0, 512, 9)], 9));
        let mut entries = vec![directory(""), directory("d")];
        entries.extend(files);
        entries.push(Entry { kind: Kind::Symlink { target: b"d".to_vec() }, ..file("e", &[], 0) });
        let listing = Listing::new(Toc::new(entries.clone(), vec![]).unwrap().encode()).unwrap();
        for (found, entry) in listing.entries().zip(&entries) {
            let (place, found) = found.unwrap();
            assert_eq!(&found, entry);
            assert_eq!(listing.find(&entry.path).unwrap(), Some(place));
            let path = LayerPath::parse(b"other/name").unwrap();
            assert_eq!(listing.entry(place, path.clone()).unwrap(), Entry { path, ..entry.clone() });
        }
        assert_eq!(listing.entries().count(), entries.len());
        for nothing in ["a", "d/file", "d/file000x", "d/file050x", "d/g", "f"] {
            assert_eq!(listing.find(&LayerPath::parse(nothing.as_bytes()).unwrap()).unwrap(), None, "{nothing}");
        }
    }
}

#[test]
fn refuses_what_is_no_table() {
    let bad: Vec<Vec<Entry>> = vec![
        vec![],
        vec![file("a", &[], 0)],
        vec![directory(""), file("b", &[], 0), file("a", &[], 0)],
        vec![directory(""), file("a", &[], 0), file("a", &[], 0)],
        vec![directory(""), file("a", &[], 0), file("a/b", &[], 0)],
        vec![directory(""), file("a/b", &[], 0)],
        vec![directory(""), directory("ab"), file("a/b", &[], 0)],
        vec![directory(""), file("a", &[(0, 0, 10)], 5)],
        vec![directory(""), file("a", &[(5, 0, 5), (0, 512, 5)], 10)],
        vec![directory(""), file("a", &[(0, u64::MAX, 5)], 10)],
        vec![directory(""), Entry { mode: 0o10000, ..file("a", &[], 0) }],
    ];
    for entries in bad {
        assert!(Toc::new(entries.clone(), vec![]).is_err(), "{entries:?}");
    }
    assert!(Toc::new(vec![directory("")], vec![1]).is_err());
    let whole = sample().encode();
    for length in 0..whole.len() {
        assert!(Toc::decode(&whole[..length]).is_err());
    }
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    assert!(Toc::decode(&flipped).is_err());
}

#[test]
fn large_tables_are_quick() {
    let mut entries = vec![directory("")];
    for directory_index in 0..200 {
        entries.push(directory(&format!("usr{directory_index:03}")));
        for index in 0..100 {
            entries.push(file(&format!("usr{directory_index:03}/file{index:03}"), &[(0, 512, 100)], 100));
        }
    }
    let toc = Toc::new(entries, vec![]).unwrap();
    let start = std::time::Instant::now();
    let bytes = toc.encode();
    let encoded = start.elapsed();
    let start = std::time::Instant::now();
    let decoded = Toc::decode(&bytes).unwrap();
    println!("{} bytes, encoded in {encoded:?}, decoded in {:?}", bytes.len(), start.elapsed());
    assert_eq!(decoded, toc);
    assert!(bytes.len() < 20_000 * 64);
}

proptest! {
    #[test]
    fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut content = MAGIC.to_vec();
        content.push(VERSION);
        content.extend_from_slice(&bytes);
        let _ = Toc::decode_content(&content);
        let _ = Toc::decode_content(&bytes);
    }

    #[test]
    fn changed_bytes_do_no_harm(index in 7_usize..100, value in any::<u8>()) {
        let mut content = sample().encode();
        content.truncate(content.len() - 32);
        let index = index % content.len();
        content[index] = value;
        if let Ok(toc) = Toc::decode_content(&content) {
            prop_assert!(toc.check().is_ok());
        }
    }
}
