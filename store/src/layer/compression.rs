//! Compression of layers: gzip (any number of members), zstd (any number of frames) or none, told apart by their
//! first bytes and never by a media type alone.
//!
//! Compressing cuts the input into blocks of fixed size and makes each a member or frame of its own, so any number of
//! threads may work and the output is always the same for the same input, level and version of this program. Gzip
//! headers carry no time and no name.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use flate2::bufread::MultiGzDecoder;

use crate::digest::{Digest, Digester};
use crate::error::{Error, Result};

/// Input bytes of one member or frame.
const BLOCK: usize = 4 << 20;
/// Most threads that compress one layer: each holds a block and what becomes of it, some 12 MiB, and two more blocks are on
/// their way, so that it takes 90 MiB at most.
const THREADS_MAX: usize = 6;
/// Largest window a zstd frame may ask for, as a power of two: 64 MiB, eight times what RFC 8878 asks decoders to have
/// and what levels up to 21 use. The window is memory, and a pull has 128 MiB for everything.
const ZSTD_WINDOW_LOG: u32 = 26;

/// How the bytes of a layer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// What bytes that begin with `prefix` (4 bytes, if there are so many) are compressed with.
    #[must_use]
    pub fn detect(prefix: &[u8]) -> Self {
        match prefix {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The suffix of the OCI media type `application/vnd.oci.image.layer.v1.tar`: empty, `+gzip` or `+zstd`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// A reader of the uncompressed bytes of `reader`, and what they were compressed with. It reads `reader` to its end.
///
/// # Errors
/// [`Error::Read`] if the first bytes cannot be read or a decoder cannot be made.
pub fn decompress<'a, R: BufRead + Send + 'a>(mut reader: R) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let failed = |source| Error::Read { what: "compressed layer".to_owned(), source };
    let mut prefix = [0; 4];
    let mut filled = 0;
    while filled < prefix.len() {
        match reader.read(&mut prefix[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let compression = Compression::detect(&prefix[..filled]);
    let whole = io::Cursor::new(prefix[..filled].to_vec()).chain(reader);
    let decoded: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(whole).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            Box::new(decoder)
        }
    };
    Ok((compression, decoded))
}

/// Facts of bytes that were compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl Compression {
    /// The level that is taken where none is said.
    #[must_use]
    pub fn usual_level(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Gzip => Some(6),
            Self::Zstd => Some(3),
        }
    }
}

/// Compresses all of `reader` into `writer` on `threads` threads (at least one is used, at most
/// six). `level` is gzip's 0–9 or
/// zstd's 1–22; `None` takes 6 or 3. The output does not depend on `threads`.
///
/// # Errors
/// [`Error::Read`] with the cause, whichever side failed.
pub fn compress<R: Read + Send, W: Write>(
    reader: R,
    mut writer: W,
    compression: Compression,
    level: Option<u32>,
    threads: usize,
) -> Result<Compressed> {
    let mut digester = Digester::new();
    let threads = threads.clamp(1, THREADS_MAX);
    let spare = &Spare::default();
    let outcome: io::Result<()> = thread::scope(|scope| {
        let (finished_in, finished) = mpsc::sync_channel::<io::Result<Done>>(threads);
        let (work_in, work) = mpsc::sync_channel::<Work>(threads);
        let work = std::sync::Arc::new(Mutex::new(work));
        for _ in 0..threads {
            let work = std::sync::Arc::clone(&work);
            scope.spawn(move || {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((block, done)) = next else { return };
                    // The other side hangs up when it has failed, and then nobody wants the block.
                    let _ = done.send(compress_block(&block, spare.take(room(block.len())), compression, level));
                    spare.give(block);
                }
            });
        }
        scope.spawn(move || read_blocks(reader, spare, &work_in, &finished_in));
        for block in finished {
            let block = block?.recv().map_err(|_| io::Error::other("a compressing thread ended early"))??;
            digester.update(&block);
            writer.write_all(&block)?;
            spare.give(block);
        }
        writer.flush()
    });
    outcome.map_err(|source| Error::Read { what: "bytes to compress".to_owned(), source })?;
    Ok(Compressed { size: digester.size(), digest: digester.finish() })
}

/// A block compressed, or why not: one end with the worker, the other with the writer.
type Done = mpsc::Receiver<io::Result<Vec<u8>>>;
/// A block to compress, and where its result goes.
type Work = (Vec<u8>, mpsc::SyncSender<io::Result<Vec<u8>>>);

/// Buffers between two uses: blocks of this size made anew for each would leave holes in the memory they came from.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// An empty buffer with room for `size` bytes.
    fn take(&self, size: usize) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = kept.unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(size);
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// What `size` bytes may become if they cannot be compressed, rounded up.
fn room(size: usize) -> usize {
    size + size / 256 + 1024
}

/// Cuts `reader` into blocks for the workers, and announces their results in order. Ends when either side hangs up.
fn read_blocks<R: Read>(
    mut reader: R,
    spare: &Spare,
    work: &mpsc::SyncSender<Work>,
    finished: &mpsc::SyncSender<io::Result<Done>>,
) {
    let mut first = true;
    loop {
        let mut block = spare.take(room(BLOCK));
        if let Err(error) = reader.by_ref().take(BLOCK as u64).read_to_end(&mut block) {
            let _ = finished.send(Err(error));
            return;
        }
        // An empty input still makes one, empty, member.
        if block.is_empty() && !first {
            return;
        }
        first = false;
        let (done_in, done) = mpsc::sync_channel(1);
        if finished.send(Ok(done)).is_err() || work.send((block, done_in)).is_err() {
            return;
        }
    }
}

/// Compresses `block` into the empty `out`.
fn compress_block(block: &[u8], mut out: Vec<u8>, compression: Compression, level: Option<u32>) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => {
            out.extend_from_slice(block);
            Ok(out)
        }
        Compression::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(6).min(9));
            let mut encoder = flate2::GzBuilder::new().operating_system(255).write(out, level);
            encoder.write_all(block)?;
            encoder.finish()
        }
        Compression::Zstd => {
            let level = i32::try_from(level.unwrap_or(3).clamp(1, 22)).unwrap_or(3);
            let mut encoder = zstd::Encoder::new(out, level)?;
            encoder.set_pledged_src_size(Some(block.len() as u64))?;
            encoder.include_checksum(true)?;
            encoder.write_all(block)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..3_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn goes_round_and_does_not_depend_on_threads() {
        let bytes = sample();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for input in [&bytes[..], &b""[..], b"x"] {
                let mut one = Vec::new();
                let facts = compress(input, &mut one, compression, None, 1).unwrap();
                let mut many = Vec::new();
                compress(input, &mut many, compression, None, 3).unwrap();
                assert!(one == many);
                assert_eq!((facts.digest, facts.size), (Digest::of(&one), one.len() as u64));
                let (found, mut reader) = decompress(&one[..]).unwrap();
                assert!(found == compression || (compression == Compression::None && input.len() < 4));
                let mut out = Vec::new();
                reader.read_to_end(&mut out).unwrap();
                assert!(out == input);
            }
        }
    }

    #[test]
    fn fails_on_cut_or_changed_bytes() {
        let bytes = sample();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut packed = Vec::new();
            compress(&bytes[..100_000], &mut packed, compression, None, 1).unwrap();
            let read = |packed: &[u8]| decompress(packed).map(|(_, mut r)| r.read_to_end(&mut vec![]).is_ok());
            assert!(read(&packed).unwrap());
            assert!(!read(&packed[..packed.len() - 5]).unwrap());
            let middle = packed.len() / 2;
            packed[middle] ^= 0x55;
            assert!(!read(&packed).unwrap());
        }
    }

    #[test]
    fn a_failing_reader_or_writer_is_told() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no"))
            }
        }
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("no"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(compress(Failing, io::sink(), Compression::Gzip, None, 2).is_err());
        assert!(compress(&sample()[..], Failing, Compression::Gzip, None, 2).is_err());
    }

    #[test]
    fn other_tools_read_it() {
        let mut packed = Vec::new();
        compress(&sample()[..], &mut packed, Compression::Gzip, None, 2).unwrap();
        let mut out = Vec::new();
        let mut child = std::process::Command::new("gzip")
            .arg("-dc")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = thread::spawn(move || stdin.write_all(&packed).unwrap());
        child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        feeder.join().unwrap();
        assert!(child.wait().unwrap().success() && out == sample());
    }
}
