//! A tar that was taken in to be read, and becomes no layer: what ADD unpacks. It went through the one strict tar reader
//! as layers do, its table of contents stays in the form of a file, and nothing is left of it on the disk in the end.

use std::fs::File;
use std::io::Read;

use super::Kind;
use super::ingest::{self, IngestOptions};
use super::layers::Staging;
use super::toc::Listing;
use super::tree::FileReader;
use crate::Store;
use crate::error::Result;

/// A tar and what is in it; see the module.
pub struct Archive {
    listing: Listing,
    tar: File,
    /// Removes the tar in the end.
    _staging: Staging,
}

impl Archive {
    pub(crate) fn new(store: &Store, reader: impl Read + Send) -> Result<Self> {
        let staged = ingest::stage(store, reader, &IngestOptions::default())?;
        let (encoded, _) = staged.assembler.finish()?;
        Ok(Self { listing: Listing::new(encoded)?, tar: staged.tar, _staging: staged.staging })
    }

    /// Its table of contents, by the rules of [`super::Toc`].
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// The bytes of the regular file that has this kind in the table of contents.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] if it is no regular file.
    pub fn read<'a>(&'a self, kind: &'a Kind) -> Result<FileReader<'a>> {
        FileReader::new(&self.tar, kind)
    }
}
