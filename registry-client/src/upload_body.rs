//! A request body that is fed from another thread, and that can be watched while it goes out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

/// How far an upload is.
pub(crate) struct Progress {
    pub sent: AtomicU64,
    pub size: u64,
}

/// A request body of known size that is fed through a channel.
pub(crate) struct UploadBody {
    chunks: Option<mpsc::Receiver<std::io::Result<Bytes>>>,
    progress: Arc<Progress>,
}

impl UploadBody {
    pub(crate) fn new(chunks: mpsc::Receiver<std::io::Result<Bytes>>, size: u64) -> Self {
        Self { chunks: Some(chunks), progress: Arc::new(Progress { sent: AtomicU64::new(0), size }) }
    }

    /// The counter that follows this body.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Takes the bytes out; what stays is empty.
    pub(crate) fn take(&mut self) -> Self {
        Self { chunks: self.chunks.take(), progress: self.progress() }
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        chunks.poll_recv(cx).map(|chunk| {
            chunk.map(|chunk| {
                chunk.map(|bytes| {
                    self.progress.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    http_body::Frame::data(bytes)
                })
            })
        })
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(
            self.progress.size - self.progress.sent.load(Ordering::Relaxed).min(self.progress.size),
        )
    }
}
