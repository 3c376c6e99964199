//! Walks a metadata image back to entries, for tests, `check` and fuzzing.
//!
//! Reads only what [`super::Image`] writes and says [`Error::Damaged`] to anything else: whatever the bytes, it ends,
//! takes memory in proportion to them, and does not panic.

use std::collections::{HashMap, HashSet};

use super::directory;
use super::format::{self, INODE_SIZE, Inode, LAYOUT_INLINE, NID_UNIT, SLOT_SIZE, SLOTS_OFFSET, Super};
use super::header::{Header, super_of};
use super::writer::Place;
use super::xattr;
use crate::error::{Error, Result};
use crate::layer::{Entry, Extent, Kind, LayerPath, Time};

/// One name found in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The entry, in the form that the layer's table of contents has it: whiteouts and opaque directories as kinds,
    /// second names of an inode as hard links to the first. A file with bytes has one extent, its offset that in the
    /// device. Directories are never `implied`: the image does not say.
    pub entry: Entry,
    /// Number of names the image claims the inode has.
    pub nlink: u32,
    /// Where a regular file's bytes start; `None` for an empty file and anything else.
    pub place: Option<Place>,
}

/// A metadata image in memory.
pub struct Reader<'a> {
    raw: &'a [u8],
    sb: Super,
    header: Header,
    /// First block and number of blocks of each device in the unified space.
    ranges: Vec<(u64, u64)>,
}

struct Walk {
    found: Vec<Found>,
    /// nid and index in `found` of the first name of inodes that have several.
    first_names: HashMap<u64, usize>,
    directories: HashSet<u64>,
    /// Bytes of content and attributes still unread: what img writes does not overlap, so there are never more than
    /// the image has.
    budget: usize,
}

impl Walk {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.budget = self.budget.checked_sub(bytes).ok_or("parts of the image overlap")?;
        Ok(())
    }
}

fn inode_is_directory(inode: &Inode) -> bool {
    inode.mode & format::S_IFMT == format::S_IFDIR
}

impl<'a> Reader<'a> {
    /// Opens the image whose bytes are `raw`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn new(raw: &'a [u8]) -> Result<Self> {
        Self::open(raw).map_err(damaged)
    }

    fn open(raw: &'a [u8]) -> Result<Self, String> {
        let sb = super_of(raw)?;
        let header = Header::decode(raw, &sb)?;
        if header.size != raw.len() as u64 {
            return Err(format!("{} bytes, expected {}", raw.len(), header.size));
        }
        let ranges = (0..header.devices.len())
            .map(|index| &raw[SLOTS_OFFSET + index * SLOT_SIZE..])
            .map(|slot| (u64::from(format::get32(slot, 68)), u64::from(format::get32(slot, 64))))
            .collect();
        Ok(Self { raw, sb, header, ranges })
    }

    /// The facts that a mount needs.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All entries in the order of their paths, the root first; at most `limit`.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for more than `limit` entries, directories met twice and paths over the limits.
    pub fn entries(&self, limit: usize) -> Result<Vec<Found>> {
        let mut walk = Walk {
            found: Vec::new(),
            first_names: HashMap::new(),
            directories: HashSet::new(),
            budget: self.raw.len(),
        };
        self.walk(&mut walk, limit).map_err(damaged)?;
        Ok(walk.found)
    }

    /// Depth first with a stack of its own: the depth is the image's to choose.
    fn walk(&self, walk: &mut Walk, limit: usize) -> Result<(), String> {
        let mut pending = vec![(LayerPath::root(), u64::from(self.sb.root), u64::from(self.sb.root), None)];
        while let Some((path, nid, parent, kind)) = pending.pop() {
            let (inode, body) = self.inode(nid)?;
            let (found, type_code) = self.entry(walk, &path, nid, &inode, body)?;
            if kind.is_some_and(|kind| kind != type_code) {
                return Err(format!("{path}: its directory has another type"));
            }
            if walk.found.len() + pending.len() >= limit {
                return Err(format!("more than {limit} entries"));
            }
            let is_directory = found.entry.is_directory();
            walk.found.push(found);
            if is_directory {
                if !walk.directories.insert(nid) {
                    return Err(format!("{path}: a directory with two names"));
                }
                let mut names = self.directory(walk, &path, nid, parent, &inode, body)?;
                names.reverse();
                pending.append(&mut names);
            }
        }
        Ok(())
    }

    /// The inode and the offset right behind it.
    fn inode(&self, nid: u64) -> Result<(Inode, usize), String> {
        let offset = nid
            .checked_mul(NID_UNIT)
            .and_then(|offset| usize::try_from(offset).ok())
            .filter(|&offset| offset <= self.raw.len())
            .ok_or("inode out of the image")?;
        Ok((Inode::decode(&self.raw[offset..])?, offset + INODE_SIZE as usize))
    }

    /// Content that the image itself holds.
    fn content(&self, walk: &mut Walk, inode: &Inode, body: usize) -> Result<&'a [u8], String> {
        let size = usize::try_from(inode.size).map_err(|_| "content out of the image")?;
        walk.spend(size)?;
        let start = if inode.layout == LAYOUT_INLINE {
            body + xattr::bytes_of(inode.xattr_count)
        } else {
            (inode.union as usize) << self.sb.block_bits
        };
        start
            .checked_add(size)
            .and_then(|end| self.raw.get(start..end))
            .ok_or_else(|| "content out of the image".to_owned())
    }

    fn entry(
        &self,
        walk: &mut Walk,
        path: &LayerPath,
        nid: u64,
        inode: &Inode,
        body: usize,
    ) -> Result<(Found, u8), String> {
        if !inode_is_directory(inode)
            && let Some(first) = walk.first_names.get(&nid)
        {
            // What a second name says of the inode is ignored everywhere: only the type is of use here.
            let first = &walk.found[*first];
            let (_, type_code) = format::types(&first.entry.kind);
            let mut entry = Entry { xattrs: Vec::new(), ..first.entry.clone() };
            entry.kind = Kind::HardLink { target: std::mem::replace(&mut entry.path, path.clone()) };
            return Ok((Found { entry, nlink: inode.nlink, place: None }, type_code));
        }
        walk.spend(xattr::bytes_of(inode.xattr_count))?;
        let raw_xattrs =
            self.raw.get(body..body + xattr::bytes_of(inode.xattr_count)).ok_or("attributes out of the image")?;
        let xattrs = xattr::decode(raw_xattrs)?;
        if inode.nanoseconds >= 1_000_000_000 {
            return Err(format!("{path}: bad time"));
        }
        let (major, minor) = format::decode_device(inode.union);
        let mut place = None;
        let kind = match inode.mode & format::S_IFMT {
            format::S_IFDIR => Kind::Directory { opaque: xattrs.opaque, implied: false },
            format::S_IFREG => {
                place = self.place(inode).map_err(|why| format!("{path}: {why}"))?;
                let extents = |place: Place| Extent { logical: 0, offset: place.offset(), length: inode.size }.into();
                Kind::File { size: inode.size, extents: place.map(extents).unwrap_or_default() }
            }
            format::S_IFLNK if (1..4096).contains(&inode.size) => {
                Kind::Symlink { target: self.content(walk, inode, body)?.to_vec() }
            }
            format::S_IFCHR if inode.union == 0 => Kind::Whiteout,
            format::S_IFCHR => Kind::CharDevice { major, minor },
            format::S_IFBLK => Kind::BlockDevice { major, minor },
            format::S_IFIFO => Kind::Fifo,
            _ => return Err(format!("{path}: bad type or link length")),
        };
        let (_, type_code) = format::types(&kind);
        if !inode_is_directory(inode) && inode.nlink > 1 {
            walk.first_names.insert(nid, walk.found.len());
        }
        let entry = Entry {
            path: path.clone(),
            mode: u32::from(inode.mode & 0o7777),
            uid: inode.uid,
            gid: inode.gid,
            mtime: Time { seconds: inode.seconds, nanoseconds: inode.nanoseconds },
            xattrs: xattrs.own,
            kind,
        };
        Ok((Found { entry, nlink: inode.nlink, place }, type_code))
    }

    fn place(&self, inode: &Inode) -> Result<Option<Place>, String> {
        if inode.size == 0 {
            return Ok(None);
        }
        let start = u64::from(inode.union);
        let blocks = inode.size.div_ceil(1 << self.sb.block_bits);
        let holds = |(first, count): &(u64, u64)| start >= *first && start - first + blocks <= *count;
        let device = self.ranges.iter().position(holds).ok_or("bytes on no device")?;
        let offset = (start - self.ranges[device].0) << self.sb.block_bits;
        Place::new(device as u16, offset).map(Some).ok_or_else(|| "bytes on no device".to_owned())
    }

    /// The names in a directory but `.` and `..`, with their nids, this directory's and their types.
    #[allow(clippy::type_complexity, clippy::too_many_arguments)]
    fn directory(
        &self,
        walk: &mut Walk,
        path: &LayerPath,
        nid: u64,
        parent: u64,
        inode: &Inode,
        body: usize,
    ) -> Result<Vec<(LayerPath, u64, u64, Option<u8>)>, String> {
        let mut names = Vec::new();
        let mut last: Option<&[u8]> = None;
        let mut dots = 0;
        for block in self.content(walk, inode, body)?.chunks(1 << self.sb.block_bits) {
            directory::unpack(block, |dirent| {
                if last.is_some_and(|last| last >= dirent.name) {
                    return Err(format!("{path}: names out of order"));
                }
                last = Some(dirent.name);
                match dirent.name {
                    b"." | b".." => {
                        dots += 1;
                        let right = if dirent.name == b"." { nid } else { parent };
                        return (dirent.nid == right).then_some(()).ok_or(format!("{path}: bad `.` or `..`"));
                    }
                    name => names.push((
                        path.join(name).map_err(|error| error.to_string())?,
                        dirent.nid,
                        nid,
                        Some(dirent.kind),
                    )),
                }
                Ok(())
            })
            .map_err(|why| format!("{path}: {why}"))?;
        }
        if dots != 2 {
            return Err(format!("{path}: no `.` or `..`"));
        }
        Ok(names)
    }
}

fn damaged(why: String) -> Error {
    Error::Damaged(format!("metadata image: {why}"))
}
