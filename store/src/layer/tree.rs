//! The merge of layers: what a container would see, without mounting or unpacking anything.
//!
//! [`Tree::apply`] puts one layer's entries on top of those before, by the rules of the OCI image spec (layer.md): a
//! whiteout hides what is below, an opaque directory all that is below in it, a directory keeps its children when it
//! comes again, anything else replaces what was there, implied parents keep what the layers below say of them. Names
//! of one file share an inode, across layers too. The tree holds no file data: each node says which layer it came
//! from (its source, counting from 0) and where its bytes are in that layer's tar ([`FileReader`]).

mod file;
mod links;
mod node;
mod order;
mod resolve;
#[cfg(test)]
mod tests;

pub use file::FileReader;
pub(crate) use links::Entries;
use links::LinkTarget;
pub use node::NodeRef;
pub use order::implied_root;
pub(crate) use order::parents;

use super::toc::code::encode_attributes;
use super::toc::{Encoder, Listing};
use super::{Entry, Kind, LayerPath, Time};
use crate::error::Result;

/// The merge of some layers.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Names, the root first; those that later layers removed stay as garbage that nothing leads to.
    nodes: Vec<Node>,
    /// The text of all names.
    text: Vec<u8>,
    inodes: Vec<Inode>,
    /// Children of the directories, sorted by name.
    directories: Vec<Vec<u32>>,
    layers: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where its name starts in `text`; that of the root is empty.
    name: usize,
    length: u8,
    parent: u32,
    inode: u32,
    /// Index in `directories`, or [`NONE`].
    children: u32,
}

#[derive(Clone, Debug)]
struct Inode {
    /// Never a hard link or a whiteout.
    kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
    source: u32,
    /// Names in the tree.
    names: u32,
}

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// The merge of no layers: an empty root, 0755, 0:0, time 0.
    #[must_use]
    pub fn new() -> Self {
        let root = Node { name: 0, length: 0, parent: ROOT, inode: 0, children: 0 };
        let inode = Inode::new(&implied_root(), 0);
        Self { nodes: vec![root], text: Vec::new(), inodes: vec![inode], directories: vec![Vec::new()], layers: 0 }
    }

    /// Number of layers applied.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers as usize
    }

    /// Puts a layer on top. `entries` are sorted by path without duplicates, with every parent but maybe the root.
    ///
    /// # Errors
    /// [`crate::error::Error::InvalidLayer`] for entries that break these rules and for a hard link whose target is neither in this
    /// layer nor below; the tree is then unchanged.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<()> {
        self.merge(entries)
    }

    /// [`Tree::apply`] for entries that are not all at hand at once.
    pub(crate) fn merge(&mut self, entries: &(impl Entries + ?Sized)) -> Result<()> {
        let (parents, links) = links::survey(entries)?;
        let targets = self.link_targets(entries, &links)?;
        let source = self.layers;
        // The node of each entry, for its children; `NONE` where no node is.
        let mut nodes = vec![NONE; parents.len()];
        entries.each(&mut |index, entry| {
            let Some(name) = entry.path.name() else {
                self.merge_directory(ROOT, entry, source);
                nodes[index] = ROOT;
                return Ok(());
            };
            let parent = if parents[index] == NONE { ROOT } else { nodes[parents[index] as usize] };
            let found = self.child(parent, name);
            match (&entry.kind, found) {
                (Kind::Directory { .. }, Some(found)) if self.is_directory(found) => {
                    self.merge_directory(found, entry, source);
                    nodes[index] = found;
                }
                (Kind::HardLink { .. }, _) => {}
                (kind, found) => {
                    if let Some(found) = found {
                        self.remove(found);
                    }
                    if !matches!(kind, Kind::Whiteout) {
                        self.inodes.push(Inode::new(entry, source));
                        nodes[index] = self.insert(parent, name, self.inodes.len() as u32 - 1);
                    }
                }
            }
            Ok(())
        })?;
        // Second names come last, when the files of this layer that they stand for are there.
        for (link, target) in links.iter().zip(targets) {
            let (Some(name), parent) = (link.path.name(), parents[link.index]) else { continue };
            let parent = if parent == NONE { ROOT } else { nodes[parent as usize] };
            let inode = match target {
                LinkTarget::Below(inode) => inode,
                LinkTarget::Here(entry) => self.nodes[nodes[entry] as usize].inode,
            };
            if let Some(found) = self.child(parent, name) {
                self.remove(found);
            }
            self.insert(parent, name, inode);
        }
        self.layers += 1;
        Ok(())
    }

    fn merge_directory(&mut self, node: u32, entry: &Entry, source: u32) {
        let Kind::Directory { opaque, implied } = entry.kind else { return };
        if opaque {
            let children = self.nodes[node as usize].children as usize;
            for child in std::mem::take(&mut self.directories[children]) {
                self.release(child);
            }
        }
        if !implied {
            self.inodes[self.nodes[node as usize].inode as usize] = Inode::new(entry, source);
            self.inodes[self.nodes[node as usize].inode as usize].names = 1;
        }
    }

    fn insert(&mut self, parent: u32, name: &[u8], inode: u32) -> u32 {
        let node = self.nodes.len() as u32;
        let children = if matches!(self.inodes[inode as usize].kind, Kind::Directory { .. }) {
            self.directories.push(Vec::new());
            self.directories.len() as u32 - 1
        } else {
            NONE
        };
        self.inodes[inode as usize].names += 1;
        let siblings = self.nodes[parent as usize].children as usize;
        let at = self.position(parent, name).unwrap_or_else(|at| at);
        // A name of a layer has at most 255 bytes.
        self.nodes.push(Node { name: self.text.len(), length: name.len() as u8, parent, inode, children });
        self.text.extend_from_slice(name);
        self.directories[siblings].insert(at, node);
        node
    }

    fn remove(&mut self, node: u32) {
        let Node { parent, .. } = self.nodes[node as usize];
        if let Ok(at) = self.position(parent, self.name(node)) {
            self.directories[self.nodes[parent as usize].children as usize].remove(at);
        }
        self.release(node);
    }

    /// Takes a detached subtree's names off their files.
    fn release(&mut self, node: u32) {
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            let Node { inode, children, .. } = self.nodes[node as usize];
            self.inodes[inode as usize].names -= 1;
            if children != NONE {
                pending.append(&mut self.directories[children as usize]);
            }
        }
    }

    /// The last name of a node; empty for the root.
    fn name(&self, node: u32) -> &[u8] {
        let Node { name, length, .. } = self.nodes[node as usize];
        &self.text[name..][..usize::from(length)]
    }

    fn is_directory(&self, node: u32) -> bool {
        self.nodes[node as usize].children != NONE
    }

    /// Where `name` is among the children of the directory, or where it belongs.
    fn position(&self, directory: u32, name: &[u8]) -> Result<usize, usize> {
        let children = self.children_of(directory);
        // Layers come sorted: a new name mostly goes to the end.
        match children.last() {
            Some(&last) if self.name(last) >= name => children.binary_search_by(|&child| self.name(child).cmp(name)),
            _ => Err(children.len()),
        }
    }

    fn children_of(&self, node: u32) -> &[u32] {
        self.directories.get(self.nodes[node as usize].children as usize).map_or(&[], Vec::as_slice)
    }

    fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        self.position(directory, name).ok().map(|at| self.children_of(directory)[at])
    }

    fn find(&self, path: &LayerPath) -> Option<u32> {
        path.components().try_fold(ROOT, |node, name| self.child(node, name))
    }

    /// What is at `path`; symbolic links on the way are not followed.
    #[must_use]
    pub fn get(&self, path: &LayerPath) -> Option<NodeRef<'_>> {
        self.find(path).map(|node| NodeRef { tree: self, node })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef { tree: self, node: ROOT }
    }

    /// What is in the directory at `path`, in order; nothing if there is no directory.
    pub fn children(&self, path: &LayerPath) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        let children = self.find(path).map_or(&[][..], |node| self.children_of(node));
        children.iter().map(|&node| NodeRef { tree: self, node })
    }

    /// Everything, the root first, in the order of paths.
    pub fn walk(&self) -> impl Iterator<Item = NodeRef<'_>> {
        let mut pending = vec![ROOT];
        std::iter::from_fn(move || {
            let node = pending.pop()?;
            pending.extend(self.children_of(node).iter().rev());
            Some(NodeRef { tree: self, node })
        })
    }
}

impl Tree {
    /// All of it in the order of [`Tree::walk`] as a table of contents in the form of its file, which takes a small part of
    /// the memory. Each name of a file stands there as a file.
    ///
    /// # Errors
    /// [`crate::error::Error::Damaged`] for a tree whose table is larger than 4 GiB.
    pub fn listing(&self) -> Result<Listing> {
        let mut out = Encoder::new(self.walk().count());
        let mut attributes = Vec::new();
        for node in self.walk() {
            let entry = node.entry();
            attributes.clear();
            encode_attributes(&mut attributes, &entry);
            out.add(entry.path.as_bytes(), &attributes);
        }
        Listing::new(out.finish(&[]))
    }
}

impl Inode {
    fn new(entry: &Entry, source: u32) -> Self {
        let kind = match entry.kind {
            Kind::Directory { implied, .. } => Kind::Directory { opaque: false, implied },
            ref kind => kind.clone(),
        };
        let Entry { uid, gid, mtime, .. } = *entry;
        // Linux knows no other mode for a symbolic link (symlink(7)).
        let mode = if matches!(kind, Kind::Symlink { .. }) { 0o777 } else { entry.mode };
        Self { kind, mode, uid, gid, mtime, xattrs: entry.xattrs.as_slice().into(), source, names: 0 }
    }
}
