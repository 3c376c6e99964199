//! Metadata images in the store: of layers alone, made when the layer is, and of layers on top of a chain, made when
//! first needed. Checks that an image and its devices belong together, since the kernel does not.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{self, Stacked};
use super::metadata::{self, METADATA, SIDE, TAR, Tar};
use super::remove::remove_tree;
use super::{Device, LayerMount};
use crate::digest::{ChainId, DiffId, Digest};
use crate::erofs::{Header, Label, RootAttributes, Slot, Use};
use crate::error::{Error, Result};
use crate::files;
use crate::layer::tree::Tree;
use crate::layer::{Entry, Kind};
use crate::lock::{LockFile, LockMode};
use crate::{Store, layer::Toc};

/// The diff ids of a chain, one a line, lowest first: for people, and the sign that the chain has been looked at.
const LAYERS: &str = "layers";
/// Longest list of them read, bytes.
const LAYERS_MAX: u64 = 1 << 20;
/// Longest wait for another process that makes the same thing: a layer being unpacked to a slow disk.
pub(super) const MAKING: Duration = Duration::from_secs(600);

/// Adds to the unfinished layer in `dir`, which has its `tar`, what mounting needs: `erofs`, and `side` where the tar
/// does not have a file's bytes in one piece. The caller syncs them with the rest of the layer.
///
/// # Errors
/// [`Error::InvalidLayer`] for entries that a metadata image cannot hold, [`Error::Io`].
pub fn finish_layer(dir: &Path, layer: &DiffId, toc: &Toc) -> Result<()> {
    write_alone(dir, layer, &dir.join(TAR), toc)
}

/// Writes the image of a layer alone into `dir`. Hard links to files of other layers are left out; the label says so.
fn write_alone(dir: &Path, layer: &DiffId, tar: &Path, toc: &Toc) -> Result<()> {
    let all: Vec<&Entry> = toc.entries().iter().collect();
    let has_root = matches!(all.first().map(|root| &root.kind), Some(Kind::Directory { implied: false, .. }));
    let usable = chain::usable_alone(&all);
    let tars = [Tar::open(*layer, tar)?];
    let label = Label { usable, has_root };
    let is_dirty = |index: usize| toc.dirty_padding().binary_search(&(index as u32)).is_ok();
    if usable != Use::NeedsFiles {
        return metadata::write(dir, &all, &tars, |_| 0, |index| Ok(is_dirty(index)), label);
    }
    let keep = |index: &usize| !chain::links_below(&all, all[*index]);
    let kept: Vec<usize> = (0..all.len()).filter(keep).collect();
    let entries: Vec<&Entry> = kept.iter().map(|&index| all[index]).collect();
    metadata::write(dir, &entries, &tars, |_| 0, |index| Ok(is_dirty(kept[index])), label)
}

/// What is needed of one image: how to mount it, its label and its root.
pub(super) struct Image {
    pub mount: LayerMount,
    pub label: Label,
    pub root: Option<RootAttributes>,
}

/// The directory of a layer.
pub(super) fn layer_dir(store: &Store, layer: &DiffId) -> PathBuf {
    let mut path = store.root().join("layers/sha256");
    path.push(layer.hex());
    path
}

/// The directory of a chain.
pub(super) fn chain_dir(store: &Store, chain: &ChainId) -> PathBuf {
    let mut path = store.root().join("chains");
    path.push(chain.hex());
    path
}

/// The image of a layer alone, checked; made anew if it is lost.
pub(super) fn of_layer(store: &Store, layer: &DiffId) -> Result<Image> {
    let dir = layer_dir(store, layer);
    let id = format!("layer-{}", layer.hex());
    if let Some(image) = open(store, &dir, id.clone(), &[*layer])? {
        return Ok(image);
    }
    if !dir.is_dir() {
        return Err(Error::NotFound { kind: "layer", name: layer.to_string() });
    }
    make_again(store, layer, &dir)?;
    open(store, &dir, id, &[*layer])?.ok_or_else(|| Error::NotFound { kind: "metadata image", name: layer.to_string() })
}

/// Writes the lost image of a layer again. The image proper comes last: it says whether there is a side file.
fn make_again(store: &Store, layer: &DiffId, dir: &Path) -> Result<()> {
    rebuild(store, layer, dir, &store.layers().toc(layer)?)
}

/// Puts a new image, made of `toc` and the tar in `dir`, in place of what the layer has.
fn rebuild(store: &Store, layer: &DiffId, dir: &Path, toc: &Toc) -> Result<()> {
    let new = store.lease()?.temporary("metadata");
    files::create_dir(&new)?;
    write_alone(&new, layer, &dir.join(TAR), toc)?;
    metadata::sync(&new)?;
    for name in [SIDE, METADATA] {
        let (from, to) = (new.join(name), dir.join(name));
        files::optional(fs::rename(from, &to).map_err(Error::io("rename to", &to)))?;
    }
    files::sync_dir(dir)
}

/// Makes something in a new directory, only to look at it; outside the store where nothing can be written in it.
fn aside<T>(store: &Store, make: impl Fn(&Path) -> Result<T>) -> Result<T> {
    let made_in = |place: PathBuf| {
        let made = files::create_dir(&place).and_then(|()| make(&place));
        remove_tree(&place).and(made)
    };
    match store.lease().and_then(|lease| made_in(lease.temporary("check"))) {
        Err(error) if error.is_read_only() || error.is_no_room() => {
            made_in(Path::new("/tmp").join(format!("img-check-{}", crate::random_hex(8)?)))
        }
        made => made,
    }
}

/// Compares the image of a layer with what its tar and `toc`, both known to be right, make; `repair` puts that in its
/// place. Whether it was right.
pub(crate) fn check_layer(store: &Store, layer: &DiffId, toc: &Toc, repair: bool) -> Result<bool> {
    let dir = layer_dir(store, layer);
    let same = aside(store, |new| {
        write_alone(new, layer, &dir.join(TAR), toc)?;
        are_same(new, &dir)
    })?;
    if !same && repair {
        rebuild(store, layer, &dir, toc)?;
    }
    Ok(same)
}

/// What is wrong with what was made of a chain of layers, if anything is; unless `quick`, by making it again. Layers that are
/// damaged themselves say nothing of it.
pub(crate) fn check_chain(store: &Store, id: &ChainId, quick: bool) -> Result<Option<String>> {
    let dir = chain_dir(store, id);
    if !dir.exists() {
        return Ok(None);
    }
    let Some(text) = files::optional(files::read_limited(&dir.join(LAYERS), LAYERS_MAX))? else {
        return Ok(dir.exists().then(|| "its list of layers is missing".to_owned()));
    };
    let lines = String::from_utf8_lossy(&text);
    let layers: std::result::Result<Vec<DiffId>, _> = lines.lines().map(|line| line.parse().map(DiffId)).collect();
    let Some(layers) = layers.ok().filter(|layers| ChainId::of(layers) == Some(*id)) else {
        return Ok(Some("its list of layers is another chain's".to_owned()));
    };
    if let Some(absent) = layers.iter().find(|layer| !store.layers().has(layer)) {
        return Ok(Some(format!("its layer {absent} is missing")));
    }
    if quick || layers.iter().any(|layer| store.layers().toc(layer).is_err()) {
        return Ok(None);
    }
    let same = aside(store, |new| {
        Chain::new(store, &layers).write(layers.len() - 1, new)?;
        are_same(new, &dir)
    });
    // A layer that went meanwhile takes the chain along.
    Ok((files::optional(same)? == Some(false) && dir.exists())
        .then(|| "its metadata image does not describe its layers".to_owned()))
}

/// Whether two directories have the same image.
fn are_same(one: &Path, other: &Path) -> Result<bool> {
    Ok(is_same(&one.join(SIDE), &other.join(SIDE))? && is_same(&one.join(METADATA), &other.join(METADATA))?)
}

/// Whether two files have the same bytes, or neither is there.
fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let open = |path: &Path| files::optional(File::open(path).map_err(Error::io("open", path)));
    let (mut files, mut buffers) = match (open(one)?, open(other)?) {
        (None, None) => return Ok(true),
        (Some(one), Some(other)) => ([one, other], [Vec::new(), Vec::new()]),
        _ => return Ok(false),
    };
    loop {
        for (index, path) in [one, other].into_iter().enumerate() {
            buffers[index].clear();
            let mut part = (&mut files[index]).take(256 << 10);
            part.read_to_end(&mut buffers[index]).map_err(Error::io("read", path))?;
        }
        if buffers[0] != buffers[1] {
            return Ok(false);
        }
        if buffers[0].is_empty() {
            return Ok(true);
        }
    }
}

/// Opens and checks the image in `dir`, whose devices may be tars of `layers` and its own side file; `None` if there
/// is none.
fn open(store: &Store, dir: &Path, id: String, layers: &[DiffId]) -> Result<Option<Image>> {
    let path = dir.join(METADATA);
    let Some(file) = files::optional(File::open(&path).map_err(Error::io("open", &path)))? else { return Ok(None) };
    let header = Header::read(&file, &path)?;
    let devices = header.devices.iter().map(|slot| device(store, dir, slot, layers)).collect::<Result<_>>()?;
    Ok(Some(Image {
        mount: LayerMount::Erofs { id, metadata: path, metadata_size: header.size, devices },
        label: header.label,
        root: header.label.has_root.then_some(header.root),
    }))
}

/// Finds the file that a slot of the device table means, and compares sizes.
fn device(store: &Store, dir: &Path, slot: &Slot, layers: &[DiffId]) -> Result<Device> {
    let tag = slot.tag.as_slice();
    let path = if tag.starts_with(b"side\0") {
        dir.join(SIDE)
    } else {
        let layer = std::str::from_utf8(tag).ok().and_then(|hex| Digest::from_hex(hex).ok()).map(DiffId);
        match layer.filter(|layer| layers.contains(layer)) {
            Some(layer) => layer_dir(store, &layer).join(TAR),
            None => return Err(Error::Damaged(format!("{}: a device of another layer", dir.display()))),
        }
    };
    let size = fs::metadata(&path).map_err(Error::io("examine", &path))?.len();
    // The table counts whole blocks.
    if size / 512 * 512 != slot.bytes {
        return Err(Error::Damaged(format!("{} has {size} bytes, expected {}", path.display(), slot.bytes)));
    }
    Ok(Device { path, size })
}

/// The merge of a chain's layers, as far as images on top of it had to be made.
pub(super) struct Chain<'a> {
    store: &'a Store,
    layers: &'a [DiffId],
    tree: Tree,
}

impl<'a> Chain<'a> {
    pub fn new(store: &'a Store, layers: &'a [DiffId]) -> Self {
        Self { store, layers, tree: Tree::new() }
    }

    /// The image of the layer `top` (an index) on top of those below it, made if need be; `None` if it is the same as
    /// that of the layer alone. Call with ascending indices.
    pub fn image(&mut self, top: usize) -> Result<Option<Image>> {
        let layers = &self.layers[..=top];
        let Some(id) = ChainId::of(layers) else { return Ok(None) };
        let dir = chain_dir(self.store, &id);
        let name = format!("chain-{}", id.hex());
        if !dir.join(LAYERS).exists() {
            let lock = self.store.root().join("locks").join(&name);
            let _lock = LockFile::acquire(&lock, LockMode::Exclusive, MAKING)?.removed_on_release();
            if !dir.join(LAYERS).exists() {
                self.make(top, &id, &dir)?;
            }
        }
        open(self.store, &dir, name, layers)
    }

    /// The layer as it is on top of those below.
    pub fn stack(&mut self, top: usize) -> Result<Stacked> {
        if self.tree.layers() > top {
            self.tree = Tree::new();
        }
        for layer in &self.layers[self.tree.layers()..top] {
            self.store.layers().merge_into(&mut self.tree, layer)?;
        }
        let toc = self.store.layers().toc(&self.layers[top])?;
        chain::stack(&mut self.tree, toc.entries())
    }

    /// The tars that a stacked layer's files are in, that of the layer itself first, and for each entry which.
    pub fn tars(&self, top: usize, stacked: &Stacked) -> Result<(Vec<Tar>, Vec<usize>)> {
        let mut wanted = vec![top];
        let mut tars = Vec::new();
        let mut which = vec![0; stacked.entries.len()];
        for (index, entry) in stacked.entries.iter().enumerate().filter(|(_, entry)| entry.size() > 0) {
            let source = stacked.sources[index];
            debug_assert!(matches!(entry.kind, Kind::File { .. }));
            which[index] = wanted.iter().position(|&known| known == source).unwrap_or_else(|| {
                wanted.push(source);
                wanted.len() - 1
            });
        }
        for source in wanted {
            let layer = &self.layers[source];
            tars.push(Tar::open(*layer, &layer_dir(self.store, layer).join(TAR))?);
        }
        Ok((tars, which))
    }

    fn make(&mut self, top: usize, id: &ChainId, dir: &Path) -> Result<()> {
        let new = self.store.lease()?.temporary("chain");
        files::create_dir(&new)?;
        if self.write(top, &new)? {
            metadata::sync(&new)?;
        }
        self.store.protect(&[id.0])?;
        let text: String = self.layers[..=top].iter().map(|layer| format!("{layer}\n")).collect();
        let (path, temporary) = (new.join(LAYERS), new.join("layers-new"));
        files::replace_file(&path, &temporary, text.as_bytes(), files::Durability::Synced)?;
        files::commit_dir(&new, dir)?;
        Ok(())
    }

    /// Writes the image of the layer `top` on top of those below into `new`, if it differs from that of the layer alone.
    fn write(&mut self, top: usize, new: &Path) -> Result<bool> {
        let stacked = self.stack(top)?;
        if stacked.differs {
            let (tars, which) = self.tars(top, &stacked)?;
            let entries: Vec<&Entry> = stacked.entries.iter().collect();
            let label = Label { usable: Use::Chain, has_root: stacked.has_root };
            let is_dirty = |index: usize| tars[which[index]].source().has_dirty_padding(entries[index]);
            metadata::write(new, &entries, &tars, |index| which[index], is_dirty, label)?;
        }
        Ok(stacked.differs)
    }
}
