//! The writing side: pieces of output become lines, lines become bounded files.
//!
//! Output arrives in pieces that end anywhere. A line is written when it is complete, when it reaches 16 KiB, or at the end; until
//! then it waits in memory, one buffer for each stream. Text that is not UTF-8 is replaced sign by sign, as Docker does, and
//! stands beside it byte by byte (`"hex"`), which Docker loses.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::{LogConfig, MAX_PIECE, Stream};
use crate::error::{Doing, Result};

/// A log being written.
#[derive(Debug)]
pub struct Writer {
    config: LogConfig,
    /// The open file and its size; a log is made by its first line.
    file: Option<(File, u64)>,
    pending: [Vec<u8>; 2],
    lines: String,
}

impl Writer {
    /// Goes on after what is there. A program that writes nothing makes no file.
    pub fn open(config: &LogConfig) -> Self {
        let mut config = config.clone();
        config.max_size = config.max_size.max(64 << 10);
        config.max_files = config.max_files.max(1);
        Self { config, file: None, pending: [Vec::new(), Vec::new()], lines: String::new() }
    }

    /// Takes a piece of output.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> Result<()> {
        let time = timestamp(crate::state::now());
        while !bytes.is_empty() {
            let pending = &mut self.pending[stream as usize];
            let room = MAX_PIECE - pending.len();
            let end =
                bytes.iter().take(room).position(|byte| *byte == b'\n').map_or(room.min(bytes.len()), |at| at + 1);
            pending.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if pending.last() == Some(&b'\n') || pending.len() == MAX_PIECE {
                let held = cut_rune(pending, bytes.is_empty());
                let rest = pending.split_off(pending.len() - held);
                let line = std::mem::replace(pending, rest);
                self.line(stream, &line, &time);
            }
        }
        self.flush()
    }

    /// Writes what is left of unfinished lines.
    pub fn finish(&mut self) -> Result<()> {
        let time = timestamp(crate::state::now());
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.pending[stream as usize]);
            if !line.is_empty() {
                self.line(stream, &line, &time);
            }
        }
        self.flush()
    }

    fn line(&mut self, stream: Stream, text: &[u8], time: &str) {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        self.lines.push_str("{\"log\":");
        escape(&mut self.lines, &String::from_utf8_lossy(text));
        if std::str::from_utf8(text).is_err() {
            self.lines.push_str(",\"hex\":\"");
            for byte in text {
                let _ = write!(self.lines, "{byte:02x}");
            }
            self.lines.push('"');
        }
        let _ = writeln!(self.lines, ",\"stream\":\"{name}\",\"time\":\"{time}\"}}");
    }

    fn flush(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let result = self.append();
        self.lines.clear();
        result.doing(|| format!("write the log {}", self.config.path.display()))
    }

    /// Writes the lines that are ready, to a new file if they would make this one too large.
    fn append(&mut self) -> io::Result<()> {
        let length = self.lines.len() as u64;
        let (mut file, mut size) = match self.file.take() {
            Some(open) => open,
            None => append(&self.config)?,
        };
        if size > 0 && size + length > self.config.max_size {
            rotate(&self.config)?;
            (file, size) = append(&self.config)?;
        }
        let result = file.write_all(self.lines.as_bytes());
        self.file = Some((file, size + length));
        result
    }
}

/// Bytes at the end that begin a character whose rest is still to come: they wait for the next piece.
fn cut_rune(piece: &[u8], _last: bool) -> usize {
    if piece.last() == Some(&b'\n') {
        return 0;
    }
    let tail = piece.len().saturating_sub(3);
    for at in (tail..piece.len()).rev() {
        let byte = piece[at];
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if piece.len() - at < length { piece.len() - at } else { 0 };
    }
    0
}

fn append(config: &LogConfig) -> io::Result<(File, u64)> {
    let mut options = File::options();
    let file = options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&config.path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn rotate(config: &LogConfig) -> io::Result<()> {
    for age in (0..config.max_files).rev() {
        let file = config.file(age);
        let result = if age + 1 == config.max_files {
            std::fs::remove_file(&file)
        } else {
            std::fs::rename(&file, config.file(age + 1))
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A JSON string (RFC 8259), control characters escaped.
fn escape(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c == '\u{2028}' || c == '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(super) fn timestamp(nanos: u64) -> String {
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970-01-01, counting years from March so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, max_size: u64, max_files: u32) -> Writer {
        Writer::open(&LogConfig { path: dir.join("log.json"), max_size, max_files })
    }

    fn lines(dir: &std::path::Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.join("log.json")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn pieces_become_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 1 << 20, 2);
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"err\x1b\"\\\x01\xff\n").unwrap();
        log.write(Stream::Stdout, b"o\nrest").unwrap();
        log.finish().unwrap();
        let found = lines(dir.path());
        let texts: Vec<_> = found.iter().map(|line| line["log"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one\n", "err\u{1b}\"\\\u{1}\u{fffd}\n", "two\n", "rest"]);
        assert_eq!((&found[1]["stream"], &found[1]["hex"]), (&"stderr".into(), &"6572721b225c01ff0a".into()));
        assert!(found[0]["hex"].is_null());
        assert_eq!(found[0]["time"].as_str().unwrap().len(), 30);
    }

    #[test]
    fn long_lines_are_split_and_characters_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 1 << 20, 2);
        let text = format!("{}é€", "x".repeat(MAX_PIECE - 1));
        log.write(Stream::Stdout, text.as_bytes()).unwrap();
        log.write(Stream::Stdout, b"end\n").unwrap();
        let found = lines(dir.path());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["log"].as_str().unwrap().len(), MAX_PIECE - 1);
        assert_eq!(found[1]["log"], "é€end\n");
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 1, 3);
        for number in 0..5000 {
            log.write(Stream::Stdout, format!("line {number:04} {}\n", "y".repeat(80)).as_bytes()).unwrap();
        }
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            sizes.push(entry.unwrap().metadata().unwrap().len());
        }
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
        assert!(lines(dir.path()).last().unwrap()["log"].as_str().unwrap().starts_with("line 4999"));
    }

    #[test]
    fn dates() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(timestamp(1_735_689_599_999_999_999), "2024-12-31T23:59:59.999999999Z");
    }
}
