//! Chunks of bytes that several threads read at once, without copies: a bounded channel of shared buffers which go
//! back to their pool when the last reader lets go. Memory is bounded by the depth of the channels.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of one chunk.
pub(crate) const CHUNK: usize = 256 << 10;
/// Chunks that may wait in a channel.
const DEPTH: usize = 8;

type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// Where buffers wait for their next use.
#[derive(Clone, Default)]
pub(crate) struct Pool(Buffers);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// A chunk of what `reader` gives next, as full as it can be; empty at the end.
    pub(crate) fn read_from(&self, reader: &mut dyn Read) -> io::Result<Chunk> {
        let mut bytes = self.take();
        // One that has been used is as long already; `read_to_end` would clear it anew and ask for small pieces.
        bytes.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match reader.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(self.chunk(bytes))
    }

    /// An empty buffer to be filled and made a chunk.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let mut bytes = self.take();
        bytes.clear();
        bytes
    }

    /// A chunk of `bytes`, which come back to this pool.
    pub(crate) fn chunk(&self, bytes: Vec<u8>) -> Chunk {
        Chunk(Arc::new(Shared { bytes, pool: Arc::clone(&self.0) }))
    }
}

/// Bytes shared by several threads.
#[derive(Clone)]
pub(crate) struct Chunk(Arc<Shared>);

struct Shared {
    bytes: Vec<u8>,
    pool: Buffers,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.bytes));
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// What goes through a channel: chunks, then either an error or the end (the sender hangs up after [`Message::End`];
/// one that hangs up without it has failed elsewhere).
pub(crate) enum Message {
    Chunk(Chunk),
    End,
    Failed(io::Error),
}

/// A bounded channel.
pub(crate) fn channel() -> (SyncSender<Message>, Receiver<Message>) {
    sync_channel(DEPTH)
}

/// Reads a channel; `each` sees every chunk once, before its bytes are read.
pub(crate) struct ChannelReader<F> {
    messages: Receiver<Message>,
    current: Option<Chunk>,
    position: usize,
    ended: bool,
    each: F,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> ChannelReader<F> {
    pub(crate) fn new(messages: Receiver<Message>, each: F) -> Self {
        Self { messages, current: None, position: 0, ended: false, each }
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> BufRead for ChannelReader<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.current.as_ref().is_none_or(|chunk| self.position == chunk.len()) {
            self.current = None;
            self.position = 0;
            match self.messages.recv() {
                Ok(Message::Chunk(chunk)) => {
                    (self.each)(&chunk)?;
                    self.current = Some(chunk);
                }
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(error)) => return Err(error),
                Err(_) => return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the writing thread ended early")),
            }
        }
        Ok(self.current.as_deref().map_or(&[], |chunk| &chunk[self.position..]))
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Read for ChannelReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let got = available.len().min(buffer.len());
        buffer[..got].copy_from_slice(&available[..got]);
        self.consume(got);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_bytes_on_and_reuses_buffers() {
        let pool = Pool::default();
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let (sender, receiver) = channel();
        let mut out = Vec::new();
        let mut seen = 0;
        std::thread::scope(|scope| {
            let (pool, mut source) = (&pool, &bytes[..]);
            scope.spawn(move || {
                loop {
                    let chunk = pool.read_from(&mut source).unwrap();
                    if chunk.is_empty() {
                        return sender.send(Message::End).unwrap();
                    }
                    sender.send(Message::Chunk(chunk)).unwrap();
                }
            });
            let mut reader = ChannelReader::new(receiver, |chunk| {
                seen += chunk.len();
                Ok(())
            });
            reader.read_to_end(&mut out).unwrap();
        });
        assert!(out == bytes && seen == bytes.len());
        assert!(pool.0.lock().unwrap().len() <= 5);
    }

    #[test]
    fn a_sender_that_vanishes_is_an_error() {
        let (sender, receiver) = channel();
        drop(sender);
        assert!(ChannelReader::new(receiver, |_| Ok(())).read_to_end(&mut vec![]).is_err());
    }
}
