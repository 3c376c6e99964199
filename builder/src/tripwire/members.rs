//! What is packed inside bytes as they stream by: gzip members, zstd frames and deflated members of zip archives,
//! wherever they begin. Bytes are pushed in and unpacked bytes come out, so nothing is kept but the decoder's window.
//!
//! Zip archives are read by the headers that stand before their members, not by the directory at their end: archives
//! with a program before them, nested and cut ones are all the same to it. Stored members need nothing, their bytes are
//! in the archive as they are. What only looks like a beginning fails in the decoder after a few bytes.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

/// Largest window a zstd frame may ask for, as a power of two: 128 MiB, what zstd itself accepts by default.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes of a zip member's header before its name.
const ZIP_HEADER: usize = 30;
/// Flag of a zip member that is encrypted.
const ZIP_ENCRYPTED: u16 = 1;
/// Its method: stored members are method 0.
const ZIP_DEFLATED: u16 = 8;

/// What packed bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    /// RFC 1952; its method is always deflate.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The header before a member of a zip archive (APPNOTE.TXT 4.3.7).
    Zip,
}

impl Format {
    /// All of them, with their first bytes.
    pub(super) const ALL: [(Self, &'static [u8]); 3] =
        [(Self::Gzip, &[0x1f, 0x8b, 8]), (Self::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]), (Self::Zip, b"PK\x03\x04")];
}

/// One packed member, being unpacked.
pub(super) struct Member {
    state: State,
}

enum State {
    /// The header of a zip member, as far as it has come.
    Zip(Vec<u8>),
    /// As many bytes are name and extra fields of a zip member.
    Skip(usize),
    Inflate(Box<Decompress>),
    Zstd(Zstd<'static>),
    Done,
}

impl State {
    /// Of a zip member, this many bytes before what is deflated.
    fn after(names: usize) -> Self {
        if names == 0 { Self::Inflate(Box::new(Decompress::new(false))) } else { Self::Skip(names) }
    }
}

impl Member {
    /// One of which the first bytes are still to come. None if no decoder can be had.
    pub(super) fn new(format: Format) -> Option<Self> {
        let state = match format {
            Format::Zip => State::Zip(Vec::new()),
            Format::Gzip => State::Inflate(Box::new(Decompress::new_gzip(15))),
            Format::Zstd => {
                let mut decoder = Zstd::new().ok()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                State::Zstd(decoder)
            }
        };
        Some(Self { state })
    }

    /// Makes it one that has ended.
    pub(super) fn give_up(&mut self) {
        self.state = State::Done;
    }

    /// Whether it has ended, or was none.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes from `input` what can be taken now, and writes to `output`: gives the numbers of both. Nothing taken and
    /// nothing written means that more input is wanted.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        match &mut self.state {
            State::Zip(header) => {
                let taken = input.len().min(ZIP_HEADER - header.len());
                header.extend_from_slice(&input[..taken]);
                if header.len() == ZIP_HEADER {
                    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
                    let packed = number(6) & ZIP_ENCRYPTED == 0 && number(8) == ZIP_DEFLATED;
                    let names = usize::from(number(26)) + usize::from(number(28));
                    self.state = if packed { State::after(names) } else { State::Done };
                }
                (taken, 0)
            }
            State::Skip(left) => {
                let taken = input.len().min(*left);
                self.state = State::after(*left - taken);
                (taken, 0)
            }
            State::Inflate(decoder) => {
                let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, output, FlushDecompress::None);
                let moved = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
                let moved = (moved(decoder.total_in(), before_in), moved(decoder.total_out(), before_out));
                if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                    self.state = State::Done;
                }
                moved
            }
            State::Zstd(decoder) => match decoder.run_on_buffers(input, output) {
                Ok(status) => {
                    if status.remaining == 0 {
                        self.state = State::Done;
                    }
                    (status.bytes_read, status.bytes_written)
                }
                Err(_) => {
                    self.state = State::Done;
                    (0, 0)
                }
            },
            State::Done => (0, 0),
        }
    }
}
