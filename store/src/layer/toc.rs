//! The table of contents of a layer: its entries in order, and its file on disk.
//!
//! The file begins with `IMGTOC` and a version, then come the entries, each path as what it shares with the one
//! before and the rest, numbers as variable-length integers (LEB128), and at the end the sha256 of all before.
//! `docs/store-format.md` has the grammar. Whatever is decoded is checked again as if it were hostile: order, parents,
//! ranges. Decoding never panics and takes no more memory than a small multiple of the file.

use super::{Entry, Kind, LayerPath};
use crate::digest::Digest;
use crate::error::{Error, Result};

pub(crate) mod code;
mod listing;

use code::{Input, encode_attributes, encode_path, unsigned};
pub use listing::{Listing, Place};

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
        let mut out = Encoder::new(self.entries.len());
        let mut attributes = Vec::new();
        for entry in &self.entries {
            attributes.clear();
            encode_attributes(&mut attributes, entry);
            out.add(entry.path.as_bytes(), &attributes);
        }
        out.finish(&self.dirty)
    }

    /// Reads the bytes of a file back.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything that [`Toc::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_content(verified(bytes)?)
    }

    /// Reads back what an [`Encoder`] of our own has just made, of entries that are not checked yet.
    pub(crate) fn of_encoded(bytes: &[u8]) -> Result<Self> {
        let content = bytes.split_last_chunk::<32>().map_or(bytes, |(content, _)| content);
        let (entries, dirty) = Self::read(content)?;
        Self::new(entries, dirty)
    }

    fn decode_content(content: &[u8]) -> Result<Self> {
        let (entries, dirty) = Self::read(content)?;
        Self::new(entries, dirty).map_err(|error| damaged(&error.to_string()))
    }

    fn read(content: &[u8]) -> Result<(Vec<Entry>, Vec<u32>)> {
        let mut input = begin(content)?;
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
        Ok((entries, dirty))
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

/// The content of the file `bytes`, which end with its digest.
fn verified(bytes: &[u8]) -> Result<&[u8]> {
    let (content, digest) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("too short"))?;
    if Digest::of(content).as_bytes() != digest {
        return Err(damaged("its bytes do not have their digest"));
    }
    Ok(content)
}

/// What comes behind the head of a table's `content`.
fn begin(content: &[u8]) -> Result<Input<'_>> {
    let mut input = Input(content.strip_prefix(MAGIC).ok_or_else(|| damaged("not one at all"))?);
    if input.byte()? != VERSION {
        return Err(damaged("of an unknown version"));
    }
    Ok(input)
}

/// Writes a table entry by entry, so that they need not all be there as such.
pub(crate) struct Encoder {
    out: Vec<u8>,
    before: Vec<u8>,
}

impl Encoder {
    /// For a table of `count` entries.
    pub(crate) fn new(count: usize) -> Self {
        let mut out = Vec::with_capacity(count * 32 + 64);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        unsigned(&mut out, count as u64);
        Self { out, before: Vec::new() }
    }

    /// Adds the entry at `path` with what [`encode_attributes`] made of the rest.
    pub(crate) fn add(&mut self, path: &[u8], attributes: &[u8]) {
        encode_path(&mut self.out, path, &self.before);
        self.out.extend_from_slice(attributes);
        self.before.clear();
        self.before.extend_from_slice(path);
    }

    /// The bytes of the file; `dirty` as for [`Toc::new`].
    pub(crate) fn finish(self, dirty: &[u32]) -> Vec<u8> {
        let mut out = self.out;
        unsigned(&mut out, dirty.len() as u64);
        let mut last = 0;
        for &index in dirty {
            unsigned(&mut out, u64::from(index - last));
            last = index;
        }
        let digest = Digest::of(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }
}

/// What is wrong with an entry by itself.
pub(crate) fn fault(entry: &Entry) -> Option<&'static str> {
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

#[cfg(test)]
mod tests;
