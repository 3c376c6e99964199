//! What a command writes, cut into lines: each stream on its own, passed on as it comes, the last lines kept for the
//! message of a failure.

use std::collections::VecDeque;

use crate::event::Stream;

/// Longest line passed on in one piece, in bytes.
const LINE_MAX: usize = 64 << 10;
/// Lines kept.
const TAIL: usize = 25;
/// Longest line kept, in bytes.
const TAIL_LINE_MAX: usize = 2000;

/// Cuts output into lines.
pub(super) struct Lines<'a> {
    pending: [Vec<u8>; 2],
    tail: VecDeque<Vec<u8>>,
    emit: &'a mut dyn FnMut(Stream, Vec<u8>),
}

impl<'a> Lines<'a> {
    pub(super) fn new(emit: &'a mut dyn FnMut(Stream, Vec<u8>)) -> Self {
        Self { pending: [Vec::new(), Vec::new()], tail: VecDeque::new(), emit }
    }

    /// Takes what was written.
    pub(super) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.push(stream, &bytes[..end]);
            self.flush(stream);
            bytes = &bytes[end + 1..];
        }
        self.push(stream, bytes);
    }

    fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
        loop {
            let pending = &mut self.pending[stream as usize];
            let taken = bytes.len().min(LINE_MAX - pending.len());
            pending.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return;
            }
            self.flush(stream);
        }
    }

    fn flush(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.pending[stream as usize]);
        let line = line.strip_suffix(b"\r").unwrap_or(&line).to_vec();
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line[..line.len().min(TAIL_LINE_MAX)].to_vec());
        (self.emit)(stream, line);
    }

    /// Passes on unfinished lines and gives the last ones.
    pub(super) fn finish(mut self) -> Vec<String> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.pending[stream as usize].is_empty() {
                self.flush(stream);
            }
        }
        self.tail.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_streams_do_not_mix() {
        let mut seen = Vec::new();
        let mut emit = |stream, line: Vec<u8>| seen.push((stream, String::from_utf8(line).unwrap()));
        let mut lines = Lines::new(&mut emit);
        lines.write(Stream::Stdout, b"one\ntw");
        lines.write(Stream::Stderr, b"err\r\n\n");
        lines.write(Stream::Stdout, b"o\nlast");
        assert_eq!(lines.finish(), ["one", "err", "", "two", "last"]);
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[4], (Stream::Stdout, "last".to_owned()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut longest = 0;
        let mut count = 0;
        let mut emit = |_, line: Vec<u8>| {
            longest = longest.max(line.len());
            count += 1;
        };
        let mut lines = Lines::new(&mut emit);
        lines.write(Stream::Stdout, &vec![b'x'; LINE_MAX * 3 + 1]);
        let tail = lines.finish();
        assert!(tail.iter().all(|line| line.len() <= TAIL_LINE_MAX));
        assert_eq!((longest, count), (LINE_MAX, 4));
    }
}
