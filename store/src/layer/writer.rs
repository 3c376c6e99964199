//! Making a layer of entries: what a COPY, a diff or an import writes goes straight into the layer's tar, is hashed on
//! another thread, and becomes visible with `finish`.
//!
//! The same entries in the same order make the same layer, byte for byte. Callers add them sorted by path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use super::assemble::Assembler;
use super::layers::{LayerInfo, Staging};
use super::pipe::{CHUNK, Message, Pool, channel};
use super::tar::Writer;
use super::{Entry, Kind};
use crate::Store;
use crate::digest::{DiffId, Digest, Digester};
use crate::error::{Error, Result};

/// A layer being written. Dropping it leaves nothing behind.
pub struct LayerWriter {
    staging: Staging,
    tar: Writer<TarFile>,
    assembler: Assembler,
}

impl LayerWriter {
    pub(crate) fn new(store: &Store) -> Result<Self> {
        let (staging, file) = Staging::new(store)?;
        let path = staging.tar_path();
        Ok(Self { staging, tar: Writer::new(TarFile::new(file, path)), assembler: Assembler::default() })
    }

    /// Adds an entry; `data` gives exactly the bytes of a regular file's size (its extents are ignored; holes are
    /// zeros). Parents that are not added become implied directories; a later entry at the same path replaces an
    /// earlier one.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for an entry that breaks a rule of layers or data of another size, [`Error::Read`].
    pub fn add(&mut self, entry: &Entry, data: Option<&mut dyn Read>) -> Result<()> {
        let extents = self.tar.append(entry, data)?;
        let mut entry = entry.clone();
        if let Kind::File { extents: of_entry, .. } = &mut entry.kind {
            *of_entry = extents.into();
        }
        self.assembler.add_entry(entry)
    }

    /// Ends the tar and makes the layer visible; one that is here already stays as it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InvalidLayer`] if entries contradict each other.
    pub fn finish(self) -> Result<LayerInfo> {
        let Self { staging, tar, assembler } = self;
        let (file, digest, size) = tar.finish()?.close(&staging)?;
        staging.commit(file, DiffId(digest), size, assembler)
    }
}

/// The tar file: whole chunks are written and handed to the hashing thread.
struct TarFile {
    file: File,
    path: PathBuf,
    pool: Pool,
    buffer: Vec<u8>,
    hash: SyncSender<Message>,
    hasher: JoinHandle<Option<(Digest, u64)>>,
}

impl TarFile {
    fn new(file: File, path: PathBuf) -> Self {
        let (hash, messages) = channel();
        let hasher = std::thread::spawn(move || {
            let mut digester = Digester::new();
            while let Ok(message) = messages.recv() {
                match message {
                    Message::Chunk(chunk) => digester.update(&chunk),
                    Message::End => return Some((digester.size(), digester.finish())).map(|(size, d)| (d, size)),
                    Message::Failed(_) => return None,
                }
            }
            None
        });
        let pool = Pool::default();
        Self { file, path, buffer: pool.buffer(), pool, hash, hasher }
    }

    fn drain(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Whoever writes a tar into this does not know the file.
        self.file.write_all(&self.buffer).map_err(Error::carried("write", &self.path))?;
        let full = std::mem::replace(&mut self.buffer, self.pool.buffer());
        self.hash
            .send(Message::Chunk(self.pool.chunk(full)))
            .map_err(|_| io::Error::other("the hashing thread ended early"))
    }

    fn close(mut self, staging: &Staging) -> Result<(File, Digest, u64)> {
        self.drain().map_err(|source| source.downcast().unwrap_or_else(Error::io("write", staging.tar_path())))?;
        let ended = || Error::Conflict("the hashing thread ended early".to_owned());
        self.hash.send(Message::End).map_err(|_| ended())?;
        let (digest, size) = self.hasher.join().map_err(|_| ended())?.ok_or_else(ended)?;
        Ok((self.file, digest, size))
    }
}

impl Write for TarFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= CHUNK {
            self.drain()?;
        }
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

#[cfg(test)]
mod tests;
