//! Becoming a monitor: forked twice, in a session of its own, with nothing of its starter's but what it was given.
//!
//! The starter waits for one report: the program runs, or why it does not. The rule: a monitor keeps no descriptor, no terminal, no working
//! directory and no lock of its starter.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::{broker, sys};

/// How long the starter waits: longer than a start may take.
const REPORT_LIMIT: Duration = Duration::from_secs(180);

/// The longest report.
const MAX_REPORT: u64 = 1 << 20;

/// The monitor's end of the report.
pub(crate) struct Report {
    pipe: std::io::PipeWriter,
}

impl Report {
    /// Says how the start went, and hangs up.
    pub fn send<T: Serialize>(self, result: Result<&T, &Error>) {
        let answer = result.map_err(super::failure);
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        // A starter that went away meanwhile has its own error to show.
        let _ = (&self.pipe).write_all(&bytes);
    }
}

/// Forks a monitor that runs `serve` and ends. With `foreground`, both get an end of a connection; `kept` are descriptors
/// that `serve` owns.
pub(crate) fn start<T: DeserializeOwned + Serialize>(
    foreground: bool,
    kept: &[RawFd],
    serve: impl FnOnce(Option<UnixStream>, Report),
) -> Result<(T, Option<UnixStream>)> {
    if sys::thread_count().doing(|| "count the threads".into())? != 1 {
        return Err(Error::invalid("a monitor can only be started by a process with one thread"));
    }
    let (reader, writer) = std::io::pipe().doing(|| "make a pipe".into())?;
    let (client, server) = if foreground {
        let (client, server) = UnixStream::pair().doing(|| "make a socket pair".into())?;
        (Some(client), Some(server))
    } else {
        (None, None)
    };
    let own = [Some(writer.as_raw_fd()), server.as_ref().map(AsRawFd::as_raw_fd)];
    let keep: Vec<RawFd> = own.into_iter().flatten().chain(kept.iter().copied()).collect();
    let first = broker::spawn(&keep, || {
        if rustix::process::setsid().is_err() {
            return 125;
        }
        match sys::fork() {
            Ok(sys::Forked::Child) => {
                let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
                let ready = null.map_err(std::io::Error::from).and_then(|null| sys::set_stdio([null.as_fd(); 3]));
                if ready.is_ok() && rustix::process::chdir("/").is_ok() {
                    serve(server, Report { pipe: writer });
                }
                0
            }
            Ok(sys::Forked::Parent(_)) => 0,
            Err(_) => 125,
        }
    })?;
    sys::wait(first.as_fd()).doing(|| "start the monitor".into())?;
    let mut bytes = Vec::new();
    let deadline = Instant::now() + REPORT_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout { doing: "waiting for the monitor".into(), seconds: REPORT_LIMIT.as_secs() });
        }
        let mut entry = [libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        if sys::poll(&mut entry, Some(left)).doing(|| "wait for the monitor".into())? == 0 {
            continue;
        }
        let mut buffer = [0u8; 8192];
        match (&reader).read(&mut buffer).doing(|| "listen to the monitor".into())? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if bytes.len() as u64 > MAX_REPORT {
            return Err(Error::invalid("the monitor says too much"));
        }
    }
    let answer: std::result::Result<T, Failure> =
        serde_json::from_slice(&bytes).map_err(|_| Error::invalid("the monitor ended without a word"))?;
    Ok((answer.map_err(Error::Start)?, client))
}
