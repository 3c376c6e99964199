//! Sparse files in all four forms of GNU tar, and maps that lie: parts that overlap, lie outside, run backwards, or speak
//! of more or fewer bytes than the archive has.

use crate::case::{Case, refused, taken};
use crate::tar::{Head, MAGIC, Tar};

/// An old GNU header (type `S`): real size, pairs, whether blocks of further pairs follow.
fn old(stored: u64, real: &[u8], pairs: &[(&[u8], &[u8])], more: bool) -> Head {
    let mut head = Head::new(b'S', "s").set(MAGIC, b"ustar  \0").size(stored);
    for (index, (offset, length)) in pairs.iter().enumerate() {
        let at = 386 + index * 24;
        head = head.set(at..at + 12, offset).set(at + 12..at + 24, length);
    }
    head.set(482..483, [u8::from(more)]).set(483..495, real)
}

fn pax(records: &[(&str, &str)], data: &[u8]) -> Vec<u8> {
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    Tar::new().pax(&records).sized(Head::new(b'0', "s"), data).end()
}

/// PAX 1.0: the map is text in the first blocks of the data.
fn one(map: &str, size: &str, data: &[u8]) -> Vec<u8> {
    let mut all = map.as_bytes().to_vec();
    all.resize(all.len().next_multiple_of(512), 0);
    all.extend_from_slice(data);
    pax(
        &[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", size),
        ],
        &all,
    )
}

fn map(map: &str, size: &str, data: &[u8]) -> Vec<u8> {
    pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)], data)
}

/// The rows.
pub fn cases(_: &str) -> Vec<Case> {
    let block = [b'b'; 512];
    let two = [b'b'; 1024];
    let at_8192: (&[u8], &[u8]) = (b"00000020000", b"00000001000");
    let old = |real: &[u8], pairs: &[(&[u8], &[u8])]| Tar::new().put(old(512, real, pairs, false), block).end();
    let pairs = |pairs: &[(&str, &str)]| {
        let mut records = vec![("GNU.sparse.size", "9000"), ("GNU.sparse.numblocks", "1")];
        records.extend(pairs);
        pax(&records, &block)
    };
    let whole = "f 644 0:0 9000 s";
    vec![
        taken("old", "the old GNU form is read", old(b"00000021450", &[at_8192]), &[whole]),
        taken("0.0", "PAX 0.0 is read", pairs(&[("GNU.sparse.offset", "0"), ("GNU.sparse.numbytes", "512")]), &[whole]),
        taken("0.1", "PAX 0.1 is read", map("0,512,8192,512", "9000", &two), &[whole]),
        taken("1.0", "PAX 1.0 is read", one("2\n0\n512\n8192\n512\n", "9000", &two), &[whole]),
        taken("all-hole", "a file may be all hole", map("9000,0", "9000", b""), &[whole]),
        refused("old-overlap", "parts do not overlap", old(b"00000021450", &[at_8192, at_8192]), &["overlap"]),
        refused("0.1-overlap", "parts do not overlap", map("0,512,256,512", "9000", &two), &["overlap"]),
        refused("1.0-overlap", "parts do not overlap", one("2\n0\n512\n256\n512\n", "9000", &two), &["overlap"]),
        refused("backwards", "parts come in order", map("4096,512,0,512", "9000", &two), &["overlap or lie outside"]),
        refused("outside", "parts lie within the file", map("8900,512", "9000", &block), &["overlap or lie outside"]),
        refused("old-outside", "also in the old form", old(b"00000000100", &[at_8192]), &["overlap or lie outside"]),
        refused(
            "overflow",
            "a part's end does not overflow",
            map("18446744073709551615,512", "9000", &block),
            &["beyond all sizes"],
        ),
        refused(
            "more-in-map",
            "the map speaks of no more data than there are",
            map("0,1024", "9000", &block),
            &["more data in its map"],
        ),
        refused("less-in-map", "nor of less", map("0,512", "9000", &two), &["less data in its map"]),
        refused("odd-count", "a map is pairs", map("0,512,8192", "9000", &block), &["wrong length"]),
        refused("wrong-count", "as many as were announced", pairs(&[]), &["wrong length"]),
        refused(
            "out-of-order",
            "an offset comes before its length",
            pairs(&[("GNU.sparse.numbytes", "1")]),
            &["out of order"],
        ),
        refused("map-empty", "an empty number is none", map("0,,512", "9000", &block), &["a number that is none"]),
        refused("map-sign", "nor a signed one", map("-1,512", "9000", &block), &["a number that is none"]),
        refused(
            "no-size",
            "a sparse file has a size",
            pax(&[("GNU.sparse.map", "0,512")], &block),
            &["without a size"],
        ),
        refused("size-2^63", "that a file can have", map("0,512", "9223372036854775808", &block), &["has the size"]),
        refused("size-large", "and a file system can hold", map("0,512", "4000000000000000000", &block), &["s"]),
        refused("old-size-negative", "and is not negative", old(&[0xff; 12], &[at_8192]), &["negative"]),
        refused("old-pair-negative", "nor is a part", old(b"00000021450", &[(&[0xff; 12], b"1")]), &["negative"]),
        refused(
            "old-pair-text",
            "a part's numbers are octal digits",
            old(b"00000021450", &[(b"99", b"1")]),
            &["sparse map"],
        ),
        refused(
            "old-cut",
            "announced blocks of pairs are there",
            Tar::new().raw(self::old(512, b"00000021450", &[at_8192], true).bytes()).0,
            &["cut short"],
        ),
        refused(
            "old-blocks-of-garbage",
            "and hold pairs",
            Tar::new().raw(self::old(512, b"00000021450", &[at_8192], true).bytes()).raw([b'x'; 512]).raw(block).end(),
            &["sparse map"],
        ),
        refused("1.0-cut", "a text map ends within the data", one(&"1\n".repeat(256), "9000", b""), &["a sparse file"]),
        refused(
            "1.0-long-number",
            "its numbers have at most 20 digits",
            one(&"1".repeat(600), "9000", &block),
            &["too long"],
        ),
        refused("1.0-text", "and digits only", one("1\nx\n512\n", "9000", &block), &["a number that is none"]),
        refused(
            "1.0-count",
            "its count is believed up to a bound",
            one("99999999\n0\n", "9000", &block),
            &["too many parts"],
        ),
        refused(
            "version",
            "an unknown version is refused",
            pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.size", "1")], b""),
            &["unknown format"],
        ),
        refused(
            "key",
            "an unknown record of sparse files as well",
            pax(&[("GNU.sparse.x", "1")], b""),
            &["unknown or out of order"],
        ),
        refused(
            "name-up",
            "the name in a sparse file's records is held to the rules of names",
            pax(&[("GNU.sparse.name", "../../planted"), ("GNU.sparse.size", "0"), ("GNU.sparse.map", "0,0")], b""),
            &["contains `..`"],
        ),
        refused(
            "directory",
            "only a file is sparse",
            Tar::new().pax(&[("GNU.sparse.size", b"0")]).dir("d").end(),
            &["data behind a tar member that is no file"],
        ),
    ]
}
