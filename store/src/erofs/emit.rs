//! Streams a planned image out, in one pass from its start to its end.

use std::io::{self, Write};

use super::directory::{self, Dirent};
use super::format::{self, INODE_SIZE, Inode, NID_UNIT, SLOT_SIZE, Super};
use super::writer::{Image, NO_NID};
use super::xattr;
use crate::layer::Kind;

impl Image<'_> {
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

    fn dirents(&self, index: usize) -> Vec<Dirent<'_>> {
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
            // Linux knows no other mode for a symbolic link (symlink(7)).
            mode: kind | if kind == format::S_IFLNK { 0o777 } else { (entry.mode & 0o7777) as u16 },
            size: entry.size(),
            union: match (&entry.kind, self.places[index]) {
                (Kind::File { size, .. }, Some(place)) if *size > 0 => {
                    self.starts[place.device()] + (place.offset() / self.block()) as u32
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
