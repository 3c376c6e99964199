//! Who is at the other end of a relay: the process's own standard input and output, or a client on a socket.
//!
//! A peer has a buffer for what it has not taken yet, and gives what it sends as frames whatever it is. The rule: no peer is ever
//! written to unless poll said that it can take something, and then no more than a pipe surely takes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::frame::{Decoder, Frame};
use crate::error::Result;
use crate::log::Stream;

/// What a ready pipe takes without blocking (pipe(7), `PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// One end of the relay.
#[derive(Debug)]
pub struct Peer {
    kind: Kind,
    /// The container lives and dies with it.
    pub owner: bool,
    /// Nothing more comes from it.
    pub input_ended: bool,
    /// It is gone.
    pub closed: bool,
}

#[derive(Debug)]
enum Kind {
    /// Standard input and output of this process: what waits for 1 and 2.
    Local { out: [VecDeque<u8>; 2], broken: [bool; 2] },
    /// A client.
    Socket { stream: UnixStream, decoder: Decoder, out: VecDeque<u8> },
}

impl Peer {
    /// This process's own standard input (if wanted) and output.
    pub fn local(stdin: bool) -> Self {
        let kind = Kind::Local { out: [VecDeque::new(), VecDeque::new()], broken: [false; 2] };
        Self { kind, owner: false, input_ended: !stdin, closed: false }
    }

    /// A client on a socket, which becomes non-blocking.
    pub fn socket(stream: UnixStream, owner: bool) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let kind = Kind::Socket { stream, decoder: Decoder::default(), out: VecDeque::new() };
        Ok(Self { kind, owner, input_ended: false, closed: false })
    }

    /// What to poll: input, then output, each with the events wanted.
    pub fn interests(&self, want_input: bool) -> Vec<(RawFd, i16)> {
        match &self.kind {
            Kind::Local { out, broken } => {
                let mut list = Vec::new();
                if want_input && !self.input_ended {
                    list.push((0, libc::POLLIN));
                }
                for (index, queue) in out.iter().enumerate().filter(|(index, _)| !broken[*index]) {
                    if !queue.is_empty() {
                        list.push((index as RawFd + 1, libc::POLLOUT));
                    }
                }
                list
            }
            Kind::Socket { stream, out, .. } => {
                let mut events = 0;
                if want_input && !self.input_ended {
                    events |= libc::POLLIN;
                }
                if !out.is_empty() {
                    events |= libc::POLLOUT;
                }
                vec![(stream.as_raw_fd(), events)]
            }
        }
    }

    /// Whether `fd` is this process's own standard output or error, which is only written to.
    pub fn is_output(&self, fd: RawFd) -> bool {
        matches!(self.kind, Kind::Local { .. }) && fd != 0
    }

    /// How many bytes it has not taken yet.
    pub fn backlog(&self) -> usize {
        match &self.kind {
            Kind::Local { out, .. } => out[0].len() + out[1].len(),
            Kind::Socket { out, .. } => out.len(),
        }
    }

    /// Whether it slows the program down when it is behind: a foreground, but no bystander.
    pub fn holds_up(&self) -> bool {
        self.owner || matches!(self.kind, Kind::Local { .. })
    }

    /// Puts output into its buffer.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Local { out, broken } => {
                let index = stream as usize;
                if !broken[index] {
                    out[index].extend(bytes);
                }
            }
            Kind::Socket { out, .. } => match stream {
                Stream::Stdout => Frame::Stdout(bytes.to_vec()).encode(out),
                Stream::Stderr => Frame::Stderr(bytes.to_vec()).encode(out),
            },
        }
    }

    /// Puts a frame of the monitor's into its buffer; the own process needs none.
    pub fn frame(&mut self, frame: &Frame) {
        if let Kind::Socket { out, .. } = &mut self.kind {
            frame.encode(out);
        }
    }

    /// Writes what can be written to `fd`, which poll found ready.
    pub fn write_ready(&mut self, fd: RawFd) {
        match &mut self.kind {
            Kind::Local { out, broken } => {
                let index = usize::from(fd == 2);
                // SIGPIPE is ignored by Rust programs: a reader that went away is an error here, and then its output is dropped.
                let (target, queue) = (standard(index), &mut out[index]);
                let (front, _) = queue.as_slices();
                match rustix::io::write(target, &front[..front.len().min(PIPE_BUF)]) {
                    Ok(count) => drop(queue.drain(..count)),
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Err(_) => {
                        broken[index] = true;
                        queue.clear();
                    }
                }
            }
            Kind::Socket { stream, out, .. } => loop {
                let (front, _) = out.as_slices();
                if front.is_empty() {
                    break;
                }
                match (&*stream).write(front) {
                    Ok(count) => drop(out.drain(..count)),
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                        break;
                    }
                    Err(_) => {
                        self.closed = true;
                        break;
                    }
                }
            },
        }
    }

    /// Reads what it sent.
    ///
    /// # Errors
    /// A client that does not keep to the protocol.
    pub fn read_ready(&mut self, buffer: &mut [u8]) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        match &mut self.kind {
            Kind::Local { .. } => match rustix::io::read(standard_input(), &mut *buffer) {
                Ok(0) => {
                    self.input_ended = true;
                    frames.push(Frame::StdinEnd);
                }
                Ok(count) => frames.push(Frame::Stdin(buffer[..count].to_vec())),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => {
                    self.input_ended = true;
                    frames.push(Frame::StdinEnd);
                }
            },
            Kind::Socket { stream, decoder, .. } => {
                match (&*stream).read(buffer) {
                    Ok(0) => {
                        self.input_ended = true;
                        self.closed = true;
                    }
                    Ok(count) => decoder.push(&buffer[..count]),
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(_) => {
                        self.input_ended = true;
                        self.closed = true;
                    }
                }
                while let Some(frame) = decoder.next_frame()? {
                    frames.push(frame);
                }
            }
        }
        Ok(frames)
    }
}

fn standard_input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

fn standard(index: usize) -> BorrowedFd<'static> {
    if index == 0 { rustix::stdio::stdout() } else { rustix::stdio::stderr() }
}

/// The descriptor of a listener's new client, checked: the same user as ours, or root.
pub fn accept(listener: &std::os::unix::net::UnixListener) -> io::Result<Option<UnixStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())?;
            let allowed = peer.uid.is_root() || peer.uid == rustix::process::geteuid();
            Ok(allowed.then_some(stream))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
