//! Several connections for one blob, where one alone is what its reader waits for.
//!
//! Every download begins with one connection. When that has been waited for most of a second, and much is still missing, the rest
//! comes in pieces, a few at a time, each by a request of its own; they are handed over in their order. A piece that comes ahead of its
//! turn lies in memory, for which there is room for a few in all. Whatever goes wrong, a server that sends no ranges, a piece too short,
//! no room, the download goes on with one connection from the last byte handed over, and stays with one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::ACCEPT_RANGES;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use super::{Download, Message, Rate, ask, check_range, next_chunk};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::exchange::Inner;
use crate::failure::Failure;
use crate::limit;
use crate::retry::Verdict;
use crate::transport::Incoming;

/// How long one connection is looked at before it is called slow.
const LOOK: Duration = Duration::from_secs(1);

/// Looks whether it is the network that a reader waits for.
pub(super) struct Watch {
    began: Instant,
    waited: Duration,
}

impl Watch {
    /// Whether more connections may help, after the network was waited for so long once more and so much is missing.
    pub(super) fn is_slow(&mut self, waited: Duration, missing: u64) -> bool {
        self.waited += waited;
        let whole = self.began.elapsed();
        missing >= limit::RANGES_FROM && whole >= LOOK && self.waited * 5 >= whole * 4
    }
}

/// A piece of a blob on its way.
struct Piece {
    chunks: mpsc::UnboundedReceiver<Bytes>,
    task: JoinHandle<Result<(), Failure>>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Download {
    /// What watches a response, if its server knows ranges and more connections are wanted.
    pub(super) fn watch(&self, incoming: &Incoming) -> Option<Watch> {
        let response = &incoming.response;
        let offered = response.headers().get(ACCEPT_RANGES).is_some_and(|value| value.as_bytes() == b"bytes");
        let wanted = !self.alone && self.inner.config().ranges > 1 && (offered || response.status() == 206);
        wanted.then(|| Watch { began: Instant::now(), waited: Duration::ZERO })
    }

    /// Brings the rest of the blob to the reader; false if one connection should go on from where it is now.
    pub(super) async fn fetch_ranges(&mut self, reader: &mpsc::Sender<Message>) -> bool {
        let most = self.inner.config().ranges.min(limit::RANGES);
        let (mut next, mut pieces) = (self.position, VecDeque::new());
        while self.position < self.size {
            while pieces.len() < most && next < self.size {
                let Ok(room) = Arc::clone(&self.inner.ahead).try_acquire_owned() else { break };
                let end = self.size.min(next + limit::RANGE_SIZE);
                pieces.push_back(self.piece(next, end, room));
                next = end;
            }
            let Some(mut piece) = pieces.pop_front() else { return false };
            while let Some(chunk) = piece.chunks.recv().await {
                if self.hand_over(chunk, reader).await.is_err() {
                    return false;
                }
            }
            if !matches!((&mut piece.task).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// Begins to fetch the bytes from `first` to before `end`.
    fn piece(&self, first: u64, end: u64, room: OwnedSemaphorePermit) -> Piece {
        let (sender, chunks) = mpsc::unbounded_channel();
        let (inner, endpoint) = (Arc::clone(&self.inner), self.endpoints[self.at].clone());
        let (what, path, size) = (self.what.clone(), self.path.clone(), self.size);
        let task = tokio::spawn(async move {
            let mut incoming = request(&inner, &endpoint, &what, &path, (first, end, size)).await?;
            let mut rate = Rate::new(inner.config().idle_timeout(), inner.config().least_rate);
            let mut position = first;
            while let Some(chunk) = next_chunk(&inner, &what, &mut incoming, &mut rate).await? {
                position += chunk.len() as u64;
                if position > end || sender.send(chunk).is_err() {
                    break;
                }
            }
            if position == end {
                return Ok(());
            }
            let error = Error::SizeMismatch { what, expected: end - first, actual: position - first };
            Err(Failure { error, verdict: Verdict::Again })
        });
        Piece { chunks, task, _room: room }
    }
}

/// Asks for the bytes from `first` to before `end` of a blob of `size`.
async fn request(
    inner: &Inner,
    endpoint: &Endpoint,
    what: &str,
    path: &str,
    (first, end, size): (u64, u64, u64),
) -> Result<Incoming, Failure> {
    let incoming = ask(inner, endpoint, what, path, Some(&format!("bytes={first}-{}", end - 1))).await?;
    let status = incoming.response.status().as_u16();
    if status != 206 {
        return Err(Error::Status { what: what.to_owned(), status, said: Default::default() }.into());
    }
    check_range(what, &incoming, first, size)?;
    Ok(incoming)
}
