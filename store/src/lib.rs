//! The cellar: everything `img` keeps on disk, and nobody else writes there.

pub mod digest;
pub mod erofs;
pub mod error;
pub mod layer;

pub use digest::{ChainId, DiffId, Digest, ImageId};
pub use error::{Error, Result};
