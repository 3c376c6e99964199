//! Taking in a layer from a stream, on as many cores as there are.
//!
//! ```text
//! reader ─► hash of the bytes ─► inflate ─┬─► hash of the tar
//!           (thread)             (thread) │   (thread)
//!                                         └─► tar file, headers ► table of contents (caller's thread)
//!                                                └─► to the disk, piece by piece (thread)
//! ```
//!
//! Bounded channels of shared buffers between them hold a few MiB whatever the layer's size. Nothing is committed
//! before every thread has seen the verified end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::assemble::Assembler;
use super::compression;
use super::layers::{LayerInfo, Staging};
use super::pipe::{ChannelReader, Message, Pool, channel};
use super::tar::Reader;
use crate::Store;
use crate::digest::{DiffId, Digest, Digester, VerifiedReader};
use crate::error::{Error, Result};

/// Bytes of tar after which those written so far are sent to the disk, so that few are left when the last has come.
const FLUSH_EVERY: u64 = 32 << 20;

/// Limits on a layer from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest uncompressed tar, bytes.
    pub tar_size: u64,
    /// Most bytes of tar for one compressed byte, once there are more than [`Limits::ratio_from`] of them.
    pub ratio: u64,
    /// Bytes of tar below which the ratio does not count.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// 256 GiB, and 500:1 from 1 GiB on.
    fn default() -> Self {
        Self { tar_size: 256 << 30, ratio: 500, ratio_from: 1 << 30 }
    }
}

impl Limits {
    /// Whether `arrived` compressed bytes may become as many as `size`.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self, size: u64, arrived: u64) -> Result<()> {
        let what = || "uncompressed layer".to_owned();
        if size > self.tar_size {
            return Err(Error::Limit { what: what(), limit: format!("{} bytes", self.tar_size) });
        }
        if size > self.ratio_from && size / self.ratio > arrived {
            return Err(Error::Limit { what: what(), limit: format!("{} bytes for each compressed one", self.ratio) });
        }
        Ok(())
    }
}

/// How a layer is taken in.
#[derive(Clone, Copy, Debug)]
pub struct IngestOptions {
    /// The digest the tar must have.
    pub expected: Option<DiffId>,
    /// Digest and size that the stream must have as it comes.
    pub compressed: Option<(Digest, u64)>,
    /// Limits.
    pub limits: Limits,
    /// How long to wait for another process that takes in the same layer.
    pub patience: Duration,
}

impl Default for IngestOptions {
    /// Nothing expected, default limits, an hour of patience.
    fn default() -> Self {
        let patience = Duration::from_secs(3600);
        Self { expected: None, compressed: None, limits: Limits::default(), patience }
    }
}

/// What came from a stream and is not visible yet.
pub(crate) struct Staged {
    /// The directory that the tar is in; gone when this is dropped.
    pub(crate) staging: Staging,
    pub(crate) tar: File,
    pub(crate) assembler: Assembler,
    digest: Digest,
    size: u64,
}

/// Takes in a layer; see [`super::Layers::ingest`].
pub(crate) fn ingest(store: &Store, reader: impl Read + Send, options: &IngestOptions) -> Result<LayerInfo> {
    let Staged { staging, tar, assembler, digest, size } = stage(store, reader, options)?;
    let diff_id = DiffId(digest);
    if let Some(expected) = options.expected.filter(|expected| *expected != diff_id) {
        return Err(Error::DigestMismatch {
            what: "the uncompressed layer".to_owned(),
            expected: expected.to_string(),
            actual: diff_id.to_string(),
        });
    }
    staging.commit(tar, diff_id, size, assembler)
}

/// Reads a layer to its verified end.
pub(crate) fn stage(store: &Store, reader: impl Read + Send, options: &IngestOptions) -> Result<Staged> {
    let (staging, tar) = Staging::new(store)?;
    let path = staging.tar_path();
    let arrived = AtomicU64::new(0);
    let (assembler, digest, size) = thread::scope(|scope| {
        let (raw_in, raw) = channel();
        let (hash_in, hash) = channel();
        let (main_in, main) = channel();
        let source = scope.spawn(|| pump_source(reader, options.compressed, raw_in, &arrived));
        let inflate = scope.spawn(|| pump_inflated(raw, &[hash_in, main_in], &arrived, &options.limits));
        let hasher = scope.spawn(move || hash_all(&hash));
        let (due_in, due) = sync_channel(1);
        let mut file = &tar;
        let flusher = scope.spawn(move || flush(file, due));
        let (mut unflushed, path) = (0, &path);
        let walked = walk(ChannelReader::new(main, move |chunk| {
            file.write_all(chunk).map_err(Error::carried("write", path))?;
            unflushed += chunk.len() as u64;
            // A disk that is behind is not hurried; one that failed is heard of below.
            if unflushed >= FLUSH_EVERY && due_in.try_send(()).is_ok() {
                unflushed = 0;
            }
            Ok(())
        }));
        // `walk` has dropped its channels, so whatever went wrong, the others end now.
        let ended = |what: &str| Error::Conflict(format!("the {what} thread ended early"));
        let source = source.join().map_err(|_| ended("reading"))?;
        inflate.join().map_err(|_| ended("inflating"))?;
        let hashed = hasher.join().map_err(|_| ended("hashing"))?;
        let flushed = flusher.join().map_err(|_| ended("flushing"))?;
        let assembler = walked?;
        flushed.map_err(Error::io("sync", path))?;
        if !source {
            return Err(Error::InvalidLayer("bytes behind the end of the compressed layer".to_owned()));
        }
        let (digest, size) = hashed.ok_or_else(|| ended("hashing"))?;
        Ok((assembler, digest, size))
    })
    .map_err(|error: Error| match error {
        // What failed on either side of the tar reader comes out of it; the cause is the error to tell.
        Error::Read { what, source } => source.downcast().unwrap_or_else(|source| Error::Read { what, source }),
        other => other,
    })?;
    Ok(Staged { staging, tar, assembler, digest, size })
}

/// Reads `reader` to its verified end; whether it got there before the other side hung up.
fn pump_source(
    reader: impl Read,
    compressed: Option<(Digest, u64)>,
    out: SyncSender<Message>,
    arrived: &AtomicU64,
) -> bool {
    let pool = Pool::default();
    let mut plain;
    let mut verified;
    let mut reader = reader;
    let source: &mut dyn Read = match compressed {
        None => {
            plain = &mut reader;
            &mut plain
        }
        Some((digest, size)) => {
            verified = VerifiedReader::new(reader, format!("layer blob {digest}"), digest, size);
            &mut verified
        }
    };
    loop {
        match pool.read_from(source) {
            Ok(chunk) if chunk.is_empty() => {
                // Nobody may be listening any more: a decoder that has seen its end does not wait for ours.
                let _ = out.send(Message::End);
                return true;
            }
            Ok(chunk) => {
                arrived.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                if out.send(Message::Chunk(chunk)).is_err() {
                    return false;
                }
            }
            Err(error) => {
                let _ = out.send(Message::Failed(error));
                return false;
            }
        }
    }
}

/// Inflates what comes in and hands it to all of `out`.
fn pump_inflated(raw: Receiver<Message>, out: &[SyncSender<Message>], arrived: &AtomicU64, limits: &Limits) {
    let fail = |error: io::Error| {
        // The first receiver only counts, the last one reports; whoever hung up has an error of its own.
        if let Some(last) = out.last() {
            let _ = last.send(Message::Failed(error));
        }
    };
    let mut decoder = match compression::decompress(ChannelReader::new(raw, |_| Ok(()))) {
        Ok((_, decoder)) => decoder,
        Err(error) => return fail(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let pool = Pool::default();
    let mut size = 0_u64;
    loop {
        let chunk = match pool.read_from(&mut decoder) {
            Ok(chunk) => chunk,
            Err(error) => return fail(error),
        };
        if chunk.is_empty() {
            for receiver in out {
                let _ = receiver.send(Message::End);
            }
            return;
        }
        size += chunk.len() as u64;
        if let Err(error) = limits.check(size, arrived.load(Ordering::Relaxed)) {
            return fail(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        for receiver in out {
            if receiver.send(Message::Chunk(chunk.clone())).is_err() {
                return;
            }
        }
    }
}

/// Writes what is in `tar` to the disk each time it is due. The kernel tells an error of the disk once only, so it must
/// not be lost here: the sync before the commit would not hear of it again.
fn flush(tar: &File, due: Receiver<()>) -> io::Result<()> {
    due.into_iter().try_for_each(|()| tar.sync_data())
}

/// Digest and size of all that comes; `None` if the end never came.
fn hash_all(messages: &Receiver<Message>) -> Option<(Digest, u64)> {
    let mut digester = Digester::new();
    loop {
        match messages.recv() {
            Ok(Message::Chunk(chunk)) => digester.update(&chunk),
            Ok(Message::End) => {
                let size = digester.size();
                return Some((digester.finish(), size));
            }
            Ok(Message::Failed(_)) | Err(_) => return None,
        }
    }
}

/// Reads the tar to its end.
fn walk(input: impl io::BufRead) -> Result<Assembler> {
    let mut reader = Reader::new(input);
    let mut assembler = Assembler::default();
    while let Some(member) = reader.next_member()? {
        let dirty = reader.finish_member()?;
        assembler.add(member, dirty)?;
    }
    if reader.has_trailing_data() {
        assembler.note("bytes behind the end of the archive are kept but not read".to_owned());
    }
    Ok(assembler)
}

/// The table of contents and the notes of a tar that is at hand, as the layer of these bytes has them: for checks.
pub(crate) fn contents(tar: impl io::BufRead) -> Result<(super::Toc, Vec<String>)> {
    let (toc, notes) = walk(tar)?.finish()?;
    Ok((super::Toc::of_encoded(&toc)?, notes))
}

#[cfg(test)]
mod tests;
