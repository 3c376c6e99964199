//! Trees that COPY takes files from: the build context, or the merged layers of a stage or an image. [`Files`] is what
//! both have in common; resolving of symbolic links is written once, here, over it, and never leaves the tree.

mod layers;
mod remote;
mod unpack;

use std::io::Read;

use store::Digest;
use store::layer::{Kind, LayerPath, Time};

use crate::op::OpError;

pub use layers::LayerFiles;
pub use remote::RemoteFiles;
pub use unpack::unpack;

/// Most symbolic links followed in one path, as the kernel has it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link with its text.
    Symlink(Vec<u8>),
    /// A device, major and minor number; character device if the flag is set.
    Device(bool, u32, u32),
    /// A named pipe.
    Fifo,
}

impl NodeKind {
    /// What an entry of a layer is.
    pub(crate) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Directory { .. } => Self::Directory,
            Kind::File { size, .. } => Self::File(*size),
            Kind::Symlink { target } => Self::Symlink(target.clone()),
            Kind::CharDevice { major, minor } => Self::Device(true, *major, *minor),
            Kind::BlockDevice { major, minor } => Self::Device(false, *major, *minor),
            // Nobody asks for hard links, which are names of a file, nor for whiteouts.
            Kind::Fifo | Kind::HardLink { .. } | Kind::Whiteout => Self::Fifo,
        }
    }
}

/// One name of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission and special bits, 0..=0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of its contents.
    pub mtime: Time,
    /// Extended attributes that are known without opening the file.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Equal for names of one file; none if it has one name.
    pub link: Option<(u64, u64)>,
}

impl Node {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

/// What is in a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Extended attributes that are known only by opening it.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tree of files.
pub trait Files: Send + Sync {
    /// How messages call it: `the build context`, `stage build`.
    fn name(&self) -> &str;

    /// The node at `path`, whose parents are directories and no links; none if there is nothing.
    ///
    /// # Errors
    /// [`OpError`] if it cannot be looked at.
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError>;

    /// Names and nodes in the directory `path`, sorted by name.
    ///
    /// # Errors
    /// [`OpError`] if it cannot be read.
    fn children(&self, path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError>;

    /// The bytes of the regular file at `path`.
    ///
    /// # Errors
    /// [`OpError`] if it cannot be opened.
    fn open(&self, path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError>;

    /// Digest and hidden attributes of the regular file `node` at `path`.
    ///
    /// # Errors
    /// [`OpError`] if it cannot be read.
    fn content(&self, path: &LayerPath, node: &Node) -> Result<Content, OpError>;

    /// Whether the ignore file hides `path`, for a better message.
    fn hides(&self, _path: &LayerPath) -> bool {
        false
    }
}

/// Resolves `path` with every symbolic link followed inside the tree, the last one too. `..` and absolute links stay
/// in it. None if there is nothing at the end.
///
/// # Errors
/// [`OpError`] for more than 40 links, a name that is too long, or what [`Files::node`] says.
pub fn resolve(files: &dyn Files, path: &[u8]) -> Result<Option<(LayerPath, Node)>, OpError> {
    let (path, node) = resolve_with(&|path| files.node(path), path)?;
    Ok(node.map(|node| (path, node)))
}

/// Resolves `path` in the tree whose nodes `node` gives, as [`resolve`] does; names that are not there are taken as
/// they are, so that the result is where the path would be made.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    node: &dyn Fn(&LayerPath) -> Result<Option<Node>, OpError>,
    path: &[u8],
) -> Result<(LayerPath, Option<Node>), OpError> {
    let split = |text: &[u8]| text.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut todo = split(path);
    let mut links = 0;
    let mut at = LayerPath::root();
    let mut here = node(&at)?;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"" | b"." => {}
            b".." => {
                at = at.parent().unwrap_or_default();
                here = node(&at)?;
            }
            name => {
                let next = at.join(name)?;
                let found = match &here {
                    Some(directory) if directory.is_directory() => node(&next)?,
                    _ => None,
                };
                if let Some(Node { kind: NodeKind::Symlink(target), .. }) = &found {
                    links += 1;
                    if links > LINKS_MAX {
                        let path = String::from_utf8_lossy(path);
                        return Err(OpError::Message(format!("{path} leads through too many symbolic links")));
                    }
                    if target.first() == Some(&b'/') {
                        at = LayerPath::root();
                        here = node(&at)?;
                    }
                    todo.extend(split(target));
                } else {
                    at = next;
                    here = found;
                }
            }
        }
    }
    Ok((at, here))
}

#[cfg(test)]
pub(crate) mod fake;
