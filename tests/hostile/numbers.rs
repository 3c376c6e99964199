//! Numbers of header blocks that are none, do not fit, or would become others when cut.

use crate::case::{Case, refused, taken};
use crate::tar::{GID, Head, MAJOR, MINOR, MODE, MTIME, SIZE, Tar, UID, base256};

/// The rows.
pub fn cases(_: &str) -> Vec<Case> {
    let file = |field: std::ops::Range<usize>, bytes: &[u8]| {
        Tar::new().put(Head::new(b'0', "x").size(1).set(field, bytes), "x").end()
    };
    let node =
        |major: &[u8], minor: &[u8]| Tar::new().put(Head::new(b'3', "n").set(MAJOR, major).set(MINOR, minor), "").end();
    let big = |value: i128| base256(8, value);
    let long = |value: i128| base256(12, value);
    let x = "f 644 0:0 1 x";
    vec![
        refused("size-negative", "a negative size is refused", file(SIZE, &long(-512)), &["has the size -512"]),
        refused("size-2^63", "a size fits a file offset", file(SIZE, &long(1 << 63)), &["has the size"]),
        refused("size-2^62", "and leaves room to round it up", file(SIZE, &long((1 << 62) + 1)), &["has the size"]),
        refused(
            "size-96-bits",
            "a size of 95 bits is not cut to 64",
            file(SIZE, &long((1 << 80) + 1)),
            &["has the size"],
        ),
        refused(
            "size-2^40",
            "a size that the archive has not is refused, without room being made for it",
            file(SIZE, &long(1 << 40)),
            &["cut short"],
        ),
        taken("size-base-256", "a base-256 size is read", file(SIZE, &long(1)), &[x]),
        refused("size-text", "a number is octal digits", file(SIZE, b"00000000008"), &["has the size"]),
        refused("size-sign", "without sign", file(SIZE, b"-0000000001"), &["has the size"]),
        refused("size-behind-nul", "and nothing behind its end", file(SIZE, b"1\x002"), &["has the size"]),
        taken("size-blanks", "blanks around it mean nothing", file(SIZE, b"     1 \0    "), &[x]),
        refused(
            "uid-2^32",
            "an owner has 32 bits and is not cut to them",
            file(UID, &big(1 << 32)),
            &["has the owner 4294967296"],
        ),
        refused("gid-2^32", "nor is a group", file(GID, &big((1 << 32) + 5)), &["has the owner 4294967301"]),
        refused(
            "uid-2^32-1",
            "the owner that means nobody is refused",
            file(UID, &big((1 << 32) - 1)),
            &["has the owner"],
        ),
        refused("uid-negative", "an owner is not negative", file(UID, &big(-1)), &["has the owner -1"]),
        taken(
            "uid-2^31",
            "an owner with its highest bit set is one",
            file(UID, &big(1 << 31)),
            &["f 644 2147483648:0 1 x"],
        ),
        taken("uid-empty", "an empty field is zero", file(UID, b""), &[x]),
        taken("mode-type", "bits of the type in a mode are not believed", file(MODE, b"0120644"), &[x]),
        taken("mode-setuid", "setuid, setgid and sticky bits are content", file(MODE, b"0007755"), &["f 7755 0:0 1 x"]),
        refused("mode-text", "a mode is digits", file(MODE, b"rw-r--r--"), &["has the mode"]),
        taken("mtime-negative", "a time may lie before 1970", file(MTIME, &long(-86_400)), &[x]),
        taken(
            "mtime-2^62",
            "a time that no file system holds is brought to the nearest that it does",
            file(MTIME, &long(1 << 62)),
            &[x],
        ),
        refused(
            "mtime-2^64",
            "a time that is no 64-bit number is refused",
            file(MTIME, &long(1 << 64)),
            &["has the mtime"],
        ),
        refused("major", "a device number has 12 bits of major", node(b"0010000", b"0000001"), &["is too large"]),
        refused("minor", "and 20 of minor", node(b"0000001", &big(1 << 20)), &["is too large"]),
        refused("device-negative", "and is not negative", node(&big(-1), b"0000000"), &["device number"]),
    ]
}
