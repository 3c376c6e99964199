//! Downloads: a blob as a blocking reader that survives broken connections.
//!
//! A task reads from the network, hashes unless the caller does, and hands chunks through a short channel, so that both
//! overlap with what the reader does. Broken connections are resumed by Range from the last byte that came; after too many
//! failures the next endpoint is asked. No more than the announced size is ever handed out. What was read is good only once
//! the reader has come to its end without an error.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::exchange::{self, Call, Inner, Retry};
use crate::failure::Failure;
use crate::limit;
use crate::reference::Reference;
use crate::retry::Verdict;
use crate::transport::{Incoming, host};

/// Progress after which failures are counted anew.
const PROGRESS: u64 = 256 << 10;

/// The bytes of a blob, from the offset that was asked for.
pub struct BlobReader {
    what: String,
    messages: mpsc::Receiver<Message>,
    current: Bytes,
    state: State,
    task: AbortHandle,
    position: u64,
    progress: Option<Box<dyn FnMut(u64) + Send>>,
}

enum State {
    Reading,
    Ended,
    Failed,
}

enum Message {
    Chunk(Bytes),
    End,
    Fail(Box<Error>),
}

impl BlobReader {
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

/// A response on its way in.
struct Body {
    incoming: Incoming,
    /// Bytes at its start that we have already.
    skip: u64,
}

/// A download on its way.
struct Download {
    inner: Arc<Inner>,
    what: String,
    path: String,
    endpoints: Vec<Endpoint>,
    /// The endpoint that is asked now.
    at: usize,
    digest: Digest,
    size: u64,
    /// The bytes that came, counted from the start of the blob.
    position: u64,
    /// Of all bytes; `None` if the caller hashes them.
    hash: Option<Sha256>,
}

/// Opens a blob at `offset`; the first response has come when this returns. `hash` only if that is its first byte.
pub(crate) async fn open(
    runtime: &Handle,
    inner: Arc<Inner>,
    reference: &Reference,
    descriptor: &Descriptor,
    offset: u64,
    hash: bool,
) -> Result<BlobReader> {
    let what = format!("blob {} of {}", descriptor.digest, reference.name());
    if offset > descriptor.size {
        return Err(Error::SizeMismatch { what, expected: descriptor.size, actual: offset });
    }
    let endpoints = endpoint::for_pull(inner.config(), &reference.with_digest(descriptor.digest))?;
    let mut download = Download {
        path: format!("/blobs/{}", descriptor.digest),
        at: 0,
        endpoints: inner.trusted(endpoints, &descriptor.digest),
        inner,
        what: what.clone(),
        digest: descriptor.digest,
        size: descriptor.size,
        position: offset,
        hash: hash.then(Sha256::new),
    };
    let (sender, messages) = mpsc::channel(limit::CHUNKS_BUFFERED);
    let task = if offset == descriptor.size && offset > 0 {
        runtime.spawn(async move { drop(sender.send(Message::End).await) })
    } else {
        let first = download.connect().await?;
        runtime.spawn(async move {
            let end = match download.run(first, &sender).await {
                Ok(()) => Message::End,
                Err(error) => Message::Fail(Box::new(error)),
            };
            // The reader may have been dropped, and then nobody wants to know.
            drop(sender.send(end).await);
        })
    };
    Ok(BlobReader {
        what,
        messages,
        current: Bytes::new(),
        state: State::Reading,
        task: task.abort_handle(),
        position: offset,
        progress: None,
    })
}

impl Download {
    /// Asks the endpoints, from the present one on, for what is missing.
    async fn connect(&mut self) -> Result<Body> {
        loop {
            let endpoint = self.endpoints[self.at].clone();
            let inner = Arc::clone(&self.inner);
            let what = self.what.clone();
            let mut retry = Retry::new(&inner.transport, &what, exchange::tries(&inner, &endpoint));
            let error = loop {
                match self.request(&endpoint).await {
                    Ok(body) => return Ok(body),
                    Err(failure) => {
                        if let Err(error) = retry.pause(failure).await {
                            break error;
                        }
                    }
                }
            };
            self.next(error)?;
        }
    }

    /// Goes on to the next endpoint after an error, if there is one.
    fn next(&mut self, error: Error) -> Result<()> {
        let last = self.at + 1 == self.endpoints.len();
        exchange::next_endpoint(&self.inner, &self.what, &self.endpoints[self.at], last, error)?;
        self.at += 1;
        Ok(())
    }

    /// One request for what is missing.
    async fn request(&self, endpoint: &Endpoint) -> Result<Body, Failure> {
        let mut call = Call::new(&self.what, Method::GET, &self.path, "pull");
        if self.position > 0 {
            let range = format!("bytes={}-", self.position);
            let unfit = |_| Error::Protocol { what: self.what.clone(), why: "range".into() };
            call.headers.insert(RANGE, HeaderValue::from_str(&range).map_err(unfit)?);
        }
        let url = endpoint.url(self.inner.transport.scheme(endpoint).await?, &self.path)?;
        let scopes = exchange::scope(&endpoint.repository, call.actions);
        let payload = crate::transport::Payload::Empty;
        let incoming = match exchange::once(&self.inner, endpoint, &call, &scopes, &url, payload).await {
            // A server that refuses the range, though it lies within the blob, knows no ranges.
            Err(Failure { error: Error::Status { status: 416, .. }, .. }) if self.position > 0 => {
                call.headers.remove(RANGE);
                exchange::once(&self.inner, endpoint, &call, &scopes, &url, crate::transport::Payload::Empty).await?
            }
            other => other?,
        };
        let length = incoming.response.content_length();
        let expected = match incoming.response.status().as_u16() {
            206 => {
                self.check_range(&incoming)?;
                self.size - self.position
            }
            200 => self.size,
            status => return Err(Error::Status { what: self.what.clone(), status, said: Default::default() }.into()),
        };
        if let Some(length) = length.filter(|length| *length != expected) {
            return Err(self.wrong_size(self.size - expected + length).into());
        }
        // A server that knows no ranges sends everything again.
        let skip = if incoming.response.status() == 200 { self.position } else { 0 };
        Ok(Body { incoming, skip })
    }

    /// Brings the rest of the blob to the reader. Returns early, without an error, when the reader is gone.
    async fn run(mut self, first: Body, reader: &mpsc::Sender<Message>) -> Result<()> {
        let mut body = first;
        let inner = Arc::clone(&self.inner);
        let what = self.what.clone();
        let mut retry = Retry::new(&inner.transport, &what, inner.config().tries);
        let mut mark = self.position;
        loop {
            let Err(failure) = self.pump(&mut body, reader).await else { break };
            if reader.is_closed() {
                return Ok(());
            }
            if matches!(failure.error, Error::SizeMismatch { .. }) && failure.verdict == Verdict::GiveUp {
                self.distrust();
                return Err(failure.error);
            }
            if self.position >= mark + PROGRESS {
                mark = self.position;
                retry.reset();
            }
            if let Err(error) = retry.pause(failure).await {
                self.next(error)?;
                retry.reset();
            }
            body = self.connect().await?;
        }
        match self.hash.take().map(Digest::finish) {
            Some(actual) if actual != self.digest => {
                self.distrust();
                Err(Error::DigestMismatch { what: self.what.clone(), expected: self.digest, actual })
            }
            _ => Ok(()),
        }
    }

    /// Passes one response on, to the end of the blob.
    async fn pump(&mut self, body: &mut Body, reader: &mpsc::Sender<Message>) -> Result<(), Failure> {
        let inner = Arc::clone(&self.inner);
        let mut rate = Rate::new(inner.config().idle_timeout(), inner.config().least_rate);
        // A length that was announced was compared; without one, the end must be seen.
        let announced = body.incoming.response.content_length().is_some();
        loop {
            if self.position == self.size && announced {
                return Ok(());
            }
            let chunk = {
                // Only while we read: a reader that dawdles holds no permit, so any order of reading is fine.
                let Ok(_permit) = inner.permits.acquire().await else {
                    return Err(Error::Closed(self.what.clone()).into());
                };
                let start = Instant::now();
                let chunk = inner.transport.chunk(&self.what, &mut body.incoming).await?;
                if rate.too_slow(start.elapsed(), chunk.as_ref().map_or(0, Bytes::len)) {
                    let (what, host) = (self.what.clone(), host(&body.incoming.url));
                    let error = Error::Stalled { what, host, waited: inner.config().idle_timeout() };
                    return Err(Failure { error, verdict: Verdict::Again });
                }
                chunk
            };
            let Some(mut chunk) = chunk else {
                if self.position == self.size {
                    return Ok(());
                }
                return Err(Failure { error: self.wrong_size(self.position), verdict: Verdict::Again });
            };
            let skipped = body.skip.min(chunk.len() as u64);
            chunk.advance(skipped as usize);
            body.skip -= skipped;
            if chunk.is_empty() {
                continue;
            }
            if chunk.len() as u64 > self.size - self.position {
                return Err(self.wrong_size(self.size + 1).into());
            }
            if let Some(hash) = &mut self.hash {
                hash.update(&chunk);
            }
            self.position += chunk.len() as u64;
            if reader.send(Message::Chunk(chunk)).await.is_err() {
                return Err(Error::Closed(self.what.clone()).into());
            }
        }
    }

    /// Remembers that this endpoint sent wrong bytes, so that another download asks others first.
    fn distrust(&self) {
        self.inner.distrust(&self.endpoints[self.at], self.digest);
    }

    /// Checks a header such as `bytes 100-999/1000`.
    fn check_range(&self, incoming: &Incoming) -> Result<()> {
        let wrong = || Error::Protocol {
            what: self.what.clone(),
            why: "the server sent another range than was asked for".into(),
        };
        let header =
            incoming.response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
        let (range, total) = header.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let (first, _) = range.split_once('-').ok_or_else(wrong)?;
        if first.trim().parse() != Ok(self.position) {
            return Err(wrong());
        }
        match total.trim().parse::<u64>() {
            Ok(total) if total != self.size => Err(self.wrong_size(total)),
            _ => Ok(()),
        }
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::SizeMismatch { what: self.what.clone(), expected: self.size, actual }
    }
}

/// Watches that a download is not slower than the least rate, counting only the time spent on the network.
struct Rate {
    window: Duration,
    least: u64,
    waited: Duration,
    bytes: u64,
}

impl Rate {
    fn new(window: Duration, least: u64) -> Self {
        Self { window, least, waited: Duration::ZERO, bytes: 0 }
    }

    /// Whether the window that ends with these bytes was too slow.
    fn too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return false;
        }
        let slow = (self.bytes as f64) < self.least as f64 * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_on_the_network_counts() {
        let second = Duration::from_secs(1);
        let mut rate = Rate::new(10 * second, 100);
        assert!((0..9).all(|_| !rate.too_slow(second, 1)));
        assert!(rate.too_slow(second, 1));
        assert!((0..30).all(|_| !rate.too_slow(second, 100)));
    }
}
