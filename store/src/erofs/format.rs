//! The numbers of the EROFS on-disk format and how its structures are laid out in bytes; all integers little endian.
//!
//! Source: the kernel's documentation, filesystems/erofs, and the structures it describes. Only what our images use
//! is here.

use crate::layer::Kind;

/// Where the superblock lies in the image, bytes.
pub const SUPER_OFFSET: usize = 1024;
/// Size of the superblock, bytes.
pub const SUPER_SIZE: usize = 128;
/// Size of one device slot, bytes; the unit of `devt_slotoff`.
pub const SLOT_SIZE: usize = 128;
/// Where the device table starts: right behind the superblock.
pub const SLOTS_OFFSET: usize = SUPER_OFFSET + SUPER_SIZE;
/// Size of an extended inode, bytes; we align inodes to it, so that none crosses a block.
pub const INODE_SIZE: u64 = 64;
/// A nid counts these from the start of the metadata.
pub const NID_UNIT: u64 = 32;
/// Size of a directory entry without its name, bytes.
pub const DIRENT_SIZE: usize = 12;
/// `log2` of our block size: the unit of a tar.
pub const BLOCK_BITS: u8 = 9;

/// First field of the superblock.
pub const MAGIC: u32 = 0xe0f5_e1e2;
/// Compatible feature: the superblock has a checksum.
pub const COMPAT_CHECKSUM: u32 = 0x1;
/// Compatible feature: the time of an inode is its mtime.
pub const COMPAT_MTIME: u32 = 0x2;
/// Incompatible feature: there is a device table.
pub const INCOMPAT_DEVICES: u32 = 0x8;

/// Inode layout: content in consecutive blocks.
pub const LAYOUT_PLAIN: u16 = 0;
/// Inode layout: the last part of the content right behind the inode; here always all of it.
pub const LAYOUT_INLINE: u16 = 2;
/// `i_format` bit: an extended inode.
pub const FORMAT_EXTENDED: u16 = 1;

/// `st_mode` types.
pub const S_IFIFO: u16 = 0o010_000;
/// Character device.
pub const S_IFCHR: u16 = 0o020_000;
/// Directory.
pub const S_IFDIR: u16 = 0o040_000;
/// Block device.
pub const S_IFBLK: u16 = 0o060_000;
/// Regular file.
pub const S_IFREG: u16 = 0o100_000;
/// Symbolic link.
pub const S_IFLNK: u16 = 0o120_000;
/// Mask of the type bits.
pub const S_IFMT: u16 = 0o170_000;

/// `file_type` of a directory entry that is a directory.
pub const TYPE_DIRECTORY: u8 = 2;

/// The superblock, as far as we set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Super {
    /// `log2` of the block size.
    pub block_bits: u8,
    /// nid of the root directory.
    pub root: u16,
    /// Number of inodes.
    pub inodes: u64,
    /// Blocks of the metadata.
    pub blocks: u32,
    /// Volume name.
    pub label: [u8; 16],
    /// Number of extra devices.
    pub devices: u16,
}

impl Super {
    /// Its bytes up to the end of the device table `slots`, with the checksum set; `slots` are written behind it.
    /// The checksum covers the superblock to the end of its block, so bytes of the block behind `slots` must be zero
    /// or in `slots` as well.
    pub fn encode(&self, rest_of_block: &[u8]) -> Vec<u8> {
        let mut raw = vec![0_u8; SUPER_SIZE];
        put32(&mut raw, 0, MAGIC);
        put32(&mut raw, 8, COMPAT_CHECKSUM | COMPAT_MTIME);
        raw[12] = self.block_bits;
        put16(&mut raw, 14, self.root);
        put64(&mut raw, 16, self.inodes);
        put32(&mut raw, 36, self.blocks);
        raw[64..80].copy_from_slice(&self.label);
        put32(&mut raw, 80, if self.devices > 0 { INCOMPAT_DEVICES } else { 0 });
        put16(&mut raw, 86, self.devices);
        put16(&mut raw, 88, (SLOTS_OFFSET / SLOT_SIZE) as u16);
        raw.extend_from_slice(rest_of_block);
        let sum = checksum(&raw);
        put32(&mut raw, 4, sum);
        raw
    }

    /// Reads `raw`, which starts at the superblock and reaches to the end of its block at least.
    pub fn decode(raw: &[u8]) -> Result<Self, String> {
        if raw.len() < SUPER_SIZE || get32(raw, 0) != MAGIC {
            return Err("no superblock".to_owned());
        }
        let block_bits = raw[12];
        if !(9..=12).contains(&block_bits) {
            return Err(format!("block size 2^{block_bits}"));
        }
        let length = checksummed(block_bits);
        let mut summed = raw.get(..length).ok_or("superblock cut short")?.to_vec();
        put32(&mut summed, 4, 0);
        if get32(raw, 8) & COMPAT_CHECKSUM == 0 || get32(raw, 4) != checksum(&summed) {
            return Err("superblock checksum does not match".to_owned());
        }
        let incompat = get32(raw, 80);
        if incompat & !INCOMPAT_DEVICES != 0 || raw[13] != 0 || raw[90] != 0 || get32(raw, 40) != 0 {
            return Err(format!("features {incompat:#x} that img does not write"));
        }
        let devices = get16(raw, 86);
        if devices > 0 && usize::from(get16(raw, 88)) * SLOT_SIZE != SLOTS_OFFSET {
            return Err("device table at another place".to_owned());
        }
        let mut label = [0; 16];
        label.copy_from_slice(&raw[64..80]);
        Ok(Self { block_bits, root: get16(raw, 14), inodes: get64(raw, 16), blocks: get32(raw, 36), label, devices })
    }
}

/// Bytes of the superblock's block that its checksum covers.
pub fn checksummed(block_bits: u8) -> usize {
    let block = 1_usize << block_bits;
    if block > SUPER_OFFSET { block - SUPER_OFFSET } else { block }
}

/// Castagnoli's CRC-32 as EROFS uses it: all ones to start with, not inverted at the end.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// The checksum that belongs into a superblock whose image has these bytes.
#[cfg(test)]
pub fn checksum_of_block(image: &[u8]) -> u32 {
    let mut raw = image[SUPER_OFFSET..SUPER_OFFSET + checksummed(BLOCK_BITS)].to_vec();
    put32(&mut raw, 4, 0);
    checksum(&raw)
}

/// An extended inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inode {
    /// `LAYOUT_PLAIN` or `LAYOUT_INLINE`.
    pub layout: u16,
    /// Size of the xattrs in the units of `i_xattr_icount`.
    pub xattr_count: u16,
    /// Type and permissions.
    pub mode: u16,
    /// Bytes of content.
    pub size: u64,
    /// Start block, or device number.
    pub union: u32,
    /// Serial number, for 32-bit stat.
    pub serial: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
    /// Number of names.
    pub nlink: u32,
}

impl Inode {
    /// Appends its 64 bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + INODE_SIZE as usize, 0);
        let raw = &mut out[start..];
        put16(raw, 0, FORMAT_EXTENDED | self.layout << 1);
        put16(raw, 2, self.xattr_count);
        put16(raw, 4, self.mode);
        put64(raw, 8, self.size);
        put32(raw, 16, self.union);
        put32(raw, 20, self.serial);
        put32(raw, 24, self.uid);
        put32(raw, 28, self.gid);
        put64(raw, 32, self.seconds as u64);
        put32(raw, 40, self.nanoseconds);
        put32(raw, 44, self.nlink);
    }

    /// Reads 64 bytes.
    pub fn decode(raw: &[u8]) -> Result<Self, String> {
        if raw.len() < INODE_SIZE as usize {
            return Err("inode cut short".to_owned());
        }
        let format = get16(raw, 0);
        let layout = format >> 1;
        if format & FORMAT_EXTENDED == 0 || ![LAYOUT_PLAIN, LAYOUT_INLINE].contains(&layout) {
            return Err(format!("inode format {format:#x} that img does not write"));
        }
        Ok(Self {
            layout,
            xattr_count: get16(raw, 2),
            mode: get16(raw, 4),
            size: get64(raw, 8),
            union: get32(raw, 16),
            serial: get32(raw, 20),
            uid: get32(raw, 24),
            gid: get32(raw, 28),
            seconds: get64(raw, 32) as i64,
            nanoseconds: get32(raw, 40),
            nlink: get32(raw, 44),
        })
    }
}

/// The type bits of `st_mode` and the `file_type` of directory entries for `kind`; a whiteout is a character device,
/// a hard link has none of its own (0).
pub fn types(kind: &Kind) -> (u16, u8) {
    match kind {
        Kind::File { .. } => (S_IFREG, 1),
        Kind::Directory { .. } => (S_IFDIR, TYPE_DIRECTORY),
        Kind::CharDevice { .. } | Kind::Whiteout => (S_IFCHR, 3),
        Kind::BlockDevice { .. } => (S_IFBLK, 4),
        Kind::Fifo => (S_IFIFO, 5),
        Kind::Symlink { .. } => (S_IFLNK, 7),
        Kind::HardLink { .. } => (0, 0),
    }
}

/// Linux' 32-bit device number: 12 bits major, 20 bits minor. `None` if they do not fit.
pub fn encode_device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | major << 8 | (minor & !0xff) << 12)
}

/// Major and minor of a 32-bit device number.
pub fn decode_device(device: u32) -> (u32, u32) {
    (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00)
}

/// The 16-bit number at `offset`, which must lie within `raw`, as for all of these.
pub fn get16(raw: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([raw[offset], raw[offset + 1]])
}

/// The 32-bit number at `offset`.
pub fn get32(raw: &[u8], offset: usize) -> u32 {
    u32::from(get16(raw, offset)) | u32::from(get16(raw, offset + 2)) << 16
}

/// The 64-bit number at `offset`.
pub fn get64(raw: &[u8], offset: usize) -> u64 {
    u64::from(get32(raw, offset)) | u64::from(get32(raw, offset + 4)) << 32
}

fn put16(raw: &mut [u8], offset: usize, value: u16) {
    raw[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

/// Sets the 32-bit number at `offset`.
pub fn put32(raw: &mut [u8], offset: usize, value: u32) {
    raw[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(raw: &mut [u8], offset: usize, value: u64) {
    raw[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(checksum(b"123456789") ^ u32::MAX, 0xe306_9283);
    }

    #[test]
    fn device_numbers_go_there_and_back() {
        for (major, minor) in [(0, 0), (1, 3), (4095, 0xf_ffff), (8, 0x1ff)] {
            assert_eq!(decode_device(encode_device(major, minor).unwrap()), (major, minor));
        }
        assert_eq!(encode_device(4096, 0), None);
        assert_eq!(encode_device(0, 1 << 20), None);
    }

    #[test]
    fn superblock_is_read_back_and_damage_seen() {
        let sb = Super {
            block_bits: 9,
            root: 40,
            inodes: 7,
            blocks: 99,
            label: *b"label\0\0\0\0\0\0\0\0\0\0\0",
            devices: 2,
        };
        let mut raw = sb.encode(&[0; 384]);
        assert_eq!(Super::decode(&raw), Ok(sb));
        raw[300] ^= 1;
        assert!(Super::decode(&raw).is_err());
        assert!(Super::decode(&raw[..200]).is_err());
    }
}
