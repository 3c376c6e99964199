//! The file system of a container as data: the trees of its layers merged with what lies in its own upper directory.
//! Nothing is mounted; file data come from the layers' tars and from the upper directory by descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use store::layer::diff::open_upper;
use store::layer::tree::{FileReader, NodeRef, Tree};
use store::layer::{Entry, Kind};
use store::{DiffId, Store};

use crate::error::{CommandError, Result};

/// A container's or image's merged tree.
pub struct Merged {
    /// The tree; sources are numbered as the layers are, the upper directory last.
    pub tree: Tree,
    tars: Vec<File>,
    upper: Option<File>,
}

impl Merged {
    /// The tree of `layers`, lowest first.
    ///
    /// # Errors
    /// A layer that is not there or damaged.
    pub fn new(store: &Store, layers: &[DiffId]) -> Result<Self> {
        let mut tree = Tree::new();
        let mut tars = Vec::new();
        for layer in layers {
            store.layers().merge_into(&mut tree, layer)?;
            tars.push(store.layers().open_tar(layer)?);
        }
        Ok(Self { tree, tars, upper: None })
    }

    /// Puts `entries`, found in the upper directory `upper`, on top.
    ///
    /// # Errors
    /// Entries that no layer can have.
    pub fn put_upper(&mut self, upper: File, entries: &[Entry]) -> Result<()> {
        self.tree.apply(entries)?;
        self.upper = Some(upper);
        Ok(())
    }

    /// The bytes of the regular file `node`; `None` if it lay in the upper directory and was removed from it meanwhile.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open<'a>(&'a self, node: &NodeRef<'a>) -> Result<Option<Box<dyn Read + 'a>>> {
        match (self.tars.get(node.source()), &self.upper) {
            (Some(tar), _) => Ok(Some(Box::new(FileReader::new(tar, node.kind())?))),
            (None, Some(upper)) => {
                let Kind::File { size, .. } = node.kind() else { return Err(CommandError::new("not a regular file")) };
                match open_upper(upper.as_fd(), &node.path()) {
                    Err(error) if error.is_not_found() => Ok(None),
                    file => Ok(Some(Box::new(file?.take(*size)))),
                }
            }
            (None, None) => Err(CommandError::new(format!("{} has no data", node.path()))),
        }
    }

    /// Gives the bytes of the regular file `node` to `work`.
    ///
    /// # Errors
    /// A file that cannot be opened, and what `work` says.
    pub fn with_data<T>(&self, node: &NodeRef<'_>, work: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        let data = self.open(node)?;
        work(&mut *data.ok_or_else(|| CommandError::new(format!("{} was removed meanwhile", node.path())))?)
    }
}

/// One path that a container has changed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Change {
    /// `A`dded, `C`hanged or `D`eleted.
    #[serde(rename = "Kind")]
    pub kind: char,
    /// The path.
    #[serde(rename = "Path")]
    pub path: String,
}

/// What the entries of an upper directory change in `below`, in path order.
pub fn changes(below: &Tree, entries: &[Entry]) -> Vec<Change> {
    let mut changes = Vec::new();
    for entry in entries {
        let before = below.get(&entry.path);
        let kind = match (&entry.kind, before) {
            (Kind::Whiteout, Some(_)) => 'D',
            (Kind::Whiteout, None) => continue,
            (_, Some(_)) => 'C',
            (_, None) => 'A',
        };
        changes.push(Change { kind, path: entry.path.to_string() });
    }
    changes
}
