//! A layer: one change set of a file system, kept as its uncompressed tar and never unpacked.
//!
//! `layers/sha256/<diff-id>/` holds `tar`, `toc` (its table of contents), `layer.json` (facts of the bytes) and what
//! the snapshot drivers add. It appears by one rename after its digest was verified and its files are synced.

mod archive;
pub(crate) mod assemble;
pub mod compression;
pub mod diff;
pub mod entry;
pub mod ingest;
mod layers;
pub mod names;
pub mod path;
mod pipe;
pub mod stack;
pub mod tar;
pub mod toc;
pub mod tree;
pub mod writer;

pub use archive::Archive;
pub use compression::Compression;
pub use diff::DiffOptions;
pub use entry::{Entry, Extent, Extents, Kind, Time};
pub use ingest::{IngestOptions, Limits};
pub use layers::{LayerInfo, Layers};
pub use path::LayerPath;
pub use stack::{FileCopy, Stack};
pub use toc::{Listing, Place, Toc};
pub use writer::LayerWriter;
