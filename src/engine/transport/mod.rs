//! Images wherever they are, by the names that skopeo gives to places: a registry, an OCI layout in a directory or an
//! archive, a flat directory, docker's archive, this store. A source gives documents and opens blobs, a target takes them;
//! `copy` knows nothing more of either, so bytes go straight from one to the other and every digest stays.

mod convert;
mod copy;
mod directory;
mod folder;
mod here;
mod layout;
mod listing;
mod members;
mod name;
mod registry;
mod store;
mod take;

use ::store::Digest;
use registry_client::{Client, Descriptor, Index, Manifest, MediaType, Reference};

pub use copy::CopyOptions;
pub use name::Place;
pub use registry::Access;

pub(super) use directory::media_type;
pub(super) use layout::Layout;
pub(super) use listing::{ATTACHED_MAX, INDEX_DEPTH, Listing, is_image};
pub(super) use registry::Registry;

use super::originals::Opener;
use crate::error::{Cause, CommandError, Result};

/// A manifest or index.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Document {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    pub fn is_index(&self) -> bool {
        [MediaType::OCI_INDEX, MediaType::DOCKER_LIST].contains(&self.media_type.as_str())
    }

    /// As the registry client reads it, which is strict about what could mean two things.
    pub fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::parse(&self.media_type, &self.bytes)?)
    }

    pub fn index(&self) -> Result<Index> {
        Ok(Index::parse(&self.media_type, &self.bytes)?)
    }
}

/// Refuses a manifest or index of `bytes` bytes that its descriptor says another size of.
pub(super) fn check_size(descriptor: &Descriptor, bytes: usize) -> Result<()> {
    if descriptor.size == bytes as u64 {
        return Ok(());
    }
    let (digest, stated) = (descriptor.digest, descriptor.size);
    Err(CommandError::new(format!("the manifest {digest} has {bytes} bytes, its descriptor says a size of {stated}")))
}

/// A failure on its way through a reader.
fn as_io(error: CommandError) -> std::io::Error {
    std::io::Error::other(Cause(error))
}

/// Where an image comes from.
pub(super) trait Source: Sync {
    /// The document that the source's name stands for.
    ///
    /// # Errors
    /// It is not there.
    fn root(&self) -> Result<Document>;

    /// A manifest that an index lists, of the right digest.
    ///
    /// # Errors
    /// It is not there, or is another one.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Document>;

    /// A blob's bytes, unverified.
    ///
    /// # Errors
    /// It is not there.
    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> Result<Opener<'a>>;

    /// How it is spoken to, and which repository it is, if it is a registry.
    fn registry(&self) -> Option<(&Client, &Reference)> {
        None
    }
}

/// Where an image goes.
trait Target: Sync {
    /// Takes a blob unless it has it; says how it came to have it. What comes is verified.
    ///
    /// # Errors
    /// The blob cannot be read or written, or is not what its descriptor says.
    fn blob(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<&'static str>;

    /// Takes a document whose content it has; the last one, `root`, gets the target's name.
    ///
    /// # Errors
    /// It cannot be written.
    fn document(&self, document: &Document, root: bool) -> Result<()>;

    /// How many blobs it takes side by side.
    fn streams(&self) -> usize {
        1
    }
}
