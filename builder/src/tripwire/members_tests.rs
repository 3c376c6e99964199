//! Secrets inside of what is packed: each format, in each other, at any place and read in pieces of any size; what is
//! broken, bombs, and what is packed too deep.

use std::io::{Read, Write};

use flate2::write::{DeflateEncoder, GzEncoder};
use proptest::prelude::*;

use super::Watched;
use super::scan::{Found, Scanner};

const SECRET: &[u8] = b"npm_s3cr3t/t0k3n==";

fn scanner() -> Scanner {
    Scanner::new(&[Watched { name: "s".to_owned(), bytes: SECRET.into() }]).unwrap()
}

/// A way of packing, or of putting among other bytes.
#[derive(Clone, Copy, Debug)]
enum Pack {
    Gzip,
    Zstd,
    /// Deflated, or stored; with its sizes before it, or in a descriptor after it.
    Zip {
        deflated: bool,
        descriptor: bool,
    },
    /// As in a tar archive, or behind a program: after and before other bytes.
    Among(usize),
}

impl Pack {
    fn is_compressed(self) -> bool {
        !matches!(self, Self::Among(_) | Self::Zip { deflated: false, .. })
    }

    fn apply(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut out = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Self::Zip { deflated, descriptor } => zip(bytes, deflated, descriptor),
            Self::Among(count) => {
                let noise: Vec<u8> = (0..count).map(|n| (n * 31 % 251) as u8).collect();
                [&noise, bytes, &noise].concat()
            }
        }
    }
}

/// A zip archive of two members, the second with `bytes`. The directory at the end is left out: it is not read.
fn zip(bytes: &[u8], deflated: bool, descriptor: bool) -> Vec<u8> {
    let mut out = member("first.txt", b"nothing of interest", false, false);
    out.extend(member("a/second.txt", bytes, deflated, descriptor));
    out
}

fn member(name: &str, bytes: &[u8], deflated: bool, descriptor: bool) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let mut data = bytes.to_vec();
    if deflated {
        let mut out = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(bytes).unwrap();
        data = out.finish().unwrap();
    }
    let sizes = [crc.sum(), data.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
    let mut out = b"PK\x03\x04\x14\x00".to_vec();
    out.extend(if descriptor { 8_u16 } else { 0 }.to_le_bytes());
    out.extend(if deflated { 8_u16 } else { 0 }.to_le_bytes());
    out.extend([0; 4]);
    out.extend(if descriptor { vec![0; 12] } else { sizes.clone() });
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(9_u16.to_le_bytes());
    out.extend(name.as_bytes());
    // An extended timestamp.
    out.extend(b"UT\x05\x00\x01abcd");
    out.extend(data);
    if descriptor {
        out.extend(b"PK\x07\x08");
        out.extend(sizes);
    }
    out
}

/// Gives its bytes in pieces of at most so many.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = self.1.min(buffer.len());
        self.0.read(&mut buffer[..most])
    }
}

fn pack() -> impl Strategy<Value = Pack> {
    prop_oneof![
        Just(Pack::Gzip),
        Just(Pack::Zstd),
        (any::<bool>(), any::<bool>()).prop_map(|(deflated, descriptor)| Pack::Zip { deflated, descriptor }),
        (0..3000_usize).prop_map(Pack::Among),
    ]
}

fn text(before: usize, after: usize) -> Vec<u8> {
    let noise = |count: usize| (0..count).map(|n| b'a' + (n * n % 23) as u8).collect::<Vec<u8>>();
    [noise(before), SECRET.to_vec(), noise(after)].concat()
}

proptest! {
    #[test]
    fn found_at_any_depth_that_is_searched(
        packs in prop::collection::vec(pack(), 0..8),
        before in 0..2000_usize,
        after in 0..2000_usize,
        piece in 1..5000_usize,
    ) {
        let bytes = packs.iter().fold(text(before, after), |bytes, pack| pack.apply(&bytes));
        let found = scanner().stream(Pieces(&bytes, piece)).unwrap();
        let depth = packs.iter().filter(|pack| pack.is_compressed()).count();
        // What does not compress is stored as it is, so that more levels than four may be no more than four.
        prop_assert!(!found.hits.is_empty() || (found.cut && depth > 4));
        prop_assert!(!found.cut || depth > 4);
    }

    #[test]
    fn broken_ones_do_no_harm(
        packs in prop::collection::vec(pack(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = packs.iter().fold(text(50, 50), |bytes, pack| pack.apply(&bytes));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        prop_assert!(scanner().stream(bytes.as_slice()).is_ok());
    }
}

#[test]
fn a_member_over_many_chunks() {
    let scanner = scanner();
    // Does not compress, so that the member is as long as its content.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..3 << 20).map(|_| noise()).chain(SECRET.iter().copied()).collect();
    for pack in [Pack::Gzip, Pack::Zstd, Pack::Zip { deflated: true, descriptor: true }] {
        let found = scanner.stream(pack.apply(&bytes).as_slice()).unwrap();
        assert_eq!((found.hits.len(), found.cut), (1, false), "{pack:?}");
    }
}

#[test]
fn two_members_one_after_the_other_and_encrypted_ones() {
    let scanner = scanner();
    let gzip = [Pack::Gzip.apply(b"nothing"), Pack::Gzip.apply(SECRET)].concat();
    assert_eq!(scanner.stream(gzip.as_slice()).unwrap().hits.len(), 1);
    let mut encrypted = member("x", SECRET, true, false);
    encrypted[6] |= 1;
    assert_eq!(scanner.stream(encrypted.as_slice()).unwrap(), Found::default());
}

#[test]
fn packed_too_deep_is_told() {
    let packed = |depth: usize| (0..depth).fold(text(400, 400), |bytes, _| Pack::Gzip.apply(&bytes.repeat(3)));
    for (depth, hits, cut) in [(4, 1, false), (5, 0, true)] {
        let found = scanner().stream(packed(depth).as_slice()).unwrap();
        assert_eq!((found.hits.len(), found.cut), (hits, cut), "{depth}");
    }
}

#[test]
fn bombs_are_given_up() {
    let zeros = std::io::repeat(0).take(600 << 20);
    let mut out = GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut { zeros }, &mut out).unwrap();
    let found = scanner().stream(out.finish().unwrap().as_slice()).unwrap();
    assert!(found.cut && found.hits.is_empty());
    // Beginnings without end, each a member that waits for more.
    let begun = Pack::Gzip.apply(&[7; 100_000])[..10].repeat(1000);
    assert!(scanner().stream(begun.as_slice()).is_ok());
}
