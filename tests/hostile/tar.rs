//! A tar builder that lies on request: every field of a header can be set to any bytes, checksums can be wrong, data can
//! be longer or shorter than announced. Written from POSIX.1-2024 pax(1) and GNU tar's manual, and from nothing of `img`:
//! a builder that shared its reader's ideas would share its mistakes.

use std::ops::Range;

/// A member's header before it is written.
#[derive(Clone)]
pub struct Head {
    block: [u8; 512],
    sealed: bool,
}

/// Field positions of a header block.
pub const MODE: Range<usize> = 100..108;
pub const UID: Range<usize> = 108..116;
pub const GID: Range<usize> = 116..124;
pub const SIZE: Range<usize> = 124..136;
pub const MTIME: Range<usize> = 136..148;
pub const CHECKSUM: Range<usize> = 148..156;
pub const LINK: Range<usize> = 157..257;
pub const MAGIC: Range<usize> = 257..265;
pub const MAJOR: Range<usize> = 329..337;
pub const MINOR: Range<usize> = 337..345;
pub const PREFIX: Range<usize> = 345..500;

impl Head {
    /// A ustar header of this type and name (cut to 100 bytes), root's, of an empty member.
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let mut head = Self { block: [0; 512], sealed: false };
        head.block[156] = kind;
        let directory = kind == b'5';
        let head = head.set(0..100, name).set(MODE, if directory { "0000755" } else { "0000644" });
        let head = head.set(UID, "0000000").set(GID, "0000000").set(SIZE, "00000000000");
        head.set(MTIME, "00000001750").set(MAGIC, b"ustar\x0000")
    }

    /// Puts bytes at the beginning of a field, zeros behind them; what does not fit is left out.
    pub fn set(mut self, field: Range<usize>, bytes: impl AsRef<[u8]>) -> Self {
        let length = field.len().min(bytes.as_ref().len());
        self.block[field.clone()].fill(0);
        self.block[field.start..field.start + length].copy_from_slice(&bytes.as_ref()[..length]);
        self
    }

    /// The size field, as octal digits.
    pub fn size(self, size: u64) -> Self {
        self.set(SIZE, format!("{size:011o}"))
    }

    /// The target of a link.
    pub fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.set(LINK, target)
    }

    /// A checksum of one's own, right or not.
    pub fn checksum(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self = self.set(CHECKSUM, bytes);
        self.sealed = true;
        self
    }

    /// The block with a right checksum, unless one was set.
    pub fn bytes(mut self) -> [u8; 512] {
        if !self.sealed {
            self.block[CHECKSUM].fill(b' ');
            let sum: u32 = self.block.iter().map(|byte| u32::from(*byte)).sum();
            self = self.set(CHECKSUM, format!("{sum:06o}\0 "));
        }
        self.block
    }
}

/// An archive that grows member by member.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// An empty one, without an end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any bytes.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A header and, padded to a block, the data behind it, whatever the header says of their size.
    pub fn put(mut self, head: Head, data: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(&head.bytes());
        self.0.extend_from_slice(data.as_ref());
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A header with the right size for its data.
    pub fn sized(self, head: Head, data: impl AsRef<[u8]>) -> Self {
        let size = data.as_ref().len() as u64;
        self.put(head.size(size), data)
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.sized(Head::new(b'0', name), data)
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.put(Head::new(b'5', name), "")
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.put(Head::new(b'2', name).link(target), "")
    }

    pub fn hard(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.put(Head::new(b'1', name).link(target), "")
    }

    /// A PAX header of these well-formed records for the member that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.sized(Head::new(b'x', "PaxHeaders/x"), records.iter().flat_map(|r| record(r.0, r.1)).collect::<Vec<u8>>())
    }

    /// A PAX header of these very bytes.
    pub fn pax_raw(self, records: impl AsRef<[u8]>) -> Self {
        self.sized(Head::new(b'x', "PaxHeaders/x"), records)
    }

    /// A global PAX header.
    pub fn global(self, records: &[(&str, &[u8])]) -> Self {
        self.sized(Head::new(b'g', "pax_global"), records.iter().flat_map(|r| record(r.0, r.1)).collect::<Vec<u8>>())
    }

    /// GNU's long name (`L`) or long link (`K`) for the member that follows.
    pub fn long(self, kind: u8, text: impl AsRef<[u8]>) -> Self {
        let text = [text.as_ref(), b"\0"].concat();
        self.sized(Head::new(kind, "././@LongLink").set(MAGIC, b"ustar  \0"), text)
    }

    /// The two zero blocks of a right end.
    pub fn end(self) -> Vec<u8> {
        self.raw([0; 1024]).0
    }
}

/// `LENGTH KEY=VALUE\n`, the length right.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap_or(1);
    [format!("{} {key}=", rest + digits).as_bytes(), value, b"\n"].concat()
}

/// A number as GNU's base-256: the first bit set, big end first.
pub fn base256(width: usize, value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut field = vec![if value < 0 { 0xff } else { 0 }; width.saturating_sub(16)];
    field.extend_from_slice(&bytes[16_usize.saturating_sub(width)..]);
    field[0] |= 0x80;
    field
}
