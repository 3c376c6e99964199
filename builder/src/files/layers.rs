//! The merged layers of a stage or an image as a tree of files: names from the tables of contents, bytes straight from
//! the layers' tars. Nothing is mounted.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use store::layer::LayerPath;
use store::layer::tree::{FileReader, NodeRef, Tree};
use store::{DiffId, Store};

use super::{Content, Files, Node, NodeKind};
use crate::context::hash;
use crate::op::OpError;

/// A tree of layers.
pub struct LayerFiles {
    name: String,
    store: Store,
    layers: Vec<DiffId>,
    tree: Arc<Tree>,
    /// Tars, opened when first needed.
    tars: Vec<OnceLock<File>>,
}

impl LayerFiles {
    /// The merge of `layers`, lowest first, called `name` in messages.
    ///
    /// # Errors
    /// [`OpError`] if a layer is not in the store or its table of contents cannot be read.
    pub fn new(store: &Store, name: &str, layers: &[DiffId]) -> Result<Self, OpError> {
        let mut tree = Tree::new();
        for layer in layers {
            store.layers().merge_into(&mut tree, layer)?;
        }
        Ok(Self {
            name: name.to_owned(),
            store: store.clone(),
            layers: layers.to_vec(),
            tree: Arc::new(tree),
            tars: layers.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// The merge itself.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The first `limit` bytes at most of the regular file that `path` leads to; none if it leads to none.
    ///
    /// # Errors
    /// [`OpError`] if it is larger or cannot be read.
    pub fn read_small(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, OpError> {
        let Some((path, node)) = super::resolve(self, path.as_bytes())? else { return Ok(None) };
        let NodeKind::File(size) = node.kind else { return Ok(None) };
        if size > limit {
            return Err(OpError::Message(format!("{path} in {} is larger than {limit} bytes", self.name)));
        }
        let mut bytes = Vec::new();
        self.open(&path)?
            .read_to_end(&mut bytes)
            .map_err(|error| OpError::io(format!("read {path} in {}", self.name), error))?;
        Ok(Some(bytes))
    }

    fn tar(&self, source: usize) -> Result<&File, OpError> {
        if let Some(file) = self.tars[source].get() {
            return Ok(file);
        }
        let file = self.store.layers().open_tar(&self.layers[source])?;
        Ok(self.tars[source].get_or_init(|| file))
    }

    fn convert(node: &NodeRef<'_>) -> Node {
        Node {
            kind: NodeKind::of(node.kind()),
            mode: node.mode(),
            uid: node.uid(),
            gid: node.gid(),
            mtime: node.mtime(),
            xattrs: node.xattrs().to_vec(),
            link: node.link_group().map(|group| (0, u64::from(group))),
        }
    }
}

impl Files for LayerFiles {
    fn name(&self) -> &str {
        &self.name
    }

    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        Ok(self.tree.get(path).map(|node| Self::convert(&node)))
    }

    fn children(&self, path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError> {
        Ok(self.tree.children(path).map(|node| (node.name().to_vec(), Self::convert(&node))).collect())
    }

    fn open(&self, path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError> {
        let missing = || OpError::Message(format!("there is no file {path} in {}", self.name));
        let node = self.tree.get(path).ok_or_else(missing)?;
        Ok(Box::new(FileReader::new(self.tar(node.source())?, node.kind())?))
    }

    fn content(&self, path: &LayerPath, _node: &Node) -> Result<Content, OpError> {
        let mut file = self.open(path)?;
        let (digest, _) =
            hash(&mut file).map_err(|error: io::Error| OpError::io(format!("read {path} in {}", self.name), error))?;
        Ok(Content { digest, xattrs: Vec::new() })
    }
}
