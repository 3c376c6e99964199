//! A registry for tests: a real HTTP server on the loopback, which misbehaves on request.
//!
//! Behind the feature `testing`. It serves pulls and pushes, challenges, hands out tokens, and records every request;
//! [`Registry::fault`] makes chosen requests go wrong in chosen ways. It panics where a test has set it up wrongly, and is
//! no example of how to write a server.
//!
//! ```no_run
//! use registry_client::testing::{Fault, Registry};
//! let registry = Registry::start();
//! registry.put_image("library/demo", "1", &[b"a layer"]);
//! registry.fault("/blobs/", 1, Fault::Truncate(3));
//! let reference = registry.reference("library/demo:1");
//! ```
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod auth;
mod fault;
mod http;
mod serve;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::media_type::MediaType;
use crate::reference::Reference;

pub use auth::Auth;
pub use fault::Fault;
pub use http::Request;

/// A running registry; it ends when dropped.
pub struct Registry {
    host: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What the threads of a registry share.
struct Shared {
    host: String,
    state: Mutex<State>,
    stopping: AtomicBool,
}

/// Everything that a registry holds.
#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Vec<u8>>,
    /// Which blobs each repository has.
    members: HashSet<(String, Digest)>,
    /// By repository and then tag or digest.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    rules: Vec<fault::Rule>,
    requests: Vec<Request>,
    auth: Auth,
    tokens: HashMap<String, Vec<String>>,
    refresh_tokens: HashSet<String>,
    serial: u64,
    page: usize,
    connections: Vec<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

impl Registry {
    /// A registry on a free port of 127.0.0.1 that asks nobody for a name.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Mutex::new(State { page: usize::MAX, ..State::default() });
        let shared = Arc::new(Shared { host: host.clone(), state, stopping: AtomicBool::new(false) });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { host, shared, accepting: Some(accepting) }
    }

    /// A registry that wants authorization.
    #[must_use]
    pub fn with_auth(auth: Auth) -> Self {
        let registry = Self::start();
        registry.set_auth(auth);
        registry
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A reference to `name` (`repository[:tag][@digest]`) in this registry.
    #[must_use]
    pub fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.host)).unwrap()
    }

    /// Changes what authorization is wanted.
    pub fn set_auth(&self, auth: Auth) {
        self.shared.state().auth = auth;
    }

    /// Makes all tokens that were given out worthless.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Lists at most `page` tags at a time.
    pub fn set_page(&self, page: usize) {
        self.shared.state().page = page;
    }

    /// Makes the next `times` requests go wrong whose `METHOD path?query` contains `pattern`.
    pub fn fault(&self, pattern: &str, times: usize, fault: Fault) {
        self.shared.state().rules.push(fault::Rule { pattern: pattern.to_owned(), times, fault });
    }

    /// All requests so far, in order, without their bodies.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// How many requests there were whose `METHOD path?query` contains `pattern`.
    #[must_use]
    pub fn count(&self, pattern: &str) -> usize {
        self.requests().iter().filter(|request| request.line().contains(pattern)).count()
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut state = self.shared.state();
        state.blobs.insert(descriptor.digest, bytes.to_owned());
        state.members.insert((repository.to_owned(), descriptor.digest));
        descriptor
    }

    /// Puts other bytes in place of a blob's own.
    pub fn spoil_blob(&self, digest: &Digest, bytes: &[u8]) {
        self.shared.state().blobs.insert(*digest, bytes.to_owned());
    }

    /// Puts a manifest or index under its digest and `tag`.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut state = self.shared.state();
        for name in [tag.to_owned(), descriptor.digest.to_string()] {
            state.manifests.insert((repository.to_owned(), name), (media_type.to_owned(), bytes.to_owned()));
        }
        descriptor
    }

    /// Puts an image for linux/amd64 with these layers (as plain tars) under `tag`.
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Descriptor {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids }
        });
        let config = self.put_blob(repository, MediaType::OCI_CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> =
            layers.iter().map(|layer| self.put_blob(repository, MediaType::OCI_LAYER, layer)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers
        });
        self.put_manifest(repository, tag, MediaType::OCI_MANIFEST, manifest.to_string().as_bytes())
    }

    /// Puts an index of these manifests under `tag`.
    pub fn put_index(&self, repository: &str, tag: &str, manifests: &[Descriptor]) -> Descriptor {
        let index =
            serde_json::json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
        self.put_manifest(repository, tag, MediaType::OCI_INDEX, index.to_string().as_bytes())
    }

    /// A blob's bytes, if a repository has it.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        let state = self.shared.state();
        state.members.contains(&(repository.to_owned(), *digest)).then(|| state.blobs[digest].clone())
    }

    /// A manifest's bytes, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), name.to_owned());
        self.shared.state().manifests.get(&key).map(|(_, bytes)| bytes.clone())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits in accept.
        drop(TcpStream::connect(&self.host));
        for connection in self.shared.state().connections.drain(..) {
            // It may have been closed from the other side already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            // A panic in it has been printed; a second one here would hide the test's own.
            let _ = accepting.join();
        }
    }
}

/// One thread for each connection, until the registry is dropped.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = vec![];
    while let Ok((connection, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        shared.state().connections.push(connection.try_clone().unwrap());
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || http::converse(connection, &shared)));
    }
    for connection in shared.state().connections.drain(..) {
        let _ = connection.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}
