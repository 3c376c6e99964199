//! The writing side: pieces of output become lines, lines become bounded files.
//!
//! Output arrives in pieces that end anywhere. A line is written when it is complete, when it reaches 16 KiB, or at the end; until
//! then it waits in memory, one buffer for each stream.

use std::io::Write;

use super::files::Open;
use super::line::timestamp;
use super::pack::Packer;
use super::{LogConfig, MAX_PIECE, Stream};
use crate::error::{Doing, Result};

/// A log being written.
#[derive(Debug)]
pub struct Writer {
    config: LogConfig,
    /// A log is made by its first line.
    open: Option<Open>,
    pending: [Vec<u8>; 2],
    /// What is to be written, and how many lines it is.
    lines: (Vec<u8>, u64),
    /// Files have become full that nobody compresses yet.
    unpacked: bool,
    packer: Option<Packer>,
}

impl Writer {
    /// Goes on after what is there. A program that writes nothing makes no file.
    pub fn open(config: &LogConfig) -> Self {
        let mut config = config.clone();
        config.max_size = config.max_size.max(64 << 10);
        config.max_files = config.max_files.max(1);
        let (pending, lines) = Default::default();
        Self { config, open: None, pending, lines, unpacked: false, packer: None }
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
                let held = cut_rune(pending);
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
        self.flush()?;
        if let Some(packer) = self.packer.take() {
            packer.finish();
        }
        if std::mem::take(&mut self.unpacked)
            && let Some(packer) = Packer::start(&self.config)?
        {
            packer.finish();
        }
        Ok(())
    }

    fn line(&mut self, stream: Stream, text: &[u8], time: &str) {
        self.config.form.write(&mut self.lines.0, stream, text, time);
        self.lines.1 += 1;
    }

    fn flush(&mut self) -> Result<()> {
        if self.lines.1 == 0 {
            return Ok(());
        }
        let result = self.append();
        self.lines.0.clear();
        self.lines.1 = 0;
        result
    }

    /// Writes the lines that are ready, to a new file if they would make this one too large.
    fn append(&mut self) -> Result<()> {
        let doing = || format!("write the log {}", self.config.path.display());
        let (bytes, count) = (&mut self.lines.0, self.lines.1);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::last(&self.config).doing(doing)?,
        };
        let full = open.size > 0 && open.size + bytes.len() as u64 > self.config.max_size;
        if full {
            open = open.next(&self.config).doing(doing)?;
        }
        if open.torn {
            bytes.insert(0, b'\n');
        }
        let written = open.file.write_all(bytes);
        open.size += bytes.len() as u64;
        // Part of it may stand there now.
        open.lines = open.lines.filter(|_| written.is_ok() && !open.torn).map(|lines| lines + count);
        open.torn = written.is_err();
        self.open = Some(open);
        written.doing(doing)?;
        self.unpacked |= full && self.config.compress;
        if self.unpacked && self.packer.as_ref().is_none_or(Packer::has_ended) {
            self.unpacked = false;
            self.packer = Packer::start(&self.config)?;
        }
        Ok(())
    }
}

/// Bytes at the end that begin a character whose rest is still to come: they wait for the next piece.
fn cut_rune(piece: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, max_size: u64, max_files: u32) -> Writer {
        Writer::open(&LogConfig { max_size, max_files, ..LogConfig::new(dir.join("log.json")) })
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
        // One of the names is the link to the last.
        assert_eq!(sizes.len(), 4);
        assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
        assert!(lines(dir.path()).last().unwrap()["log"].as_str().unwrap().starts_with("line 4999"));
    }

    #[test]
    fn a_file_has_the_number_of_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        // A writer after another, as of a container that is started again.
        for run in 0..50 {
            let mut log = writer(dir.path(), 1, 4);
            for line in 0..100 {
                log.write(Stream::Stdout, format!("{} {}\n", run * 100 + line, "y".repeat(80)).as_bytes()).unwrap();
            }
        }
        let config = LogConfig::new(dir.path().join("log.json"));
        let files = config.files().unwrap();
        assert_eq!(files.len(), 4);
        for file in &files {
            let text = std::fs::read_to_string(&file.path).unwrap();
            assert!(text.starts_with(&format!("{{\"log\":\"{} y", file.first)), "{file:?}: {}", &text[..30]);
        }
        let current = std::fs::canonicalize(&config.path).unwrap();
        assert_eq!(current, files.last().unwrap().path.canonicalize().unwrap());
    }

    #[test]
    fn a_line_that_was_cut_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log.json"), "{\"log\":\"cu").unwrap();
        let mut log = writer(dir.path(), 1, 2);
        log.write(Stream::Stdout, b"whole\n").unwrap();
        let text = std::fs::read_to_string(dir.path().join("log.json")).unwrap();
        assert!(text.starts_with("{\"log\":\"cu\n{\"log\":\"whole\\n\""), "{text}");
    }

    #[test]
    fn full_files_are_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { max_size: 1, compress: true, ..LogConfig::new(dir.path().join("log.json")) };
        let mut log = Writer::open(&config);
        for number in 0..1500 {
            log.write(Stream::Stdout, format!("{number} {}\n", "y".repeat(80)).as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let files = config.files().unwrap();
        assert_eq!(files.len(), 3);
        assert!(files[0].packed && !files[2].packed, "{files:?}");
        let mut reader = super::super::Reader::open(&config, &Default::default()).unwrap();
        let mut next = files[0].first;
        while let Some(entry) = reader.next_entry().unwrap() {
            assert!(entry.text.starts_with(&format!("{next} y")), "{next}: {}", entry.text);
            next += 1;
        }
        assert_eq!(next, 1500);
    }
}
