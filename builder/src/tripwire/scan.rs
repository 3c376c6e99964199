//! Many patterns looked for at once in bytes as they stream by, and in what is packed inside of them, level by level.
//!
//! Unpacking is bounded three ways: by how deep things are packed in each other, by the bytes that come out of one
//! file, and by how many times more these are than the bytes that went in. What was given up is told.

use std::collections::BTreeSet;
use std::io::{self, Read};

use aho_corasick::AhoCorasick;

use super::members::{Format, Member};
use super::{Watched, patterns};

/// How deep things are packed in each other: a gzip in a zip in a zip in a gzip.
const DEPTH_MAX: usize = 4;
/// Members that are being unpacked at one time out of the same bytes. More than one are there only where the beginning
/// of another was a chance.
const MEMBERS_MAX: usize = 4;
/// Most bytes that come out of one file: a bomb must not hold up a build for ever.
const UNPACKED_MAX: u64 = 4 << 30;
/// Bytes that may come out of any file, however small it is.
const UNPACKED_FREE: u64 = 256 << 20;
/// Beyond these, bytes that may come out for each that went in.
const RATIO_MAX: u64 = 200;

/// Bytes searched at a time.
const CHUNK: usize = 256 << 10;

/// A secret by number, and the form it was found in.
type Hit = (usize, Option<&'static str>);

/// What a pattern stands for.
#[derive(Clone, Copy)]
enum Meaning {
    Secret(Hit),
    Begins(Format),
}

/// What was found in a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The secrets.
    pub(super) hits: BTreeSet<Hit>,
    /// Whether some of what is packed inside was not searched, as it went beyond a bound.
    pub(super) cut: bool,
}

/// Looks for secrets.
pub(super) struct Scanner {
    search: AhoCorasick,
    meaning: Vec<Meaning>,
}

impl Scanner {
    /// For these secrets; those that are too short to be told from chance are left out.
    ///
    /// # Errors
    /// A message if there are too many.
    pub(super) fn new(watched: &[Watched]) -> Result<Self, String> {
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        let mut meaning = Vec::new();
        for (number, secret) in watched.iter().enumerate() {
            for (pattern, form) in patterns::of(&secret.bytes) {
                bytes.push(pattern);
                meaning.push(Meaning::Secret((number, form)));
            }
        }
        for (format, start) in Format::ALL {
            bytes.push(start.to_vec());
            meaning.push(Meaning::Begins(format));
        }
        let search = AhoCorasick::new(&bytes).map_err(|error| format!("cannot look for so many secrets: {error}"))?;
        Ok(Self { search, meaning })
    }

    /// What is in `bytes`, as they are.
    pub(super) fn bytes(&self, bytes: &[u8]) -> BTreeSet<Hit> {
        let secret = |(meaning, _, _)| match meaning {
            Meaning::Secret(hit) => Some(hit),
            Meaning::Begins(_) => None,
        };
        self.matches(bytes).filter_map(secret).collect()
    }

    /// What is in the bytes of `reader`: as they are, and unpacked.
    ///
    /// # Errors
    /// What reading them says. What cannot be unpacked is no error: it is not packed then, or cut short.
    pub(super) fn stream(&self, mut reader: impl Read) -> io::Result<Found> {
        let mut run = Run { scanner: self, found: Found::default(), bytes_in: 0, bytes_out: 0 };
        let mut level = Level::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(run.found),
                Ok(got) => {
                    run.bytes_in += got as u64;
                    level.push(&buffer[..got], DEPTH_MAX, &mut run);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Overlapping: one secret may be part of another, and both are to be told.
    fn matches(&self, bytes: &[u8]) -> impl Iterator<Item = (Meaning, usize, usize)> {
        self.search
            .find_overlapping_iter(bytes)
            .map(|found| (self.meaning[found.pattern().as_usize()], found.start(), found.end()))
    }
}

/// The search of one file.
struct Run<'a> {
    scanner: &'a Scanner,
    found: Found,
    bytes_in: u64,
    bytes_out: u64,
}

impl Run<'_> {
    /// Whether as many bytes may have come out as did.
    fn may_go_on(&self) -> bool {
        self.bytes_out <= (UNPACKED_FREE + RATIO_MAX * self.bytes_in).min(UNPACKED_MAX)
    }
}

/// Bytes of the file, or of something packed in it.
#[derive(Default)]
struct Level {
    /// The last bytes, as many as a pattern that began in them may need.
    kept: Vec<u8>,
    members: Vec<(Member, Level)>,
}

impl Level {
    /// Searches the next bytes; `depth` more levels may lie below.
    fn push(&mut self, bytes: &[u8], depth: usize, run: &mut Run<'_>) {
        for (member, below) in &mut self.members {
            unpack(member, below, bytes, depth, run);
        }
        let before = self.kept.len();
        let mut window = std::mem::take(&mut self.kept);
        window.extend_from_slice(bytes);
        let scanner = run.scanner;
        for (meaning, start, end) in scanner.matches(&window) {
            match meaning {
                Meaning::Secret(hit) => drop(run.found.hits.insert(hit)),
                // It was there the last time too.
                Meaning::Begins(_) if end <= before => {}
                Meaning::Begins(format) => self.begin(format, &window[start..], depth, run),
            }
        }
        self.members.retain(|(member, _)| !member.is_done());
        let kept_max = scanner.search.max_pattern_len().saturating_sub(1);
        window.drain(..window.len().saturating_sub(kept_max));
        self.kept = window;
    }

    /// Begins with a member, unless there are too many: those that failed at once make room first.
    fn begin(&mut self, format: Format, bytes: &[u8], depth: usize, run: &mut Run<'_>) {
        let Some(mut member) = Member::new(format) else {
            run.found.cut = true;
            return;
        };
        let mut below = Self::default();
        unpack(&mut member, &mut below, bytes, depth, run);
        if member.is_done() {
            return;
        }
        self.members.retain(|(member, _)| !member.is_done());
        if self.members.len() < MEMBERS_MAX {
            self.members.push((member, below));
        } else {
            run.found.cut = true;
        }
    }
}

/// Gives `bytes` to a member and searches what comes out.
fn unpack(member: &mut Member, below: &mut Level, mut bytes: &[u8], depth: usize, run: &mut Run<'_>) {
    let mut output = Vec::new();
    while !member.is_done() {
        if output.is_empty() {
            output.resize(CHUNK.min(4 * bytes.len().max(4 << 10)), 0);
        }
        let (taken, written) = member.step(bytes, &mut output);
        bytes = &bytes[taken..];
        if written > 0 {
            run.bytes_out += written as u64;
            if depth == 0 || !run.may_go_on() {
                run.found.cut = true;
                member.give_up();
                return;
            }
            below.push(&output[..written], depth - 1, run);
        } else if taken == 0 || bytes.is_empty() {
            return;
        }
    }
}
