//! The reading side: the files from old to new as one stream of entries, filtered, and followed if so wished.
//!
//! A reader holds the file it reads open, so a rotation does not take it away: at the end of it, when the name belongs to another
//! file, it goes on with the next newer one. A line that is not ours (cut by a full disk) is skipped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde::Deserialize;

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

#[derive(Deserialize)]
struct Line {
    log: String,
    #[serde(default)]
    hex: Option<String>,
    stream: Stream,
    time: String,
}

/// The bytes of hexadecimal digits; `None` if they are none.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok()).collect()
}

/// Reads a log.
#[derive(Debug)]
pub struct Reader {
    config: LogConfig,
    current: Option<BufReader<File>>,
    waiting: VecDeque<Entry>,
    since: Option<String>,
    until: Option<String>,
    partial: Vec<u8>,
}

impl Reader {
    /// Opens a log. A log that does not exist yet is empty.
    pub fn open(config: &LogConfig, query: &Query) -> Result<Self> {
        let stamp = |nanos: Option<u64>| nanos.map(super::writer::timestamp);
        let mut reader = Self {
            config: config.clone(),
            current: None,
            waiting: VecDeque::new(),
            since: stamp(query.since),
            until: stamp(query.until),
            partial: Vec::new(),
        };
        reader.current = reader.oldest()?;
        if let Some(tail) = query.tail {
            reader.skip_to_tail(tail)?;
        }
        Ok(reader)
    }

    /// The next entry; `None` if there is none now. With a log that is still being written, ask again later.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.waiting.pop_front() {
            return Ok(Some(entry));
        }
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let Ok(Line { log, hex, stream, time }) = serde_json::from_slice(&line) else { continue };
            if self.since.as_ref().is_some_and(|since| time < *since) {
                continue;
            }
            if self.until.as_ref().is_some_and(|until| time > *until) {
                return Ok(None);
            }
            let raw = hex.as_deref().and_then(bytes_of);
            return Ok(Some(Entry { text: log, raw, stream, time }));
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
        Ok(())
    }

    /// The next whole line over all files.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let path = self.config.path.display().to_string();
        loop {
            if self.current.is_none() {
                self.current = self.oldest()?;
            }
            let Some(file) = &mut self.current else { return Ok(None) };
            let room = MAX_LINE.saturating_sub(self.partial.len() as u64).max(1);
            let count = io::Read::take(&mut *file, room)
                .read_until(b'\n', &mut self.partial)
                .doing(|| format!("read the log {path}"))?;
            if self.partial.last() == Some(&b'\n') || self.partial.len() as u64 >= MAX_LINE {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if count == 0 {
                match self.newer()? {
                    Some(next) => {
                        // The file was rotated away, but was it read to its end before? Nothing is added to it any more.
                        self.partial.clear();
                        self.current = Some(next);
                    }
                    None => return Ok(None),
                }
            }
        }
    }

    fn oldest(&self) -> Result<Option<BufReader<File>>> {
        for age in (0..self.config.max_files.max(1)).rev() {
            if let Some(file) = self.try_open(age)? {
                return Ok(Some(BufReader::new(file)));
            }
        }
        Ok(None)
    }

    /// The file after the current one, if that was rotated.
    fn newer(&mut self) -> Result<Option<BufReader<File>>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let identity = |file: &File| file.metadata().map(|facts| (facts.dev(), facts.ino()));
        let own = identity(current.get_ref()).doing(|| "examine the log".into())?;
        let mut newer = None;
        for age in 0..self.config.max_files.max(1) {
            let path = self.config.file(age);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(crate::Error::io(format!("open the log {}", path.display()), error)),
            };
            if identity(&file).doing(|| "examine the log".into())? == own {
                // Between the last read and now it may have grown before it was rotated.
                if newer.is_some() {
                    let buffered = current.fill_buf().doing(|| "read the log".into())?;
                    if !buffered.is_empty() {
                        return Ok(None);
                    }
                }
                return Ok(newer.map(BufReader::new));
            }
            newer = Some(file);
        }
        // It is gone altogether: the oldest that is left comes next.
        self.oldest()
    }

    fn try_open(&self, age: u32) -> Result<Option<File>> {
        let path = self.config.file(age);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(crate::Error::io(format!("open the log {}", path.display()), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn config(dir: &std::path::Path) -> LogConfig {
        LogConfig { path: dir.join("log.json"), max_size: 64 << 10, max_files: 3 }
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
}
