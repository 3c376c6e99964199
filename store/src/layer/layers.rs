//! The layers of a store: looking at them, and the one way by which new ones get there.
//!
//! Whatever makes a layer (a download, a writer, an upper directory) stages it in `tmp/<owner>/` and ends in
//! [`Staging::commit`]. Nothing else writes under `layers/`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LayerPath;
use super::archive::Archive;
use super::assemble::Assembler;
use super::diff::{self, DiffOptions};
use super::ingest::{self, IngestOptions};
use super::toc::{ENCODED_MAX, Listing, Toc};
use super::tree::Tree;
use super::writer::LayerWriter;
use crate::Store;
use crate::digest::{DiffId, Digest, VerifiedReader};
use crate::error::{Error, Result};
use crate::files;
use crate::lock::{LockFile, LockMode};

const INFO_MAX: u64 = 1 << 20;

/// Facts of a layer's bytes: `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Size of the tar, bytes.
    pub tar_size: u64,
    /// Number of entries, the root and implied directories included.
    pub entries: u64,
    /// Bytes of its regular files, with holes, each hard-linked file once.
    pub file_bytes: u64,
    /// Directories, without the root, whose attributes come from the layers below.
    pub implied_directories: u64,
    /// Hard links to files that only a lower layer can have.
    pub foreign_links: u64,
    /// What was dropped or odd, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl LayerInfo {
    /// The facts that follow from a tar of `tar_size` bytes with the contents `toc`.
    pub(crate) fn of(diff_id: DiffId, tar_size: u64, toc: &Toc, notes: Vec<String>) -> Self {
        Self {
            diff_id,
            tar_size,
            entries: toc.entries().len() as u64,
            file_bytes: toc.file_bytes(),
            implied_directories: toc.implied_directories(),
            foreign_links: toc.foreign_links(),
            notes,
        }
    }

    /// The bytes of `layer.json`.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Invalid { what: "layer facts", reason: error.to_string() })
    }

    /// Whether the layer says all of itself, so that it looks the same whatever lies below it.
    #[must_use]
    pub fn is_self_contained(&self) -> bool {
        self.implied_directories == 0 && self.foreign_links == 0
    }
}

/// The layers of a store.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    store: &'a Store,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The directory of the layer, there or not.
    #[must_use]
    pub fn path(&self, diff_id: &DiffId) -> PathBuf {
        self.store.root().join("layers/sha256").join(diff_id.hex())
    }

    /// Whether the layer is here.
    #[must_use]
    pub fn has(&self, diff_id: &DiffId) -> bool {
        self.path(diff_id).exists()
    }

    /// Takes in a layer: `reader` gives its tar, compressed or not. `expected` is the digest the tar must have;
    /// `compressed` digest and size of the bytes of `reader`. If another process is taking in the same expected layer
    /// this waits for it, and a layer that is here already is not read at all.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`], [`Error::DigestMismatch`], [`Error::SizeMismatch`], [`Error::Limit`],
    /// [`Error::Read`] for `reader`'s errors, [`Error::LockTimeout`], [`Error::Io`]. Nothing becomes visible then.
    pub fn ingest(
        &self,
        reader: impl Read + Send,
        expected: Option<&DiffId>,
        compressed: Option<(Digest, u64)>,
    ) -> Result<LayerInfo> {
        self.ingest_with(reader, &IngestOptions { expected: expected.copied(), compressed, ..IngestOptions::default() })
    }

    /// As [`Layers::ingest`], with limits and patience of the caller's choice.
    ///
    /// # Errors
    /// As [`Layers::ingest`].
    pub fn ingest_with(&self, reader: impl Read + Send, options: &IngestOptions) -> Result<LayerInfo> {
        let _lock = match &options.expected {
            None => None,
            Some(expected) => {
                self.store.protect(&[expected.0])?;
                if files::is_there_for_good(&self.path(expected))? {
                    return self.info(expected);
                }
                let lock = self.lock(expected, options.patience)?;
                if files::is_there_for_good(&self.path(expected))? {
                    return self.info(expected);
                }
                Some(lock)
            }
        };
        ingest::ingest(self.store, reader, options)
    }

    /// Takes in a tar, compressed or not, to be read and then thrown away: it is checked as a layer is, but no layer comes
    /// of it.
    ///
    /// # Errors
    /// As [`Layers::ingest`].
    pub fn archive(&self, reader: impl Read + Send) -> Result<Archive> {
        Archive::new(self.store, reader)
    }

    /// The lock of those who make the layer `diff_id`.
    fn lock(&self, diff_id: &DiffId, patience: Duration) -> Result<LockFile> {
        let path = self.store.root().join("locks").join(format!("layer-{}", diff_id.hex()));
        Ok(LockFile::acquire(&path, LockMode::Exclusive, patience)?.removed_on_release())
    }

    /// A writer for a new layer made of entries.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn writer(&self) -> Result<LayerWriter> {
        LayerWriter::new(self.store)
    }

    /// Makes a layer of what an overlay's upper directory holds; `None` if it holds nothing. The overlay must not be
    /// in use meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InvalidLayer`] for what no layer can hold.
    pub fn from_upper(&self, upper: BorrowedFd<'_>, options: &DiffOptions) -> Result<Option<LayerInfo>> {
        self.from_upper_without(upper, options, &BTreeSet::new())
    }

    /// As [`Layers::from_upper`], but the paths `leave_out` and what is below them are not part of the layer.
    ///
    /// # Errors
    /// As [`Layers::from_upper`].
    pub fn from_upper_without(
        &self,
        upper: BorrowedFd<'_>,
        options: &DiffOptions,
        leave_out: &BTreeSet<LayerPath>,
    ) -> Result<Option<LayerInfo>> {
        let mut writer = self.writer()?;
        if diff::write_upper(upper, options, leave_out, &mut writer)? == 0 {
            return Ok(None);
        }
        writer.finish().map(Some)
    }

    /// Opens the layer's tar, its size compared with the one on record.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn open_tar(&self, diff_id: &DiffId) -> Result<File> {
        let info = self.info(diff_id)?;
        let path = self.path(diff_id).join("tar");
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let size = file.metadata().map_err(Error::io("stat", &path))?.len();
        if size != info.tar_size {
            return Err(Error::Damaged(format!("the tar of layer {diff_id} has {size} bytes, not {}", info.tar_size)));
        }
        Ok(file)
    }

    /// A reader of the layer's tar that fails at its end unless it has its digest: for push, save and check.
    ///
    /// # Errors
    /// As [`Layers::open_tar`].
    pub fn reader(&self, diff_id: &DiffId) -> Result<VerifiedReader<File>> {
        let file = self.open_tar(diff_id)?;
        let size = file.metadata().map_err(Error::io("stat", self.path(diff_id)))?.len();
        Ok(VerifiedReader::new(file, format!("layer {diff_id}"), diff_id.0, size))
    }

    /// The layer's table of contents.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn toc(&self, diff_id: &DiffId) -> Result<Toc> {
        Toc::decode(&self.encoded_toc(diff_id)?)
    }

    /// The layer's table of contents in the form of its file, which takes a small part of the memory of [`Layers::toc`].
    ///
    /// # Errors
    /// Those of [`Layers::toc`].
    pub fn listing(&self, diff_id: &DiffId) -> Result<Listing> {
        Listing::new(self.encoded_toc(diff_id)?)
    }

    /// The bytes of the layer's table of contents.
    pub(crate) fn encoded_toc(&self, diff_id: &DiffId) -> Result<Vec<u8>> {
        self.file(diff_id, "toc", ENCODED_MAX)
    }

    /// Puts the layer on top of `tree`, without having all its entries at hand at once; see [`Tree::apply`].
    ///
    /// # Errors
    /// Those of [`Layers::toc`] and of [`Tree::apply`].
    pub fn merge_into(&self, tree: &mut Tree, diff_id: &DiffId) -> Result<()> {
        tree.merge(&self.listing(diff_id)?)
    }

    /// Facts of the layer.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn info(&self, diff_id: &DiffId) -> Result<LayerInfo> {
        let bytes = self.file(diff_id, "layer.json", INFO_MAX)?;
        let damaged = |reason: String| Error::Damaged(format!("layer.json of layer {diff_id}: {reason}"));
        let info: LayerInfo = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if info.diff_id != *diff_id {
            return Err(damaged(format!("is of layer {}", info.diff_id)));
        }
        Ok(info)
    }

    fn file(&self, diff_id: &DiffId, name: &str, limit: u64) -> Result<Vec<u8>> {
        let missing = || Error::NotFound { kind: "layer", name: diff_id.to_string() };
        files::optional(files::read_limited(&self.path(diff_id).join(name), limit))?.ok_or_else(missing)
    }

    /// All layers.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<DiffId>> {
        let names = files::names(&self.store.root().join("layers/sha256"))?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).map(DiffId).collect())
    }
}

/// A layer being made: a directory of its own under `tmp/<owner>/`, removed unless committed.
pub(crate) struct Staging {
    store: Store,
    directory: PathBuf,
}

impl Staging {
    /// A new staging directory and the file in it that becomes the tar.
    pub(crate) fn new(store: &Store) -> Result<(Self, File)> {
        let directory = store.lease()?.temporary("layer");
        files::create_dir(&directory)?;
        let staging = Self { store: store.clone(), directory };
        let tar = files::create_file(&staging.tar_path())?;
        Ok((staging, tar))
    }

    pub(crate) fn tar_path(&self) -> PathBuf {
        self.directory.join("tar")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        files::create_file(&path)?.write_all(bytes).map_err(Error::io("write", &path))
    }

    /// Makes the layer visible: its tar has `tar_size` bytes with the verified digest `diff_id`, and `assembler` has
    /// seen its members.
    pub(crate) fn commit(self, tar: File, diff_id: DiffId, tar_size: u64, assembler: Assembler) -> Result<LayerInfo> {
        let layers = self.store.layers();
        self.store.protect(&[diff_id.0])?;
        if files::is_there_for_good(&layers.path(&diff_id))? {
            return layers.info(&diff_id);
        }
        let (encoded, notes) = assembler.finish()?;
        let toc = Toc::of_encoded(&encoded)?;
        self.write("toc", &encoded)?;
        drop(encoded);
        let info = LayerInfo::of(diff_id, tar_size, &toc, notes);
        self.write("layer.json", &info.encode()?)?;
        crate::snapshot::finish_layer(&self.directory, &diff_id, &toc)?;
        tar.sync_all().map_err(Error::io("sync", self.tar_path()))?;
        drop(tar);
        for name in files::names(&self.directory)?.into_iter().filter(|name| name != "tar") {
            let path = self.directory.join(name);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
        files::sync_dir(&self.directory)?;
        files::commit_dir(&self.directory, &layers.path(&diff_id))?;
        Ok(info)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed away if committed; what cannot be removed goes with the owner's directory.
        let _ = files::remove_all(&self.directory);
    }
}
