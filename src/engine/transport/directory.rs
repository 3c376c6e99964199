//! `dir:`: one image as plain files, the way skopeo lays them out: `version`, `manifest.json`, a file for each blob named by
//! its hex digits, and `<hex>.manifest.json` for the manifests that an index lists.

use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use ::store::Digest;
use ::store::digest::VerifiedReader;
use registry_client::{Descriptor, MediaType};
use serde::Deserialize;

use super::folder::Folder;
use super::{Document, Source, Target, as_io, check_size};
use crate::engine::archive::MANIFEST_MAX;
use crate::engine::originals::Opener;
use crate::engine::pull::to_store;
use crate::error::{CommandError, Context as _, Result};

/// What `version` says.
const VERSION: &str = "Directory Transport Version: 1.1\n";
/// Largest `version` read, bytes.
const VERSION_MAX: u64 = 4 << 10;

/// The directory.
pub(super) struct Directory {
    folder: Folder,
}

/// As much of a document as says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// The media type of a document that was kept without one.
pub(in crate::engine) fn media_type(bytes: &[u8]) -> Result<String> {
    let kind: Kind = serde_json::from_slice(bytes).context("the manifest is malformed")?;
    let usual = if kind.manifests.is_some() { MediaType::OCI_INDEX } else { MediaType::OCI_MANIFEST };
    Ok(kind.media_type.unwrap_or_else(|| usual.to_owned()))
}

impl Directory {
    /// One that is to be read.
    pub fn open(path: &Path) -> Self {
        Self { folder: Folder::open(path) }
    }

    /// One that is to be written: new, empty, or such a directory already, whose image is replaced.
    pub fn create(path: &Path) -> Result<Self> {
        let (folder, taken) = Folder::create(path)?;
        if taken
            && !folder.read("version", VERSION_MAX).is_ok_and(|text| text.starts_with(b"Directory Transport Version"))
        {
            return Err(CommandError::new(format!("{} holds something else", path.display()))
                .hint("name a new directory, an empty one, or one that holds such an image"));
        }
        folder.write("version", &mut VERSION.as_bytes())?;
        Ok(Self { folder })
    }

    fn document(&self, name: &str) -> Result<Document> {
        let bytes = self.folder.read(name, MANIFEST_MAX)?;
        Ok(Document { media_type: media_type(&bytes)?, bytes })
    }
}

impl Source for Directory {
    fn root(&self) -> Result<Document> {
        Self::document(self, "manifest.json")
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Document> {
        let document = Self::document(self, &format!("{}.manifest.json", descriptor.digest.hex()))?;
        if document.digest() != to_store(&descriptor.digest) {
            return Err(CommandError::new(format!("the manifest {} is another one", descriptor.digest)));
        }
        check_size(descriptor, document.bytes.len())?;
        Ok(document)
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> Result<Opener<'a>> {
        let name = descriptor.digest.hex();
        self.folder.file(&name)?;
        Ok(Box::new(move |offset| {
            let (mut file, _) = self.folder.file(&name).map_err(as_io)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(file))
        }))
    }
}

impl Target for Directory {
    fn blob(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<&'static str> {
        let name = descriptor.digest.hex();
        self.folder.write(&name, &mut verified(source, descriptor)?)?;
        Ok("Copied")
    }

    fn document(&self, document: &Document, root: bool) -> Result<()> {
        let own = format!("{}.manifest.json", document.digest().hex());
        self.folder.write(if root { "manifest.json" } else { &own }, &mut document.bytes.as_slice())
    }

    fn streams(&self) -> usize {
        3
    }
}

/// A blob of the source as a stream that fails at its end unless it is the right one.
pub(super) fn verified(
    source: &dyn Source,
    descriptor: &Descriptor,
) -> Result<VerifiedReader<Box<dyn io::Read + Send>>> {
    let what = format!("blob {}", descriptor.digest);
    let digest: Digest = to_store(&descriptor.digest);
    let bytes = source.blob(descriptor)?(0).with_context(|| format!("cannot read {what}"))?;
    Ok(VerifiedReader::new(bytes, what, digest, descriptor.size))
}
