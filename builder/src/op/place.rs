//! Where copied files go: a [`Draft`] of the layer, laid over the tree of the layers below. The rules are those of
//! BuildKit's copy: the destination is resolved with its symbolic links inside the root; directories on the way are
//! made 0755 for the owner of `--chown`; the destination directory keeps its attributes if it exists, directories
//! inside take those of the source; a file never replaces a directory nor a directory anything else.
//!
//! Existing directories that lead to something new are entries too, with the attributes they have below: the layer
//! then stands for itself and can be mounted without knowing what is under it. Directories that are made have the time
//! of the newest thing copied (or SOURCE_DATE_EPOCH), so that the same files give the same bytes.

use std::collections::HashMap;
use std::sync::Arc;

use store::layer::{Entry, Kind, LayerPath, Time};

use super::OpError;
use super::archive::Archive;
use super::chmod::Chmod;
use super::items::{Group, Item, Items, Look, Origin};
use super::select::{Found, Selected};
use crate::files::{self, Content, Files, Node, NodeKind};
use crate::mutation::broken;

/// Where the bytes of an entry come from.
#[derive(Clone)]
pub enum Data {
    /// There are none.
    None,
    /// They are here.
    Inline(Vec<u8>),
    /// A file of a tree, which must still have this digest.
    File {
        /// The tree.
        files: Arc<dyn Files>,
        /// Path in it.
        path: LayerPath,
        /// What it was found to be.
        content: Content,
    },
    /// A member of an archive.
    Member {
        /// The archive.
        archive: Arc<Archive>,
        /// The file, with where its bytes are.
        kind: Kind,
    },
}

/// What copies have in common.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Owner of everything copied and made, by `--chown`.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// Time of everything copied and made, by SOURCE_DATE_EPOCH.
    pub time: Option<Time>,
}

/// A layer in the making.
pub struct Draft<'a> {
    below: &'a dyn Files,
    pub(super) attributes: Attributes,
    pub(super) items: Items,
    sources: usize,
    /// Anything may replace anything, as unpacking an archive does.
    pub(super) replace: bool,
}

impl<'a> Draft<'a> {
    /// An empty layer over `below`.
    #[must_use]
    pub fn new(below: &'a dyn Files, attributes: Attributes) -> Self {
        Self { below, attributes, items: Items::default(), sources: 0, replace: false }
    }

    /// The node at `path` as it will be.
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        match self.items.look(path)? {
            Look::There(id) => self.items.node(id),
            // What is below something that replaced a directory is gone.
            Look::Gone => Ok(None),
            Look::Below => self.below.node(path),
        }
    }

    /// Resolves an absolute destination.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<(LayerPath, Option<Node>), OpError> {
        files::resolve_with(&|path| self.node(path), path)
    }

    /// Makes sure that `path`, which is resolved, is a directory, and that it and all above it are in the draft.
    pub(super) fn directory(&mut self, path: &LayerPath) -> Result<(), OpError> {
        let mut missing = Vec::new();
        let mut at = Some(path.clone());
        while let Some(directory) = at.filter(|directory| !directory.is_root()) {
            at = directory.parent();
            missing.push(directory);
        }
        for directory in missing.into_iter().rev() {
            if self.items.has_directory(&directory)? {
                continue;
            }
            let item = match self.node(&directory)? {
                Some(mut node) if node.is_directory() => {
                    if broken("attributes-of-kept-directories") {
                        (node.mode, node.uid, node.gid) = (0o755, 0, 0);
                    }
                    Item { node, data: Data::None, origin: Origin::Kept, group: None }
                }
                Some(_) if !self.replace => {
                    return Err(OpError::Message(format!("{directory} is in the way: it is not a directory")));
                }
                _ => self.made(),
            };
            self.items.insert(&directory, item)?;
        }
        Ok(())
    }

    fn made(&self) -> Item {
        let owner = self.attributes.owner.filter(|_| !broken("owner-of-made-directories"));
        let (uid, gid) = owner.unwrap_or((0, 0));
        let mtime = self.attributes.time.unwrap_or_default();
        let mode = if broken("mode-of-made-directories") { 0o700 } else { 0o755 };
        let node = Node { kind: NodeKind::Directory, mode, uid, gid, mtime, xattrs: Vec::new(), link: None };
        Item { node, data: Data::None, origin: Origin::Made, group: None }
    }

    /// Makes the directory `path` (WORKDIR) unless it is there.
    ///
    /// # Errors
    /// [`OpError`] if something else is in the way.
    pub fn make_directory(&mut self, path: &str) -> Result<(), OpError> {
        match self.resolve(path.as_bytes())? {
            (_, Some(node)) if node.is_directory() => Ok(()),
            (path, _) => self.directory(&path),
        }
    }

    /// Copies a selection to `destination`, an absolute path; one that ends in a slash is a directory.
    ///
    /// # Errors
    /// [`OpError`] if something is in the way.
    pub fn copy(&mut self, selected: &Selected, destination: &str) -> Result<(), OpError> {
        self.sources += 1;
        let (mut target, mut there) = self.resolve(destination.as_bytes())?;
        if destination.ends_with('/') && there.is_none() {
            self.directory(&target)?;
            there = self.node(&target)?;
        }
        if selected.root.node.is_directory() {
            if there.as_ref().is_some_and(|node| !node.is_directory()) {
                return Err(OpError::Message(format!("{target} is in the way: it is not a directory")));
            }
            if there.is_none() || !selected.inside.is_empty() {
                self.directory(&target)?;
            }
            for found in &selected.inside {
                let path = join(&target, &found.path)?;
                self.put(selected, found, path)?;
            }
            return Ok(());
        }
        if there.is_some_and(|node| node.is_directory()) {
            target = target.join(&selected.name)?;
        }
        self.put(selected, &selected.root, target)
    }

    /// Writes an inline file to `destination`, as one called `name`.
    ///
    /// # Errors
    /// [`OpError`] if something is in the way.
    pub fn write(&mut self, name: &str, bytes: Vec<u8>, destination: &str) -> Result<(), OpError> {
        let (mut target, mut there) = self.resolve(destination.as_bytes())?;
        if destination.ends_with('/') && there.is_none() {
            self.directory(&target)?;
            there = self.node(&target)?;
        }
        if there.is_some_and(|node| node.is_directory()) {
            target = target.join(name.as_bytes())?;
        }
        let (uid, gid) = self.attributes.owner.unwrap_or((0, 0));
        let mode = self.attributes.chmod.as_ref().map_or(0o644, |chmod| chmod.apply(0o644, false));
        let kind = NodeKind::File(bytes.len() as u64);
        let mtime = self.attributes.time.unwrap_or_default();
        let node = Node { kind, mode, uid, gid, mtime, xattrs: Vec::new(), link: None };
        self.insert(target, Item { node, data: Data::Inline(bytes), origin: Origin::Copied, group: None })
    }

    /// Puts one found file at `path`, whose parents are resolved.
    fn put(&mut self, selected: &Selected, found: &Found, path: LayerPath) -> Result<(), OpError> {
        if found.only_parent && self.node(&path)?.is_some_and(|node| node.is_directory()) {
            return self.directory(&path);
        }
        let mut node = found.node.clone();
        let mut data = Data::None;
        if let (NodeKind::File(_), Some(content)) = (&node.kind, &found.content) {
            node.xattrs.extend(content.xattrs.iter().cloned());
            let (files, path) = (Arc::clone(&selected.files), found.source.clone());
            data = Data::File { files, path, content: content.clone() };
        }
        if let Some((uid, gid)) = self.attributes.owner {
            (node.uid, node.gid) = (uid, gid);
        }
        if let Some(chmod) = self.attributes.chmod.as_ref().filter(|_| match node.kind {
            NodeKind::Symlink(_) => false,
            NodeKind::Directory => !broken("chmod-of-directories"),
            _ => true,
        }) {
            node.mode = chmod.apply(node.mode, node.is_directory());
        }
        node.mtime = self.attributes.time.unwrap_or(node.mtime);
        if broken("times-of-copies") {
            node.mtime = Time::default();
        }
        let group = node.link.filter(|_| !broken("hard-links")).map(|link| Group::Link(self.sources, link));
        self.insert(path, Item { node, data, origin: Origin::Copied, group })
    }

    fn insert(&mut self, path: LayerPath, item: Item) -> Result<(), OpError> {
        if path.is_root() {
            // The root's attributes are no entry of a layer; only a directory can be meant.
            return match item.node.is_directory() {
                true => Ok(()),
                false => Err(OpError::Message("a file cannot replace the root directory".to_owned())),
            };
        }
        self.directory(&path.parent().unwrap_or_default())?;
        if let Some(there) = self.node(&path)? {
            if there.is_directory() && !item.node.is_directory() {
                return Err(OpError::Message(format!("{path} is in the way: a file cannot replace a directory")));
            }
            if !there.is_directory() && item.node.is_directory() {
                return Err(OpError::Message(format!("{path} is in the way: it is not a directory")));
            }
        }
        self.items.insert(&path, item)
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_nothing_new()
    }

    /// The entries in order, each with its data: names of one file become hard links to the first.
    ///
    /// # Errors
    /// [`OpError`] if an archive cannot be read, here and for each entry.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Result<(Entry, Data), OpError>>, OpError> {
        let order = self.items.in_order();
        let newest = match self.attributes.time {
            Some(time) => time,
            None => self.items.newest(&order)?.unwrap_or_default(),
        };
        let mut first_names = HashMap::new();
        Ok(order.into_iter().filter_map(move |id| self.entry(id, newest, &mut first_names).transpose()))
    }

    /// The entry with the name `id`.
    fn entry(
        &mut self,
        id: u32,
        newest: Time,
        first_names: &mut HashMap<Group, u32>,
    ) -> Result<Option<(Entry, Data)>, OpError> {
        let Some(mut item) = self.items.take(id)? else { return Ok(None) };
        if item.origin == Origin::Made || matches!(item.data, Data::Inline(_)) {
            item.node.mtime = newest;
        }
        let mut kind = match item.node.kind {
            NodeKind::Directory => Kind::Directory { opaque: false, implied: false },
            NodeKind::File(size) => Kind::file(size),
            NodeKind::Symlink(target) => Kind::Symlink { target },
            NodeKind::Device(true, major, minor) => Kind::CharDevice { major, minor },
            NodeKind::Device(false, major, minor) => Kind::BlockDevice { major, minor },
            NodeKind::Fifo => Kind::Fifo,
        };
        if let Some(group) = item.group {
            let first = *first_names.entry(group).or_insert(id);
            if first != id {
                kind = Kind::HardLink { target: self.items.path(first)? };
                item.data = Data::None;
            }
        }
        let mut xattrs = item.node.xattrs;
        xattrs.sort();
        xattrs.dedup_by(|a, b| a.0 == b.0);
        let Node { mode, uid, gid, mtime, .. } = item.node;
        Ok(Some((Entry { path: self.items.path(id)?, kind, mode, uid, gid, mtime, xattrs }, item.data)))
    }
}

pub(super) fn join(base: &LayerPath, relative: &LayerPath) -> Result<LayerPath, OpError> {
    Ok(LayerPath::parse(&[base.as_bytes(), b"/", relative.as_bytes()].concat())?)
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
