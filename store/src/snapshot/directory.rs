//! The driver that unpacks each layer into a directory, once: for ordinary users and for kernels without the EROFS
//! that [`super::Erofs`] needs.

use std::fs::File;
use std::path::Path;

use super::image::{self, Chain, MAKING};
use super::metadata::{TAR, Tar};
use super::unpack::{Privilege, Unpack};
use super::{LayerMount, Snapshotter, View, into_view};
use crate::digest::{ChainId, DiffId};
use crate::erofs::{Source, Use};
use crate::error::{Error, Result};
use crate::layer::Entry;
use crate::lock::{LockFile, LockMode};
use crate::{Store, files};

/// Unpacks layers into directories.
#[derive(Clone, Copy, Debug)]
pub struct Directory {
    /// As whom the store is used.
    pub privilege: Privilege,
}

impl Snapshotter for Directory {
    fn name(&self) -> &'static str {
        "dir"
    }

    fn userxattr(&self) -> bool {
        self.privilege == Privilege::UserNamespace
    }

    fn examine(&self, store: &Store, layers: &[DiffId]) -> Result<View> {
        let mut chain = Chain::new(store, layers);
        let mut found = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let alone = image::of_layer(store, layer)?;
            let stacked = match (alone.label.usable, index) {
                (Use::SelfContained | Use::Chain, _) | (Use::NeedsAttributes, 0) => None,
                _ => chain.image(index)?,
            };
            found.push(match (stacked, ChainId::of(&layers[..=index])) {
                (Some(image), Some(id)) => {
                    (self.chain_tree(store, &mut chain, index, &id, image.mount.id())?, image.root)
                }
                _ => (self.layer_tree(store, layer, alone.mount.id())?, alone.root),
            });
        }
        Ok(into_view(found))
    }
}

impl Directory {
    /// Marks of overlayfs differ, so the two kinds of trees have two names.
    fn tree_name(&self) -> &'static str {
        if self.privilege == Privilege::Full { "tree" } else { "tree-user" }
    }

    /// The unpacked form of a layer alone.
    fn layer_tree(&self, store: &Store, layer: &DiffId, id: &str) -> Result<LayerMount> {
        let dir = image::layer_dir(store, layer);
        self.tree(store, &dir, id, || {
            let tar = Tar::open(*layer, &dir.join(TAR))?;
            let toc = store.layers().toc(layer)?;
            let entries: Vec<&Entry> = toc.entries().iter().collect();
            let new = self.new_tree(store)?;
            self.unpack(&new, &entries, &[tar.source()], |_| 0)?;
            Ok(new)
        })
    }

    /// The unpacked form of a layer on top of those below.
    fn chain_tree(
        &self,
        store: &Store,
        chain: &mut Chain<'_>,
        top: usize,
        chain_id: &ChainId,
        id: &str,
    ) -> Result<LayerMount> {
        self.tree(store, &image::chain_dir(store, chain_id), id, || {
            let stacked = chain.stack(top)?;
            let (tars, which) = chain.tars(top, &stacked)?;
            let entries: Vec<&Entry> = stacked.entries.iter().collect();
            let sources: Vec<_> = tars.iter().map(Tar::source).collect();
            let new = self.new_tree(store)?;
            self.unpack(&new, &entries, &sources, |index| which[index])?;
            Ok(new)
        })
    }

    /// The tree in `dir`, made by `make` elsewhere and renamed if it is not there yet.
    fn tree(
        &self,
        store: &Store,
        dir: &Path,
        id: &str,
        make: impl FnOnce() -> Result<std::path::PathBuf>,
    ) -> Result<LayerMount> {
        let path = dir.join(self.tree_name());
        let mount = LayerMount::Directory { id: format!("{id}-{}", self.tree_name()), path };
        let LayerMount::Directory { id, path } = &mount else { return Ok(mount) };
        if !path.is_dir() {
            let lock = store.root().join("locks").join(id);
            let _lock = LockFile::acquire(&lock, LockMode::Exclusive, MAKING)?.removed_on_release();
            if !path.is_dir() {
                let new = make()?;
                files::commit_dir(&new, path)?;
            }
        }
        Ok(mount)
    }

    fn new_tree(&self, store: &Store) -> Result<std::path::PathBuf> {
        let new = store.lease()?.temporary("tree");
        files::create_dir(&new)?;
        Ok(new)
    }

    /// Unpacks, then makes all of it durable with one call.
    fn unpack(
        &self,
        dir: &Path,
        entries: &[&Entry],
        sources: &[Source<'_>],
        source_of: impl Fn(usize) -> usize,
    ) -> Result<()> {
        Unpack { entries, sources, source_of, privilege: self.privilege }.run(dir)?;
        let file = File::open(dir).map_err(Error::io("open", dir))?;
        rustix::fs::syncfs(&file).map_err(|error| Error::io("sync", dir)(error.into()))
    }
}
