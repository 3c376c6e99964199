//! A layer: one change set of a file system, kept as its uncompressed tar and never unpacked.

pub mod entry;
pub mod path;
pub mod tree;

pub use entry::{Entry, Extent, Kind, Time};
pub use path::LayerPath;
