//! Output sent line by line to a log service of the host: syslog's socket or the journal's, by datagrams of our own.
//!
//! Nothing is kept here, so nothing can be read back. A service that does not answer holds the program up for a second at most; what
//! could not be sent is told at the end, as a full disk would be.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::{Log, MAX_PIECE, Stream};
use crate::error::{Doing, Result};

/// How long one line may take to be taken.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// Where output is sent instead of into files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The service's datagram socket.
    pub socket: PathBuf,
    /// How a line is written.
    pub form: Form,
}

/// The form of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// RFC 3164, without a time: a local service adds its own.
    Syslog {
        /// The facility's number, as 3 for daemons.
        facility: u8,
        /// What stands before the line.
        tag: String,
    },
    /// The journal's native protocol, with these fields beside the message.
    Journal {
        /// Names in capital letters, and values.
        fields: Vec<(String, String)>,
    },
}

impl Service {
    /// Whether somebody listens.
    ///
    /// # Errors
    /// Nobody does.
    pub fn check(&self) -> Result<()> {
        self.connect().map(drop)
    }

    fn connect(&self) -> Result<UnixDatagram> {
        let doing = || format!("reach the log service at {}", self.socket.display());
        let socket = UnixDatagram::unbound().doing(doing)?;
        socket.connect(&self.socket).doing(doing)?;
        socket.set_write_timeout(Some(SEND_LIMIT)).doing(doing)?;
        Ok(socket)
    }

    /// One line as a datagram; `partial`: it goes on in the next.
    fn datagram(&self, stream: Stream, line: &[u8], partial: bool) -> Vec<u8> {
        let severity = match stream {
            Stream::Stdout => 6,
            Stream::Stderr => 3,
        };
        match &self.form {
            Form::Syslog { facility, tag } => {
                let head = format!("<{}>{tag}[{}]: ", facility * 8 + severity, std::process::id());
                [head.as_bytes(), line].concat()
            }
            Form::Journal { fields } => {
                let mut out = format!("PRIORITY={severity}\n").into_bytes();
                for (name, value) in fields {
                    put(&mut out, name, value.as_bytes());
                }
                if partial {
                    put(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
                }
                put(&mut out, "MESSAGE", line);
                out
            }
        }
    }
}

/// A field with its length, so that any byte may be in it.
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Sends lines to a service.
#[derive(Debug)]
pub(crate) struct Sender {
    service: Service,
    socket: Option<UnixDatagram>,
    pending: [Vec<u8>; 2],
}

impl Sender {
    pub fn new(service: &Service) -> Self {
        Self { service: service.clone(), socket: None, pending: [Vec::new(), Vec::new()] }
    }

    fn send(&mut self, stream: Stream, line: &[u8], partial: bool) -> Result<()> {
        let datagram = self.service.datagram(stream, line, partial);
        let mut result = Ok(());
        // A service that was started anew has another socket by the same name.
        for _ in 0..2 {
            let socket = match self.socket.take() {
                Some(socket) => socket,
                None => self.service.connect()?,
            };
            result = socket.send(&datagram).map(drop);
            if result.is_ok() {
                self.socket = Some(socket);
                break;
            }
        }
        result.doing(|| format!("send to the log service at {}", self.service.socket.display()))
    }
}

impl Log for Sender {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let mut first_error = Ok(());
        let mut pending = std::mem::take(&mut self.pending[stream as usize]);
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        loop {
            let end = rest.iter().take(MAX_PIECE).position(|byte| *byte == b'\n');
            let (line, after, partial) = match end {
                Some(at) => (&rest[..at], at + 1, false),
                None if rest.len() >= MAX_PIECE => (&rest[..MAX_PIECE], MAX_PIECE, true),
                None => break,
            };
            let sent = self.send(stream, line, partial);
            first_error = first_error.and(sent);
            rest = &rest[after..];
        }
        self.pending[stream as usize] = rest.to_vec();
        first_error
    }

    fn finish(&mut self) -> Result<()> {
        let mut result = Ok(());
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.pending[stream as usize]);
            if !line.is_empty() {
                result = result.and(self.send(stream, &line, true));
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(form: Form, output: &[&[u8]]) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let mut sender = Sender::new(&Service { socket, form });
        for piece in output {
            sender.write(Stream::Stdout, piece).unwrap();
        }
        sender.finish().unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65_536];
        std::iter::from_fn(|| listener.recv(&mut buffer).ok().map(|count| buffer[..count].to_vec())).collect()
    }

    #[test]
    fn lines_become_datagrams() {
        let form = Form::Syslog { facility: 3, tag: "box".into() };
        let found = received(form, &[b"one\ntw", b"o\nend"]);
        let head = format!("<30>box[{}]: ", std::process::id());
        let texts: Vec<String> = found.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect();
        assert_eq!(texts, [format!("{head}one"), format!("{head}two"), format!("{head}end")]);
    }

    #[test]
    fn the_journal_takes_any_byte() {
        let form = Form::Journal { fields: vec![("CONTAINER_NAME".into(), "box".into())] };
        let found = received(form, &[b"a\0=b\n"]);
        let expected =
            b"PRIORITY=6\nCONTAINER_NAME\n\x03\0\0\0\0\0\0\0box\nMESSAGE\n\x04\0\0\0\0\0\0\0a\0=b\n".to_vec();
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_service_that_is_not_there_is_an_error() {
        let service = Service { socket: "/nonexistent/log".into(), form: Form::Journal { fields: Vec::new() } };
        assert!(service.check().unwrap_err().to_string().contains("/nonexistent/log"));
    }
}
