//! Writes a metadata image: a plan that knows where everything goes, then one pass that streams it out.
//!
//! [`Image::plan`] makes all checks and keeps 12 bytes an entry; [`Image::emit`] can then fail only in the write
//! itself. Equal input gives equal bytes. Entries are sorted by path, so a directory's subtree is one run of them and
//! its children are found without an index.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use super::directory::{self, Dirent};
use super::format::{self, BLOCK_BITS, INODE_SIZE, Inode, NID_UNIT, SLOT_SIZE, SLOTS_OFFSET, Super};
use super::xattr;
use crate::error::{Error, Result};
use crate::layer::tree::parents;
use crate::layer::{Entry, Kind, LayerPath, Time};

/// A device of an image: a file whose blocks hold data of regular files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Says what the device is: the hex digits of a tar's diff id, or `side` and zeros. The kernel ignores it.
    pub tag: [u8; 64],
    /// Size in bytes; a last part that is no full block cannot be used.
    pub bytes: u64,
}

/// Where the bytes of a regular file start: they are consecutive there, and zeros fill up their last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the device, from 0.
    pub device: u16,
    /// Offset in it, bytes; a multiple of the block size.
    pub offset: u64,
}

/// What an image is for, kept as its volume name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A layer that shows the same whatever lies below it.
    SelfContained,
    /// A layer that takes attributes or files from layers below: right only as the lowest one.
    NeedsChain,
    /// A layer as it is on top of one particular chain.
    Chain,
}

impl Label {
    const ALL: [(Self, &'static [u8; 16]); 3] = [
        (Self::SelfContained, b"self-contained\0\0"),
        (Self::NeedsChain, b"needs-chain\0\0\0\0\0"),
        (Self::Chain, b"chain\0\0\0\0\0\0\0\0\0\0\0"),
    ];

    fn bytes(self) -> [u8; 16] {
        Self::ALL.iter().find(|(label, _)| *label == self).map_or([0; 16], |(_, bytes)| **bytes)
    }

    pub(super) fn from_bytes(raw: &[u8; 16]) -> Option<Self> {
        Self::ALL.iter().find(|(_, bytes)| *bytes == raw).map(|(label, _)| *label)
    }
}

/// The root directory of a layer that has none in its tar: 0755, 0:0, time 0.
#[must_use]
pub fn implied_root() -> Entry {
    Entry {
        path: LayerPath::root(),
        kind: Kind::Directory { opaque: false, implied: true },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// No inode of its own: a hard link's second name.
const NO_NID: u32 = u32::MAX;
/// Devices start at multiples of this many bytes in the unified space.
const DEVICE_ALIGN: u64 = 4096;

/// A planned image.
pub struct Image<'a> {
    entries: &'a [&'a Entry],
    places: &'a [Option<Place>],
    slots: &'a [Slot],
    label: Label,
    block_bits: u8,
    /// For each entry the index behind its subtree.
    end: Vec<u32>,
    /// For each entry the index of its directory.
    parent: Vec<u32>,
    nid: Vec<u32>,
    /// Second names: index of the entry, index of the one that has the inode.
    targets: HashMap<u32, u32>,
    /// Number of names of entries that have more than one.
    names: HashMap<u32, u32>,
    has_whiteouts: HashSet<u32>,
    /// Unified start of each device, blocks.
    starts: Vec<u32>,
    inodes: u64,
    /// First block behind the inodes.
    data: u64,
    /// Blocks in all.
    blocks: u64,
}

impl<'a> Image<'a> {
    /// Lays out an image of `entries`: sorted by path without duplicates, the root first, every parent there, every
    /// hard link's target among them. `places[i]` says where the bytes of the regular file `entries[i]` are (`None`
    /// for an empty file and for anything else), in one of the devices `slots`.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for entries that break these rules or do not fit the format (device numbers above 12
    /// and 20 bits, attribute values above 65,535 bytes, more than 2 TiB of data).
    pub fn plan(
        entries: &'a [&'a Entry],
        places: &'a [Option<Place>],
        slots: &'a [Slot],
        label: Label,
    ) -> Result<Self> {
        Self::plan_with_blocks(entries, places, slots, label, BLOCK_BITS)
    }

    /// [`Image::plan`] with another block size, for checkers that know only 4 KiB.
    pub(super) fn plan_with_blocks(
        entries: &'a [&'a Entry],
        places: &'a [Option<Place>],
        slots: &'a [Slot],
        label: Label,
        block_bits: u8,
    ) -> Result<Self> {
        if entries.first().is_none_or(|root| !root.path.is_root() || !root.is_directory()) {
            return Err(Error::InvalidLayer("no root directory".to_owned()));
        }
        if entries.len() >= NO_NID as usize || entries.len() != places.len() {
            return Err(Error::InvalidLayer(format!("{} entries with {} places", entries.len(), places.len())));
        }
        let mut image = Self {
            entries,
            places,
            slots,
            label,
            block_bits,
            end: Vec::new(),
            parent: Vec::new(),
            nid: Vec::with_capacity(entries.len()),
            targets: HashMap::new(),
            names: HashMap::new(),
            has_whiteouts: HashSet::new(),
            starts: Vec::new(),
            inodes: 0,
            data: 0,
            blocks: 0,
        };
        image.link_tree()?;
        image.link_names()?;
        image.lay_out()?;
        image.lay_out_devices()?;
        Ok(image)
    }

    /// Finds each entry's directory, the end of each subtree and the directories with whiteouts.
    fn link_tree(&mut self) -> Result<()> {
        self.parent = parents(self.entries.iter().copied())?;
        self.parent[0] = 0;
        self.end = (1..=self.entries.len() as u32).collect();
        for index in (1..self.entries.len()).rev() {
            let parent = self.parent[index];
            self.end[parent as usize] = self.end[parent as usize].max(self.end[index]);
            if matches!(self.entries[index].kind, Kind::Whiteout) && !self.is_needless(index) {
                self.has_whiteouts.insert(parent);
            }
        }
        Ok(())
    }

    /// A whiteout in an opaque directory hides nothing, and overlayfs does not expect the two together.
    fn is_needless(&self, index: usize) -> bool {
        matches!(self.entries[index].kind, Kind::Whiteout)
            && matches!(self.entries[self.parent[index] as usize].kind, Kind::Directory { opaque: true, .. })
    }

    /// Finds the entry that each hard link shares its inode with.
    fn link_names(&mut self) -> Result<()> {
        for (index, entry) in self.entries.iter().enumerate() {
            let Kind::HardLink { target } = &entry.kind else { continue };
            let found = follow_links(self.entries, target)
                .filter(|&found| !matches!(self.entries[found].kind, Kind::Directory { .. } | Kind::Whiteout));
            let Some(found) = found else {
                return Err(Error::InvalidLayer(format!("{}: hard link to {target}, which is no file", entry.path)));
            };
            self.targets.insert(index as u32, found as u32);
            *self.names.entry(found as u32).or_insert(1) += 1;
        }
        Ok(())
    }

    /// Gives each inode its place, and its content its blocks.
    fn lay_out(&mut self) -> Result<()> {
        let block = self.block();
        // The superblock's checksum covers its whole block, so inodes start behind it.
        let covered = (format::SUPER_OFFSET + format::checksummed(self.block_bits)) as u64;
        let mut position =
            ((SLOTS_OFFSET + SLOT_SIZE * self.slots.len()) as u64).next_multiple_of(INODE_SIZE).max(covered);
        if position / NID_UNIT > u64::from(u16::MAX) {
            return Err(Error::Limit { what: "devices of a layer".to_owned(), limit: "16,000".to_owned() });
        }
        let mut data_blocks = 0;
        for index in 0..self.entries.len() {
            if self.targets.contains_key(&(index as u32)) || self.is_needless(index) {
                self.nid.push(NO_NID);
                continue;
            }
            let entry = self.entries[index];
            let bad = |why: String| Error::InvalidLayer(format!("{}: {why}", entry.path));
            let body = INODE_SIZE + self.xattr_size(index).map_err(bad)? as u64;
            let content = self.content_size(index);
            self.check_numbers(index).map_err(bad)?;
            let mut size = body;
            if content > 0 && body + content <= block {
                size += content;
                if position % block + size > block {
                    position = position.next_multiple_of(block);
                }
            } else {
                data_blocks += content.div_ceil(block);
            }
            let nid = u32::try_from(position / NID_UNIT).ok().filter(|nid| *nid != NO_NID);
            self.nid.push(nid.ok_or_else(|| bad("more than 128 GiB of metadata".to_owned()))?);
            position = (position + size).next_multiple_of(INODE_SIZE);
            self.inodes += 1;
        }
        self.data = position.div_ceil(block);
        self.blocks = self.data + data_blocks;
        Ok(())
    }

    fn check_numbers(&self, index: usize) -> Result<(), String> {
        match &self.entries[index].kind {
            Kind::CharDevice { major: 0, minor: 0 } => Err("device 0:0, which is overlayfs' whiteout".to_owned()),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                format::encode_device(*major, *minor).map(drop).ok_or(format!("device number {major}:{minor}"))
            }
            Kind::Symlink { target } if target.is_empty() || target.len() > 4095 => {
                Err(format!("symbolic link of {} bytes", target.len()))
            }
            Kind::File { size, .. } if *size > 0 => {
                let place = self.places[index].ok_or("no place for its bytes")?;
                let slot = self.slots.get(usize::from(place.device)).ok_or("bytes on an unknown device")?;
                let end = place.offset.checked_add(*size).map(|end| end.div_ceil(self.block()));
                if place.offset % self.block() != 0 || end.is_none_or(|end| end > slot.bytes / self.block()) {
                    return Err("bytes outside of their device".to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lay_out_devices(&mut self) -> Result<()> {
        let align = (DEVICE_ALIGN / self.block()).max(1);
        let mut start = self.blocks.next_multiple_of(align);
        for slot in self.slots {
            let end = start.saturating_add(slot.bytes / self.block());
            if end > u64::from(u32::MAX) {
                return Err(Error::Limit {
                    what: "a layer with its sparse files".to_owned(),
                    limit: "2 TiB".to_owned(),
                });
            }
            self.starts.push(start as u32);
            start = end.next_multiple_of(align);
        }
        Ok(())
    }

    fn block(&self) -> u64 {
        1 << self.block_bits
    }

    fn xattr_size(&self, index: usize) -> Result<usize, String> {
        xattr::size(self.entries[index], self.has_whiteouts.contains(&(index as u32)))
    }

    /// Bytes of content that the image itself holds: of directories and symbolic links.
    fn content_size(&self, index: usize) -> u64 {
        match &self.entries[index].kind {
            Kind::Symlink { target } => target.len() as u64,
            Kind::Directory { .. } => {
                // `.` and `..` sort behind names such as `-` and `!`, and where they fall decides what fits a block.
                let children = || self.children(index).map(|child| self.name(child));
                let before = children().take_while(|name| *name < b".".as_slice()).map(<[u8]>::len);
                let between =
                    children().skip_while(|name| *name < b".".as_slice()).take_while(|name| *name < b"..".as_slice());
                let after = children().skip_while(|name| *name < b"..".as_slice()).map(<[u8]>::len);
                let lengths = before.chain([1]).chain(between.map(<[u8]>::len)).chain([2]).chain(after);
                directory::packed_size(lengths, self.block() as usize)
            }
            _ => 0,
        }
    }

    /// What is in the directory `index`, in order, without whiteouts that hide nothing.
    fn children(&self, index: usize) -> impl Iterator<Item = usize> {
        let end = self.end[index] as usize;
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.end[child] as usize;
                child
            })
        })
        .filter(|&child| !self.is_needless(child))
    }

    fn name(&self, index: usize) -> &'a [u8] {
        let raw = self.entries[index].path.as_bytes();
        &raw[raw.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)..]
    }

    fn dirents(&self, index: usize) -> Vec<Dirent<'a>> {
        let mut dirents: Vec<_> = self
            .children(index)
            .map(|child| {
                let inode = self.targets.get(&(child as u32)).map_or(child, |&target| target as usize);
                let (_, kind) = format::types(&self.entries[inode].kind);
                Dirent { name: self.name(child), nid: u64::from(self.nid[inode]), kind }
            })
            .collect();
        let parent = self.parent[index] as usize;
        for (name, inode) in [(b".".as_slice(), index), (b"..", parent)] {
            let at = dirents.partition_point(|entry| entry.name < name);
            dirents.insert(at, Dirent { name, nid: u64::from(self.nid[inode]), kind: format::TYPE_DIRECTORY });
        }
        dirents
    }

    /// Appends the content that the image itself holds.
    fn content(&self, index: usize, out: &mut Vec<u8>) {
        match &self.entries[index].kind {
            Kind::Symlink { target } => out.extend_from_slice(target),
            Kind::Directory { .. } => directory::pack(&self.dirents(index), self.block() as usize, out),
            _ => {}
        }
    }

    /// Size of the image in bytes: a multiple of the block size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks * self.block()
    }

    /// Writes the image, [`Image::size`] bytes. Give it a buffered writer.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn emit(&self, out: &mut impl Write) -> io::Result<()> {
        let block = self.block();
        let mut out = Padded { out, position: 0 };
        self.emit_super(&mut out)?;
        let mut scratch = Vec::new();
        let mut next_data = self.data;
        for (index, &nid) in self.nid.iter().enumerate().filter(|(_, nid)| **nid != NO_NID) {
            scratch.clear();
            out.pad_to(u64::from(nid) * NID_UNIT)?;
            let content = self.content_size(index);
            let xattrs = self.xattr_size(index).map_err(io::Error::other)?;
            let inline = content > 0 && INODE_SIZE + xattrs as u64 + content <= block;
            let mut inode = self.inode(index, xattrs);
            if content > 0 {
                inode.size = content;
                inode.layout = if inline { format::LAYOUT_INLINE } else { format::LAYOUT_PLAIN };
                if !inline {
                    inode.union = next_data as u32;
                    next_data += content.div_ceil(block);
                }
            }
            inode.encode(&mut scratch);
            xattr::encode(self.entries[index], self.has_whiteouts.contains(&(index as u32)), &mut scratch);
            if inline {
                self.content(index, &mut scratch);
            }
            out.write(&scratch)?;
        }
        out.pad_to(self.data * block)?;
        for (index, _) in self.nid.iter().enumerate().filter(|(_, nid)| **nid != NO_NID) {
            let content = self.content_size(index);
            let xattrs = self.xattr_size(index).map_err(io::Error::other)? as u64;
            if content > 0 && INODE_SIZE + xattrs + content > block {
                scratch.clear();
                self.content(index, &mut scratch);
                out.write(&scratch)?;
                out.pad_to(out.position.next_multiple_of(block))?;
            }
        }
        out.pad_to(self.size())
    }

    fn emit_super(&self, out: &mut Padded<'_, impl Write>) -> io::Result<()> {
        let mut table = Vec::new();
        for (slot, start) in self.slots.iter().zip(&self.starts) {
            let at = table.len();
            table.extend_from_slice(&slot.tag);
            table.resize(at + SLOT_SIZE, 0);
            format::put32(&mut table, at + 64, (slot.bytes / self.block()) as u32);
            format::put32(&mut table, at + 68, *start);
        }
        let covered = format::checksummed(self.block_bits) - format::SUPER_SIZE;
        table.resize(table.len().max(covered), 0);
        let head = Super {
            block_bits: self.block_bits,
            root: self.nid[0] as u16,
            inodes: self.inodes,
            blocks: self.blocks as u32,
            label: self.label.bytes(),
            devices: self.slots.len() as u16,
        };
        out.pad_to(format::SUPER_OFFSET as u64)?;
        out.write(&head.encode(&table[..covered]))?;
        out.write(&table[covered..])
    }

    /// The inode of an entry, but for what depends on where its content goes.
    fn inode(&self, index: usize, xattrs: usize) -> Inode {
        let entry = self.entries[index];
        let (kind, _) = format::types(&entry.kind);
        let base = Inode { xattr_count: xattr::count(xattrs), serial: index as u32 + 1, nlink: 1, ..Inode::default() };
        if matches!(entry.kind, Kind::Whiteout) {
            return Inode { mode: kind, ..base };
        }
        let subdirectories = || self.children(index).filter(|&child| self.entries[child].is_directory()).count();
        Inode {
            mode: kind | (entry.mode & 0o7777) as u16,
            size: entry.size(),
            union: match (&entry.kind, self.places[index]) {
                (Kind::File { size, .. }, Some(place)) if *size > 0 => {
                    self.starts[usize::from(place.device)] + (place.offset / self.block()) as u32
                }
                (Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor }, _) => {
                    format::encode_device(*major, *minor).unwrap_or_default()
                }
                _ => 0,
            },
            uid: entry.uid,
            gid: entry.gid,
            seconds: entry.mtime.seconds,
            nanoseconds: entry.mtime.nanoseconds,
            nlink: match entry.kind {
                Kind::Directory { .. } => 2 + subdirectories() as u32,
                _ => self.names.get(&(index as u32)).copied().unwrap_or(1),
            },
            ..base
        }
    }
}

/// The entry that a hard link to `target` ends at, through links to links; `None` if `entries` have none there.
pub(crate) fn follow_links(entries: &[&Entry], target: &LayerPath) -> Option<usize> {
    let mut target = target;
    // A ring of links has no inode; no honest chain is longer than a few.
    for _ in 0..40 {
        let found = entries.binary_search_by(|entry| entry.path.cmp(target)).ok()?;
        match &entries[found].kind {
            Kind::HardLink { target: next } => target = next,
            _ => return Some(found),
        }
    }
    None
}

/// Knows how far it has written and fills gaps with zeros.
struct Padded<'w, W> {
    out: &'w mut W,
    position: u64,
}

impl<W: Write> Padded<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes zeros up to `position`, less than a few blocks away.
    fn pad_to(&mut self, position: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.position < position {
            let length = (position - self.position).min(ZEROS.len() as u64);
            self.write(&ZEROS[..length as usize])?;
        }
        Ok(())
    }
}
