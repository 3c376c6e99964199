//! The log of a container: JSON lines as Docker's json-file driver writes them, in bounded files.
//!
//! One line is `{"log":"…\n","stream":"stdout","time":"…Z"}`; a line of output longer than 16 KiB is split and only its last part
//! ends with a newline. Podman's k8s-file has the same in another form. [`Writer`] goes on in a new file when one is full and
//! deletes the oldest. The rule: what was written is never rewritten, and a file's number is that of its first line, so readers may
//! follow without a lock and know what they missed.

mod datagram;
mod files;
mod line;
mod pack;
mod reader;
mod writer;

use std::path::PathBuf;

use crate::error::Result;

pub(crate) use datagram::Sender;
pub use datagram::{Form, Service};
pub use reader::{Entry, Query, Reader};
pub use writer::Writer;

/// The longest piece of output in one line of the log.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// Where a monitor puts output, piece by piece.
pub(crate) trait Log {
    /// Takes a piece of output.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()>;

    /// Puts out what is left of unfinished lines.
    fn finish(&mut self) -> Result<()>;
}

impl Log for Writer {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        Writer::write(self, stream, bytes)
    }

    fn finish(&mut self) -> Result<()> {
        Writer::finish(self)
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineForm {
    /// A JSON object, as Docker's json-file has it.
    #[default]
    Json,
    /// `TIME STREAM F|P TEXT`, as the container runtime interface of Kubernetes has it; `P` for a part of a line.
    Kubernetes,
}

/// Where and how much is logged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogConfig {
    /// The first file, and once there are several a link to the one that is written; the others have `.` and the number of
    /// their first line appended.
    pub path: PathBuf,
    /// The size in bytes at which a new file is begun; at least 64 KiB.
    pub max_size: u64,
    /// How many files there are at most, the current one included; at least 1.
    pub max_files: u32,
    /// How a line is written.
    #[serde(default)]
    pub form: LineForm,
    /// Full files are compressed.
    #[serde(default)]
    pub compress: bool,
}

impl LogConfig {
    /// The default bounds: three files of 10 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_size: 10 << 20, max_files: 3, form: LineForm::Json, compress: false }
    }
}

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}
