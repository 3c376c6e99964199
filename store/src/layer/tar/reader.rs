//! The strict tar reader: a stream of bytes in, members out, in fixed memory.
//!
//! It reads ustar, GNU (long names, base-256 numbers, sparse type `S`) and PAX archives, and refuses whatever two
//! readers could understand differently: malformed PAX, data behind headers that have none, a lone zero block, a cut
//! end. The size of a PAX header wins over the one in the block. Paths come out raw; what they may be is for the
//! caller ([`crate::layer::assemble`] for layers).

use std::io::{BufRead, Read};

use super::header::{BLOCK, Block, Header};
use super::pax::{PAX_MAX, Pax};
use super::sparse::{Map, MapReader};
use crate::error::{Error, Result};
use crate::layer::{Extent, Time};

/// Largest size of a member, bytes: what a file offset can hold.
const SIZE_MAX: u64 = 1 << 62;

/// What a member of a tar is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Size in bytes, with holes.
        size: u64,
        /// Where its bytes are in the tar; see [`crate::layer::Kind::File`].
        extents: Vec<Extent>,
    },
    /// Another name of an earlier member.
    HardLink {
        /// Raw path.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
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
}

/// One member of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Raw path, as written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes, sorted by name, without those of overlayfs.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a tar. Between two calls of [`Reader::next_member`] the stored bytes of the member can be read through
/// [`Read`] (for a sparse file without its holes); what was not read is skipped.
pub struct Reader<R> {
    inner: R,
    position: u64,
    data_left: u64,
    padding_left: u64,
    dirty: bool,
    globals: Pax,
    trailing: bool,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader of the tar that `inner` gives.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            position: 0,
            data_left: 0,
            padding_left: 0,
            dirty: false,
            globals: Pax::default(),
            trailing: false,
            ended: false,
        }
    }

    /// The next member; `None` at the end of the archive, when `inner` has been read to its end.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for what is no strict tar, [`Error::Limit`], [`Error::Read`].
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        self.skip_data()?;
        self.dirty = false;
        if self.ended {
            return Ok(None);
        }
        let mut local: Option<Pax> = None;
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let mut block = [0; BLOCK];
            if !self.header_block(&mut block)? {
                if local.is_some() || long_path.is_some() || long_link.is_some() {
                    return Err(Error::InvalidLayer("the tar ends behind an extended header".to_owned()));
                }
                self.drain()?;
                return Ok(None);
            }
            let header = Header::new(&block)?;
            match header.kind() {
                b'x' => {
                    if local.is_some() {
                        return Err(Error::InvalidLayer("two PAX headers for one member".to_owned()));
                    }
                    let data = self.extension(header.size()?)?;
                    // Its own records first: a global value counts where the local header says nothing.
                    let mut pax = Pax::default();
                    pax.parse(&data)?;
                    local = Some(pax);
                }
                b'g' => {
                    let data = self.extension(header.size()?)?;
                    self.globals.parse(&data)?;
                    self.globals.check_global()?;
                }
                b'L' if long_path.is_none() => long_path = Some(c_text(self.extension(header.size()?)?)),
                b'K' if long_link.is_none() => long_link = Some(c_text(self.extension(header.size()?)?)),
                // A volume label names the archive and is no member.
                b'V' => self.data(header.size()?)?,
                _ => {
                    return self.member(&header, &block, local.unwrap_or_default(), long_path, long_link).map(Some);
                }
            }
            self.skip_data()?;
        }
    }

    /// Skips what is left of the current member, and says whether the padding behind its data holds anything but
    /// zeros.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] if the archive ends within, [`Error::Read`].
    pub fn finish_member(&mut self) -> Result<bool> {
        self.skip_data()?;
        Ok(self.dirty)
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether bytes other than zero follow the end of the archive; known after the last member.
    #[must_use]
    pub fn has_trailing_data(&self) -> bool {
        self.trailing
    }

    fn member(
        &mut self,
        header: &Header<'_>,
        block: &Block,
        mut pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member> {
        let mut path = pax.path.take().or(long_path).unwrap_or_else(|| header.path());
        if let Some(name) = pax.sparse.name.take() {
            path = name;
        }
        if path.is_empty() {
            return Err(Error::InvalidLayer("a tar member without a path".to_owned()));
        }
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        if size > SIZE_MAX {
            return Err(Error::InvalidLayer(format!("a tar member has the size {size}")));
        }
        let directory_name = path.last() == Some(&b'/');
        let link = |pax: &mut Pax| pax.link.take().or(long_link).unwrap_or_else(|| header.link().to_vec());
        let kind = match header.kind() {
            0 if directory_name => MemberKind::Directory,
            b'0' | 0 | b'7' if directory_name => {
                return Err(Error::InvalidLayer("a file whose path ends with a slash".to_owned()));
            }
            b'0' | 0 | b'7' if pax.sparse.seen => self.pax_sparse(&pax, size)?,
            b'0' | 0 | b'7' => {
                let extents =
                    if size == 0 { vec![] } else { vec![Extent { logical: 0, offset: self.position, length: size }] };
                self.data(size)?;
                MemberKind::File { size, extents }
            }
            b'S' => self.old_sparse(block, size)?,
            b'1' => MemberKind::HardLink { target: link(&mut pax) },
            b'2' => MemberKind::Symlink { target: link(&mut pax) },
            b'3' | b'4' => {
                let (major, minor) = header.device()?;
                if header.kind() == b'3' {
                    MemberKind::CharDevice { major, minor }
                } else {
                    MemberKind::BlockDevice { major, minor }
                }
            }
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => {
                return Err(Error::InvalidLayer(format!("a tar member of the unknown type {:?}", char::from(other))));
            }
        };
        if !matches!(kind, MemberKind::File { .. }) && (size != 0 || pax.sparse.seen) {
            return Err(Error::InvalidLayer("data behind a tar member that is no file".to_owned()));
        }
        let id = |local: Option<i64>, global: Option<i64>, own: Result<i64>| {
            let value = local.or(global).map_or(own, Ok)?;
            u32::try_from(value)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| Error::InvalidLayer(format!("a tar member has the owner {value}")))
        };
        let own_time = || header.mtime().map(|seconds| Time { seconds, nanoseconds: 0 });
        Ok(Member {
            kind,
            path,
            mode: header.mode()?,
            uid: id(pax.uid, self.globals.uid, header.uid())?,
            gid: id(pax.gid, self.globals.gid, header.gid())?,
            mtime: pax.mtime.or(self.globals.mtime).map_or_else(own_time, Ok)?,
            xattrs: pax.take_xattrs(),
        })
    }

    fn old_sparse(&mut self, block: &Block, stored: u64) -> Result<MemberKind> {
        let mut map = Map::default();
        let mut more = map.old_header(block)?;
        while more {
            let mut extension = [0; BLOCK];
            self.exact(&mut extension)?;
            more = map.old_extension(&extension)?;
        }
        let extents = map.extents(self.position, stored)?;
        self.data(stored)?;
        Ok(MemberKind::File { size: map.size, extents })
    }

    fn pax_sparse(&mut self, pax: &Pax, stored: u64) -> Result<MemberKind> {
        let sparse = &pax.sparse;
        let size = sparse.size.ok_or_else(|| Error::InvalidLayer("a sparse file without a size".to_owned()))?;
        if size > SIZE_MAX {
            return Err(Error::InvalidLayer(format!("a sparse file has the size {size}")));
        }
        let mut map = Map { size, parts: Vec::new() };
        let mut map_bytes = 0;
        match (sparse.major.unwrap_or(0), sparse.minor.unwrap_or(0)) {
            (0, 0 | 1) => map.pairs(&sparse.numbers, sparse.blocks)?,
            (1, 0) => {
                let mut reader = MapReader::default();
                loop {
                    if map_bytes + BLOCK as u64 > stored {
                        return Err(Error::InvalidLayer("a sparse file with a cut map".to_owned()));
                    }
                    let mut block = [0; BLOCK];
                    self.exact(&mut block)?;
                    map_bytes += BLOCK as u64;
                    if reader.block(&block, &mut map)? {
                        break;
                    }
                }
            }
            (major, minor) => {
                return Err(Error::InvalidLayer(format!("a sparse file of the unknown format {major}.{minor}")));
            }
        }
        let extents = map.extents(self.position, stored - map_bytes)?;
        self.data(stored - map_bytes)?;
        Ok(MemberKind::File { size, extents })
    }

    /// Announces that `size` bytes of data follow.
    fn data(&mut self, size: u64) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Error::InvalidLayer(format!("a tar member has the size {size}")));
        }
        self.dirty = false;
        self.data_left = size;
        self.padding_left = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > PAX_MAX {
            return Err(Error::Limit {
                what: "extended header of a tar".to_owned(),
                limit: format!("{PAX_MAX} bytes"),
            });
        }
        self.data(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.exact(&mut data)?;
        self.data_left = 0;
        Ok(data)
    }

    /// Reads a header block; `false` at the end of the archive.
    fn header_block(&mut self, block: &mut Block) -> Result<bool> {
        if self.inner.fill_buf().map_err(read_error)?.is_empty() {
            // Without the zero blocks that should be there, but between two members: nothing is missing.
            return Ok(false);
        }
        self.exact(block)?;
        if *block != [0; BLOCK] {
            return Ok(true);
        }
        if self.inner.fill_buf().map_err(read_error)?.is_empty() {
            return Ok(false);
        }
        self.exact(block)?;
        if *block == [0; BLOCK] { Ok(false) } else { Err(Error::InvalidLayer("a lone zero block in a tar".to_owned())) }
    }

    /// Reads what follows the end of the archive.
    fn drain(&mut self) -> Result<()> {
        self.ended = true;
        loop {
            let available = self.inner.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                return Ok(());
            }
            self.trailing |= !all_zero(available);
            let amount = available.len();
            self.inner.consume(amount);
            self.position += amount as u64;
        }
    }

    fn skip_data(&mut self) -> Result<()> {
        while self.data_left > 0 {
            let amount = self.available(self.data_left)?.len();
            self.take(amount);
            self.data_left -= amount as u64;
        }
        while self.padding_left > 0 {
            let padding = self.available(self.padding_left)?;
            let (amount, clean) = (padding.len(), all_zero(padding));
            self.dirty |= !clean;
            self.take(amount);
            self.padding_left -= amount as u64;
        }
        Ok(())
    }

    /// At least one and at most `limit` bytes.
    fn available(&mut self, limit: u64) -> Result<&[u8]> {
        let available = self.inner.fill_buf().map_err(read_error)?;
        if available.is_empty() {
            return Err(Error::InvalidLayer("the tar is cut short".to_owned()));
        }
        let amount = usize::try_from(limit).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..amount])
    }

    fn take(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.position += amount as u64;
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let available = self.available((buffer.len() - filled) as u64)?;
            let amount = available.len();
            buffer[filled..filled + amount].copy_from_slice(available);
            self.take(amount);
            filled += amount;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.data_left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let available = self.inner.fill_buf()?;
        if available.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let left = usize::try_from(self.data_left).unwrap_or(usize::MAX);
        let amount = available.len().min(left).min(buffer.len());
        buffer[..amount].copy_from_slice(&available[..amount]);
        self.take(amount);
        self.data_left -= amount as u64;
        Ok(amount)
    }
}

fn read_error(source: std::io::Error) -> Error {
    Error::Read { what: "the tar".to_owned(), source }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// A GNU long name: up to the first NUL.
fn c_text(mut data: Vec<u8>) -> Vec<u8> {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    data.truncate(end);
    data
}
