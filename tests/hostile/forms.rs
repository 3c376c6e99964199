//! Archives that are cut, go on after their end, or are of a form nobody agrees on; and nodes that mean something to a
//! kernel.

use crate::case::{Case, refused, taken};
use crate::tar::{Head, MAGIC, MAJOR, MINOR, PREFIX, Tar, base256};

/// The rows.
pub fn cases(_: &str) -> Vec<Case> {
    let tar = Tar::new;
    let whole = tar().file("x", [b'x'; 700]).end();
    let x = "f 644 0:0 700 x";
    let kind = |kind: u8| tar().put(Head::new(kind, "x"), "").end();
    let mut cases = vec![
        refused(
            "checksum",
            "a wrong checksum is refused",
            tar().put(Head::new(b'0', "x").checksum("000123\0 "), "").end(),
            &["wrong checksum"],
        ),
        refused(
            "checksum-empty",
            "so is a missing one",
            tar().put(Head::new(b'0', "x").checksum(""), "").end(),
            &["wrong checksum"],
        ),
        refused(
            "checksum-text",
            "and one that is no number",
            tar().put(Head::new(b'0', "x").checksum("checksum"), "").end(),
            &["checksum"],
        ),
        refused("cut-header", "an archive that is cut in a header is refused", whole[..300].to_vec(), &["cut short"]),
        refused("cut-data", "or in data", whole[..800].to_vec(), &["cut short"]),
        refused("cut-padding", "or in the padding behind them", whole[..1300].to_vec(), &["cut short"]),
        taken("no-end", "the zero blocks at the end may be missing", whole[..1536].to_vec(), &[x]),
        taken("half-end", "or half of them", whole[..2048].to_vec(), &[x]),
        refused(
            "lone-zero",
            "a zero block between members is refused",
            tar().raw(&whole[..1536]).raw([0; 512]).file("y", "").end(),
            &["lone zero block"],
        ),
        taken("zeros", "zeros behind the end are filling", tar().raw(&whole).raw(vec![0; 1 << 20]).0, &[x]),
        taken("garbage", "what lies behind the end is not read", tar().raw(&whole).raw([b'g'; 5000]).0, &[x]),
        taken("second", "also if it is another archive", tar().raw(&whole).file("hidden", "").end(), &[x, "!hidden"]),
        taken(
            "second-dirty-padding",
            "bytes in the padding are not read",
            tar().raw(&whole[..1212]).raw([b'p'; 324]).raw([0; 1024]).0,
            &[x],
        ),
        taken("empty", "an archive of nothing is a layer of nothing", tar().end(), &["f 644 0:0 5 base/file"]),
        taken("no-bytes", "so is no archive at all", vec![], &["f 644 0:0 5 base/file"]),
        refused("text", "text is no archive", b"#!/bin/sh\necho hello\n".repeat(60), &["tar"]),
        refused("short", "nor is what is shorter than a header", b"short".to_vec(), &["cut short"]),
        taken(
            "volume-label",
            "a volume's label is no member",
            tar().put(Head::new(b'V', "label"), "").raw(&whole).0,
            &[x, "!label"],
        ),
        refused(
            "long-twice",
            "a member has one GNU long name",
            tar().long(b'L', "a").long(b'L', "b").file("x", "").end(),
            &["unknown type 'L'"],
        ),
        refused(
            "long-at-the-end",
            "a GNU long name belongs to a member",
            tar().long(b'L', "a").end(),
            &["ends behind an extended header"],
        ),
        refused("long-empty", "and is a name", tar().long(b'L', "").file("x", "").end(), &["without a path"]),
        refused(
            "long-large",
            "of at most 1 MiB",
            tar().long(b'L', vec![b'a'; 1 << 20]).file("x", "").end(),
            &["1048576 bytes"],
        ),
        taken(
            "long-nul",
            "it ends at its first NUL",
            tar().long(b'L', "a\0/../b").file("x", "").end(),
            &["f 644 0:0 0 a", "!x"],
        ),
        taken(
            "gnu-prefix",
            "a GNU header has no prefix",
            tar().put(Head::new(b'0', "x").set(MAGIC, b"ustar  \0").set(PREFIX, "../.."), "").end(),
            &["f 644 0:0 0 x"],
        ),
        taken(
            "v7",
            "a V7 header has no prefix either",
            tar().put(Head::new(0, "x").set(MAGIC, "").set(PREFIX, "../.."), "").end(),
            &["f 644 0:0 0 x"],
        ),
        taken(
            "v7-directory",
            "a V7 name with a slash at its end is a directory",
            tar().put(Head::new(0, "d/").set(MAGIC, ""), "").end(),
            &["d 644 0:0 0 d"],
        ),
        refused(
            "v7-device",
            "a V7 header has no device numbers",
            tar().put(Head::new(b'3', "d").set(MAGIC, ""), "").end(),
            &["without device numbers"],
        ),
        taken("contiguous", "a contiguous file is a file", kind(b'7'), &["f 644 0:0 0 x"]),
        taken(
            "0:0-character",
            "a 0:0 character device would hide what lies below and is dropped",
            tar().put(Head::new(b'3', "base/file"), "").end(),
            &["f 644 0:0 5 base/file"],
        ),
        taken(
            "0:0-base-256",
            "however its numbers are written",
            tar().put(Head::new(b'3', "base/file").set(MAJOR, base256(8, 0)).set(MINOR, ""), "").end(),
            &["f 644 0:0 5 base/file"],
        ),
        taken(
            "disk",
            "a node of a disk is content, and opens nothing",
            tar().put(Head::new(b'4', "sda").set(MAJOR, "0000010").set(MINOR, "0000000"), "").end(),
            &["b 644 0:0 0 sda"],
        ),
        taken(
            "memory",
            "so is one of a character device",
            tar().put(Head::new(b'3', "mem").set(MAJOR, "0000001").set(MINOR, "0000001"), "").end(),
            &["c 644 0:0 0 mem"],
        ),
        taken(
            "fifo",
            "a named pipe is content, and nobody waits at it",
            tar().put(Head::new(b'6', "etc/resolv.conf"), "").end(),
            &["p 644 0:0 0 etc/resolv.conf"],
        ),
        taken(
            "fifo-below",
            "also where a lower layer has a file",
            tar().put(Head::new(b'6', "base/file"), "").end(),
            &["p 644 0:0 0 base/file"],
        ),
    ];
    for (letter, what) in [
        (b'M', "multi-volume"),
        (b'D', "dump"),
        (b'N', "old-long-names"),
        (b'A', "solaris-acl"),
        (b'Z', "nobody's"),
        (0xff, "byte"),
    ] {
        let rule = "a type that readers do not agree on refuses the layer";
        cases.push(refused(&format!("type-{what}"), rule, kind(letter), &["unknown type"]));
    }
    cases
}
