//! Makes an empty ext4 in a file: for volumes and containers of a limited size, on file systems that have no quotas.
//!
//! Nothing but what such a file system needs is written, so the file stays sparse: superblock, group descriptors and
//! bitmaps, the root directory, and a journal where it is wanted. No program is started for it. The layout is that of
//! `Documentation/filesystems/ext4` with 4 KiB blocks, without flexible groups, checksums or 64-bit block numbers; what
//! e2fsck says of it is a test. There is no `lost+found`: a database wants its directory empty, and e2fsck makes one when
//! it needs it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::rand::{GetRandomFlags, getrandom};

const BLOCK: u64 = 4096;
const BLOCKS_PER_GROUP: u64 = 32_768;
const INODE: u64 = 256;
const INODES_PER_BLOCK: u64 = BLOCK / INODE;
/// One inode for so many bytes, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16_384;
/// Inodes 1 to 10 have a meaning.
const RESERVED_INODES: u64 = 10;
const ROOT: u64 = 2;
const JOURNAL: u64 = 8;
/// The smallest journal the kernel takes, in blocks.
const JOURNAL_BLOCKS: u64 = 1024;
/// Below this the journal would take more than it is worth.
const JOURNAL_FROM: u64 = 32 << 20;
/// Block numbers have 32 bits.
const MAX: u64 = 16 << 40;
/// The smallest one that can be made.
pub const MIN: u64 = 1 << 20;

/// What is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ext4 {
    /// Bytes, of which it takes some for itself.
    pub size: u64,
    /// How many files it shall hold at most; `None`: one for 16 KiB.
    pub inodes: Option<u64>,
    /// With a journal, so that it survives a power cut.
    pub journal: bool,
    /// Owner of the root directory.
    pub owner: (u32, u32),
    /// Mode of the root directory.
    pub mode: u32,
}

/// Where everything of a file system of one size lies.
struct Layout {
    blocks: u64,
    groups: u64,
    inodes_per_group: u64,
    table_blocks: u64,
    descriptor_blocks: u64,
    journal_blocks: u64,
}

impl Layout {
    fn new(wanted: &Ext4) -> io::Result<Self> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if wanted.size < MIN || wanted.size > MAX {
            return invalid(format!("a file system of {} bytes is none: from 1 MiB to 16 TiB", wanted.size));
        }
        let mut blocks = wanted.size / BLOCK;
        // A last group that has no room for its own tables is left out.
        let least = 64 + BLOCKS_PER_GROUP / 32;
        if blocks > BLOCKS_PER_GROUP && !blocks.is_multiple_of(BLOCKS_PER_GROUP) && blocks % BLOCKS_PER_GROUP < least {
            blocks -= blocks % BLOCKS_PER_GROUP;
        }
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let inodes = wanted.inodes.map_or(wanted.size / BYTES_PER_INODE, |count| count + RESERVED_INODES);
        let most = if groups > 1 { BLOCKS_PER_GROUP / 4 } else { blocks * BLOCK / 1024 };
        let inodes_per_group = inodes.div_ceil(groups).clamp(INODES_PER_BLOCK, most).next_multiple_of(INODES_PER_BLOCK);
        let journal = wanted.journal && wanted.size >= JOURNAL_FROM;
        let layout = Self {
            blocks,
            groups,
            inodes_per_group,
            table_blocks: inodes_per_group / INODES_PER_BLOCK,
            descriptor_blocks: (groups * 32).div_ceil(BLOCK),
            journal_blocks: if journal { JOURNAL_BLOCKS } else { 0 },
        };
        if layout.used(0) > layout.in_group(0) {
            return invalid(format!("{} bytes have no room for the file system's own tables", wanted.size));
        }
        Ok(layout)
    }

    fn start(&self, group: u64) -> u64 {
        group * BLOCKS_PER_GROUP
    }

    fn in_group(&self, group: u64) -> u64 {
        BLOCKS_PER_GROUP.min(self.blocks - self.start(group))
    }

    /// Whether a group has a copy of superblock and descriptors: 0, 1 and the powers of 3, 5 and 7.
    fn has_copy(group: u64) -> bool {
        let power =
            |base: u64| std::iter::successors(Some(base), |at| at.checked_mul(base)).take(12).any(|at| at == group);
        group <= 1 || power(3) || power(5) || power(7)
    }

    fn bitmaps(&self, group: u64) -> u64 {
        let copy = if Self::has_copy(group) { 1 + self.descriptor_blocks } else { 0 };
        self.start(group) + copy
    }

    fn table(&self, group: u64) -> u64 {
        self.bitmaps(group) + 2
    }

    fn root_block(&self) -> u64 {
        self.table(0) + self.table_blocks
    }

    /// Blocks at the beginning of a group that are taken.
    fn used(&self, group: u64) -> u64 {
        let data = if group == 0 { 1 + self.journal_blocks } else { 0 };
        self.table(group) + self.table_blocks - self.start(group) + data
    }

    fn free_blocks(&self) -> u64 {
        (0..self.groups).map(|group| self.in_group(group) - self.used(group)).sum()
    }

    fn free_inodes(&self, group: u64) -> u64 {
        self.inodes_per_group - if group == 0 { RESERVED_INODES } else { 0 }
    }
}

/// A block that is filled field by field.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(length: u64) -> Self {
        Self(vec![0; length as usize])
    }
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn u16(&mut self, at: usize, value: u64) {
        self.put(at, &(value as u16).to_le_bytes());
    }
    fn u32(&mut self, at: usize, value: u64) {
        self.put(at, &(value as u32).to_le_bytes());
    }
}

impl Ext4 {
    /// Gives the file its size and makes the file system in it. Nothing is synced.
    ///
    /// # Errors
    /// A size that cannot be, a file that cannot be written.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let layout = Layout::new(self)?;
        file.set_len(layout.blocks * BLOCK)?;
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        let superblock = self.superblock(&layout, now)?;
        let descriptors = descriptors(&layout);
        for group in 0..layout.groups {
            if Layout::has_copy(group) {
                let mut copy = Bytes(superblock.0.clone());
                copy.u16(90, group);
                // The first copy lies behind room for a boot sector.
                let at = layout.start(group) * BLOCK + if group == 0 { 1024 } else { 0 };
                file.write_all_at(&copy.0, at)?;
                file.write_all_at(&descriptors.0, (layout.start(group) + 1) * BLOCK)?;
            }
            let used_inodes = layout.inodes_per_group - layout.free_inodes(group);
            let blocks = bitmap(layout.used(group), layout.in_group(group));
            file.write_all_at(&blocks, layout.bitmaps(group) * BLOCK)?;
            let inodes = bitmap(used_inodes, layout.inodes_per_group);
            file.write_all_at(&inodes, (layout.bitmaps(group) + 1) * BLOCK)?;
        }
        let place = |inode: u64| layout.table(0) * BLOCK + (inode - 1) * INODE;
        let mode = 0o40_000 | u64::from(self.mode & 0o7777);
        let root = inode(mode, self.owner, 2, (layout.root_block(), 1), now);
        file.write_all_at(&root.0, place(ROOT))?;
        file.write_all_at(&root_directory().0, layout.root_block() * BLOCK)?;
        if layout.journal_blocks > 0 {
            let run = (layout.root_block() + 1, layout.journal_blocks);
            file.write_all_at(&inode(0o100_600, (0, 0), 1, run, now).0, place(JOURNAL))?;
            file.write_all_at(&journal(layout.journal_blocks, &superblock.0[104..120]).0, run.0 * BLOCK)?;
        }
        Ok(())
    }

    fn superblock(&self, layout: &Layout, now: u64) -> io::Result<Bytes> {
        let mut random = [0u8; 32];
        getrandom(&mut random, GetRandomFlags::empty())?;
        // A UUID of version 4, and the seed of the directory hash.
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        let journal = layout.journal_blocks > 0;
        let mut block = Bytes::new(1024);
        block.u32(0, layout.inodes_per_group * layout.groups);
        block.u32(4, layout.blocks);
        block.u32(12, layout.free_blocks());
        block.u32(16, (0..layout.groups).map(|group| layout.free_inodes(group)).sum());
        // Blocks of 2^(10+2) bytes, clusters of one block.
        block.u32(24, 2);
        block.u32(28, 2);
        block.u32(32, BLOCKS_PER_GROUP);
        block.u32(36, BLOCKS_PER_GROUP);
        block.u32(40, layout.inodes_per_group);
        block.u32(48, now);
        // Never checked because it was mounted often.
        block.u16(54, 0xffff);
        block.u16(56, 0xef53);
        // Clean; go on after errors.
        block.u16(58, 1);
        block.u16(60, 1);
        block.u32(64, now);
        block.u32(76, 1);
        block.u32(84, RESERVED_INODES + 1);
        block.u16(88, INODE);
        // Extended attributes, indexed directories, a journal.
        block.u32(92, 0x8 | 0x20 | if journal { 0x4 } else { 0 });
        // File types in directories, extents.
        block.u32(96, 0x2 | 0x40);
        // Sparse copies, large files, huge files, many links to directories, large inodes.
        block.u32(100, 0x1 | 0x2 | 0x8 | 0x20 | 0x40);
        block.put(104, &random[..16]);
        if journal {
            block.u32(224, JOURNAL);
        }
        block.put(236, &random[16..]);
        // Hash of directories: half MD4.
        block.put(252, &[1]);
        // User attributes and access lists are allowed.
        block.u32(256, 0x4 | 0x8);
        block.u32(264, now);
        block.u16(348, 32);
        block.u16(350, 32);
        // The hash takes characters as unsigned.
        block.u32(352, 2);
        Ok(block)
    }
}

fn descriptors(layout: &Layout) -> Bytes {
    let mut table = Bytes::new(layout.descriptor_blocks * BLOCK);
    for group in 0..layout.groups {
        let at = (group * 32) as usize;
        table.u32(at, layout.bitmaps(group));
        table.u32(at + 4, layout.bitmaps(group) + 1);
        table.u32(at + 8, layout.table(group));
        table.u16(at + 12, layout.in_group(group) - layout.used(group));
        table.u16(at + 14, layout.free_inodes(group));
        table.u16(at + 16, u64::from(group == 0));
    }
    table
}

/// A bitmap of one block: the first `used` are taken, and what is not there at all after `count` is taken too.
fn bitmap(used: u64, count: u64) -> Vec<u8> {
    let bit = |at: u64| at < used || at >= count;
    let byte = |at: u64| (0..8).fold(0u8, |byte, n| byte | (u8::from(bit(at * 8 + n)) << n));
    (0..BLOCK).map(byte).collect()
}

/// An inode whose data lie in one run of blocks (first, count).
fn inode(mode: u64, owner: (u32, u32), links: u64, run: (u64, u64), now: u64) -> Bytes {
    let mut inode = Bytes::new(INODE);
    inode.u16(0, mode);
    inode.u16(2, u64::from(owner.0 & 0xffff));
    inode.u32(4, run.1 * BLOCK);
    for time in [8, 12, 16] {
        inode.u32(time, now);
    }
    inode.u16(24, u64::from(owner.1 & 0xffff));
    inode.u16(26, links);
    inode.u32(28, run.1 * BLOCK / 512);
    // Data by extents: a header, and one extent.
    inode.u32(32, 0x8_0000);
    inode.u16(40, 0xf30a);
    inode.u16(42, 1);
    inode.u16(44, 4);
    inode.u16(56, run.1);
    inode.u32(60, run.0);
    inode.u16(120, u64::from(owner.0 >> 16));
    inode.u16(122, u64::from(owner.1 >> 16));
    inode.u16(128, 32);
    inode.u32(144, now);
    inode
}

/// `.` and `..`.
fn root_directory() -> Bytes {
    let mut block = Bytes::new(BLOCK);
    for (at, length, name) in [(0, 12, b".".as_slice()), (12, BLOCK - 12, b"..")] {
        block.u32(at, ROOT);
        block.u16(at + 4, length);
        block.put(at + 6, &[name.len() as u8, 2]);
        block.put(at + 8, name);
    }
    block
}

/// The first block of an empty journal (jbd2), whose numbers have the great end first.
fn journal(blocks: u64, uuid: &[u8]) -> Bytes {
    let mut block = Bytes::new(BLOCK);
    for (at, value) in [(0, 0xc03b_3998), (4, 4), (12, BLOCK as u32), (16, blocks as u32), (20, 1), (24, 1), (64, 1)] {
        block.put(at, &u32::to_be_bytes(value));
    }
    block.put(48, uuid);
    block
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What e2fsck finds; nothing if it is not there.
    fn check(wanted: Ext4) -> Option<String> {
        let place = tempfile::NamedTempFile::new().unwrap();
        wanted.write(place.as_file()).unwrap();
        let Ok(out) = Command::new("e2fsck").args(["-fn"]).arg(place.path()).output() else {
            println!("skip: no e2fsck");
            return None;
        };
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        if !said.contains("Pass 5") {
            return Some(said);
        }
        let problems = said.lines().filter(|line| line.ends_with("no") && !line.contains("lost+found"));
        Some(problems.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty()).map(|_| said)
    }

    #[test]
    fn e2fsck_finds_nothing_wrong() {
        let sizes =
            [MIN, (8 << 20) + 5000, 32 << 20, 128 << 20, (128 << 20) + 4096, (129 << 20) + 1, 3 << 30, 40 << 30];
        for size in sizes {
            for journal in [false, true] {
                let wanted = Ext4 { size, journal, owner: (70_000, 5), mode: 0o1777, inodes: None };
                assert_eq!(check(wanted), None, "{size} bytes, journal {journal}");
            }
        }
        for inodes in [1, 100, 1 << 20] {
            let wanted = Ext4 { size: 300 << 20, inodes: Some(inodes), mode: 0o755, ..Ext4::default() };
            assert_eq!(check(wanted), None, "{inodes} inodes");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_little_is_written() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile().unwrap();
        assert!(Ext4 { size: 1000, ..Ext4::default() }.write(&file).is_err());
        assert!(Ext4 { size: u64::MAX, ..Ext4::default() }.write(&file).is_err());
        Ext4 { size: 1 << 30, mode: 0o755, ..Ext4::default() }.write(&file).unwrap();
        let about = file.metadata().unwrap();
        assert_eq!(about.len(), 1 << 30);
        assert!(about.blocks() * 512 < 1 << 18, "{} bytes on disk", about.blocks() * 512);
    }
}
