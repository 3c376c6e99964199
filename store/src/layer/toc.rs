//! The table of contents of a layer: its entries in order, and its file on disk.
//!
//! The file begins with `IMGTOC` and a version, then come the entries, each path as what it shares with the one
//! before and the rest, numbers as variable-length integers (LEB128), and at the end the sha256 of all before.
//! `docs/store-format.md` has the grammar. Whatever is decoded is checked again as if it were hostile: order, parents,
//! ranges. Decoding never panics and takes no more memory than a small multiple of the file.

use super::{Entry, Extent, Kind, LayerPath, Time};
use crate::digest::Digest;
use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"IMGTOC";
const VERSION: u8 = 1;
/// Longest file read back, bytes.
pub(crate) const ENCODED_MAX: u64 = 256 << 20;

/// The contents of a layer: entries sorted by path, the root first, every entry's parent there as a directory (implied
/// ones marked), no path twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toc {
    entries: Vec<Entry>,
    dirty: Vec<u32>,
}

impl Toc {
    /// A table of `entries`; `dirty` are the ascending indexes of files whose last tar block has bytes other than
    /// zero behind the file's end.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] if they are not as [`Toc`] says.
    pub fn new(entries: Vec<Entry>, dirty: Vec<u32>) -> Result<Self> {
        let toc = Self { entries, dirty };
        toc.check()?;
        Ok(toc)
    }

    /// All entries, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &LayerPath) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|index| &self.entries[index])
    }

    /// Indexes into [`Toc::entries`], ascending, of the files whose data must not be mapped straight from the tar:
    /// behind their end, within the last 512-byte block, the tar holds bytes other than zero.
    #[must_use]
    pub fn dirty_padding(&self) -> &[u32] {
        &self.dirty
    }

    /// Directories other than the root that this layer does not describe itself; their attributes come from below.
    #[must_use]
    pub fn implied_directories(&self) -> u64 {
        let implied =
            |entry: &&Entry| matches!(entry.kind, Kind::Directory { implied: true, .. }) && !entry.path.is_root();
        self.entries.iter().filter(implied).count() as u64
    }

    /// Hard links to what only a lower layer can have.
    #[must_use]
    pub fn foreign_links(&self) -> u64 {
        let foreign = |entry: &&Entry| matches!(&entry.kind, Kind::HardLink { target } if self.get(target).is_none());
        self.entries.iter().filter(foreign).count() as u64
    }

    /// Bytes of all regular files, each content once.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size()))
    }

    /// The bytes of its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 48 + 64);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        unsigned(&mut out, self.entries.len() as u64);
        let mut before: &[u8] = &[];
        for entry in &self.entries {
            encode_entry(&mut out, entry, before);
            before = entry.path.as_bytes();
        }
        unsigned(&mut out, self.dirty.len() as u64);
        let mut last = 0;
        for &index in &self.dirty {
            unsigned(&mut out, u64::from(index - last));
            last = index;
        }
        let digest = Digest::of(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// Reads the bytes of a file back.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything that [`Toc::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (content, digest) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("too short"))?;
        if Digest::of(content).as_bytes() != digest {
            return Err(damaged("its bytes do not have their digest"));
        }
        Self::decode_content(content)
    }

    fn decode_content(content: &[u8]) -> Result<Self> {
        let content = content.strip_prefix(MAGIC).ok_or_else(|| damaged("not one at all"))?;
        let mut input = Input(content);
        if input.byte()? != VERSION {
            return Err(damaged("of an unknown version"));
        }
        let count = input.count(8)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let before = entries.last().map_or(&[][..], |entry: &Entry| entry.path.as_bytes());
            let entry = input.entry(before)?;
            entries.push(entry);
        }
        let count = input.count(1)?;
        let mut dirty = Vec::with_capacity(count);
        let mut last = 0_u32;
        for _ in 0..count {
            last = last.checked_add(input.small()?).ok_or_else(|| damaged("an index out of range"))?;
            dirty.push(last);
        }
        if !input.0.is_empty() {
            return Err(damaged("bytes behind its end"));
        }
        Self::new(entries, dirty).map_err(|error| damaged(&error.to_string()))
    }

    fn check(&self) -> Result<()> {
        let invalid = |entry: &Entry, why: &str| Err(Error::InvalidLayer(format!("{}: {why}", entry.path)));
        match self.entries.first() {
            Some(first) if first.path.is_root() && first.is_directory() => {}
            _ => return Err(Error::InvalidLayer("no root directory".to_owned())),
        }
        // The directories from the root to the entry before.
        let mut above: Vec<&LayerPath> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            while above.last().is_some_and(|directory| !entry.path.is_within(directory)) {
                above.pop();
            }
            let parent = above.last().map_or(&b""[..], |path| path.as_bytes());
            let name = entry.path.as_bytes().get(parent.len()..).unwrap_or_default();
            let name = if parent.is_empty() { name } else { name.strip_prefix(b"/").unwrap_or_default() };
            if index > 0 && (above.is_empty() || name.is_empty() || name.contains(&b'/')) {
                return invalid(entry, "its parent is not there or no directory");
            }
            if index > 0 && self.entries[index - 1].path >= entry.path {
                return invalid(entry, "out of order");
            }
            if let Some(why) = fault(entry) {
                return invalid(entry, why);
            }
            if entry.is_directory() {
                above.push(&entry.path);
            }
        }
        let in_range = self.dirty.last().is_none_or(|last| (*last as usize) < self.entries.len());
        if !in_range || !self.dirty.is_sorted_by(|a, b| a < b) {
            return Err(Error::InvalidLayer("a dirty file out of range".to_owned()));
        }
        Ok(())
    }
}

/// What is wrong with an entry by itself.
fn fault(entry: &Entry) -> Option<&'static str> {
    if entry.mode > 0o7777 || entry.mtime.nanoseconds >= 1_000_000_000 {
        return Some("mode or time out of range");
    }
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return Some("owner out of range");
    }
    if !entry.xattrs.is_sorted_by(|a, b| a.0 < b.0) {
        return Some("extended attributes out of order");
    }
    match &entry.kind {
        Kind::File { size, extents } => {
            let mut end = 0_u64;
            for extent in extents {
                let next = extent.logical.checked_add(extent.length);
                let in_tar = extent.offset.checked_add(extent.length).is_some();
                match next {
                    Some(next) if extent.logical >= end && extent.length > 0 && next <= *size && in_tar => end = next,
                    _ => return Some("extents out of range"),
                }
            }
            None
        }
        Kind::Symlink { target } if target.is_empty() || target.len() > 4095 || target.contains(&0) => {
            Some("a bad symbolic link")
        }
        Kind::HardLink { target } if *target == entry.path => Some("a hard link to itself"),
        _ => None,
    }
}

fn damaged(why: &str) -> Error {
    Error::Damaged(format!("table of contents: {why}"))
}

fn unsigned(out: &mut Vec<u8>, mut value: u64) {
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
const OPAQUE: u8 = 0x10;
const IMPLIED: u8 = 0x20;
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

fn encode_entry(out: &mut Vec<u8>, entry: &Entry, before: &[u8]) {
    let path = entry.path.as_bytes();
    let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
    unsigned(out, shared as u64);
    bytes(out, &path[shared..]);
    let (tag, numbers, text): (u8, Vec<u64>, Option<&[u8]>) = match &entry.kind {
        Kind::Directory { opaque, implied } => {
            (DIRECTORY | if *opaque { OPAQUE } else { 0 } | if *implied { IMPLIED } else { 0 }, vec![], None)
        }
        Kind::File { size: 0, extents } if extents.is_empty() => (FILE, vec![0, 0], None),
        Kind::File { size, extents } => match extents.as_slice() {
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
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(|| damaged("cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64> {
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

    fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| damaged("a number that is too large"))
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize> {
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

    fn entry(&mut self, before: &[u8]) -> Result<Entry> {
        let shared = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let mut raw = before.get(..shared).ok_or_else(|| damaged("a path that shares too much"))?.to_vec();
        raw.extend_from_slice(self.bytes()?);
        let path = Self::path(raw)?;
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
                let extents = if size == 0 { vec![] } else { vec![Extent { logical: 0, offset, length: size }] };
                Kind::File { size, extents }
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
        Ok(Kind::File { size, extents })
    }
}

#[cfg(test)]
mod tests;
