//! Reads a regular file's bytes out of its layer's tar.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::layer::{Extent, Kind};

/// The bytes of one regular file, holes as zeros. Does not move the tar's own position, so that many can read one
/// open tar.
#[derive(Debug)]
pub struct FileReader<'a> {
    tar: &'a File,
    extents: &'a [Extent],
    size: u64,
    position: u64,
}

impl<'a> FileReader<'a> {
    /// Reads the file that `kind` describes from the tar of its layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no regular file, or its extents overlap or go past its end.
    pub fn new(tar: &'a File, kind: &'a Kind) -> Result<Self> {
        let Kind::File { size, extents } = kind else {
            return Err(Error::Invalid { what: "file to read", reason: "it is no regular file".to_owned() });
        };
        let mut end = 0;
        for extent in extents {
            let stop = extent.logical.checked_add(extent.length).filter(|stop| extent.logical >= end && stop <= size);
            end = stop.ok_or_else(|| Error::Invalid {
                what: "file to read",
                reason: "its extents overlap or go past its end".to_owned(),
            })?;
        }
        Ok(Self { tar, extents, size: *size, position: 0 })
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.extents.first().is_some_and(|extent| extent.logical + extent.length <= self.position) {
            self.extents = &self.extents[1..];
        }
        let (hole_end, extent) = match self.extents.first() {
            Some(extent) if extent.logical <= self.position => (self.position, Some(extent)),
            Some(extent) => (extent.logical, None),
            None => (self.size, None),
        };
        let left = extent.map_or(hole_end - self.position, |extent| extent.logical + extent.length - self.position);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = match extent {
            Some(extent) => {
                let got = self.tar.read_at(&mut buffer[..want], extent.offset + (self.position - extent.logical))?;
                if got == 0 && want > 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer's tar is cut short"));
                }
                got
            }
            None => {
                buffer[..want].fill(0);
                want
            }
        };
        self.position += got as u64;
        Ok(got)
    }
}
