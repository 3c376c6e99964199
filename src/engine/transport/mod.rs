//! Images wherever they are, by the names that skopeo gives to places: a registry, an OCI layout in a directory or an
//! archive, a flat directory, docker's archive, this store. A source gives documents and opens blobs, a target takes them;
//! `copy` knows nothing more of either, so bytes go straight from one to the other and every digest stays.

mod convert;
mod copy;
mod directory;
mod folder;
mod layout;
mod name;
mod registry;
mod store;
mod take;

use ::store::Digest;
use registry_client::{Descriptor, Index, Manifest, MediaType};

pub use copy::CopyOptions;
pub use name::Place;
pub use registry::Access;

pub(super) use directory::media_type;

use super::originals::Opener;
use crate::error::{Cause, CommandError, Result};

/// A manifest or index.
#[derive(Clone, Debug)]
struct Document {
    media_type: String,
    bytes: Vec<u8>,
}

impl Document {
    fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Refuses a document that its descriptor says another size of.
    fn check_size(&self, descriptor: &Descriptor) -> Result<()> {
        let (size, stated) = (self.bytes.len(), descriptor.size);
        if size as u64 != stated {
            let digest = &descriptor.digest;
            return Err(CommandError::new(format!("the manifest {digest} has {size} bytes, not the size {stated}")));
        }
        Ok(())
    }

    fn is_index(&self) -> bool {
        [MediaType::OCI_INDEX, MediaType::DOCKER_LIST].contains(&self.media_type.as_str())
    }

    /// As the registry client reads it, which is strict about what could mean two things.
    fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::parse(&self.media_type, &self.bytes)?)
    }

    fn index(&self) -> Result<Index> {
        Ok(Index::parse(&self.media_type, &self.bytes)?)
    }
}

/// A failure on its way through a reader.
fn as_io(error: CommandError) -> std::io::Error {
    std::io::Error::other(Cause(error))
}

/// Where an image comes from.
trait Source: Sync {
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

    /// Registry and repository that it is, if it is one.
    fn repository(&self) -> Option<String> {
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
