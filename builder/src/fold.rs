//! Metadata folding: a RUN that only changes owner, mode, time or attributes of files that this build wrote costs no
//! second copy of them. The step cache keeps the layers as they were made; here, at the end, the layer that holds the
//! bytes is written again with the final attributes, and the later one without those files. One that is then empty is
//! no layer any more. The tree of the image is the same; layers of the base image are never touched.
//!
//! What cannot be folded stays as it was: files with several names (the kernel gave the changed one an inode of its
//! own), files whose bytes differ, directories of the base image whose attributes changed. And what is not worth it: a
//! large layer is not written again to save a small part of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};
use store::cache::CacheRecord;
use store::layer::tree::FileReader;
use store::layer::{Entry, Kind, LayerPath, Stack};
use store::{DiffId, Store};

use crate::error::BuildError;
use crate::key::KeyBuilder;
use crate::op::OpError;
use crate::output::Made;
use crate::solve::Solver;

/// Layers with no more bytes than this are written again whatever that saves.
const SMALL_LAYER: u64 = 4 << 20;
/// Others are if it saves at least one in so many of their bytes.
const WORTH: u64 = 10;

/// What became of the layers that a build made; remembered, so that a cached build folds by one look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Folding {
    /// The layers now; none for those that are no more.
    layers: Vec<Option<DiffId>>,
    /// For each layer, into which others it was folded and how many bytes that saved.
    into: Vec<BTreeMap<usize, u64>>,
}

/// What folding did with one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The layer now; none if all of it was folded.
    pub(crate) layer: Option<DiffId>,
    /// The layers that took things of it, by place, with the bytes saved.
    pub(crate) into: BTreeMap<usize, u64>,
}

/// Folds the layers `made`, which lie on `base`.
///
/// # Errors
/// [`BuildError`] if layers cannot be read or written.
pub(crate) fn fold(solver: &Solver<'_>, base: &[DiffId], made: &[Made]) -> Result<Vec<Outcome>, BuildError> {
    let unchanged = || made.iter().map(|made| Outcome { layer: Some(made.layer), into: BTreeMap::new() }).collect();
    if !made.iter().skip(1).any(|made| made.is_run) {
        return Ok(unchanged());
    }
    let key = KeyBuilder::new("fold if worth it")
        .list("base", base.iter().map(|layer| layer.0.as_bytes().to_vec()))
        .list("made", made.iter().map(|made| [made.layer.0.as_bytes().as_slice(), &[u8::from(made.is_run)]].concat()))
        .finish();
    let known = solver.store.cache().get(&key)?.and_then(|record| serde_json::from_value(record.value).ok());
    let folding = match known {
        Some(folding) if usable(solver.store, &folding, made.len())? => folding,
        _ => {
            let folding = Work::new(solver, base, made)?.run()?;
            let value = serde_json::to_value(&folding)
                .map_err(|error| OpError::Message(format!("cannot note a folding: {error}")))?;
            solver.store.cache().put(&CacheRecord { key, layer: None, value })?;
            folding
        }
    };
    let outcomes = folding.layers.into_iter().zip(folding.into);
    Ok(outcomes.map(|(layer, into)| Outcome { layer, into }).collect())
}

/// Whether all layers of a remembered folding are still here.
fn usable(store: &Store, folding: &Folding, count: usize) -> Result<bool, BuildError> {
    let layers: Vec<&DiffId> = folding.layers.iter().flatten().collect();
    store.protect(&layers.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
    Ok(folding.layers.len() == count
        && folding.into.len() == count
        && layers.iter().all(|layer| store.layers().has(layer)))
}

struct Work<'a> {
    solver: &'a Solver<'a>,
    base: &'a [DiffId],
    made: &'a [Made],
    /// The entries of each layer; those folded away are none.
    entries: Vec<Vec<Option<Entry>>>,
    tars: Vec<File>,
    /// Layers to be written again.
    dirty: Vec<bool>,
    into: Vec<BTreeMap<usize, u64>>,
    /// Files of the layers so far.
    files: Stack,
    /// Directories that a layer so far describes: layer and entry.
    directories: BTreeMap<LayerPath, (usize, usize)>,
}

impl<'a> Work<'a> {
    fn new(solver: &'a Solver<'a>, base: &'a [DiffId], made: &'a [Made]) -> Result<Self, BuildError> {
        let layers = solver.store.layers();
        let mut entries = Vec::new();
        let mut tars = Vec::new();
        for made in made {
            entries.push(layers.toc(&made.layer)?.entries().iter().cloned().map(Some).collect());
            tars.push(layers.open_tar(&made.layer)?);
        }
        let (dirty, into) = (vec![false; made.len()], vec![BTreeMap::new(); made.len()]);
        let (files, directories) = (Stack::partial(), BTreeMap::new());
        Ok(Self { solver, base, made, entries, tars, dirty, into, files, directories })
    }

    fn run(mut self) -> Result<Folding, BuildError> {
        for layer in 0..self.made.len() {
            if self.solver.options.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            if layer > 0 && self.made[layer].is_run {
                self.fold_layer(layer)?;
            }
            self.put(layer)?;
        }
        let mut layers = Vec::new();
        for layer in 0..self.made.len() {
            layers.push(self.finish(layer)?);
        }
        Ok(Folding { layers, into: self.into })
    }

    /// Takes out of a layer what those below can hold.
    fn fold_layer(&mut self, layer: usize) -> Result<(), BuildError> {
        let entries = self.entries[layer].clone();
        let linked: HashSet<&LayerPath> = entries
            .iter()
            .flatten()
            .filter_map(|entry| if let Kind::HardLink { target } = &entry.kind { Some(target) } else { None })
            .collect();
        // What goes, with the entry below that takes its attributes; none for a directory that says nothing new.
        let mut moved: HashMap<usize, Option<(usize, usize)>> = HashMap::new();
        let mut saved: BTreeMap<usize, u64> = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let Some(entry) = entry.as_ref().filter(|entry| !entry.is_directory() && !linked.contains(&entry.path))
            else {
                continue;
            };
            if let Some(below) = self.same_file(layer, entry)? {
                moved.insert(at, Some(below));
                *saved.entry(below.0).or_default() += entry.size();
            }
        }
        let worth: Vec<bool> = (0..layer).map(|lower| self.is_worth(lower, saved.get(&lower))).collect();
        moved.retain(|_, below| below.is_none_or(|(lower, _)| worth[lower]));
        // Directories, the innermost first: one with nothing left in it need not be there for what is in it.
        let mut needed: Option<LayerPath> = None;
        for (at, entry) in entries.iter().enumerate().rev() {
            let Some(entry) = entry.as_ref().filter(|_| !moved.contains_key(&at)) else { continue };
            let holds_something = needed.as_ref().is_some_and(|inner| inner.is_within(&entry.path));
            let target = match entry.kind {
                Kind::Directory { implied: true, .. } => continue,
                Kind::Directory { opaque: false, .. } if !holds_something => self.same_directory(entry)?,
                _ => None,
            };
            match target.filter(|target| target.is_none_or(|(lower, _)| worth[lower])) {
                Some(target) => {
                    moved.insert(at, target);
                }
                // Whatever comes before it in the order and leads to it stays too.
                None => needed = Some(entry.path.clone()),
            }
        }
        if moved.values().all(Option::is_none) {
            return Ok(());
        }
        for (at, below) in moved {
            let Some(entry) = self.entries[layer][at].take() else { continue };
            let Some((lower, index)) = below else { continue };
            if let Some(there) = &mut self.entries[lower][index] {
                let before = there.clone();
                (there.mode, there.uid, there.gid, there.mtime) = (entry.mode, entry.uid, entry.gid, entry.mtime);
                there.xattrs.clone_from(&entry.xattrs);
                self.dirty[lower] |= *there != before;
            }
            *self.into[layer].entry(lower).or_default() += entry.size();
        }
        self.dirty[layer] = true;
        Ok(())
    }

    /// Whether a layer may be written again to save so many bytes of a later one. One that is written again anyway may.
    fn is_worth(&self, lower: usize, saved: Option<&u64>) -> bool {
        let size: u64 = self.entries[lower].iter().flatten().map(Entry::size).sum();
        self.dirty[lower] || size <= SMALL_LAYER || saved.copied().unwrap_or(0) >= size.div_ceil(WORTH)
    }

    /// The entry below that is the same file but for its attributes.
    fn same_file(&self, layer: usize, entry: &Entry) -> Result<Option<(usize, usize)>, BuildError> {
        let Some(copy) = self.files.get(&entry.path) else { return Ok(None) };
        // Another name would change with it.
        if copy.names != 1 || copy.path != entry.path {
            return Ok(None);
        }
        let Some(below) = &self.entries[copy.layer][copy.entry] else { return Ok(None) };
        let same = match (&below.kind, &entry.kind) {
            (Kind::File { size: a, .. }, Kind::File { size: b, .. }) => {
                a == b && self.same_bytes((copy.layer, &below.kind), (layer, &entry.kind), &entry.path)?
            }
            (Kind::File { .. }, _) | (_, Kind::File { .. } | Kind::HardLink { .. } | Kind::Whiteout) => false,
            (a, b) => a == b,
        };
        Ok(same.then_some((copy.layer, copy.entry)))
    }

    fn same_bytes(&self, a: (usize, &Kind), b: (usize, &Kind), path: &LayerPath) -> Result<bool, BuildError> {
        let failed = |error| OpError::io(format!("compare {path}"), error);
        let mut a = FileReader::new(&self.tars[a.0], a.1)?;
        let mut b = FileReader::new(&self.tars[b.0], b.1)?;
        let mut buffers = [vec![0; 256 << 10], vec![0; 256 << 10]];
        loop {
            let [left, right] = &mut buffers;
            let got = a.read(left).map_err(failed)?;
            if got == 0 {
                return Ok(true);
            }
            b.read_exact(&mut right[..got]).map_err(failed)?;
            if left[..got] != right[..got] {
                return Ok(false);
            }
        }
    }

    /// Where the attributes of a directory go: to the entry of a layer of ours, or nowhere if the base image has them
    /// already. None if it has to stay.
    fn same_directory(&self, entry: &Entry) -> Result<Option<Option<(usize, usize)>>, BuildError> {
        if let Some(&there) = self.directories.get(&entry.path) {
            return Ok(Some(Some(there)));
        }
        let tree = self.solver.tree(self.base, "the base image")?;
        let same = tree.tree().get(&entry.path).is_some_and(|node| {
            node.is_directory()
                && (node.mode(), node.uid(), node.gid(), node.mtime())
                    == (entry.mode, entry.uid, entry.gid, entry.mtime)
                && node.xattrs() == entry.xattrs.as_slice()
        });
        Ok(same.then_some(None))
    }

    /// Puts what is left of a layer on top of those before.
    fn put(&mut self, layer: usize) -> Result<(), BuildError> {
        // The stack counts the entries it is given; places in the layer are found again by path.
        let (places, left): (Vec<usize>, Vec<Entry>) = self.entries[layer]
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| entry.clone().map(|entry| (at, entry)))
            .unzip();
        self.files.apply(&left)?;
        self.files.renumber(layer, &places);
        for (at, entry) in places.into_iter().zip(&left) {
            match entry.kind {
                Kind::Directory { implied, opaque } => {
                    if opaque {
                        self.forget(&entry.path);
                    }
                    if !implied {
                        self.directories.insert(entry.path.clone(), (layer, at));
                    }
                }
                _ => self.forget(&entry.path),
            }
        }
        Ok(())
    }

    /// Forgets the directory at `path` and those below it.
    fn forget(&mut self, path: &LayerPath) {
        let below = self.directories.range(path..).map(|(name, _)| name);
        let gone: Vec<LayerPath> = below.take_while(|name| *name == path || name.is_within(path)).cloned().collect();
        for name in gone {
            self.directories.remove(&name);
        }
    }

    /// The layer as it is now, written again if it changed; none if nothing is left of it.
    fn finish(&self, layer: usize) -> Result<Option<DiffId>, BuildError> {
        if !self.dirty[layer] {
            return Ok(Some(self.made[layer].layer));
        }
        let is_written = |entry: &&Entry| !matches!(entry.kind, Kind::Directory { implied: true, .. });
        if !self.entries[layer].iter().flatten().any(|entry| is_written(&entry)) {
            return Ok(None);
        }
        let mut writer = self.solver.store.layers().writer()?;
        for entry in self.entries[layer].iter().flatten().filter(is_written) {
            if self.solver.options.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            match &entry.kind {
                kind @ Kind::File { .. } => {
                    writer.add(entry, Some(&mut FileReader::new(&self.tars[layer], kind)?))?;
                }
                _ => writer.add(entry, None)?,
            }
        }
        Ok(Some(writer.finish()?.diff_id))
    }
}
