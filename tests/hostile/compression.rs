//! Compressed layers that are bombs, are cut, lie about what is in them or ask their reader for too much memory. What a
//! layer is compressed with is told by its bytes; how much comes out is bounded while it comes out.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::case::{Case, Input, Outcome};
use crate::tar::{Head, Tar};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame with this descriptor and what follows it, and one raw block of at most 128 KiB (RFC 8878, 3.1.1).
fn frame(descriptor: u8, header: &[u8], bytes: &[u8]) -> Vec<u8> {
    let block = u32::try_from(bytes.len()).unwrap() << 3 | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, descriptor], header, &block.to_le_bytes()[..3], bytes].concat()
}

/// A zstd frame of so many blocks of 128 KiB zeros, four bytes each.
pub fn zeros(blocks: u32) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x40];
    for number in 1..=blocks {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(number == blocks);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}

/// The rows.
pub fn cases(_: &str) -> Vec<Case> {
    let tar = Tar::new().file("x", "x").end();
    let refused = |name: &str, rule, blob: Vec<u8>, words| Case {
        name: name.to_owned(),
        rule,
        input: Input::Blob(blob, tar.clone()),
        outcome: Outcome::Refused(words),
    };
    let taken = |name: &str, rule, blob: Vec<u8>| Case {
        name: name.to_owned(),
        rule,
        input: Input::Blob(blob, tar.clone()),
        outcome: Outcome::Taken(vec!["f 644 0:0 1 x".to_owned()]),
    };
    let whole = gzip(&tar);
    let change = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= to;
        bytes
    };
    let end = whole.len();
    let named = |name: &[u8]| [&whole[..3], &[8], &whole[4..10], name, &whole[10..]].concat();
    // What is behind a header that announces more than comes counts as well.
    let large = Tar::new().put(Head::new(b'0', "x").size(8 << 30), "").0;
    vec![
        taken("gzip", "gzip is inflated", whole.clone()),
        taken(
            "gzip-members",
            "any number of gzip members are one stream",
            [gzip(&tar[..700]), gzip(&tar[700..])].concat(),
        ),
        taken("gzip-empty-members", "empty ones among them", [gzip(b"").repeat(20_000), whole.clone()].concat()),
        refused(
            "gzip-garbage",
            "nothing lies behind a compressed layer",
            [&whole[..], b"garbage behind the end"].concat(),
            &["error"],
        ),
        refused(
            "gzip-tar-behind",
            "and no tar that another reader would take",
            [&whole[..], &tar].concat(),
            &["error"],
        ),
        refused("gzip-cut", "a compressed layer that is cut is refused", whole[..end - 20].to_vec(), &["error"]),
        refused("gzip-cut-trailer", "also if only its check sum is missing", whole[..end - 4].to_vec(), &["error"]),
        refused("gzip-crc", "its check sum is right", change(end - 8, 1), &["error"]),
        refused("gzip-size", "and its size", change(end - 4, 1), &["error"]),
        refused("gzip-method", "its method is known", change(2, 7), &["error"]),
        refused("gzip-data", "its data inflate", change(12, 0xff), &["error"]),
        taken("gzip-name", "a file name in its header means nothing", named(b"../../../etc/passwd\0")),
        refused(
            "gzip-long-name",
            "and takes bounded memory",
            named(&[vec![b'n'; 4 << 20], vec![0]].concat()),
            &["error"],
        ),
        refused("twice", "what is compressed twice is no layer", gzip(&whole), &["tar"]),
        refused(
            "bomb-gzip",
            "a layer becomes at most 500 times as large",
            gzip(&vec![0; 4 << 20]).repeat(320),
            &["bytes for each compressed one"],
        ),
        refused("bomb-zstd", "by any method", zeros(10_000), &["bytes for each compressed one"]),
        refused(
            "bomb-in-file",
            "inside a file as well as behind the end",
            [frame(0, &[0x40], &large), zeros(10_000)].concat(),
            &["bytes for each compressed one"],
        ),
        taken("zstd", "zstd is inflated", frame(0, &[0x40], &tar)),
        taken("zstd-window-64", "a zstd frame may ask for a window of 64 MiB", frame(0, &[0x80], &tar)),
        refused("zstd-window-128", "and no more", frame(0, &[0x88], &tar), &["too much memory"]),
        refused("zstd-window-most", "also not for the most that it can", frame(0, &[0xff], &tar), &["too much memory"]),
        refused("zstd-dictionary", "it needs no dictionary", frame(1, &[0x40, 7], &tar), &["ictionary"]),
        refused("zstd-reserved", "it sets no reserved bit", frame(8, &[0x40], &tar), &["error"]),
        refused(
            "zstd-cut",
            "it is whole",
            {
                let f = frame(0, &[0x40], &tar);
                f[..f.len() - 9].to_vec()
            },
            &["error"],
        ),
        refused(
            "zstd-no-end",
            "to its last block",
            {
                let mut f = frame(0, &[0x40], &tar);
                f[6] &= !1;
                f
            },
            &["error"],
        ),
        refused(
            "zstd-block",
            "its blocks are of a known type",
            {
                let mut f = frame(0, &[0x40], &tar);
                f[6] |= 6;
                f
            },
            &["error"],
        ),
        refused("zstd-content-size", "and hold what was announced", frame(0x60, &[1, 0], &tar), &["error"]),
        refused(
            "zstd-garbage",
            "nothing lies behind it",
            [&frame(0, &[0x40], &tar)[..], b"garbage"].concat(),
            &["error"],
        ),
        taken(
            "zstd-skippable",
            "frames to skip hold nothing",
            [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &frame(0, &[0x40], &tar)].concat(),
        ),
        refused(
            "zstd-skippable-cut",
            "and are whole",
            vec![0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1],
            &["error"],
        ),
        refused("xz", "another compression is no tar", [&b"\xfd7zXZ\0"[..], &[0; 600]].concat(), &["tar"]),
        refused("bzip2", "nor is bzip2", [&b"BZh91AY&SY"[..], &[7; 600]].concat(), &["tar"]),
        refused("zip", "nor a zip", [&b"PK\x03\x04"[..], &[0; 600]].concat(), &["tar"]),
        refused(
            "other-tar",
            "a layer is what its config says, whatever it is compressed with",
            gzip(&Tar::new().file("y", "y").end()),
            &["the uncompressed layer"],
        ),
    ]
}
