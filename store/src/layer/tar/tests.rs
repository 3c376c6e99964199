//! The reader against hostile archives of our own making, block by block.

use super::header::BLOCK;
use crate::error::{Error, Result};
use crate::layer::{Entry, Kind, LayerPath, Toc, ingest};

/// An archive made block by block, right or wrong.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    /// A header with the given kind, name, link and size; `change` may spoil it before it is sealed.
    pub(crate) fn header(mut self, kind: u8, name: &str, link: &str, size: u64, change: impl Fn(&mut [u8])) -> Self {
        let mut block = [0_u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub(crate) fn entry(self, kind: u8, name: &str, link: &str) -> Self {
        self.header(kind, name, link, 0, |_| {})
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.header(b'0', name, "", data.len() as u64, |_| {}).data(data)
    }

    pub(crate) fn pax(self, kind: u8, records: &str) -> Self {
        self.header(kind, "PaxHeaders", "", records.len() as u64, |_| {}).data(records.as_bytes())
    }

    pub(crate) fn end(mut self) -> Self {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self
    }

    pub(crate) fn read(&self) -> Result<Toc> {
        ingest::contents(&self.0[..]).map(|(toc, _)| toc)
    }
}

fn raw() -> Raw {
    Raw::default()
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 2;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn path(text: &str) -> LayerPath {
    LayerPath::parse(text.as_bytes()).unwrap()
}

fn get(toc: &Toc, text: &str) -> Entry {
    toc.get(&path(text)).unwrap_or_else(|| panic!("{text} is missing in {toc:#?}")).clone()
}

#[test]
fn hostile_archives_are_refused() {
    let base256 = |at: usize, bytes: &'static [u8]| {
        move |block: &mut [u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        }
    };
    let long = "x".repeat(256);
    let sparse = |extra: &str| format!("{}{extra}", record("GNU.sparse.major", "1") + &record("GNU.sparse.minor", "0"));
    let cases: Vec<(&str, Raw)> = vec![
        ("dot-dot", raw().file("a/../../b", b"x")),
        ("dot-dot alone", raw().entry(b'5', "..", "")),
        ("long name", raw().pax(b'x', &record("path", &long)).file("a", b"")),
        ("long path", raw().pax(b'x', &record("path", &"d/".repeat(2100))).entry(b'5', "a", "")),
        ("no path", raw().file("", b"")),
        ("through a link", raw().entry(b'2', "l", "/etc").file("l/passwd", b"x")),
        ("through a file", raw().file("f", b"x").file("f/g", b"x")),
        ("through a hard link", raw().file("f", b"x").entry(b'1', "h", "f").file("h/g", b"x")),
        ("whiteout through a link", raw().entry(b'2', "l", "/etc").file("l/.wh.passwd", b"")),
        ("opaque through a link", raw().entry(b'2', "l", "/etc").file("l/.wh..wh..opq", b"")),
        ("whiteout of nothing", raw().file("a/.wh.", b"")),
        ("whiteout of dot", raw().file("a/.wh..", b"")),
        ("whiteout of dot-dot", raw().file("a/.wh...", b"")),
        ("inside a whiteout", raw().file(".wh.a/b", b"")),
        ("root as a file", raw().file("./", b"").entry(b'2', "/", "x")),
        ("root as a link", raw().entry(b'2', ".", "/etc")),
        ("hard link to root", raw().entry(b'1', "a", "/")),
        ("hard link out", raw().entry(b'1', "a", "../../etc/passwd")),
        ("hard link to itself", raw().file("a", b"x").entry(b'1', "a", "a")),
        ("hard link to a directory", raw().entry(b'5', "d", "").entry(b'1', "a", "d")),
        ("hard link to a later directory", raw().entry(b'1', "a", "d").entry(b'5', "d", "")),
        ("hard links in a ring", raw().entry(b'1', "a", "b").entry(b'1', "b", "a")),
        ("hard link to a whiteout", raw().entry(b'1', "a", ".wh.b")),
        ("hard link to what is removed", raw().entry(b'1', "a", "b").file(".wh.b", b"")),
        ("empty symlink", raw().entry(b'2', "a", "")),
        ("long symlink", raw().pax(b'x', &record("linkpath", &"t".repeat(5000))).entry(b'2', "a", "")),
        ("symlink with data", raw().header(b'2', "a", "b", 512, |_| {}).data(&[1; 512])),
        ("directory with data", raw().header(b'5', "a", "", 512, |_| {}).data(&[1; 512])),
        ("hard link with data", raw().file("f", b"").header(b'1', "a", "f", 512, |_| {}).data(&[1; 512])),
        ("bad checksum", Raw(raw().file("a", b"x").0.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 0)).collect())),
        ("unknown type", raw().entry(b'Z', "a", "")),
        ("multi-volume", raw().entry(b'M', "a", "")),
        ("file with a slash", raw().file("a/", b"x")),
        ("uid of 2^32 - 1", raw().header(b'0', "a", "", 0, base256(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))),
        ("uid of 2^32", raw().header(b'0', "a", "", 0, base256(108, &[0x80, 0, 0, 1, 0, 0, 0, 0]))),
        ("negative gid", raw().header(b'0', "a", "", 0, base256(116, &[0xff; 8]))),
        ("negative size", raw().header(b'0', "a", "", 0, base256(124, &[0xff; 12]))),
        ("size of 2^63", raw().header(b'0', "a", "", 0, base256(124, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]))),
        ("PAX size of 2^63", raw().pax(b'x', &record("size", "9223372036854775808")).file("a", b"")),
        ("mode of letters", raw().header(b'0', "a", "", 0, base256(100, b"rw-r--r-"))),
        ("data cut short", raw().header(b'0', "a", "", 5000, |_| {}).data(b"x")),
        ("header cut short", Raw(raw().file("a", b"x").0[..600].to_vec())),
        ("padding cut short", Raw(raw().file("a", b"x").0[..513].to_vec())),
        ("lone zero block", Raw([raw().file("a", b"x").0, vec![0; 512], raw().file("b", b"").0].concat())),
        ("PAX without newline", raw().pax(b'x', "9 path=ab").file("a", b"")),
        ("PAX too long", raw().pax(b'x', "99 path=ab\n").file("a", b"")),
        ("PAX without length", raw().pax(b'x', "path=ab\n").file("a", b"")),
        ("PAX with NUL in the path", raw().pax(b'x', &record("path", "a\0b")).file("a", b"")),
        ("PAX of 2 MiB", raw().pax(b'x', &record("comment", &"x".repeat(2 << 20))).file("a", b"")),
        ("two PAX headers", raw().pax(b'x', &record("path", "a")).pax(b'x', &record("path", "b")).file("c", b"")),
        ("PAX at the end", raw().pax(b'x', &record("path", "a"))),
        ("global path", raw().pax(b'g', &record("path", "a")).file("b", b"")),
        ("global size", raw().pax(b'g', &record("size", "1")).file("b", b"")),
        ("global xattr", raw().pax(b'g', &record("SCHILY.xattr.user.a", "1")).file("b", b"")),
        ("bad uid in PAX", raw().pax(b'x', &record("uid", "0x10")).file("b", b"")),
        ("bad time in PAX", raw().pax(b'x', &record("mtime", "1e9")).file("b", b"")),
        ("huge xattr", raw().pax(b'x', &record("SCHILY.xattr.user.a", &"v".repeat(70_000))).file("b", b"")),
        ("bad base64", raw().pax(b'x', &record("LIBARCHIVE.xattr.user.a", "!")).file("b", b"")),
        (
            "sparse of unknown version",
            raw().pax(b'x', &(record("GNU.sparse.major", "2") + &record("GNU.sparse.realsize", "1"))).file("b", b""),
        ),
        ("sparse without a size", raw().pax(b'x', &sparse("")).file("b", b"0\n")),
        ("sparse with a cut map", raw().pax(b'x', &sparse(&record("GNU.sparse.realsize", "9"))).file("b", b"5\n")),
        (
            "sparse with too many parts",
            raw()
                .pax(b'x', &sparse(&record("GNU.sparse.realsize", "9")))
                .file("b", &[b"99999999\n".to_vec(), vec![0; 600]].concat()),
        ),
        (
            "sparse that overlaps",
            raw()
                .pax(b'x', &(record("GNU.sparse.map", "0,512,100,512") + &record("GNU.sparse.size", "2000")))
                .file("b", &[1; 1024]),
        ),
        (
            "sparse beyond its size",
            raw()
                .pax(b'x', &(record("GNU.sparse.map", "0,512") + &record("GNU.sparse.size", "100")))
                .file("b", &[1; 512]),
        ),
        (
            "sparse with data left",
            raw()
                .pax(b'x', &(record("GNU.sparse.map", "0,512") + &record("GNU.sparse.size", "600")))
                .file("b", &[1; 2048]),
        ),
        ("device too large", raw().header(b'3', "a", "", 0, base256(329, b"7777777\0"))),
        ("compressed twice", Raw(vec![0x1f, 0x8b, 8, 0, 0, 0])),
        ("no tar at all", Raw(vec![b'x'; 2048])),
    ];
    assert!(cases.len() >= 60);
    for (name, archive) in cases {
        let result = archive.clone().end().read();
        // Those that are cut short must be without an end as well.
        let cut = name.contains("cut") || name == "PAX at the end";
        let result = if cut { archive.read() } else { result };
        assert!(matches!(result, Err(Error::InvalidLayer(_) | Error::Limit { .. })), "{name}: {result:?}");
    }
}

#[test]
fn every_prefix_of_an_archive_is_refused_or_read_without_panic() {
    let archive = raw()
        .pax(b'x', &record("mtime", "1.5"))
        .file("a", &[7; 700])
        .entry(b'5', "d", "")
        .header(b'S', "s", "", 512, |block| {
            block[386..410].copy_from_slice(b"00000001000\x0000000001000\0");
            block[483..495].copy_from_slice(b"00000003000\0");
        })
        .data(&[9; 512])
        .end();
    archive.read().unwrap();
    for length in 0..archive.0.len() {
        let _ = Raw(archive.0[..length].to_vec()).read();
    }
    // And every byte changed.
    for index in 0..archive.0.len() {
        let mut changed = archive.clone();
        changed.0[index] ^= 0x81;
        let _ = changed.read();
    }
}

#[test]
fn whiteouts_are_translated() {
    let toc = raw()
        .file("a/.wh.gone", b"")
        .entry(b'5', "o/", "")
        .file("o/.wh..wh..opq", b"")
        .file("o/.wh.needless", b"")
        .file("o/sub/.wh.needless", b"")
        .file("implied/.wh..wh..opq", b"")
        .file(".wh..wh.aufs", b"")
        .entry(b'5', ".wh..wh.plnk/", "")
        .file(".wh..wh.plnk/1.2", b"x")
        .file(".wh.renewed", b"")
        .file("renewed", b"x")
        .file(".wh.dir", b"")
        .file("dir/f", b"x")
        .end()
        .read()
        .unwrap();
    assert_eq!(get(&toc, "a/gone").kind, Kind::Whiteout);
    assert_eq!(get(&toc, "a").kind, Kind::Directory { opaque: false, implied: true });
    assert_eq!(get(&toc, "o").kind, Kind::Directory { opaque: true, implied: false });
    assert_eq!(get(&toc, "implied").kind, Kind::Directory { opaque: true, implied: true });
    assert!(matches!(get(&toc, "renewed").kind, Kind::File { size: 1, .. }));
    // What is below is hidden, and nothing is inherited from it.
    assert_eq!(get(&toc, "dir").kind, Kind::Directory { opaque: true, implied: false });
    assert!(toc.get(&path("o/needless")).is_none() && toc.get(&path("o/sub/needless")).is_none());
    assert!(!toc.entries().iter().any(|entry| entry.path.as_bytes().starts_with(b".wh")));
}

#[test]
fn a_whiteout_of_a_long_name_is_longer_than_a_name() {
    let name = "n".repeat(255);
    let read = |raw_path: &str| raw().pax(b'x', &record("path", raw_path)).file("a", b"").end().read();
    let toc = read(&format!("d/.wh.{name}")).unwrap();
    assert_eq!(get(&toc, &format!("d/{name}")).kind, Kind::Whiteout);
    for bad in [format!("d/.wh.{name}n"), format!(".wh.d/.wh.{name}"), format!("../.wh.{name}")] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn later_members_win() {
    let toc = raw()
        .file("f", b"old")
        .entry(b'1', "l", "f")
        .entry(b'1', "k", "f")
        .file("f", b"newer")
        .entry(b'5', "d", "")
        .file("d/e/child", b"x")
        .file("d-", b"x")
        .file("d", b"now a file")
        .entry(b'2', "s", "x")
        .entry(b'5', "s", "")
        .file("s/in", b"x")
        .end()
        .read()
        .unwrap();
    assert_eq!(get(&toc, "f").size(), 5);
    // The old content lives on under its other names; the first of them has it.
    assert_eq!(get(&toc, "k").size(), 3);
    assert_eq!(get(&toc, "l").kind, Kind::HardLink { target: path("k") });
    assert_eq!(get(&toc, "d").size(), 10);
    assert!(toc.get(&path("d/e")).is_none() && toc.get(&path("d/e/child")).is_none() && toc.get(&path("d-")).is_some());
    assert!(get(&toc, "s").is_directory());
}

#[test]
fn hard_links_name_the_first_or_what_lies_below() {
    let toc = raw()
        .entry(b'1', "early", "z")
        .entry(b'1', "b", "below/file")
        .entry(b'1', "c", "b")
        .file("z", b"content")
        .end()
        .read()
        .unwrap();
    assert_eq!(get(&toc, "early").size(), 7);
    assert_eq!(get(&toc, "z").kind, Kind::HardLink { target: path("early") });
    assert_eq!(get(&toc, "b").kind, Kind::HardLink { target: path("below/file") });
    assert_eq!(get(&toc, "c").kind, Kind::HardLink { target: path("below/file") });
    assert_eq!(toc.foreign_links(), 2);
}

#[test]
fn oddities_are_read_and_noted() {
    let mut archive = raw().file("a", b"x").entry(b'3', "null", "").file("b", &[1; 512]).end();
    archive.0[512 + 100] = 7;
    archive.0.extend_from_slice(b"more");
    let (toc, notes) = ingest::contents(&archive.0[..]).unwrap();
    assert_eq!(toc.dirty_padding(), [1], "of {toc:?}");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(toc.get(&path("null")).is_none());
    assert_eq!(ingest::contents(&[][..]).unwrap().0.entries().len(), 1);
    assert_eq!(raw().file("a", b"x").read().unwrap().entries().len(), 2, "no end blocks");
    assert!(raw().header(b'0', "a", "", 0, |b| b[257..265].fill(0)).end().read().is_ok(), "V7");
    let pax = record("SCHILY.xattr.trusted.overlay.opaque", "y")
        + &record("SCHILY.xattr.user.overlay.redirect", "/x")
        + &record("SCHILY.xattr.user.kept", "1");
    let toc = raw().pax(b'x', &pax).entry(b'5', "d", "").end().read().unwrap();
    assert_eq!(get(&toc, "d").xattrs, [(b"user.kept".to_vec(), b"1".to_vec())]);
}

#[test]
fn the_size_of_pax_wins() {
    // The block says 0, PAX says 512: the next block is data, not a hidden header.
    let inner = raw().file("hidden", b"");
    let toc =
        raw().pax(b'x', &record("size", "512")).header(b'0', "a", "", 0, |_| {}).data(&inner.0).end().read().unwrap();
    assert_eq!(get(&toc, "a").size(), 512);
    assert!(toc.get(&path("hidden")).is_none());
}

#[test]
fn memory_is_bounded() {
    let value = "v".repeat(60_000);
    let mut archive = raw();
    let pax: String = (0..17).map(|n| record(&format!("SCHILY.xattr.user.{n}"), &value)).collect();
    for n in 0..200 {
        archive = archive.pax(b'x', &pax).file(&n.to_string(), b"");
    }
    assert!(matches!(archive.end().read(), Err(Error::Limit { .. })));
}
