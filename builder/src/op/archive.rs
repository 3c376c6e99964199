//! Archives that ADD unpacks: a tar, plain or compressed with gzip, zstd, xz or bzip2, recognised by its bytes and not
//! by its name (Dockerfile reference, "ADD": a file that only looks compressed is copied as it is). It is read by the
//! store's one strict tar reader into a layer of its own, which is then copied from like any other tree; that layer is
//! named by nothing and goes with the next collection.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use store::Store;
use store::digest::Digester;
use store::layer::{LayerPath, compression};

use super::OpError;
use super::select::{self, How, Selected};
use crate::files::{Content, Files, LayerFiles};

const BLOCK: usize = 512;

/// Opens the regular file at `path` as an archive; none if it is none.
///
/// # Errors
/// [`OpError`] if it is an archive that cannot be read or breaks a rule, or is not what `content` says any more.
pub fn open(
    store: &Store,
    files: &Arc<dyn Files>,
    path: &LayerPath,
    content: &Content,
) -> Result<Option<Selected>, OpError> {
    let name = format!("{path} in {}", files.name());
    if !is_archive(files.open(path)?) {
        return Ok(None);
    }
    let mut file = Hashing { inner: files.open(path)?, digester: Digester::new() };
    let info = {
        let archive = decompress(BufReader::with_capacity(128 << 10, &mut file))
            .map_err(|error| OpError::io(format!("unpack {name}"), error))?;
        store.layers().ingest(archive, None, None).map_err(|error| match error {
            store::Error::InvalidLayer(reason) => OpError::Message(format!("cannot unpack {name}: {reason}")),
            other => OpError::Store(other),
        })?
    };
    io::copy(&mut file, &mut io::sink()).map_err(|error| OpError::io(format!("read {name}"), error))?;
    if file.digester.finish() != content.digest {
        return Err(OpError::Message(format!("{name} changed while it was unpacked")));
    }
    let listed = store.layers().toc(&info.diff_id)?;
    let tree: Arc<dyn Files> = Arc::new(LayerFiles::new(store, &format!("the archive {name}"), &[info.diff_id])?);
    let Some(mut all) = select::select(&tree, "/", How::default())?.pop() else { return Ok(None) };
    for found in &mut all.inside {
        // Directories that the archive does not list only lead to what it does.
        let implied =
            |entry: &store::layer::Entry| matches!(entry.kind, store::layer::Kind::Directory { implied: true, .. });
        found.only_parent = listed.get(&found.path).is_some_and(implied);
    }
    select::hash(std::slice::from_mut(&mut all), &crate::cancel::Cancel::new())?;
    Ok(Some(all))
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
