//! Many patterns looked for at once in bytes as they stream by, and in what those bytes are when they are gzip or zstd.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read};

use aho_corasick::AhoCorasick;
use store::layer::Compression;
use store::layer::compression::decompress;

use super::{Watched, patterns};

/// Most bytes of one compressed file that are looked at, uncompressed: a bomb must not hold up a build for ever.
const INFLATED_MAX: u64 = 4 << 30;

/// Bytes searched at a time.
const CHUNK: usize = 256 << 10;

/// A secret by number, and the form it was found in.
type Hit = (usize, Option<&'static str>);

/// Looks for secrets.
pub(super) struct Scanner {
    search: AhoCorasick,
    /// What each pattern stands for.
    meaning: Vec<Hit>,
}

impl Scanner {
    /// For these secrets; those that are too short to be told from chance are left out.
    ///
    /// # Errors
    /// A message if there are too many.
    pub(super) fn new(watched: &[Watched]) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut meaning = Vec::new();
        for (number, secret) in watched.iter().enumerate() {
            for (pattern, form) in patterns::of(&secret.bytes) {
                bytes.push(pattern);
                meaning.push((number, form));
            }
        }
        let search = AhoCorasick::new(&bytes).map_err(|error| format!("cannot look for so many secrets: {error}"))?;
        Ok(Self { search, meaning })
    }

    /// What is in `bytes`.
    pub(super) fn bytes(&self, bytes: &[u8]) -> BTreeSet<Hit> {
        // Overlapping: one secret may be part of another, and both are to be told.
        self.search.find_overlapping_iter(bytes).map(|found| self.meaning[found.pattern().as_usize()]).collect()
    }

    /// What is in the bytes that `open` gives, each time from their beginning: as they are, and unpacked.
    ///
    /// # Errors
    /// What reading them says.
    pub(super) fn stream<R: Read + Send>(&self, open: impl Fn() -> io::Result<R>) -> io::Result<BTreeSet<Hit>> {
        let mut found = BTreeSet::new();
        self.plain(open()?, &mut found)?;
        let mut start = Vec::new();
        open()?.take(4).read_to_end(&mut start)?;
        if Compression::detect(&start) != Compression::None
            && let Ok((_, unpacked)) = decompress(BufReader::new(open()?))
        {
            // What only begins like gzip, or is cut short, is no error of the image; what came out of it counts.
            let _ = self.plain(unpacked.take(INFLATED_MAX), &mut found);
        }
        Ok(found)
    }

    /// Chunk by chunk, with as much of the last one kept as a pattern that began there may need.
    fn plain(&self, mut reader: impl Read, found: &mut BTreeSet<Hit>) -> io::Result<()> {
        let kept_max = self.search.max_pattern_len().saturating_sub(1);
        let mut buffer = vec![0; CHUNK.max(2 * kept_max)];
        let mut kept = 0;
        loop {
            let got = match reader.read(&mut buffer[kept..]) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let filled = kept + got;
            found.extend(self.bytes(&buffer[..filled]));
            kept = filled.min(kept_max);
            buffer.copy_within(filled - kept..filled, 0);
        }
    }
}
