//! How much of anything a registry may make us read or wait for.
//!
//! One flat list, so that the limits can be documented and reviewed together. A limit is a hard stop with an error that
//! names it, never a silent cut.

use std::time::Duration;

/// Bytes of a manifest or index (the distribution spec asks registries to take at least this much).
pub const MANIFEST: u64 = 4 << 20;
/// Bytes of an image config.
pub const CONFIG: u64 = 8 << 20;
/// Bytes of a token response.
pub const TOKEN: u64 = 1 << 20;
/// Bytes of an error body that are read; what is shown of it is shorter still.
pub const ERROR_BODY: u64 = 8 << 10;
/// Bytes of all header names and values of one response.
pub const HEADERS: usize = 64 << 10;
/// Redirects followed for one request.
pub const REDIRECTS: usize = 10;
/// Pages of a tag listing.
pub const TAG_PAGES: usize = 1000;
/// Bytes of one page of a tag listing.
pub const TAG_PAGE: u64 = 4 << 20;
/// Tags returned by one listing.
pub const TAGS: usize = 200_000;
/// How many indexes may be nested.
pub const INDEX_DEPTH: usize = 4;
/// Bytes that a credential helper may print.
pub const HELPER_OUTPUT: u64 = 64 << 10;
/// Bytes of a docker-style `config.json`.
pub const CONFIG_FILE: u64 = 1 << 20;
/// The longest wait that a `Retry-After` may ask for before the request is given up instead.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Chunks of a body that wait between the network and a reader; a chunk is at most about 400 KiB (hyper's read buffer).
pub(crate) const CHUNKS_BUFFERED: usize = 4;
/// Connections for one blob at one time.
pub(crate) const RANGES: usize = 16;
/// Bytes of a blob that one request of several asks for.
pub(crate) const RANGE_SIZE: u64 = 4 << 20;
/// Bytes that must still be missing for several connections to be opened.
pub(crate) const RANGES_FROM: u64 = 32 << 20;
/// Such requests of all blobs at one time: what comes ahead of its turn lies in memory.
pub(crate) const RANGES_AHEAD: usize = 10;
