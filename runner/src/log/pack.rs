//! Compressing the full files of a log, in a process of its own: neither the program's output nor the monitor waits for it.
//!
//! The child is forked by a monitor, which has one thread, and executes nothing. It writes beside the file and gives the result its name
//! when it is whole; so a file is always there in at least one of its forms, and one that was left half done is done again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::LogConfig;
use super::files::{PACKED, UNFINISHED, appended};
use crate::error::{Doing, Result};
use crate::{broker, state, sys};

/// How long the end of a program waits for a file to be compressed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A process that compresses.
#[derive(Debug)]
pub(super) struct Packer {
    pidfd: OwnedFd,
}

impl Packer {
    /// Compresses all files but the last, if there is one to compress.
    pub fn start(config: &LogConfig) -> Result<Option<Self>> {
        let doing = || format!("list the files of the log {}", config.path.display());
        let mut files = config.numbered_files().doing(doing)?;
        let last = files.last().map_or(0, |file| file.first);
        files.retain(|file| !file.packed && file.first != last);
        if files.is_empty() {
            return Ok(None);
        }
        let pidfd = broker::spawn(&[], || {
            // Whoever else wants the processor comes first; if that is not granted, it is only slower.
            let _ = rustix::process::nice(10);
            files.iter().map(|file| i32::from(pack(&file.path).is_err())).max().unwrap_or(0)
        })?;
        Ok(Some(Self { pidfd }))
    }

    /// Whether it has ended; it is to be dropped then.
    pub fn has_ended(&self) -> bool {
        !matches!(sys::reap(self.pidfd.as_fd()), Ok(None))
    }

    /// Lets it end, but does not wait for long: what is not compressed can be read as well.
    pub fn finish(self) {
        if !state::wait_for(&self.pidfd, Some(PATIENCE)).unwrap_or(false) {
            let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        }
        let _ = sys::wait(self.pidfd.as_fd());
    }
}

fn pack(path: &Path) -> io::Result<()> {
    let whole = appended(path, PACKED);
    let part = appended(&whole, UNFINISHED);
    let mut from = File::open(path)?;
    let into = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    let mut encoder = GzEncoder::new(into, Compression::default());
    let written = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish());
    if let Err(error) = written {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    std::fs::rename(&part, &whole)?;
    match std::fs::remove_file(path) {
        // It became too old meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::remove_file(&whole),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_went_meanwhile_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json.7");
        assert!(pack(&path).is_err());
        std::fs::write(&path, "line\n".repeat(1000)).unwrap();
        pack(&path).unwrap();
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["log.json.7.gz"]);
        assert!(std::fs::metadata(dir.path().join("log.json.7.gz")).unwrap().len() < 200);
    }
}
