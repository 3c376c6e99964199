//! One name of the merged tree, and what is there.

use super::{Inode, Node, ROOT, Tree};
use crate::layer::{Entry, Kind, LayerPath, Time};

/// A name in a [`Tree`] with the file it stands for.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    pub(super) tree: &'a Tree,
    pub(super) node: u32,
}

impl<'a> NodeRef<'a> {
    fn raw(&self) -> &'a Node {
        &self.tree.nodes[self.node as usize]
    }

    fn inode(&self) -> &'a Inode {
        &self.tree.inodes[self.raw().inode as usize]
    }

    /// Its last name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.tree.name(self.node)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> LayerPath {
        let mut names = Vec::new();
        let mut node = self.node;
        while node != ROOT {
            names.push(self.tree.name(node));
            node = self.tree.nodes[node as usize].parent;
        }
        names.reverse();
        LayerPath::parse(&names.join(&b'/')).expect("it was an entry's path")
    }

    /// What it is: for a hard link the file that it is a name of; never a whiteout, never an opaque directory.
    #[must_use]
    pub fn kind(&self) -> &'a Kind {
        &self.inode().kind
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.tree.is_directory(self.node)
    }

    /// Permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.inode().mode
    }

    /// Owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.inode().uid
    }

    /// Group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.inode().gid
    }

    /// Time of last modification.
    #[must_use]
    pub fn mtime(&self) -> Time {
        self.inode().mtime
    }

    /// Extended attributes, sorted by name.
    #[must_use]
    pub fn xattrs(&self) -> &'a [(Vec<u8>, Vec<u8>)] {
        &self.inode().xattrs
    }

    /// The layer that attributes and bytes come from, counted from 0 in the order of [`Tree::apply`].
    #[must_use]
    pub fn source(&self) -> usize {
        self.inode().source as usize
    }

    /// Number of names the file has in the tree; 1 for a directory.
    #[must_use]
    pub fn nlink(&self) -> u32 {
        self.inode().names.max(1)
    }

    /// A number that all names of one file share, if it has more than one.
    #[must_use]
    pub fn link_group(&self) -> Option<u32> {
        (self.inode().names > 1).then_some(self.raw().inode)
    }

    /// A number that all names of one file share, whether it has one or more.
    pub(crate) fn inode_number(&self) -> u32 {
        self.raw().inode
    }

    /// What is in it, in order; nothing if it is no directory.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = NodeRef<'a>> + use<'a> {
        let tree = self.tree;
        tree.children_of(self.node).iter().map(move |&node| NodeRef { tree, node })
    }

    /// It as an entry of its own, with its final attributes; see [`NodeRef::kind`].
    #[must_use]
    pub fn entry(&self) -> Entry {
        let Inode { kind, mode, uid, gid, mtime, xattrs, .. } = self.inode();
        Entry {
            path: self.path(),
            kind: kind.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            mtime: *mtime,
            xattrs: xattrs.to_vec(),
        }
    }
}
