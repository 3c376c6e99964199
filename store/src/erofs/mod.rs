//! EROFS metadata images over raw tars: a layer is mounted without ever being unpacked.
//!
//! An image holds only names, attributes and links; the bytes of regular files stay in the layer's tar, which is the
//! image's second device. [`Image`] writes one from entries, [`Header`] reads the facts that a mount needs in one
//! read, [`Reader`] walks one back to entries. The kernel believes an image: whoever mounts one must have compared
//! its devices with [`Header::devices`] first.
//!
//! ```text
//!   metadata image (`erofs`), blocks of 512 bytes              devices, in slot order
//!  ┌──────────────────────────────────────────────┐
//!  │ 0     two blocks of zeros                    │
//!  │ 1024  superblock, 128 bytes, crc32c          │
//!  │ 1152  device slots, 128 bytes each ──────────┼─ 1: tag = diff id, blocks, uniaddr ─┐
//!  │       (tag, blocks, start in unified space)  │─ 2: tag = "side",  blocks, uniaddr ─┼─┐
//!  │ root  inode 64 ┊ xattrs ┊ small content      │                                     │ │
//!  │       inode    ┊        ┊ dirents            │   tar                               │ │
//!  │       inode    ┊        ┊ link text          │  ┌────────────────────────┐◄────────┘ │
//!  │       inode ─── start block = uniaddr + n ───┼─►│ header │ bytes ┊ pad │…│           │
//!  │       …  (in order of paths, depth first)    │  └────────────────────────┘           │
//!  ├──────────────────────────────────────────────┤   side: what the tar has not as one   │
//!  │ blocks of large directories and long links   │   aligned, zero-padded run of bytes   │
//!  └──────────────────────────────────────────────┘  ┌────────────────────────┐◄──────────┘
//!    block 0 of the unified space; devices follow    │ bytes ┊ hole ┊ bytes   │
//!                                                    └────────────────────────┘
//! ```
//!
//! Regular files are flat plain inodes: their start block is an address in the space that the metadata and all devices
//! share (2^32 blocks of 512 bytes, so 2 TiB in all). The other form that works, chunk indexes, would lift this to
//! 2 TiB a device for 8 more bytes an inode, which alignment makes 32. Format: `docs/erofs.md`.

mod directory;
mod emit;
mod format;
mod header;
mod label;
mod reader;
mod side;
#[cfg(test)]
mod tests;
mod writer;
mod xattr;

pub use header::{Header, RootAttributes};
pub use label::{Label, Use};
pub use reader::{Found, Reader};
pub use side::{Side, Source};
pub(crate) use writer::follow_links;
pub use writer::{Image, Place, Slot};
pub use xattr::is_visible;
pub(crate) use xattr::{OPAQUE_MARK, ORIGIN_MARK};
