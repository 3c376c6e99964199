//! A build context that came as a tar. The store took it in as a layer by its strict reader, so nothing was unpacked:
//! names that lead out of it were refused, links in it are followed inside of it only, and its files are read where they
//! lie in the tar. What the ignore file hides is not there, and files belong to root, as in a directory.

use std::io::Read;

use store::layer::LayerPath;
use store::{DiffId, Store};

use super::ignore::{IGNORE_MAX, Ignore, Matched};
use crate::files::{Content, Files, LayerFiles, Node};
use crate::op::OpError;

/// An opened archive.
pub struct ArchiveContext {
    name: String,
    inner: LayerFiles,
    ignore: Ignore,
}

impl ArchiveContext {
    /// Opens the context `layer`, called `name` in messages. The ignore patterns are those of the first file there is of
    /// `ignore_names`.
    ///
    /// # Errors
    /// [`OpError`] if the layer is not in the store, or the ignore file cannot be understood.
    pub fn open(store: &Store, name: &str, layer: &DiffId, ignore_names: &[String]) -> Result<Self, OpError> {
        let inner = LayerFiles::new(store, name, &[*layer])?;
        let mut ignore = Ignore::default();
        for file in ignore_names {
            if let Some(bytes) = inner.read_small(file, IGNORE_MAX)? {
                ignore = Ignore::parse(&bytes).map_err(|error| OpError::Message(format!("{file}: {error}")))?;
                break;
            }
        }
        Ok(Self { name: name.to_owned(), inner, ignore })
    }

    fn visible(&self, path: &LayerPath, node: &Node, matched: &Matched) -> Result<bool, OpError> {
        Ok(!matched.ignored || (node.is_directory() && self.has_exceptions(path, matched)?))
    }

    /// Whether an ignored directory has something in it that an exception takes back.
    fn has_exceptions(&self, path: &LayerPath, matched: &Matched) -> Result<bool, OpError> {
        let mut todo = vec![(path.clone(), matched.clone())];
        while let Some((path, matched)) = todo.pop() {
            if !self.ignore.may_take_back_below(path.as_bytes()) {
                continue;
            }
            for (name, node) in self.inner.children(&path)? {
                let below = path.join(&name)?;
                let inner = self.ignore.enter(&matched, below.as_bytes());
                if !inner.ignored {
                    return Ok(true);
                }
                if node.is_directory() {
                    todo.push((below, inner));
                }
            }
        }
        Ok(false)
    }
}

/// The node as root's: a context belongs to nobody in particular.
fn of_root(node: Node) -> Node {
    Node { uid: 0, gid: 0, ..node }
}

impl Files for ArchiveContext {
    fn name(&self) -> &str {
        &self.name
    }

    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        let Some(node) = self.inner.node(path)? else { return Ok(None) };
        let matched = self.ignore.judge(path.as_bytes());
        Ok(if self.visible(path, &node, &matched)? { Some(of_root(node)) } else { None })
    }

    fn children(&self, path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError> {
        let matched = self.ignore.judge(path.as_bytes());
        let mut found = Vec::new();
        for (name, node) in self.inner.children(path)? {
            let below = path.join(&name)?;
            if self.visible(&below, &node, &self.ignore.enter(&matched, below.as_bytes()))? {
                found.push((name, of_root(node)));
            }
        }
        Ok(found)
    }

    fn open(&self, path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError> {
        self.inner.open(path)
    }

    fn content(&self, path: &LayerPath, node: &Node) -> Result<Content, OpError> {
        self.inner.content(path, node)
    }

    fn hides(&self, path: &LayerPath) -> bool {
        self.ignore.judge(path.as_bytes()).ignored && matches!(self.inner.node(path), Ok(Some(_)))
    }
}
