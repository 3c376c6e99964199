//! The merged layers of an image as one table, to be gone through in the order of paths: an image of half a million files
//! takes some 15 MiB so, a fifth of its tree. Nothing is mounted; file data come from the layers' tars.

use std::fs::File;

use store::layer::tree::{FileReader, Tree};
use store::layer::{Entry, Kind, Listing};
use store::{DiffId, Store};

use crate::error::{CommandError, Result};

/// An image's merged layers; see the module.
pub struct Flat {
    listing: Listing,
    /// For each entry the layer that it comes from.
    sources: Vec<u32>,
    layers: Vec<DiffId>,
    tars: Vec<File>,
}

impl Flat {
    /// The merge of `layers`, lowest first.
    ///
    /// # Errors
    /// A layer that is not there or damaged.
    pub fn new(store: &Store, layers: Vec<DiffId>) -> Result<Self> {
        let mut tree = Tree::new();
        let mut tars = Vec::new();
        for layer in &layers {
            store.layers().merge_into(&mut tree, layer)?;
            tars.push(store.layers().open_tar(layer)?);
        }
        // An image has at most 500 layers.
        let sources = tree.walk().map(|node| node.source() as u32).collect();
        Ok(Self { listing: tree.listing()?, sources, layers, tars })
    }

    /// Every name with what it stands for, hard links with the file, and the number of the layer that it comes from.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Entry, usize)>> {
        let with_source = |(found, source): (store::Result<_>, &u32)| {
            let (_, entry) = found?;
            Ok((entry, *source as usize))
        };
        self.listing.entries().zip(&self.sources).map(with_source)
    }

    /// The layer of this number; the root of an image without layers is of none.
    pub fn layer(&self, source: usize) -> Option<&DiffId> {
        self.layers.get(source)
    }

    /// The bytes of the regular file of this kind.
    ///
    /// # Errors
    /// A layer that the image does not have.
    pub fn open<'a>(&'a self, kind: &'a Kind, source: usize) -> Result<FileReader<'a>> {
        let tar = self.tars.get(source).ok_or_else(|| CommandError::new("a file that no layer has"))?;
        Ok(FileReader::new(tar, kind)?)
    }
}
