//! One file from the net as a tree of files: its bytes are a blob of the store.

use std::io::Read;

use store::layer::LayerPath;
use store::{Digest, Store};

use super::{Content, Files, Node};
use crate::op::OpError;

/// A tree of one file.
pub struct RemoteFiles {
    store: Store,
    digest: Digest,
    node: Node,
}

impl RemoteFiles {
    /// The blob `digest` as the file `node`, which every path but the root's means.
    #[must_use]
    pub fn new(store: &Store, digest: Digest, node: Node) -> Self {
        Self { store: store.clone(), digest, node }
    }
}

impl Files for RemoteFiles {
    fn name(&self) -> &str {
        "what was fetched"
    }

    fn node(&self, _path: &LayerPath) -> Result<Option<Node>, OpError> {
        Ok(Some(self.node.clone()))
    }

    fn children(&self, _path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError> {
        Ok(Vec::new())
    }

    fn open(&self, _path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError> {
        Ok(Box::new(self.store.blobs().open(&self.digest)?))
    }

    fn content(&self, _path: &LayerPath, _node: &Node) -> Result<Content, OpError> {
        Ok(Content { digest: self.digest, xattrs: Vec::new() })
    }
}
