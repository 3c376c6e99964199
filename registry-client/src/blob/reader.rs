//! The end of a download that is read: a blocking reader of the chunks that a task sends.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::Error;

/// The bytes of a blob, from the offset that was asked for.
pub struct BlobReader {
    what: String,
    messages: mpsc::Receiver<Message>,
    current: Bytes,
    state: State,
    /// What sends the chunks.
    task: AbortHandle,
    position: u64,
    progress: Option<Box<dyn FnMut(u64) + Send>>,
}

enum State {
    Reading,
    Ended,
    Failed,
}

/// What a download sends.
pub(super) enum Message {
    Chunk(Bytes),
    End,
    Fail(Box<Error>),
}

impl BlobReader {
    /// Reads what `task` sends, from `position` of the blob on.
    pub(super) fn new(what: String, messages: mpsc::Receiver<Message>, task: AbortHandle, position: u64) -> Self {
        Self { what, messages, current: Bytes::new(), state: State::Reading, task, position, progress: None }
    }

    /// The same reader, which tells `progress` after each chunk how many bytes of the blob it has handed out or buffered,
    /// counted from the blob's start.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl Read for BlobReader {
    /// Errors are [`Error`]s inside [`io::Error`]; [`Error::from_io`] takes them out.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !buffer.is_empty() {
            match self.state {
                State::Reading => {}
                State::Ended => return Ok(0),
                State::Failed => return Err(io::Error::other(format!("{}: reading on after an error", self.what))),
            }
            match self.messages.blocking_recv() {
                Some(Message::Chunk(bytes)) => {
                    self.position += bytes.len() as u64;
                    self.current = bytes;
                    if let Some(progress) = &mut self.progress {
                        progress(self.position);
                    }
                }
                Some(Message::End) => self.state = State::Ended,
                Some(Message::Fail(error)) => {
                    self.state = State::Failed;
                    return Err(io::Error::other(*error));
                }
                None => {
                    self.state = State::Failed;
                    return Err(io::Error::other(Error::Closed(self.what.clone())));
                }
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for BlobReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Error {
    /// The error of this crate inside an error that came from a [`BlobReader`], or else one that says what was read.
    #[must_use]
    pub fn from_io(what: &str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Io { what: what.to_owned(), source },
        }
    }
}
