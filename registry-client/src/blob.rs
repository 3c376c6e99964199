//! Downloads: a blob as a blocking reader that survives broken connections.
//!
//! A task reads from the network, hashes unless the caller does, and hands chunks through a short channel, so that both
//! overlap with what the reader does. Broken connections are resumed by Range from the last byte that came; after too many
//! failures the next endpoint is asked. No more than the announced size is ever handed out. What was read is good only once
//! the reader has come to its end without an error.

mod ranges;
mod reader;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::exchange::{self, Call, Inner, Retry};
use crate::failure::Failure;
use crate::limit;
use crate::reference::Reference;
use crate::retry::Verdict;
use crate::transport::{Incoming, Payload, host};

pub use reader::BlobReader;
use reader::Message;

/// Progress after which failures are counted anew.
const PROGRESS: u64 = 256 << 10;

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
    /// Several connections were tried, and gave nothing.
    alone: bool,
}

/// How a response ended, if nothing failed.
enum Flow {
    /// With the end of the blob.
    End,
    /// It is the network that the reader waits for: several connections may bring more ([`ranges`]).
    Slow,
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
        alone: false,
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
    Ok(BlobReader::new(what, messages, task.abort_handle(), offset))
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
        let range = (self.position > 0).then(|| format!("bytes={}-", self.position));
        let incoming = match ask(&self.inner, endpoint, &self.what, &self.path, range.as_deref()).await {
            // A server that refuses the range, though it lies within the blob, knows no ranges.
            Err(Failure { error: Error::Status { status: 416, .. }, .. }) if range.is_some() => {
                ask(&self.inner, endpoint, &self.what, &self.path, None).await?
            }
            other => other?,
        };
        let length = incoming.response.content_length();
        let expected = match incoming.response.status().as_u16() {
            206 => {
                check_range(&self.what, &incoming, self.position, self.size)?;
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
            let failure = match self.pump(&mut body, reader).await {
                Ok(Flow::End) => break,
                Ok(Flow::Slow) => {
                    drop(body);
                    if self.fetch_ranges(reader).await {
                        break;
                    }
                    if reader.is_closed() {
                        return Ok(());
                    }
                    // Whatever was the matter, one connection alone finds out.
                    self.alone = true;
                    body = self.connect().await?;
                    continue;
                }
                Err(failure) => failure,
            };
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

    /// Passes one response on, to the end of the blob or until more connections seem better.
    async fn pump(&mut self, body: &mut Body, reader: &mpsc::Sender<Message>) -> Result<Flow, Failure> {
        let inner = Arc::clone(&self.inner);
        let mut rate = Rate::new(inner.config().idle_timeout(), inner.config().least_rate);
        let mut watch = self.watch(&body.incoming);
        // A length that was announced was compared; without one, the end must be seen.
        let announced = body.incoming.response.content_length().is_some();
        loop {
            if self.position == self.size && announced {
                return Ok(Flow::End);
            }
            let start = Instant::now();
            let chunk = next_chunk(&inner, &self.what, &mut body.incoming, &mut rate).await?;
            let waited = start.elapsed();
            let Some(mut chunk) = chunk else {
                if self.position == self.size {
                    return Ok(Flow::End);
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
            self.hand_over(chunk, reader).await?;
            if watch.as_mut().is_some_and(|watch| watch.is_slow(waited, self.size - self.position)) {
                return Ok(Flow::Slow);
            }
        }
    }

    /// Gives the reader the bytes that come next.
    async fn hand_over(&mut self, chunk: Bytes, reader: &mpsc::Sender<Message>) -> Result<(), Failure> {
        if let Some(hash) = &mut self.hash {
            hash.update(&chunk);
        }
        self.position += chunk.len() as u64;
        match reader.send(Message::Chunk(chunk)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::Closed(self.what.clone()).into()),
        }
    }

    /// Remembers that this endpoint sent wrong bytes, so that another download asks others first.
    fn distrust(&self) {
        self.inner.distrust(&self.endpoints[self.at], self.digest);
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::SizeMismatch { what: self.what.clone(), expected: self.size, actual }
    }
}

/// Asks an endpoint for a blob, or a range of it (RFC 9110, section 14.2).
async fn ask(
    inner: &Inner,
    endpoint: &Endpoint,
    what: &str,
    path: &str,
    range: Option<&str>,
) -> Result<Incoming, Failure> {
    let mut call = Call::new(what, Method::GET, path, "pull");
    if let Some(range) = range {
        let unfit = |_| Error::Protocol { what: what.to_owned(), why: "range".into() };
        call.headers.insert(RANGE, HeaderValue::from_str(range).map_err(unfit)?);
    }
    let url = endpoint.url(inner.transport.scheme(endpoint).await?, path)?;
    let scopes = exchange::scope(&endpoint.repository, call.actions);
    exchange::once(inner, endpoint, &call, &scopes, &url, Payload::Empty).await
}

/// Checks a header such as `bytes 100-999/1000`.
fn check_range(what: &str, incoming: &Incoming, asked: u64, size: u64) -> Result<()> {
    let wrong =
        || Error::Protocol { what: what.to_owned(), why: "the server sent another range than was asked for".into() };
    let header =
        incoming.response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    let (range, total) = header.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let (first, _) = range.split_once('-').ok_or_else(wrong)?;
    if first.trim().parse() != Ok(asked) {
        return Err(wrong());
    }
    match total.trim().parse::<u64>() {
        Ok(total) if total != size => Err(Error::SizeMismatch { what: what.to_owned(), expected: size, actual: total }),
        _ => Ok(()),
    }
}

/// The next bytes of a response.
async fn next_chunk(
    inner: &Inner,
    what: &str,
    incoming: &mut Incoming,
    rate: &mut Rate,
) -> Result<Option<Bytes>, Failure> {
    // Only while we read: a reader that dawdles holds no permit, so any order of reading is fine.
    let Ok(_permit) = inner.permits.acquire().await else {
        return Err(Error::Closed(what.to_owned()).into());
    };
    let start = Instant::now();
    let chunk = inner.transport.chunk(what, incoming).await?;
    if rate.too_slow(start.elapsed(), chunk.as_ref().map_or(0, Bytes::len)) {
        let (what, host) = (what.to_owned(), host(&incoming.url));
        let error = Error::Stalled { what, host, waited: inner.config().idle_timeout() };
        return Err(Failure { error, verdict: Verdict::Again });
    }
    Ok(chunk)
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
