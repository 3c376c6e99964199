//! How entries are written in a table of contents: numbers as LEB128, a path as what it shares with the one before, the
//! rest of an entry, its attributes, beginning with a tag that says the kind.
//!
//! `docs/store-format.md` has the grammar. Reading takes anything for hostile and never panics.

use super::damaged;
use crate::error::Result;
use crate::layer::{Entry, Extent, Kind, LayerPath, Time};

pub(crate) fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zigzag: small negative numbers stay short.
fn signed(out: &mut Vec<u8>, value: i64) {
    unsigned(out, (value << 1 ^ value >> 63).cast_unsigned());
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    unsigned(out, value.len() as u64);
    out.extend_from_slice(value);
}

const DIRECTORY: u8 = 0;
/// Flag of a tag: the directory hides what is below.
pub(crate) const OPAQUE: u8 = 0x10;
/// Flag of a tag: the directory is not in the tar itself.
pub(crate) const IMPLIED: u8 = 0x20;
const XATTRS: u8 = 0x40;
/// A file in one piece, or empty.
const FILE: u8 = 1;
const SPARSE: u8 = 2;
const HARD_LINK: u8 = 3;
const SYMLINK: u8 = 4;
const CHAR_DEVICE: u8 = 5;
const BLOCK_DEVICE: u8 = 6;
const FIFO: u8 = 7;
const WHITEOUT: u8 = 8;

/// Whether attributes that begin with `tag` are a directory's.
pub(crate) fn is_directory(tag: u8) -> bool {
    tag & !(OPAQUE | IMPLIED | XATTRS) == DIRECTORY
}

/// Whether attributes that begin with `tag` are a hard link's.
pub(crate) fn is_hard_link(tag: u8) -> bool {
    tag & !XATTRS == HARD_LINK
}

/// Appends the path of an entry, as what it shares with the one before and the rest.
pub(super) fn encode_path(out: &mut Vec<u8>, path: &[u8], before: &[u8]) {
    let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
    unsigned(out, shared as u64);
    bytes(out, &path[shared..]);
}

/// Appends all that an entry says beside its path; the first byte is the tag.
pub(crate) fn encode_attributes(out: &mut Vec<u8>, entry: &Entry) {
    let (tag, numbers, text): (u8, Vec<u64>, Option<&[u8]>) = match &entry.kind {
        Kind::Directory { opaque, implied } => {
            (DIRECTORY | if *opaque { OPAQUE } else { 0 } | if *implied { IMPLIED } else { 0 }, vec![], None)
        }
        Kind::File { size: 0, extents } if extents.is_empty() => (FILE, vec![0, 0], None),
        Kind::File { size, extents } => match &**extents {
            [one] if one.logical == 0 && one.length == *size => (FILE, vec![*size, one.offset], None),
            many => {
                let mut numbers = vec![*size, many.len() as u64];
                let (mut logical, mut offset) = (0, 0_u64);
                for extent in many {
                    numbers.extend([extent.logical - logical, extent.offset.wrapping_sub(offset), extent.length]);
                    logical = extent.logical + extent.length;
                    offset = extent.offset + extent.length;
                }
                (SPARSE, numbers, None)
            }
        },
        Kind::HardLink { target } => (HARD_LINK, vec![], Some(target.as_bytes())),
        Kind::Symlink { target } => (SYMLINK, vec![], Some(target)),
        Kind::CharDevice { major, minor } => (CHAR_DEVICE, vec![u64::from(*major), u64::from(*minor)], None),
        Kind::BlockDevice { major, minor } => (BLOCK_DEVICE, vec![u64::from(*major), u64::from(*minor)], None),
        Kind::Fifo => (FIFO, vec![], None),
        Kind::Whiteout => (WHITEOUT, vec![], None),
    };
    out.push(tag | if entry.xattrs.is_empty() { 0 } else { XATTRS });
    for number in numbers {
        unsigned(out, number);
    }
    if let Some(text) = text {
        bytes(out, text);
    }
    unsigned(out, u64::from(entry.mode));
    unsigned(out, u64::from(entry.uid));
    unsigned(out, u64::from(entry.gid));
    signed(out, entry.mtime.seconds);
    unsigned(out, u64::from(entry.mtime.nanoseconds));
    if !entry.xattrs.is_empty() {
        unsigned(out, entry.xattrs.len() as u64);
        for (name, value) in &entry.xattrs {
            bytes(out, name);
            bytes(out, value);
        }
    }
}

/// What is left to decode.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(|| damaged("cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number that is too large"))
    }

    pub(super) fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| damaged("a number that is too large"))
    }

    /// A count of things that take at least `least` bytes each.
    pub(super) fn count(&mut self, least: usize) -> Result<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| damaged("a number that is too large"))?;
        if count > self.0.len() / least { Err(damaged("a count beyond its end")) } else { Ok(count) }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.count(1)?;
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(value)
    }

    fn path(raw: Vec<u8>) -> Result<LayerPath> {
        LayerPath::from_canonical(raw).map_err(|error| damaged(&error.to_string()))
    }

    pub(super) fn entry(&mut self, before: &[u8]) -> Result<Entry> {
        let path = self.next_path(before)?;
        self.attributes(path)
    }

    /// The path of the next entry, which comes behind the one with the path `before`.
    pub(super) fn next_path(&mut self, before: &[u8]) -> Result<LayerPath> {
        let shared = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let kept = before.get(..shared).ok_or_else(|| damaged("a path that shares too much"))?;
        Self::path([kept, self.bytes()?].concat())
    }

    /// The entry at `path` that has the attributes next in line.
    pub(crate) fn attributes(&mut self, path: LayerPath) -> Result<Entry> {
        let tag = self.byte()?;
        let kind = self.kind(tag & !XATTRS)?;
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let seconds = self.number()?;
        let seconds = (seconds >> 1).cast_signed() ^ -(seconds & 1).cast_signed();
        let mtime = Time { seconds, nanoseconds: self.small()? };
        let mut xattrs = Vec::new();
        if tag & XATTRS != 0 {
            let count = self.count(2)?;
            for _ in 0..count {
                let name = self.bytes()?.to_vec();
                xattrs.push((name, self.bytes()?.to_vec()));
            }
        }
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
    }

    fn kind(&mut self, tag: u8) -> Result<Kind> {
        Ok(match tag {
            _ if tag & !(OPAQUE | IMPLIED) == DIRECTORY => {
                Kind::Directory { opaque: tag & OPAQUE != 0, implied: tag & IMPLIED != 0 }
            }
            FILE => {
                let (size, offset) = (self.number()?, self.number()?);
                match size {
                    0 => Kind::file(0),
                    _ => Kind::File { size, extents: Extent { logical: 0, offset, length: size }.into() },
                }
            }
            SPARSE => self.sparse()?,
            HARD_LINK => Kind::HardLink { target: Self::path(self.bytes()?.to_vec())? },
            SYMLINK => Kind::Symlink { target: self.bytes()?.to_vec() },
            CHAR_DEVICE => Kind::CharDevice { major: self.small()?, minor: self.small()? },
            BLOCK_DEVICE => Kind::BlockDevice { major: self.small()?, minor: self.small()? },
            FIFO => Kind::Fifo,
            WHITEOUT => Kind::Whiteout,
            _ => return Err(damaged("an entry of an unknown kind")),
        })
    }

    fn sparse(&mut self) -> Result<Kind> {
        let overflow = || damaged("an extent out of range");
        let size = self.number()?;
        let count = self.count(3)?;
        let mut extents = Vec::with_capacity(count);
        let (mut logical, mut offset) = (0_u64, 0_u64);
        for _ in 0..count {
            logical = logical.checked_add(self.number()?).ok_or_else(overflow)?;
            offset = offset.wrapping_add(self.number()?);
            let length = self.number()?;
            extents.push(Extent { logical, offset, length });
            logical = logical.checked_add(length).ok_or_else(overflow)?;
            offset = offset.checked_add(length).ok_or_else(overflow)?;
        }
        Ok(Kind::File { size, extents: extents.into() })
    }
}
