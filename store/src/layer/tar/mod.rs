//! Tars: a strict reader and a reproducible writer, both our own, for layers, archives of images, COPY and export.
//!
//! Nothing here touches the file system. Bytes go in and members come out, or the other way round.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub(crate) use pax::keep_xattr;
pub use reader::{Member, MemberKind, Reader};
pub use writer::Writer;

#[cfg(test)]
pub(crate) mod tests;
