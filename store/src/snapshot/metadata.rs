//! Writes the files of a metadata image into a directory that nobody else sees yet.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::digest::DiffId;
use crate::erofs::{Image, Label, Side, Slot, Source};
use crate::error::{Error, Result};
use crate::files;
use crate::layer::Entry;

/// The metadata image in a layer's or chain's directory.
pub(super) const METADATA: &str = "erofs";
/// What the tars do not have in one piece; there only if something needs it.
pub(super) const SIDE: &str = "side";
/// A layer's data.
pub(super) const TAR: &str = "tar";

/// An open tar with the layer it is.
pub(super) struct Tar {
    /// The layer.
    pub layer: DiffId,
    /// Open for reading.
    pub file: File,
    /// Where it is.
    pub path: std::path::PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Tar {
    /// Opens the tar of `layer` at `path`.
    pub fn open(layer: DiffId, path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("examine", path))?.len();
        Ok(Self { layer, file, path: path.to_path_buf(), bytes })
    }

    /// As a source of file data.
    pub fn source(&self) -> Source<'_> {
        Source { tar: &self.file, path: &self.path, bytes: self.bytes }
    }

    fn slot(&self) -> Slot {
        let mut tag = [0; 64];
        tag.copy_from_slice(self.layer.hex().as_bytes());
        Slot { tag, bytes: self.bytes }
    }
}

/// Writes `erofs`, and `side` if it takes one, into `dir`; syncing them is left to the caller. `source_of(i)` says which of `tars` has the
/// bytes of `entries[i]`, `is_dirty(i)` is as for [`Side::plan`]; the rules for `entries` are those of [`Image::plan`].
pub(super) fn write(
    dir: &Path,
    entries: &[&Entry],
    tars: &[Tar],
    source_of: impl Fn(usize) -> usize,
    is_dirty: impl Fn(usize) -> Result<bool>,
    label: Label,
) -> Result<()> {
    let sources: Vec<_> = tars.iter().map(Tar::source).collect();
    let (places, side) = Side::plan(entries, &sources, &source_of, is_dirty)?;
    let mut slots: Vec<_> = tars.iter().map(Tar::slot).collect();
    if !side.is_empty() {
        slots.push(side.slot());
    }
    let image = Image::plan(entries, &places, &slots, label)?;
    if !side.is_empty() {
        let path = dir.join(SIDE);
        let file = files::create_file(&path)?;
        side.write(&file, &path, entries, &sources, &source_of)?;
    }
    let path = dir.join(METADATA);
    let mut out = BufWriter::with_capacity(256 << 10, files::create_file(&path)?);
    image.emit(&mut out).map_err(Error::io("write", &path))?;
    out.flush().map_err(Error::io("write", &path))
}

/// Makes durable what [`write()`] wrote.
pub(super) fn sync(dir: &Path) -> Result<()> {
    for name in [SIDE, METADATA] {
        let path = dir.join(name);
        if let Some(file) = files::optional(File::open(&path).map_err(Error::io("open", &path)))? {
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
    }
    files::sync_dir(dir)
}
