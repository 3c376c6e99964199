//! Archives that ADD unpacks: a tar, plain or compressed with gzip, zstd, xz or bzip2, recognised by its bytes and not
//! by its name (Dockerfile reference, "ADD": a file that only looks compressed is copied as it is). It is read by the
//! store's one strict tar reader, which leaves its tar and table of contents for as long as they are read.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use store::Store;
use store::digest::Digester;
use store::layer::tree::FileReader;
use store::layer::{Entry, Kind, LayerPath, Place, Time, compression};

use super::OpError;
use crate::files::{Content, Files, Node, NodeKind};
use crate::mutation::broken;

const BLOCK: usize = 512;

/// An archive. Of its members, of which there may be half a million, only the table of contents is in memory.
pub struct Archive {
    inner: store::layer::Archive,
    /// Members that have more names than one.
    linked: HashSet<Place>,
    /// What all its members get in place of their own.
    given: Given,
}

/// What members of an archive get in place of their own.
#[derive(Clone, Copy, Default)]
pub(super) struct Given {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) time: Option<Time>,
}

/// A name in an archive.
pub(super) struct Member {
    pub(super) path: LayerPath,
    /// Where what it is a name of is.
    pub(super) place: Place,
    /// A directory that the archive does not list: it only leads to what it does.
    pub(super) implied: bool,
}

/// Opens the regular file at `path` as an archive; none if it is none.
///
/// # Errors
/// [`OpError`] if it is an archive that cannot be read or breaks a rule, or is not what `content` says any more.
pub fn open(
    store: &Store,
    files: &Arc<dyn Files>,
    path: &LayerPath,
    content: &Content,
) -> Result<Option<Archive>, OpError> {
    let name = format!("{path} in {}", files.name());
    if !is_archive(files.open(path)?) {
        return Ok(None);
    }
    let mut file = Hashing { inner: files.open(path)?, digester: Digester::new() };
    let archive = {
        let archive = decompress(BufReader::with_capacity(128 << 10, &mut file))
            .map_err(|error| OpError::io(format!("unpack {name}"), error))?;
        store.layers().archive(archive).map_err(|error| match error {
            store::Error::InvalidLayer(reason) => OpError::Message(format!("cannot unpack {name}: {reason}")),
            other => OpError::Store(other),
        })?
    };
    io::copy(&mut file, &mut io::sink()).map_err(|error| OpError::io(format!("read {name}"), error))?;
    if file.digester.finish() != content.digest {
        return Err(OpError::Message(format!("{name} changed while it was unpacked")));
    }
    Archive::new(archive).map(Some)
}

impl Archive {
    /// What was taken in as an archive.
    ///
    /// # Errors
    /// [`OpError`] for a hard link to something else than a file of the archive.
    pub(super) fn new(inner: store::layer::Archive) -> Result<Self, OpError> {
        let mut new = Self { inner, linked: HashSet::new(), given: Given::default() };
        let mut linked = HashSet::new();
        for found in new.inner.listing().entries() {
            let (_, Entry { path, kind, .. }) = found?;
            if let Kind::HardLink { target } = kind {
                linked.insert(new.target(&path, &target)?);
            }
        }
        new.linked = linked;
        Ok(new)
    }

    /// The archive whose members get what is given.
    pub(super) fn with(self, given: Given) -> Self {
        Self { given, ..self }
    }

    /// The place of the file that the hard link `path` leads to.
    fn target(&self, path: &LayerPath, target: &LayerPath) -> Result<Place, OpError> {
        let bad = |what| OpError::Store(store::Error::InvalidLayer(format!("{path}: hard link to {target}, {what}")));
        let place = self.inner.listing().find(target)?.ok_or_else(|| bad("which no layer has"))?;
        match self.inner.listing().entry(place, LayerPath::root())?.kind {
            Kind::Directory { .. } | Kind::Whiteout => Err(bad("which is no file")),
            _ => Ok(place),
        }
    }

    /// All names, directories before what is in them. What the archive says of other layers means nothing here.
    pub(super) fn members(&self) -> impl Iterator<Item = Result<Member, OpError>> {
        self.inner.listing().entries().filter_map(|found| {
            let member = |(place, Entry { path, kind, .. })| {
                Ok(match kind {
                    Kind::Whiteout => None,
                    Kind::Directory { implied, .. } => Some(Member { path, place, implied }),
                    Kind::HardLink { target } => {
                        Some(Member { place: self.target(&path, &target)?, path, implied: false })
                    }
                    _ => Some(Member { path, place, implied: false }),
                })
            };
            found.map_err(OpError::Store).and_then(member).transpose()
        })
    }

    /// Whether the member at `place` has more names than one.
    pub(super) fn is_linked(&self, place: Place) -> bool {
        self.linked.contains(&place)
    }

    /// What is at `place`, and its kind with where its bytes are.
    pub(super) fn node(&self, place: Place) -> Result<(Node, Kind), OpError> {
        let entry = self.inner.listing().entry(place, LayerPath::root())?;
        let Entry { kind, mut mode, uid, gid, mtime, xattrs, .. } = entry;
        if matches!(kind, Kind::Symlink { .. }) {
            // Linux knows no other mode for it (symlink(7)).
            mode = 0o777;
        }
        let owner = if broken("archives-keep-owners") { Some((0, 0)) } else { self.given.owner };
        let (uid, gid) = owner.unwrap_or((uid, gid));
        let mtime = if broken("times-of-copies") { Time::default() } else { self.given.time.unwrap_or(mtime) };
        Ok((Node { kind: NodeKind::of(&kind), mode, uid, gid, mtime, xattrs, link: None }, kind))
    }

    /// The bytes of a member of this kind.
    pub(super) fn read<'a>(&'a self, kind: &'a Kind) -> Result<FileReader<'a>, OpError> {
        Ok(self.inner.read(kind)?)
    }
}

/// Whether the bytes begin like a tar once decompressed.
fn is_archive(file: impl Read + Send) -> bool {
    let Ok(mut reader) = decompress(BufReader::new(file)) else { return false };
    let mut block = [0u8; BLOCK];
    reader.read_exact(&mut block).is_ok() && has_checksum(&block)
}

/// Whether a block has the checksum of a tar header (POSIX ustar: the sum of its bytes, the field itself as blanks).
fn has_checksum(block: &[u8; BLOCK]) -> bool {
    let field = &block[148..156];
    let digits: String = field
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| (b'0'..=b'7').contains(*byte))
        .map(|byte| char::from(*byte))
        .collect();
    let Ok(expected) = i64::from_str_radix(&digits, 8) else { return false };
    let sum = |value: fn(u8) -> i64| {
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { value(*byte) }).sum::<i64>()
    };
    // Some old programs summed signed bytes.
    expected == sum(i64::from) || expected == sum(|byte| i64::from(byte.cast_signed()))
}

/// Whether a stream that begins with `start` (512 bytes of it, if it has so many) is an archive, as docker tells one from
/// a Buildfile: compressed in a known way, or with the header of a tar.
#[must_use]
pub fn begins_archive(start: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"];
    compressed.iter().any(|magic| start.starts_with(magic))
        || start.first_chunk::<BLOCK>().is_some_and(|block| has_checksum(block) && block[0] != 0)
}

/// A reader of what `reader` holds, decompressed if need be.
///
/// # Errors
/// A stream whose beginning cannot be read, or is compressed in no known way.
pub fn decompress<'a>(mut reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let start = reader.fill_buf()?;
    if start.starts_with(b"BZh") {
        return Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(reader)));
    }
    if start.starts_with(b"\xfd7zXZ\0") {
        return Ok(Box::new(lzma_rust2::XzReader::new(reader, true)));
    }
    compression::decompress(reader).map(|(_, reader)| reader).map_err(io::Error::other)
}

/// Hashes what passes through.
struct Hashing<'a> {
    inner: Box<dyn Read + Send + 'a>,
    digester: Digester,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.digester.update(&buffer[..got]);
        Ok(got)
    }
}
