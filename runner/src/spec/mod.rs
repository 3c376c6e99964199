//! From what a user asked for to an OCI runtime spec.
//!
//! [`parse`] reads the command line's small languages, [`merge`] joins an image's defaults with the user's choices, and [`build()`] turns
//! complete [`Options`] into a `Spec`: all pure, data in and data out. Only [`device::resolve`] looks at the machine (at device
//! nodes). The default sandbox is written here and in `security`, once, for run, exec and build steps alike;
//! `docs/sandbox.md` states it row by row.

mod build;
pub mod device;
mod error;
mod image;
mod mounts;
mod options;
pub mod parse;
mod resources;
mod sysctl;

pub(crate) use build::selinux;
pub use build::{AUTO_IDS_ANNOTATION, GROUP_ADD_ANNOTATION, STOP_SIGNAL_ANNOTATION, build, capabilities};
pub use error::Error;
pub use image::{DEFAULT_PATH, ImageDefaults, Merged, UserChoices, merge};
pub use options::{DeviceNode, DeviceNodeKind, NamespaceMode, Namespaces, Options, ResourceOptions, SharedMemory};
pub use resources::limits;

/// The result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
