//! Uploads: blobs by the cheapest way that works, then manifests.
//!
//! ```text
//! HEAD blob ── there ─────────────────────────────► Existed
//!    │ not there
//! POST uploads (mount=…) ── 201 ──────────────────► Mounted
//!    │ 202, Location
//!    ├─ whole:  PUT  Location?digest=…  body ─────► Uploaded
//!    └─ chunks: PATCH Location  Content-Range  body   (again and again; 202, new Location)
//!               PUT  Location?digest=… ───────────► Uploaded
//! after a failure: GET Location → Range says how much arrived → go on from there with PATCH, or start over
//! ```
//!
//! The blob is read on the caller's thread, through the caller's closure, which is asked again after a failure.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Url};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::exchange::{self, Call, Inner, Retry};
use crate::failure::Failure;
use crate::limit;
use crate::reference::{self, Reference};
use crate::resolve::stated_digest;
use crate::retry::Verdict;
use crate::transport::{Incoming, Payload};
use crate::upload_body::UploadBody;

const ACTIONS: &str = "pull,push";
/// Bytes that are read from the blob at a time.
const PIECE: usize = 128 << 10;

/// How a blob came to be at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// It was there before.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// Opens a blob for reading at an offset in bytes.
pub type OpenAt<'a> = &'a dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>;

/// A blob on its way to a registry.
pub(crate) struct Upload<'a> {
    pub runtime: &'a Handle,
    pub inner: Arc<Inner>,
    pub endpoint: Endpoint,
    pub descriptor: &'a Descriptor,
    pub what: String,
    pub scopes: Vec<String>,
    pub open: OpenAt<'a>,
    pub progress: Option<&'a dyn Fn(u64)>,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        runtime: &'a Handle,
        inner: Arc<Inner>,
        reference: &Reference,
        descriptor: &'a Descriptor,
        open: OpenAt<'a>,
    ) -> Result<Self> {
        let endpoint = endpoint::for_push(inner.config(), reference)?;
        let what = format!("upload of {} to {}", descriptor.digest, reference.name());
        let scopes = exchange::scope(&endpoint.repository, ACTIONS);
        Ok(Self { runtime, inner, endpoint, descriptor, what, scopes, open, progress: None })
    }

    /// Brings the blob to the registry.
    pub(crate) fn run(mut self, mount_from: Option<&str>) -> Result<PushOutcome> {
        if self.runtime.block_on(blob_exists(
            &self.inner,
            &self.endpoint,
            &self.descriptor.digest,
            &self.what,
            ACTIONS,
        ))? {
            return Ok(PushOutcome::Existed);
        }
        let mut session = match mount_from.filter(|from| *from != self.endpoint.repository) {
            Some(from) => match self.mount(from)? {
                Mount::Done => return Ok(PushOutcome::Mounted),
                Mount::Session(url) => Some(url),
            },
            None => None,
        };
        let (inner, what) = (Arc::clone(&self.inner), self.what.clone());
        let mut retry = Retry::new(&inner.transport, &what, inner.config().tries);
        let mut position = 0;
        loop {
            let failure = match self.send(&mut session, &mut position) {
                Ok(()) => return Ok(PushOutcome::Uploaded),
                Err(failure) => failure,
            };
            let before = position;
            let failure = self.lost(failure, &mut session);
            self.runtime.block_on(retry.pause(failure))?;
            position = match &session {
                Some(url) => self.runtime.block_on(self.arrived(url)).unwrap_or(None).unwrap_or(0),
                None => 0,
            };
            if position == 0 {
                session = None;
            } else if position > before {
                retry.reset();
            }
        }
    }

    /// A session that has ended, or that disagrees about what has arrived, is given up for a new one.
    fn lost(&self, failure: Failure, session: &mut Option<Url>) -> Failure {
        match failure.error {
            Error::NotFound { .. } | Error::Status { status: 416, .. } if session.is_some() => {
                *session = None;
                Failure { verdict: Verdict::Again, ..failure }
            }
            _ => failure,
        }
    }

    fn call(&self, method: Method) -> Call<'_> {
        Call::new(&self.what, method, "/blobs/uploads/", ACTIONS)
    }

    /// Asks the registry to take the blob over from the repository `from`.
    fn mount(&mut self, from: &str) -> Result<Mount> {
        let wrong = |why: &'static str| Error::InvalidReference { text: crate::redact::text(from), why };
        reference::check_repository(from).map_err(wrong)?;
        let path = format!("/blobs/uploads/?mount={}&from={from}", self.descriptor.digest);
        let mut scopes = self.scopes.clone();
        scopes.extend(exchange::scope(from, "pull"));
        let call = Call { path: &path, ..self.call(Method::POST) };
        let result = self.runtime.block_on(async {
            let url = self.endpoint.url(self.inner.transport.scheme(&self.endpoint).await?, &path)?;
            exchange::once(&self.inner, &self.endpoint, &call, &scopes, &url, Payload::Empty).await
        });
        match result {
            Ok(incoming) if incoming.response.status() == 201 => Ok(Mount::Done),
            Ok(incoming) => Ok(Mount::Session(self.location(&incoming)?)),
            // Not being allowed to read the other repository is no reason not to upload.
            Err(_) => self.runtime.block_on(self.start()).map(Mount::Session),
        }
    }

    /// Opens an upload session.
    async fn start(&self) -> Result<Url> {
        let incoming = exchange::head(&self.inner, &self.endpoint, &self.call(Method::POST)).await?;
        self.location(&incoming)
    }

    fn location(&self, incoming: &Incoming) -> Result<Url> {
        let missing =
            || Error::Protocol { what: self.what.clone(), why: "the registry named no place to upload to".into() };
        let location = incoming.response.headers().get(LOCATION).ok_or_else(missing)?;
        self.inner.transport.follow(&self.what, &incoming.url, location)
    }

    /// Sends what is missing from `position` on, and finishes.
    fn send(&self, session: &mut Option<Url>, position: &mut u64) -> Result<(), Failure> {
        let size = self.descriptor.size;
        let url = match session {
            Some(url) => url.clone(),
            None => session.insert(self.runtime.block_on(self.start())?).clone(),
        };
        let chunk = self.inner.config().upload_chunk.map_or(size, |chunk| chunk.max(1));
        if *position == 0 && chunk >= size {
            let incoming = self.part(Method::PUT, self.finishing(&url), 0, size)?;
            return Ok(self.check(&incoming)?);
        }
        while *position < size {
            let length = chunk.min(size - *position);
            let url = session.clone().unwrap_or_else(|| url.clone());
            let incoming = self.part(Method::PATCH, url, *position, length)?;
            *position += length;
            if incoming.response.headers().contains_key(LOCATION) {
                *session = Some(self.location(&incoming)?);
            }
        }
        let url = self.finishing(session.as_ref().unwrap_or(&url));
        let call = Call { url: Some(url), body: Some(Bytes::new()), ..self.call(Method::PUT) };
        let incoming = self.runtime.block_on(exchange::head(&self.inner, &self.endpoint, &call))?;
        Ok(self.check(&incoming)?)
    }

    fn finishing(&self, url: &Url) -> Url {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        url
    }

    fn check(&self, incoming: &Incoming) -> Result<()> {
        check_created(&self.what, incoming)?;
        match stated_digest(&self.what, incoming.response.headers())? {
            Some(actual) if actual != self.descriptor.digest => {
                Err(Error::DigestMismatch { what: self.what.clone(), expected: self.descriptor.digest, actual })
            }
            _ => Ok(()),
        }
    }

    /// Sends `length` bytes from `offset` on as the body of one request.
    fn part(&self, method: Method, url: Url, offset: u64, length: u64) -> Result<Incoming, Failure> {
        let io = |source| Error::Io { what: format!("{}: cannot read the blob", self.what), source };
        let mut reader = (self.open)(offset).map_err(io)?.take(length);
        let (sender, receiver) = mpsc::channel(limit::CHUNKS_BUFFERED);
        let payload = Payload::Stream(UploadBody::new(receiver, length));
        let (inner, endpoint, what) = (Arc::clone(&self.inner), self.endpoint.clone(), self.what.clone());
        let scopes = self.scopes.clone();
        let patch = method == Method::PATCH;
        let task = self.runtime.spawn(async move {
            let mut call = Call::new(&what, method, "", ACTIONS);
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            call.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            if patch && length > 0 {
                let range = HeaderValue::from_str(&format!("{offset}-{}", offset + length - 1));
                call.headers.insert(
                    CONTENT_RANGE,
                    range.map_err(|_| Error::Protocol { what: what.clone(), why: "range".into() })?,
                );
            }
            exchange::once(&inner, &endpoint, &call, &scopes, &url, payload).await
        });
        let mut sent = 0;
        let fed = loop {
            let mut piece = BytesMut::zeroed(PIECE);
            match reader.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    piece.truncate(count);
                    if sender.blocking_send(Ok(piece.freeze())).is_err() {
                        // The request has ended before its body; its result says why.
                        break Ok(());
                    }
                    sent += count as u64;
                    if let Some(progress) = self.progress {
                        progress(offset + sent);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Breaks the request off, so that the registry does not take a part for the whole.
                    drop(sender.blocking_send(Err(io::Error::other("the blob cannot be read"))));
                    break Err(io(error));
                }
            }
        };
        let short = fed.is_ok() && sent < length && reader.limit() > 0 && !sender.is_closed();
        drop(sender);
        let result = self.runtime.block_on(task).map_err(|_| Error::Closed(self.what.clone()));
        fed?;
        if short {
            let (expected, actual) = (self.descriptor.size, offset + sent);
            return Err(Error::SizeMismatch { what: self.what.clone(), expected, actual }.into());
        }
        result?
    }

    /// How many bytes of an upload have arrived; `None` if the session is lost.
    async fn arrived(&self, session: &Url) -> Result<Option<u64>> {
        let call = Call { url: Some(session.clone()), ..self.call(Method::GET) };
        let incoming = match exchange::head(&self.inner, &self.endpoint, &call).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let last = incoming
            .response
            .headers()
            .get(RANGE)
            .and_then(|v| v.to_str().ok()?.rsplit_once('-')?.1.parse::<u64>().ok());
        // "0-0" is what an empty upload says as well as one of a single byte; a byte may be sent twice, not left out.
        Ok(last.filter(|last| *last > 0 && *last < self.descriptor.size).map(|last| last + 1))
    }
}

enum Mount {
    Done,
    Session(Url),
}

/// Whether a blob is at an endpoint.
pub(crate) async fn blob_exists(
    inner: &Inner,
    endpoint: &Endpoint,
    digest: &Digest,
    what: &str,
    actions: &str,
) -> Result<bool> {
    let path = format!("/blobs/{digest}");
    match exchange::head(inner, endpoint, &Call::new(what, Method::HEAD, &path, actions)).await {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts a manifest under the reference's digest, or else its tag.
pub(crate) async fn manifest(inner: &Inner, reference: &Reference, media_type: &str, bytes: Bytes) -> Result<Digest> {
    let what = format!("push of {}", reference.canonical());
    let digest = Digest::of(&bytes);
    if let Some(expected) = reference.digest().filter(|expected| **expected != digest) {
        return Err(Error::DigestMismatch { what, expected: *expected, actual: digest });
    }
    if bytes.len() as u64 > inner.config().manifest_size {
        return Err(Error::TooLarge { what, limit: inner.config().manifest_size });
    }
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let path = format!("/manifests/{}", reference.selector());
    let mut call = Call::new(&what, Method::PUT, &path, ACTIONS);
    let unfit = |_| Error::Protocol { what: what.clone(), why: "the media type does not fit into a header".into() };
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(unfit)?);
    call.body = Some(bytes);
    let incoming = exchange::head(inner, &endpoint, &call).await?;
    check_created(&what, &incoming)?;
    match stated_digest(&what, incoming.response.headers())? {
        Some(actual) if actual != digest => Err(Error::DigestMismatch { what, expected: digest, actual }),
        _ => Ok(digest),
    }
}

/// Refuses an answer by which the registry puts off what it should have done: 201 is the spec's, 200 and 204 occur.
fn check_created(what: &str, incoming: &Incoming) -> Result<()> {
    match incoming.response.status().as_u16() {
        200 | 201 | 204 => Ok(()),
        status => Err(Error::Status { what: what.to_owned(), status, said: Default::default() }),
    }
}

/// Removes the manifest with the reference's digest.
pub(crate) async fn delete_manifest(inner: &Inner, reference: &Reference) -> Result<()> {
    let what = format!("deletion of {}", reference.canonical());
    let Some(digest) = reference.digest() else {
        return Err(Error::Unsupported { what, why: "registries delete manifests by digest, not by tag".into() });
    };
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let path = format!("/manifests/{digest}");
    exchange::head(inner, &endpoint, &Call::new(&what, Method::DELETE, &path, "delete")).await.map(drop)
}

/// Removes a tag and leaves the manifest (distribution spec, "Deleting tags"); not every registry can.
pub(crate) async fn delete_tag(inner: &Inner, reference: &Reference) -> Result<()> {
    let what = format!("deletion of the tag of {}", reference.canonical());
    let (Some(tag), None) = (reference.tag(), reference.digest()) else {
        return Err(Error::Unsupported { what, why: "it is no tag".into() });
    };
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let path = format!("/manifests/{tag}");
    exchange::head(inner, &endpoint, &Call::new(&what, Method::DELETE, &path, "delete")).await.map(drop)
}

/// Removes a blob from the reference's repository.
pub(crate) async fn delete_blob(inner: &Inner, reference: &Reference, digest: &Digest) -> Result<()> {
    let what = format!("deletion of blob {digest} of {}", reference.name());
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let path = format!("/blobs/{digest}");
    exchange::head(inner, &endpoint, &Call::new(&what, Method::DELETE, &path, "delete")).await.map(drop)
}
