//! A tree in memory, for tests.

use std::collections::BTreeMap;
use std::io::Read;

use store::Digest;
use store::layer::{LayerPath, Time};

use super::{Content, Files, Node, NodeKind};
use crate::op::OpError;

/// A tree in memory.
#[derive(Default)]
pub(crate) struct FakeFiles {
    nodes: BTreeMap<LayerPath, (Node, Vec<u8>)>,
}

pub(crate) fn path(text: &str) -> LayerPath {
    LayerPath::parse(text.as_bytes()).unwrap()
}

pub(crate) fn node(kind: NodeKind, mode: u32) -> Node {
    let mtime = Time { seconds: 1000, nanoseconds: 0 };
    Node { kind, mode, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link: None }
}

impl FakeFiles {
    /// A tree of lines: `dir/`, `file=content`, `link->target`.
    pub(crate) fn of(lines: &[&str]) -> Self {
        let mut files = Self::default();
        files.put("", node(NodeKind::Directory, 0o755), "");
        for line in lines {
            if let Some((name, target)) = line.split_once("->") {
                files.put(name, node(NodeKind::Symlink(target.as_bytes().to_vec()), 0o777), "");
            } else if let Some((name, content)) = line.split_once('=') {
                files.put(name, node(NodeKind::File(content.len() as u64), 0o644), content);
            } else {
                files.put(line, node(NodeKind::Directory, 0o755), "");
            }
        }
        files
    }

    pub(crate) fn put(&mut self, name: &str, node: Node, content: &str) {
        let mut parent = path(name).parent();
        while let Some(directory) = parent {
            self.nodes
                .entry(directory.clone())
                .or_insert_with(|| (super::fake::node(NodeKind::Directory, 0o755), Vec::new()));
            parent = directory.parent();
        }
        self.nodes.insert(path(name), (node, content.as_bytes().to_vec()));
    }

    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        change(&mut self.nodes.get_mut(&path(name)).unwrap().0);
    }
}

impl Files for FakeFiles {
    fn name(&self) -> &str {
        "the fake"
    }

    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        Ok(self.nodes.get(path).map(|(node, _)| node.clone()))
    }

    fn children(&self, path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError> {
        let inside = self.nodes.iter().filter(|(name, _)| name.parent().as_ref() == Some(path));
        Ok(inside.map(|(name, (node, _))| (name.name().unwrap().to_vec(), node.clone())).collect())
    }

    fn open(&self, path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError> {
        Ok(Box::new(self.nodes[path].1.as_slice()))
    }

    fn content(&self, path: &LayerPath, _node: &Node) -> Result<Content, OpError> {
        Ok(Content { digest: Digest::of(&self.nodes[path].1), xattrs: Vec::new() })
    }
}
