//! PAX headers: sizes that disagree with the block, records that two readers could take apart differently, and what may
//! never come in by them. A malformed one refuses the layer.

use crate::case::{Case, refused, taken};
use crate::tar::{Head, Tar, record};

/// The rows.
pub fn cases(_: &str) -> Vec<Case> {
    let tar = Tar::new;
    // A member that only a reader sees which takes the wrong size.
    let hidden = tar().file("hidden", "").0;
    let raw = |records: &[u8]| tar().pax_raw(records).file("x", "x").end();
    let with = |key: &str, value: &[u8]| tar().pax(&[(key, value)]).file("x", "x").end();
    let malformed = "a malformed PAX record refuses the layer";
    let mut cases = vec![
        taken(
            "size-over-zero",
            "the size of a PAX header wins over a smaller one in the block",
            tar().pax(&[("size", b"512")]).put(Head::new(b'0', "x"), &hidden).end(),
            &["f 644 0:0 512 x", "!hidden"],
        ),
        taken(
            "size-zero-over",
            "and over a larger one",
            tar().pax(&[("size", b"0")]).put(Head::new(b'0', "x").size(512), "").raw(&hidden).end(),
            &["f 644 0:0 0 x", "f 644 0:0 0 hidden"],
        ),
        refused(
            "size-of-directory",
            "what has no data has no size",
            tar().pax(&[("size", b"512")]).put(Head::new(b'5', "d"), &hidden).end(),
            &["data behind a tar member that is no file"],
        ),
        refused(
            "size-of-link",
            "a link with data hides members from other readers",
            tar().put(Head::new(b'2', "s").link("x").size(512), &hidden).end(),
            &["data behind a tar member that is no file"],
        ),
        refused(
            "size-of-hard-link",
            "so does a hard link",
            tar().file("a", "").put(Head::new(b'1', "h").link("a").size(512), &hidden).end(),
            &["data behind a tar member that is no file"],
        ),
        refused(
            "size-large",
            "a size beyond 64 bits is none",
            with("size", b"99999999999999999999"),
            &["a number that is none"],
        ),
        refused("size-negative", "a negative size is none", with("size", b"-1"), &["a number that is none"]),
        refused(
            "size-2^63",
            "a size is at most what a file can have",
            with("size", b"9223372036854775808"),
            &["has the size"],
        ),
        refused("size-hex", "a number is decimal digits", with("size", b"0x200"), &["a number that is none"]),
        refused("size-blank", "without blanks", with("size", b" 512"), &["a number that is none"]),
        taken("size-leading-zeros", "leading zeros mean nothing", with("size", b"0001"), &["f 644 0:0 1 x"]),
        refused("no-length", malformed, raw(b"path=a\n"), &["PAX header"]),
        refused("length-sign", malformed, raw(b"+12 path=abc\n"), &["PAX header"]),
        refused("length-zero", "a record is longer than its own length field", raw(b"0 path=a\n"), &["PAX header"]),
        refused("length-long", "a record ends within its header", raw(b"99 path=a\n"), &["longer than its header"]),
        refused(
            "length-huge",
            "also with a length that overflows",
            raw(b"99999999 path=a\n"),
            &["longer than its header"],
        ),
        refused("length-short", "a record ends with its newline", raw(b"9 path=abc\n"), &["without its newline"]),
        refused("no-newline", "also the last one", raw(b"8 path=a"), &["without its newline"]),
        refused("no-equals", "a record has a key and a value", raw(b"7 path\n"), &["without `=`"]),
        refused("no-key", "the key is not empty", raw(b"6 =ab\n"), &["without a key"]),
        refused("key-nul", "the key has no NUL", raw(b"13 pa\0th=abc\n"), &["without a key"]),
        refused(
            "zeros-behind",
            "zeros behind the last record are no padding",
            raw(b"12 path=abc\n\0\0\0\0"),
            &["PAX header"],
        ),
        taken(
            "twice-in-one",
            "of two records of a key the later counts",
            raw(b"9 path=a\n9 path=b\n"),
            &["f 644 0:0 1 b", "!a"],
        ),
        refused(
            "two-headers",
            "a member has one PAX header",
            tar().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", "").end(),
            &["two PAX headers"],
        ),
        refused(
            "at-the-end",
            "a PAX header belongs to a member",
            tar().pax(&[("path", b"a")]).end(),
            &["ends behind an extended header"],
        ),
        taken(
            "over-long-name",
            "a PAX path wins over a GNU long name, whichever comes first",
            tar().pax(&[("path", b"pax")]).long(b'L', "gnu").file("x", "").end(),
            &["f 644 0:0 0 pax", "!gnu", "!x"],
        ),
        taken("path-empty", "an empty value takes a record back", with("path", b""), &["f 644 0:0 1 x"]),
        refused("path-slash", "a file's PAX path does not end with a slash", with("path", b"d/"), &["slash"]),
        refused(
            "too-large",
            "a PAX header has at most 1 MiB",
            with("comment", &vec![b'c'; 1 << 20]),
            &["1048576 bytes"],
        ),
        taken(
            "comment",
            "what is only a remark may fill it",
            with("comment", &vec![b'c'; (1 << 20) - 40]),
            &["f 644 0:0 1 x"],
        ),
        refused("number-nan", "a time is digits", with("mtime", b"nan"), &["a number that is none"]),
        refused("time-exponent", "also behind its dot", with("mtime", b"1.5e3"), &["a time that is none"]),
        refused("uid-2^32", "an owner has 32 bits", with("uid", b"4294967296"), &["has the owner"]),
        refused(
            "uid-minus-one",
            "and is not the one that means nobody",
            with("gid", b"4294967295"),
            &["has the owner"],
        ),
        refused("uid-negative", "nor negative", with("uid", b"-2"), &["has the owner"]),
        taken("unknown", "keys of others mean nothing", with("RHT.x", b"\0\xff"), &["f 644 0:0 1 x"]),
        taken("charset", "a charset changes no bytes of a name", with("hdrcharset", b"BINARY"), &["f 644 0:0 1 x"]),
        taken(
            "global-owner",
            "a global header may speak of what all have in common",
            tar().global(&[("uid", b"7")]).file("x", "").file("y", "").end(),
            &["f 644 7:0 0 x", "f 644 7:0 0 y"],
        ),
        refused(
            "too-large-global",
            "a global one as well",
            tar().global(&[("c", &vec![b'c'; 1 << 20])]).end(),
            &["1048576 bytes"],
        ),
    ];
    for key in ["path", "linkpath", "size", "GNU.sparse.size", "SCHILY.xattr.user.a", "LIBARCHIVE.xattr.user.a"] {
        let layer = tar().global(&[(key, b"1234")]).file("x", "x").end();
        cases.push(refused(&format!("global-{key}"), "a global header speaks of no single file", layer, &["a global"]));
    }
    cases.extend(attributes());
    cases
}

/// Extended attributes.
fn attributes() -> Vec<Case> {
    let with = |key: &str, value: &[u8]| Tar::new().pax(&[(key, value)]).file("x", "x").end();
    let dropped = "overlayfs's own attributes never come in";
    let mut cases = vec![
        refused("xattr-no-name", "an attribute has a name", with("SCHILY.xattr.", b"v"), &["an extended attribute"]),
        refused(
            "xattr-long-name",
            "of at most 255 bytes",
            with(&format!("SCHILY.xattr.user.{}", "n".repeat(255)), b"v"),
            &["an extended attribute"],
        ),
        refused(
            "xattr-long",
            "and a value of at most 64 KiB",
            with("SCHILY.xattr.user.a", &[b'v'; 65537]),
            &["an extended attribute"],
        ),
        refused("xattr-base64", "what is said to be base64 is", with("LIBARCHIVE.xattr.user.a", b"???"), &["base64"]),
        refused(
            "xattr-escape",
            "an escaped name is escaped right",
            with("LIBARCHIVE.xattr.user.%zz", b"YQ"),
            &["escape"],
        ),
        taken("xattr", "an attribute comes in", with("SCHILY.xattr.user.a", b"v"), &["x user.a x"]),
    ];
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.origin",
        "trusted.overlay.overlay.opaque",
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.overlay.overlay.whiteout",
        "user.overlay.whiteouts",
    ] {
        let layer = Tar::new().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]).dir("base").end();
        let tree = ["f 644 0:0 5 base/file", &format!("!x {name}")];
        cases.push(taken(&format!("xattr-{name}"), dropped, layer, &tree));
    }
    let escaped = Tar::new().pax(&[("LIBARCHIVE.xattr.trusted%2Eoverlay%2Eopaque", b"eQ")]).dir("base").end();
    cases.push(taken("xattr-escaped-overlay", "nor by an escaped name", escaped, &["f 644 0:0 5 base/file"]));
    let many: Vec<u8> = (0..100).flat_map(|n| record(&format!("SCHILY.xattr.user.a{n}"), b"v")).collect();
    cases.push(taken(
        "xattr-many",
        "many attributes of one file are kept as they are",
        Tar::new().pax_raw(many).file("x", "x").end(),
        &["f 644 0:0 1 x", "x user.a99 x"],
    ));
    cases
}
