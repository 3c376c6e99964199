//! The reading side: the files from old to new as one stream of entries, filtered, and followed if so wished.
//!
//! A reader holds the file it reads open, so nobody can take that away; at its end it goes on with the one that has the next number,
//! however old that is by now. What was deleted before it got there it counts ([`Reader::take_lost`]). A line that is
//! not ours (cut by a full disk) is skipped.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::time::Duration;

use super::line::timestamp;
use super::{LogConfig, Stream};
use crate::error::{Doing, Result};

/// The longest line that is read; ours are below 16 KiB times six, for a text of control characters.
const MAX_LINE: u64 = 256 * 1024;

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only entries at or after this time, in nanoseconds since 1970.
    pub since: Option<u64>,
    /// Only entries at or before this time.
    pub until: Option<u64>,
    /// Only the last so many lines.
    pub tail: Option<usize>,
}

/// One entry: a line, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The text; without a newline at its end it is not the end of the line.
    pub text: String,
    /// Its bytes, if they are no UTF-8; `text` has replacement characters then.
    pub raw: Option<Vec<u8>>,
    /// Where it was written.
    pub stream: Stream,
    /// When, as it stands in the log (RFC 3339, UTC, nanoseconds).
    pub time: String,
}

impl Entry {
    /// What was written, byte by byte.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// A file that is being read.
struct Current {
    first: u64,
    lines: u64,
    source: Box<dyn BufRead>,
    /// There is a newer one, so nothing is added to it any more.
    full: bool,
}

/// Reads a log.
pub struct Reader {
    config: LogConfig,
    current: Option<Current>,
    waiting: VecDeque<Entry>,
    since: Option<String>,
    until: Option<String>,
    partial: Vec<u8>,
    lost: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a log. A log that does not exist yet is empty.
    pub fn open(config: &LogConfig, query: &Query) -> Result<Self> {
        let stamp = |nanos: Option<u64>| nanos.map(timestamp);
        let mut reader = Self {
            config: config.clone(),
            current: None,
            waiting: VecDeque::new(),
            since: stamp(query.since),
            until: stamp(query.until),
            partial: Vec::new(),
            lost: 0,
        };
        if let Some(tail) = query.tail {
            reader.skip_to_tail(tail)?;
        }
        Ok(reader)
    }

    /// How many lines before the entry that came last were deleted before they could be read. Asked once for each gap.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The next entry; `None` if there is none now. With a log that is still being written, ask again later.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.waiting.pop_front() {
            return Ok(Some(entry));
        }
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let Some(entry) = self.config.form.read(&line) else { continue };
            if self.since.as_ref().is_some_and(|since| entry.time < *since) {
                // What was before it was not asked for either.
                self.lost = 0;
                continue;
            }
            if self.until.as_ref().is_some_and(|until| entry.time > *until) {
                return Ok(None);
            }
            return Ok(Some(entry));
        }
    }

    /// Waits for the next entry as long as `alive` says that more may come.
    pub fn follow(&mut self, mut alive: impl FnMut() -> bool) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.next_entry()? {
                return Ok(Some(entry));
            }
            // Asked before reading again: what was written until then is read in any case.
            let more = alive();
            if let Some(entry) = self.next_entry()? {
                return Ok(Some(entry));
            }
            if !more {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Drops all but the last `tail` lines, keeping only those in memory.
    fn skip_to_tail(&mut self, tail: usize) -> Result<()> {
        let mut last: VecDeque<Entry> = VecDeque::new();
        let mut lines = 0;
        while let Some(entry) = self.next_entry()? {
            lines += usize::from(entry.text.ends_with('\n'));
            last.push_back(entry);
            // An unfinished last line counts as one.
            let open = usize::from(last.back().is_some_and(|entry| !entry.text.ends_with('\n')));
            while lines + open > tail {
                match last.pop_front() {
                    Some(entry) if entry.text.ends_with('\n') => lines -= 1,
                    Some(_) => {}
                    None => break,
                }
                if last.is_empty() {
                    break;
                }
            }
        }
        self.waiting = last;
        // Nobody asked for more than the end.
        self.lost = 0;
        Ok(())
    }

    /// The next whole line over all files.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let doing = || format!("read the log {}", self.config.path.display());
        loop {
            let Some(current) = &mut self.current else {
                self.current = self.after(None).doing(doing)?;
                if self.current.is_none() {
                    return Ok(None);
                }
                continue;
            };
            let room = MAX_LINE.saturating_sub(self.partial.len() as u64).max(1);
            let count = io::Read::take(&mut current.source, room).read_until(b'\n', &mut self.partial).doing(doing)?;
            if self.partial.last() == Some(&b'\n') || self.partial.len() as u64 >= MAX_LINE {
                current.lines += u64::from(self.partial.last() == Some(&b'\n'));
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if count > 0 {
                continue;
            }
            let (first, end, full) = (current.first, current.first + current.lines, current.full);
            let Some(next) = self.after(Some(first)).doing(doing)? else { return Ok(None) };
            if full {
                self.partial.clear();
                self.lost += next.first.saturating_sub(end);
                self.current = Some(next);
            } else if let Some(current) = &mut self.current {
                // It may have grown between the last look at it and the one at its successor.
                current.full = true;
            }
        }
    }

    /// The file after the one whose first line has this number; without one, the oldest.
    fn after(&self, first: Option<u64>) -> io::Result<Option<Current>> {
        loop {
            let files = self.config.files()?;
            let Some(file) = files.iter().find(|file| first.is_none_or(|first| file.first > first)) else {
                return Ok(None);
            };
            // Deleted or compressed meanwhile, it is listed no more.
            if let Some(source) = file.open()? {
                return Ok(Some(Current { first: file.first, lines: 0, source, full: false }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn config(dir: &std::path::Path) -> LogConfig {
        LogConfig { max_size: 64 << 10, ..LogConfig::new(dir.join("log.json")) }
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.text).collect()
    }

    #[test]
    fn tail_since_and_partial_lines() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        assert!(texts(&mut Reader::open(&config, &Query::default()).unwrap()).is_empty());
        let mut log = Writer::open(&config);
        log.write(Stream::Stdout, b"a\nb\nc\n").unwrap();
        let tail = |count| texts(&mut Reader::open(&config, &Query { tail: Some(count), ..Query::default() }).unwrap());
        assert_eq!(tail(2), ["b\n", "c\n"]);
        assert_eq!(tail(0), [""; 0]);
        assert_eq!(tail(9), ["a\n", "b\n", "c\n"]);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&config.path)
            .and_then(|mut f| io::Write::write_all(&mut f, b"{\"cut\n"))
            .unwrap();
        log.write(Stream::Stderr, b"d").unwrap();
        log.finish().unwrap();
        assert_eq!(tail(1), ["d"]);
        let future = Query { since: Some(crate::state::now() + 1_000_000_000), ..Query::default() };
        assert!(texts(&mut Reader::open(&config, &future).unwrap()).is_empty());
        let past = Query { until: Some(1), ..Query::default() };
        assert!(texts(&mut Reader::open(&config, &past).unwrap()).is_empty());
    }

    #[test]
    fn following_survives_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut log = Writer::open(&config);
        let mut reader = Reader::open(&config, &Query::default()).unwrap();
        let mut seen = Vec::new();
        for number in 0..2000 {
            log.write(Stream::Stdout, format!("{number} {}\n", "z".repeat(100)).as_bytes()).unwrap();
            if number % 100 == 99 {
                seen.extend(texts(&mut reader));
            }
        }
        seen.extend(texts(&mut reader));
        let numbers: Vec<usize> = seen.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
        let mut alive = 3;
        let entry = reader.follow(|| {
            alive -= 1;
            alive > 0
        });
        assert!(entry.unwrap().is_none());
    }

    #[test]
    fn what_is_gone_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut log = Writer::open(&config);
        let mut write = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                log.write(Stream::Stdout, format!("{number} {}\n", "z".repeat(100)).as_bytes()).unwrap();
            }
        };
        write(0..100);
        let mut reader = Reader::open(&config, &Query::default()).unwrap();
        let number = |entry: Entry| entry.text.split(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!((number(reader.next_entry().unwrap().unwrap()), reader.take_lost()), (0, 0));
        write(100..5000);
        let (mut expected, mut gaps) = (1, Vec::new());
        while let Some(entry) = reader.next_entry().unwrap() {
            let lost = reader.take_lost();
            gaps.extend((lost > 0).then_some(lost));
            assert_eq!(number(entry), expected + lost);
            expected += lost + 1;
        }
        assert_eq!(expected, 5000);
        assert!(gaps.len() == 1 && gaps[0] > 1000, "{gaps:?}");
        // Of the end nothing is missing.
        let mut reader = Reader::open(&config, &Query { tail: Some(1), ..Query::default() }).unwrap();
        assert_eq!((number(reader.next_entry().unwrap().unwrap()), reader.take_lost()), (4999, 0));
    }
}
