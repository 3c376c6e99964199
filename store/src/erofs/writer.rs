//! Plans a metadata image: where everything goes, and whether it fits. Streaming it out is one pass, in `emit`.
//!
//! [`Image::plan`] makes all checks and keeps 12 bytes an entry; [`Image::emit`] can then fail only in the write
//! itself. Equal input gives equal bytes. Entries are sorted by path, so a directory's subtree is one run of them and
//! its children are found without an index.

use std::collections::{HashMap, HashSet};

use super::directory;
use super::format::{self, BLOCK_BITS, INODE_SIZE, NID_UNIT, SLOT_SIZE, SLOTS_OFFSET};
use super::label::Label;
use super::xattr;
use crate::error::{Error, Result};
use crate::layer::tree::parents;
use crate::layer::{Entry, Kind, LayerPath};

/// A device of an image: a file whose blocks hold data of regular files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Says what the device is: the hex digits of a tar's diff id, or `side` and zeros. The kernel ignores it.
    pub tag: [u8; 64],
    /// Size in bytes; a last part that is no full block cannot be used.
    pub bytes: u64,
}

/// Where the bytes of a regular file start: they are consecutive there, and zeros fill up their last block. There is one
/// for each file of a layer, so it is kept small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    device: u16,
    /// Offset in it, blocks of a tar.
    block: u32,
}

impl Place {
    /// `offset` bytes into the device of this index, from 0; none for what no image can say: an offset that is no
    /// multiple of 512, or above 2 TiB.
    #[must_use]
    pub fn new(device: u16, offset: u64) -> Option<Self> {
        let block = u32::try_from(offset >> BLOCK_BITS).ok()?;
        (offset.trailing_zeros() >= u32::from(BLOCK_BITS)).then_some(Self { device, block })
    }

    /// Index of the device, from 0.
    #[must_use]
    pub fn device(self) -> usize {
        usize::from(self.device)
    }

    /// Offset in it, bytes.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.block) << BLOCK_BITS
    }
}

/// No inode of its own: a hard link's second name.
pub(super) const NO_NID: u32 = u32::MAX;
/// Devices start at multiples of this many bytes in the unified space.
const DEVICE_ALIGN: u64 = 4096;

/// A planned image.
pub struct Image<'a> {
    pub(super) entries: &'a [&'a Entry],
    pub(super) places: &'a [Option<Place>],
    pub(super) slots: &'a [Slot],
    pub(super) label: Label,
    pub(super) block_bits: u8,
    /// For each entry the index behind its subtree.
    pub(super) end: Vec<u32>,
    /// For each entry the index of its directory.
    pub(super) parent: Vec<u32>,
    pub(super) nid: Vec<u32>,
    /// Second names: index of the entry, index of the one that has the inode.
    pub(super) targets: HashMap<u32, u32>,
    /// Number of names of entries that have more than one.
    pub(super) names: HashMap<u32, u32>,
    pub(super) has_whiteouts: HashSet<u32>,
    /// Unified start of each device, blocks.
    pub(super) starts: Vec<u32>,
    pub(super) inodes: u64,
    /// First block behind the inodes.
    pub(super) data: u64,
    /// Blocks in all.
    pub(super) blocks: u64,
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
                let slot = self.slots.get(place.device()).ok_or("bytes on an unknown device")?;
                let end = place.offset().checked_add(*size).map(|end| end.div_ceil(self.block()));
                if place.offset() % self.block() != 0 || end.is_none_or(|end| end > slot.bytes / self.block()) {
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

    /// Block size in bytes.
    pub(super) fn block(&self) -> u64 {
        1 << self.block_bits
    }

    /// Bytes of attributes behind the inode.
    pub(super) fn xattr_size(&self, index: usize) -> Result<usize, String> {
        xattr::size(self.entries[index], self.has_whiteouts.contains(&(index as u32)))
    }

    /// Bytes of content that the image itself holds: of directories and symbolic links.
    pub(super) fn content_size(&self, index: usize) -> u64 {
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
    pub(super) fn children(&self, index: usize) -> impl Iterator<Item = usize> {
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

    /// The last name.
    pub(super) fn name(&self, index: usize) -> &'a [u8] {
        let raw = self.entries[index].path.as_bytes();
        &raw[raw.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)..]
    }

    /// Size of the image in bytes: a multiple of the block size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks * self.block()
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
