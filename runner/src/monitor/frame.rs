//! The frames between a monitor and its clients: one byte of kind, four of length, payload.
//!
//! The table of kinds is in `docs/runner-dialogue.md`. [`Decoder`] takes bytes as they come and gives whole frames. Pure.

use crate::error::{Error, Result};

/// The longest payload.
pub const MAX_PAYLOAD: usize = 65_536;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes for the program.
    Stdin(Vec<u8>),
    /// The end of the program's input.
    StdinEnd,
    /// The size of the client's terminal.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// A signal for the first process.
    Signal(u32),
    /// The client leaves on purpose.
    Detach,
    /// The monitor's first frame.
    Hello {
        /// The program has a terminal.
        terminal: bool,
        /// The program's input is open.
        stdin: bool,
    },
    /// Output.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// The exit code; the last frame.
    Exit(i32),
}

impl Frame {
    /// Appends the frame to `out`. A payload that is too long becomes several frames.
    pub fn encode(&self, out: &mut impl Extend<u8>) {
        let mut put = |kind: u8, payload: &[u8]| {
            out.extend([kind]);
            out.extend((payload.len() as u32).to_le_bytes());
            out.extend(payload.iter().copied());
        };
        match self {
            Frame::Stdin(bytes) => bytes.chunks(MAX_PAYLOAD).for_each(|part| put(1, part)),
            Frame::StdinEnd => put(2, &[]),
            Frame::Resize { rows, columns } => {
                let ([a, b], [c, d]) = (rows.to_le_bytes(), columns.to_le_bytes());
                put(3, &[a, b, c, d]);
            }
            Frame::Signal(number) => put(4, &number.to_le_bytes()),
            Frame::Detach => put(5, &[]),
            Frame::Hello { terminal, stdin } => put(16, &[u8::from(*terminal) | u8::from(*stdin) << 1]),
            Frame::Stdout(bytes) => bytes.chunks(MAX_PAYLOAD).for_each(|part| put(17, part)),
            Frame::Stderr(bytes) => bytes.chunks(MAX_PAYLOAD).for_each(|part| put(18, part)),
            Frame::Exit(code) => put(19, &code.to_le_bytes()),
        }
    }
}

/// Makes frames of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes bytes from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`Error::Protocol`]: a kind or a length that cannot be.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let [kind, a, b, c, d, payload @ ..] = self.bytes.as_slice() else { return Ok(None) };
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Error::Protocol(format!("a frame of {length} bytes")));
        }
        let Some(payload) = payload.get(..length) else { return Ok(None) };
        let frame = match (kind, payload) {
            (1, bytes) => Frame::Stdin(bytes.to_vec()),
            (2, []) => Frame::StdinEnd,
            (3, [a, b, c, d]) => {
                Frame::Resize { rows: u16::from_le_bytes([*a, *b]), columns: u16::from_le_bytes([*c, *d]) }
            }
            (4, [a, b, c, d]) => Frame::Signal(u32::from_le_bytes([*a, *b, *c, *d])),
            (5, []) => Frame::Detach,
            (16, [bits]) => Frame::Hello { terminal: bits & 1 != 0, stdin: bits & 2 != 0 },
            (17, bytes) => Frame::Stdout(bytes.to_vec()),
            (18, bytes) => Frame::Stderr(bytes.to_vec()),
            (19, [a, b, c, d]) => Frame::Exit(i32::from_le_bytes([*a, *b, *c, *d])),
            (kind, payload) => {
                return Err(Error::Protocol(format!("a frame of kind {kind} with {} bytes", payload.len())));
            }
        };
        self.bytes.drain(..5 + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let frames = [
            Frame::Hello { terminal: true, stdin: false },
            Frame::Stdin(b"\x00\xff".to_vec()),
            Frame::StdinEnd,
            Frame::Resize { rows: 24, columns: 300 },
            Frame::Signal(15),
            Frame::Detach,
            Frame::Stdout(vec![7; 1000]),
            Frame::Stderr(vec![]),
            Frame::Exit(-1),
        ];
        let mut wire: Vec<u8> = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut wire));
        // An empty payload of output makes no frame at all.
        let expected: Vec<_> = frames.iter().filter(|frame| **frame != Frame::Stderr(vec![])).cloned().collect();
        for step in [1, 2, 7, wire.len()] {
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for part in wire.chunks(step) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, expected, "in steps of {step}");
        }
    }

    #[test]
    fn nonsense_is_an_error_and_long_output_is_split() {
        for wire in [&[9, 0, 0, 0, 0][..], &[1, 0, 0, 2, 0], &[3, 1, 0, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.push(wire);
            assert!(decoder.next_frame().is_err(), "{wire:?}");
        }
        let mut wire: Vec<u8> = Vec::new();
        Frame::Stdout(vec![1; MAX_PAYLOAD + 1]).encode(&mut wire);
        let mut decoder = Decoder::default();
        decoder.push(&wire);
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame::Stdout(vec![1; MAX_PAYLOAD])));
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame::Stdout(vec![1])));
    }
}
