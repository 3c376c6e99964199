//! The blocking face of this crate: one client for one command, any number of threads.
//!
//! The client owns an async runtime with two threads. Dropping the client ends the runtime and joins its threads, so that the
//! process may fork afterwards; downloads that are still open then fail with [`Error::Closed`]. The kernel may list a joined
//! thread for some microseconds more, which only matters to calls such as unshare(CLONE_NEWUSER) that count threads.
//! Must not be used from inside another async runtime.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::blob::{self, BlobReader};
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::download::{self, FileFacts, Sink, Validators};
use crate::endpoint;
use crate::error::{Error, Result};
use crate::exchange::Inner;
use crate::login::{self, LoginOutcome};
use crate::platform::Platform;
use crate::push::{self, OpenAt, PushOutcome, Upload};
use crate::reference::Reference;
use crate::resolve::{self, RawManifest, ResolvedImage};
use crate::tags;

/// Threads that move bytes; reading and verifying happen on them, decompression on the callers'.
const THREADS: usize = 2;

/// Talks to registries.
pub struct Client {
    runtime: Runtime,
    inner: Arc<Inner>,
}

impl Client {
    /// A client; nothing is connected, read or resolved yet.
    ///
    /// # Errors
    /// [`Error::Io`] when threads cannot be started.
    pub fn new(config: Config) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(4)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|source| Error::Io { what: "cannot start the network threads".into(), source })?;
        Ok(Self { runtime, inner: Arc::new(Inner::new(config)) })
    }

    /// Fetches a manifest or index as it is, as one of the media types in `accept` (all known ones, if empty).
    ///
    /// # Errors
    /// Any of [`Error`]; the bytes have the digest that is given with them.
    pub fn manifest(&self, reference: &Reference, accept: &[&str]) -> Result<RawManifest> {
        self.runtime.block_on(resolve::manifest(&self.inner, reference, accept))
    }

    /// Finds the image for `platform`: index, manifest and config, all verified.
    ///
    /// # Errors
    /// Any of [`Error`], [`Error::NoPlatform`] and [`Error::Unsupported`] among them.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage> {
        self.runtime.block_on(resolve::resolve(&self.inner, reference, platform))
    }

    /// The image whose manifest, a part of `index`, was fetched already, for `platform` or what its config says: the
    /// config is fetched and verified.
    ///
    /// # Errors
    /// Any of [`Error`], [`Error::Unsupported`] among them.
    pub fn image(
        &self,
        reference: &Reference,
        index: &RawManifest,
        manifest: RawManifest,
        platform: Option<Platform>,
    ) -> Result<ResolvedImage> {
        self.runtime.block_on(resolve::image(&self.inner, reference, index, manifest, platform))
    }

    /// Whether there is such a manifest, and what the registry says about it, unverified. Cheap: no body is sent, and
    /// Docker Hub does not count it as a pull.
    ///
    /// # Errors
    /// Any of [`Error`] but not found.
    pub fn manifest_exists(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        self.runtime.block_on(resolve::manifest_exists(&self.inner, reference))
    }

    /// Opens a blob at `offset` bytes. Read from 0, its size and digest are verified when the end is reached; read from
    /// elsewhere, only its size is, and the caller has to hash. Does not retry what fails at once, such as a blob that
    /// is not there; broken connections are resumed inside the reader.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor, offset: u64) -> Result<BlobReader> {
        self.open_blob(reference, descriptor, offset, offset == 0)
    }

    /// As [`Client::blob`], but only the size is verified wherever it is read from: for a caller that hashes all of it
    /// anyway, since hashing twice is a good part of what a fast download costs.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn blob_unverified(&self, reference: &Reference, descriptor: &Descriptor, offset: u64) -> Result<BlobReader> {
        self.open_blob(reference, descriptor, offset, false)
    }

    fn open_blob(&self, reference: &Reference, descriptor: &Descriptor, offset: u64, hash: bool) -> Result<BlobReader> {
        let inner = Arc::clone(&self.inner);
        self.runtime.block_on(blob::open(self.runtime.handle(), inner, reference, descriptor, offset, hash))
    }

    /// Whether the registry that `reference` is pushed to has this blob in this repository.
    ///
    /// # Errors
    /// Any of [`Error`] but not found.
    pub fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let endpoint = endpoint::for_push(self.inner.config(), reference)?;
        let what = format!("blob {digest} of {}", reference.name());
        self.runtime.block_on(push::blob_exists(&self.inner, &endpoint, digest, &what, "pull"))
    }

    /// Brings a blob to a registry, unless it is there. `open` opens it at an offset, and is called again after a failure;
    /// `mount_from` is a repository of the same registry that probably has it. `progress` is told the bytes of this
    /// blob that were handed to the network, and may go back after a failure.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        open: OpenAt<'_>,
        mount_from: Option<&str>,
        progress: Option<&dyn Fn(u64)>,
    ) -> Result<PushOutcome> {
        let upload = Upload::new(self.runtime.handle(), Arc::clone(&self.inner), reference, descriptor, open)?;
        Upload { progress, ..upload }.run(mount_from)
    }

    /// Puts a manifest under the reference's tag, or under its digest if it has one. What it names must be there.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn push_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        self.runtime.block_on(push::manifest(&self.inner, reference, media_type, Bytes::copy_from_slice(bytes)))
    }

    /// Removes the manifest with the reference's digest from its repository.
    ///
    /// # Errors
    /// Any of [`Error`]; many registries allow no deletion.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<()> {
        self.runtime.block_on(push::delete_manifest(&self.inner, reference))
    }

    /// Removes the reference's tag and leaves the manifest, where the registry can.
    ///
    /// # Errors
    /// Any of [`Error`]; many registries delete by digest only.
    pub fn delete_tag(&self, reference: &Reference) -> Result<()> {
        self.runtime.block_on(push::delete_tag(&self.inner, reference))
    }

    /// Removes a blob from the reference's repository.
    ///
    /// # Errors
    /// Any of [`Error`]; many registries allow no deletion.
    pub fn delete_blob(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        self.runtime.block_on(push::delete_blob(&self.inner, reference, digest))
    }

    /// The tags of the reference's repository.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        self.runtime.block_on(tags::tags(&self.inner, reference))
    }

    /// The manifests (signatures, SBOMs …) that are about the one with the reference's digest.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub fn referrers(&self, reference: &Reference, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        self.runtime.block_on(tags::referrers(&self.inner, reference, artifact_type))
    }

    /// Fetches the plain file at `url` into `sink`, at most `limit` bytes; none if it still is what `known` says, and
    /// nothing was taken then.
    ///
    /// # Errors
    /// Any of [`Error`], [`Error::Io`] for those of the sink among them.
    pub fn download(
        &self,
        url: &str,
        known: &Validators,
        limit: u64,
        sink: &mut dyn Sink,
    ) -> Result<Option<FileFacts>> {
        self.runtime.block_on(download::download(&self.inner, url, known, limit, sink))
    }

    /// Checks a user name and password with a registry (`host[:port]`), and says what to keep. Keeps nothing itself; see
    /// [`crate::auth::store`].
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when they are wrong; any other of [`Error`].
    pub fn ping_login(&self, registry: &str, username: &str, password: &str) -> Result<LoginOutcome> {
        self.runtime.block_on(login::login(&self.inner, registry, username, password))
    }
}
