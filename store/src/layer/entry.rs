//! One entry of a layer, as the table of contents, the tree, the EROFS writer and the tar writer see it.
//!
//! Whiteouts are kinds of their own here: the `.wh.` names of the tar (OCI image spec, layer.md "Whiteouts") never
//! get past the tar reader, and the device nodes and xattrs by which overlayfs marks them never get past the
//! snapshot drivers.

use super::path::LayerPath;

/// A point in time: seconds since the epoch and nanoseconds (0..1e9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds past `seconds`.
    pub nanoseconds: u32,
}

/// A run of bytes of a file and where they lie in the layer's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file, bytes.
    pub logical: u64,
    /// Offset in the layer's tar, bytes; a multiple of 512 for the first extent of a file.
    pub offset: u64,
    /// Length, bytes.
    pub length: u64,
}

/// The extents of a file. Nearly every file has none or one, which then takes no memory of its own.
#[derive(Clone, Debug)]
pub struct Extents(Few);

#[derive(Clone, Debug)]
enum Few {
    One(Extent),
    Any(Vec<Extent>),
}

impl From<Vec<Extent>> for Extents {
    fn from(extents: Vec<Extent>) -> Self {
        match extents.as_slice() {
            [one] => Self(Few::One(*one)),
            _ => Self(Few::Any(extents)),
        }
    }
}

impl From<Extent> for Extents {
    fn from(one: Extent) -> Self {
        Self(Few::One(one))
    }
}

impl std::ops::Deref for Extents {
    type Target = [Extent];

    fn deref(&self) -> &[Extent] {
        match &self.0 {
            Few::One(one) => std::slice::from_ref(one),
            Few::Any(extents) => extents,
        }
    }
}

impl std::ops::DerefMut for Extents {
    fn deref_mut(&mut self) -> &mut [Extent] {
        match &mut self.0 {
            Few::One(one) => std::slice::from_mut(one),
            Few::Any(extents) => extents,
        }
    }
}

impl PartialEq for Extents {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Extents {}

impl<'a> IntoIterator for &'a Extents {
    type Item = &'a Extent;
    type IntoIter = std::slice::Iter<'a, Extent>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Default for Extents {
    fn default() -> Self {
        Vec::new().into()
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory {
        /// Hides everything lower layers have in it (`.wh..wh..opq`).
        opaque: bool,
        /// Not in the tar itself, only a parent of something that is: mode, owner and time come from the layers
        /// below where they have the directory; the values in the entry (0755, 0:0, time 0) count where none has.
        implied: bool,
    },
    /// A regular file of `size` bytes. Bytes that no extent covers are zero: one extent from 0 to `size` for a plain
    /// file, none for an empty one, any number in ascending order for a sparse one.
    File {
        /// Size in bytes.
        size: u64,
        /// Where the bytes are in the layer's tar.
        extents: Extents,
    },
    /// Another name of `target`, a non-directory of this layer or, if this layer has none there, of a lower one.
    /// Mode, owner, time and xattrs are the target's; what the entry itself says of them is ignored.
    HardLink {
        /// The first name.
        target: LayerPath,
    },
    /// A symbolic link.
    Symlink {
        /// Its text, any bytes but NUL, at most 4095.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides this path of the layers below; nothing of this layer is at the path.
    Whiteout,
}

impl Kind {
    /// A regular file of this size, bytes, whose bytes are in no tar yet.
    #[must_use]
    pub fn file(size: u64) -> Self {
        Self::File { size, extents: Extents::default() }
    }
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: LayerPath,
    /// What it is.
    pub kind: Kind,
    /// Permission, setuid, setgid and sticky bits: 0..=0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes, sorted by name; never `trusted.overlay.*` or `user.overlay.*`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// Size of a regular file in bytes, 0 for anything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }
}
