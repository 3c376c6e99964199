//! Decides where each regular file's bytes are, and writes the `side` file for those that the tar does not have as
//! one aligned run: sparse files, and files whose padding is not zero (the padding can be seen through mmap).
//!
//! The side file is a device of its own, there only if something needs it. Holes of sparse files are holes in it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::writer::{Place, Slot};
use crate::error::{Error, Result};
use crate::layer::{Entry, Kind};

/// Block of a tar, and of an image.
const BLOCK: u64 = 512;
/// Files start at multiples of this in a side file, so that holes fall on the file system's blocks.
const ALIGN: u64 = 4096;
/// Bytes copied at once.
const BUFFER: usize = 256 << 10;

/// A tar that files lie in.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The open tar.
    pub tar: &'a File,
    /// Its path, for errors.
    pub path: &'a Path,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Source<'_> {
    /// Writes the bytes of the regular file `entry` into `file` at `path`, from `start` on. Holes are left out.
    /// `buffer` is scratch space.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn copy(&self, entry: &Entry, file: &File, path: &Path, start: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let Kind::File { extents, .. } = &entry.kind else { return Ok(()) };
        for extent in extents {
            let mut done = 0;
            while done < extent.length {
                let part = (extent.length - done).min(BUFFER as u64) as usize;
                buffer.resize(buffer.len().max(part), 0);
                let bytes = &mut buffer[..part];
                self.tar.read_exact_at(bytes, extent.offset + done).map_err(Error::io("read", self.path))?;
                file.write_all_at(bytes, start + extent.logical + done).map_err(Error::io("write", path))?;
                done += part as u64;
            }
        }
        Ok(())
    }

    /// Whether the tar has bytes other than zero between the end of the regular file `entry`, which it has in one
    /// piece, and the next block border. Reads the tar: a table of contents that says so is quicker.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn has_dirty_padding(&self, entry: &Entry) -> Result<bool> {
        let Kind::File { extents, .. } = &entry.kind else { return Ok(false) };
        let Some(end) = extents.last().map(|extent| extent.offset + extent.length) else { return Ok(false) };
        let mut raw = [0; BLOCK as usize];
        let padding = &mut raw[..(end.next_multiple_of(BLOCK) - end) as usize];
        self.tar.read_exact_at(padding, end).map_err(Error::io("read", self.path))?;
        Ok(padding.iter().any(|&byte| byte != 0))
    }
}

/// The files that must be laid aside, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Indices of the entries and offsets in the side file.
    files: Vec<(usize, u64)>,
    bytes: u64,
}

impl Side {
    /// Finds the place of each of `entries`: `source_of(i)` is the index in `sources` of the tar that entry `i` lies
    /// in, which is its device too; the side file is the device after all of them. `is_dirty(i)` says whether the tar
    /// has other bytes than zeros between the end of entry `i`, which it has in one piece, and the next block border.
    ///
    /// # Errors
    /// [`Error::Io`] if a tar cannot be read; [`Error::InvalidLayer`] for extents that overlap or leave the file or
    /// the tar; [`Error::Limit`] for files whose sizes add up to more than 2^63 bytes.
    pub fn plan(
        entries: &[&Entry],
        sources: &[Source<'_>],
        source_of: impl Fn(usize) -> usize,
        is_dirty: impl Fn(usize) -> Result<bool>,
    ) -> Result<(Vec<Option<Place>>, Self)> {
        let mut side = Self::default();
        let place = |device: usize, offset| {
            let limit = || Error::Limit { what: "a layer with its sparse files".to_owned(), limit: "2 TiB".to_owned() };
            Place::new(device as u16, offset).ok_or_else(limit)
        };
        let mut places = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let Kind::File { size, extents } = &entry.kind else {
                places.push(None);
                continue;
            };
            let source = &sources[source_of(index)];
            let mut end = 0;
            for extent in extents {
                let stop = extent.logical.checked_add(extent.length).filter(|&stop| stop <= *size);
                let in_tar = extent.offset.checked_add(extent.length).is_some_and(|stop| stop <= source.bytes);
                if extent.logical < end || !in_tar {
                    return Err(Error::InvalidLayer(format!("{}: bytes outside of the file or the tar", entry.path)));
                }
                end = stop.ok_or_else(|| Error::InvalidLayer(format!("{}: bytes behind its end", entry.path)))?;
            }
            places.push(match &**extents {
                _ if *size == 0 => None,
                [one]
                    if one.length == *size
                        && one.offset % BLOCK == 0
                        && (one.offset + one.length).next_multiple_of(BLOCK) <= source.bytes
                        && !is_dirty(index)? =>
                {
                    Some(place(source_of(index), one.offset)?)
                }
                _ => Some(place(sources.len(), side.add(index, *size)?)?),
            });
        }
        Ok((places, side))
    }

    fn add(&mut self, index: usize, size: u64) -> Result<u64> {
        let offset = self.bytes;
        self.files.push((index, offset));
        self.bytes = offset
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(ALIGN))
            .filter(|&end| i64::try_from(end).is_ok())
            .ok_or_else(|| Error::Limit { what: "sizes of sparse files".to_owned(), limit: "2^63 bytes".to_owned() })?;
        Ok(offset)
    }

    /// Whether no side file is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The slot of the side file in the device table.
    #[must_use]
    pub fn slot(&self) -> Slot {
        let mut tag = [0; 64];
        tag[..4].copy_from_slice(b"side");
        Slot { tag, bytes: self.bytes }
    }

    /// Writes the side file into the empty `file` at `path`; the other arguments are those of [`Side::plan`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(
        &self,
        file: &File,
        path: &Path,
        entries: &[&Entry],
        sources: &[Source<'_>],
        source_of: impl Fn(usize) -> usize,
    ) -> Result<()> {
        file.set_len(self.bytes).map_err(Error::io("extend", path))?;
        let mut buffer = Vec::new();
        for &(index, start) in &self.files {
            sources[source_of(index)].copy(entries[index], file, path, start, &mut buffer)?;
        }
        Ok(())
    }
}
