//! Writing a draft as a layer: entries in order into the layer's tar, each file checked against the digest that the
//! step's key was made of, so that a file changed meanwhile ends the build instead of poisoning the cache.

use std::io::{self, Read};

use store::Store;
use store::digest::Digester;
use store::layer::{Entry, LayerInfo};

use super::OpError;
use super::place::{Data, Draft};
use crate::cancel::Cancel;

/// Writes `draft`; none if there is nothing in it.
///
/// # Errors
/// [`OpError`] if a file cannot be read or has changed, the store cannot be written, or on cancellation.
pub fn write(store: &Store, draft: Draft<'_>, cancel: &Cancel) -> Result<Option<LayerInfo>, OpError> {
    if draft.is_empty() {
        return Ok(None);
    }
    let mut writer = store.layers().writer()?;
    for finished in draft.finish()? {
        let (entry, data) = finished?;
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        match data {
            Data::None => writer.add(&entry, None)?,
            Data::Inline(bytes) => writer.add(&entry, Some(&mut bytes.as_slice()))?,
            // Taken in just now, by this process.
            Data::Member { archive, kind } => writer.add(&entry, Some(&mut archive.read(&kind)?))?,
            Data::File { files, path, content } => {
                let mut reader = Hashing { inner: files.open(&path)?, digester: Digester::new() };
                let changed = || OpError::Message(format!("{path} in {} changed while it was copied", files.name()));
                match writer.add(&entry, Some(&mut reader)) {
                    // A file that grew or shrank breaks the writer's rule first.
                    Err(store::Error::InvalidLayer(_)) if !reader.has(&entry) => return Err(changed()),
                    other => other?,
                }
                if reader.digester.finish() != content.digest {
                    return Err(changed());
                }
            }
        }
    }
    Ok(Some(writer.finish()?))
}

/// Hashes what passes through.
struct Hashing<'a> {
    inner: Box<dyn Read + 'a>,
    digester: Digester,
}

impl Hashing<'_> {
    /// Whether as many bytes came as the entry has.
    fn has(&self, entry: &Entry) -> bool {
        self.digester.size() == entry.size()
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.digester.update(&buffer[..got]);
        Ok(got)
    }
}
