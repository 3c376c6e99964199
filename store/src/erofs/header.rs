//! What a mount must know of a metadata image, read in one go: its devices, what it is good for and its root.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::format::{self, INODE_SIZE, Inode, NID_UNIT, SLOT_SIZE, SLOTS_OFFSET, SUPER_OFFSET, Super};
use super::label::Label;
use super::writer::Slot;
use crate::error::{Error, Result};
use crate::layer::Time;

/// Most devices accepted; a layer's image has one or two, a chain's one for each layer it links to.
const DEVICES_MAX: u16 = 1024;
/// Read at once: superblock, 15 slots and the root.
const FIRST_READ: usize = 4096;

/// Mode, owner and time of an image's root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootAttributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
}

/// The facts of a metadata image that a mount needs.
#[derive(Clone, Debug)]
pub struct Header {
    /// What the image is good for.
    pub label: Label,
    /// Size of the image, bytes.
    pub size: u64,
    /// The devices that must be given to the mount in this order, each with at least as many bytes.
    pub devices: Vec<Slot>,
    /// Its root directory.
    pub root: RootAttributes,
}

impl Header {
    /// Reads the header of the image `file`, found at `path` (for errors only).
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] for anything but a whole image that [`super::Image`] wrote.
    pub fn read(file: &File, path: &Path) -> Result<Self> {
        let size = file.metadata().map_err(Error::io("examine", path))?.len();
        let mut raw = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(FIRST_READ)];
        let damaged = |why: String| Error::Damaged(format!("{}: {why}", path.display()));
        file.read_exact_at(&mut raw, 0).map_err(Error::io("read", path))?;
        let sb = super_of(&raw).map_err(damaged)?;
        let need = needed(&sb).map_err(damaged)?;
        if need > raw.len() {
            raw.resize(need, 0);
            file.read_exact_at(&mut raw, 0).map_err(Error::io("read", path))?;
        }
        let header = Self::decode(&raw, &sb).map_err(damaged)?;
        if header.size != size {
            return Err(damaged(format!("{size} bytes, expected {}", header.size)));
        }
        Ok(header)
    }

    /// From the first bytes of an image, at least as many as [`needed`].
    pub(super) fn decode(raw: &[u8], sb: &Super) -> Result<Self, String> {
        let block = 1_u64 << sb.block_bits;
        let table = raw.get(..needed(sb)?).ok_or("cut short")?;
        let devices = (0..usize::from(sb.devices)).map(|index| {
            let slot = &table[SLOTS_OFFSET + index * SLOT_SIZE..][..SLOT_SIZE];
            let mut tag = [0; 64];
            tag.copy_from_slice(&slot[..64]);
            Slot { tag, bytes: u64::from(format::get32(slot, 64)) * block }
        });
        let root = Inode::decode(&table[usize::from(sb.root) * NID_UNIT as usize..])?;
        if root.mode & format::S_IFMT != format::S_IFDIR {
            return Err("its root is no directory".to_owned());
        }
        Ok(Self {
            label: Label::from_bytes(&sb.label).ok_or("not made by img")?,
            size: u64::from(sb.blocks) * block,
            devices: devices.collect(),
            root: RootAttributes {
                mode: u32::from(root.mode & 0o7777),
                uid: root.uid,
                gid: root.gid,
                mtime: Time { seconds: root.seconds, nanoseconds: root.nanoseconds },
            },
        })
    }
}

/// The superblock of the image that starts with `raw`.
pub(super) fn super_of(raw: &[u8]) -> Result<Super, String> {
    Super::decode(raw.get(SUPER_OFFSET..).ok_or("no superblock")?)
}

/// Bytes from the start of the image that hold superblock, device table and root inode.
pub(super) fn needed(sb: &Super) -> Result<usize, String> {
    if sb.devices > DEVICES_MAX {
        return Err(format!("{} devices", sb.devices));
    }
    let table = SLOTS_OFFSET + usize::from(sb.devices) * SLOT_SIZE;
    Ok(table.max(usize::from(sb.root) * NID_UNIT as usize + INODE_SIZE as usize))
}
