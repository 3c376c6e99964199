//! Sparse files in tars: from any of GNU tar's four maps (old GNU type `S`; PAX 0.0, 0.1 and 1.0; GNU tar manual
//! "Storing Sparse Files") to the extents of the file. Holes stay holes.
//!
//! Readers disagree on whether a part is padded to a block. So all parts but the last must be whole blocks, which is
//! what every writer makes; anything else is refused.

use super::header::{BLOCK, Block, number};
use super::pax::decimal;
use crate::error::{Error, Result};
use crate::layer::Extent;

/// Most parts of one file.
pub(crate) const PARTS_MAX: usize = 1 << 18;

/// The map of a sparse file as it is found, before it is checked.
#[derive(Default)]
pub(crate) struct Map {
    /// Size of the file with its holes.
    pub(crate) size: u64,
    /// Offset and length of each part.
    pub(crate) parts: Vec<(u64, u64)>,
}

fn bad(what: &str) -> Error {
    Error::InvalidLayer(format!("a sparse file has {what}"))
}

fn unsigned(field: &[u8]) -> Result<u64> {
    u64::try_from(number(field, "sparse map")?).map_err(|_| bad("a negative number in its map"))
}

impl Map {
    /// Adds a pair to the map.
    pub(crate) fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.parts.len() >= PARTS_MAX {
            return Err(Error::Limit { what: "number of parts of a sparse file".into(), limit: PARTS_MAX.to_string() });
        }
        self.parts.push((offset, length));
        Ok(())
    }

    /// Reads the pairs in an old GNU header; whether extension blocks follow.
    pub(crate) fn old_header(&mut self, block: &Block) -> Result<bool> {
        self.size = unsigned(&block[483..495])?;
        self.old_pairs(&block[386..482])?;
        Ok(block[482] != 0)
    }

    /// Reads the pairs of an old GNU extension block; whether another one follows.
    pub(crate) fn old_extension(&mut self, block: &Block) -> Result<bool> {
        self.old_pairs(&block[..504])?;
        Ok(block[504] != 0)
    }

    fn old_pairs(&mut self, fields: &[u8]) -> Result<()> {
        for pair in fields.chunks_exact(24) {
            if pair[12] == 0 && pair[0] == 0 {
                break;
            }
            self.push(unsigned(&pair[..12])?, unsigned(&pair[12..])?)?;
        }
        Ok(())
    }

    /// Adds the pairs of PAX 0.0 and 0.1.
    pub(crate) fn pairs(&mut self, numbers: &[u64], count: Option<u64>) -> Result<()> {
        if !numbers.len().is_multiple_of(2) || count.is_some_and(|count| count != numbers.len() as u64 / 2) {
            return Err(bad("a map of the wrong length"));
        }
        for pair in numbers.chunks_exact(2) {
            self.push(pair[0], pair[1])?;
        }
        Ok(())
    }

    /// The extents of a file whose `stored` bytes begin at `offset` in the tar.
    pub(crate) fn extents(&self, mut offset: u64, stored: u64) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let (mut end, mut left, mut partial) = (0, stored, false);
        for &(logical, length) in &self.parts {
            let next = logical.checked_add(length).ok_or_else(|| bad("a part beyond all sizes"))?;
            if logical < end || next > self.size {
                return Err(bad("parts that overlap or lie outside"));
            }
            end = next;
            if length == 0 {
                continue;
            }
            if partial {
                return Err(bad("a part that is no multiple of 512 bytes before its last one"));
            }
            partial = !length.is_multiple_of(BLOCK as u64);
            left = left.checked_sub(length).ok_or_else(|| bad("more data in its map than in the archive"))?;
            match extents.last_mut() {
                Some(last) if last.logical + last.length == logical => last.length += length,
                _ => extents.push(Extent { logical, offset, length }),
            }
            offset += length;
        }
        // Some writers count the last block as whole.
        let padding = (stored - left).next_multiple_of(BLOCK as u64) - (stored - left);
        if left != 0 && left != padding {
            return Err(bad("less data in its map than in the archive"));
        }
        Ok(extents)
    }
}

/// Takes the numbers of a PAX 1.0 map, one a line, from blocks at the beginning of the file's data.
#[derive(Default)]
pub(crate) struct MapReader {
    line: Vec<u8>,
    expected: Option<u64>,
    offset: Option<u64>,
}

impl MapReader {
    /// Reads one block into `map`; whether the map is complete.
    pub(crate) fn block(&mut self, block: &[u8], map: &mut Map) -> Result<bool> {
        for &byte in block {
            if byte != b'\n' {
                if self.line.len() >= 20 {
                    return Err(bad("a number that is too long in its map"));
                }
                self.line.push(byte);
                continue;
            }
            let value = decimal(&self.line)?;
            self.line.clear();
            match (self.expected, self.offset.take()) {
                (None, _) if value > PARTS_MAX as u64 => return Err(bad("too many parts")),
                (None, _) => self.expected = Some(value),
                (Some(_), None) => self.offset = Some(value),
                (Some(_), Some(offset)) => map.push(offset, value)?,
            }
            if self.offset.is_none() && self.expected == Some(map.parts.len() as u64) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(size: u64, parts: &[(u64, u64)]) -> Map {
        Map { size, parts: parts.to_vec() }
    }

    #[test]
    fn makes_extents() {
        let extents = map(10_000, &[(0, 512), (512, 512), (4096, 100), (10_000, 0)]).extents(1024, 1124).unwrap();
        let expected = [(0, 1024, 1024), (4096, 2048, 100)];
        assert_eq!(extents.len(), 2);
        for (extent, (logical, offset, length)) in extents.iter().zip(expected) {
            assert_eq!(*extent, Extent { logical, offset, length });
        }
        assert!(map(1 << 40, &[(1 << 40, 0)]).extents(512, 0).unwrap().is_empty());
    }

    #[test]
    fn refuses_bad_maps() {
        for (size, parts, stored) in [
            (100, &[(0, 200)][..], 200),
            (2000, &[(0, 512), (100, 512)], 1024),
            (2000, &[(0, 100), (512, 100)], 200),
            (2000, &[(0, 512)], 400),
            (2000, &[(0, 512)], 1024),
            (2000, &[(u64::MAX, 512)], 512),
        ] {
            assert!(map(size, parts).extents(512, stored).is_err(), "{parts:?}");
        }
        assert!(Map::default().pairs(&[1, 2, 3], None).is_err());
        assert!(Map::default().pairs(&[1, 2], Some(2)).is_err());
    }

    #[test]
    fn reads_a_text_map_across_blocks() {
        let mut reader = MapReader::default();
        let mut out = Map::default();
        assert!(!reader.block(b"2\n0\n51", &mut out).unwrap());
        assert!(reader.block(b"2\n1024\n5\n\0\0\0", &mut out).unwrap());
        assert_eq!(out.parts, [(0, 512), (1024, 5)]);
        assert!(MapReader::default().block(b"0\n\0", &mut Map::default()).unwrap());
        assert!(MapReader::default().block(b"x\n", &mut Map::default()).is_err());
    }
}
