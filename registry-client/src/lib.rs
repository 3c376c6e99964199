//! The gate: talks to image registries (OCI distribution spec 1.1, Docker registry v2), fetches plain files, and nobody
//! else speaks HTTP.
//!
//! Everything blocks: a [`Client`] owns a small async runtime, which is gone, threads joined, when the client is dropped.
//! Nothing here writes image data to disk: blobs come out as [`BlobReader`]s and go in through a closure that opens
//! them. What comes from a registry is hostile until its size and digest fit; every body has a limit (see [`limit`]),
//! every wait a deadline, and credentials never leave the scheme, host and port they are for.
//!
//! ```text
//! Client ── resolve / manifest / blob / push / tags …
//!    │         one request, at one endpoint, is an `exchange`: retries, authorization, status → Error
//!    ├── endpoint   which places may answer for a reference (mirrors in order, then upstream)
//!    ├── auth       challenge → credentials → token, per origin
//!    └── transport  URLs, TLS, DNS, proxies, redirects, deadlines
//! ```

pub mod auth;
mod blob;
mod client;
mod config;
mod descriptor;
mod digest;
mod dns;
mod download;
mod endpoint;
mod error;
mod exchange;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod limit;
mod login;
mod manifest;
mod media_type;
mod platform;
mod push;
mod redact;
mod reference;
mod resolve;
mod retry;
mod scheme;
mod tags;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod transport;
mod upload_body;

pub use auth::credentials::{Credential, CredentialSource, DockerConfig};
pub use blob::BlobReader;
pub use client::Client;
pub use config::{Config, Event, HostRule, Mirror, Observer, ProxyConfig, RegistryRule};
pub use descriptor::Descriptor;
pub use digest::Digest;
pub use download::{FileFacts, Sink, Validators};
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use login::LoginOutcome;
pub use manifest::{Document, Index, Manifest};
pub use media_type::MediaType;
pub use platform::Platform;
pub use push::PushOutcome;
pub use reference::Reference;
pub use resolve::{Origin, RateLimit, RawManifest, ResolvedImage};
