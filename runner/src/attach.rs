//! The client of a monitor: a terminal or plain input and output on this side, frames on the other.
//!
//! The terminal is raw as long as [`RawTerminal`] lives, and is put back whichever way this ends. Bytes pass unchanged in both
//! directions. The rule: the connection closing without a Detach frame means to the monitor that we vanished, so leaving on
//! purpose always says so.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::termios::{isatty, tcgetwinsize};

use crate::error::{Doing, Error, Result};
use crate::monitor::frame::{Decoder, Frame};
use crate::monitor::{ATTACH_SOCKET, DetachKeys, FORWARDED, connect_in};
use crate::sys;
use crate::terminal::RawTerminal;

/// Output waiting for this side's reader from which on no more is read from the monitor.
const MAX_WAITING: usize = 64 * 1024;

/// A started detach sequence that is not gone on with for so long was meant for the program.
const KEYS_LIMIT: Duration = Duration::from_millis(500);

/// How a client behaves.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Pass this side's standard input on.
    pub stdin: bool,
    /// Pass signals on.
    pub forward_signals: bool,
    /// What detaches; only with a terminal on both sides.
    pub detach_keys: DetachKeys,
}

/// How the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended with this code.
    Exited(i32),
    /// The user typed the keys; the program goes on.
    Detached,
    /// The monitor is gone without a word.
    Lost,
    /// This signal ended the client, whose signals are not passed on.
    Interrupted(i32),
}

/// Connects to a running container's monitor.
///
/// # Errors
/// [`Error::NotRunning`] if nobody listens.
pub fn connect(dir: &Path) -> Result<UnixStream> {
    connect_in(dir, ATTACH_SOCKET)
}

/// Relays between this process's standard input and output and the program, until it ends or the user detaches.
///
/// # Errors
/// The terminal or the connection fails, or the other side does not keep to the protocol.
pub fn attach(stream: UnixStream, options: AttachOptions) -> Result<Outcome> {
    stream.set_nonblocking(true).doing(|| "set up the connection".into())?;
    // Watched also where they are not passed on: whatever ends us, the terminal comes back before.
    let signals: Vec<i32> = FORWARDED.into_iter().chain([libc::SIGWINCH]).collect();
    let signals = sys::signal_fd(&signals).doing(|| "watch signals".into())?;
    let mut client = Client {
        stream,
        signals,
        decoder: Decoder::default(),
        to_monitor: Vec::new(),
        waiting: [Vec::new(), Vec::new()],
        broken: [false; 2],
        stdin_open: options.stdin,
        terminal: None,
        greeted: false,
        ended: None,
        held_since: None,
        options,
    };
    let outcome = client.run();
    // The terminal comes back before anybody prints an error.
    drop(client);
    outcome
}

struct Client {
    stream: UnixStream,
    signals: OwnedFd,
    decoder: Decoder,
    to_monitor: Vec<u8>,
    waiting: [Vec<u8>; 2],
    broken: [bool; 2],
    stdin_open: bool,
    terminal: Option<RawTerminal>,
    greeted: bool,
    ended: Option<Outcome>,
    held_since: Option<Instant>,
    options: AttachOptions,
}

impl Client {
    fn run(&mut self) -> Result<Outcome> {
        let mut buffer = [0u8; 32 * 1024];
        loop {
            let drained = self.waiting.iter().all(Vec::is_empty);
            if let (Some(outcome), true) =
                (self.ended, drained && (self.to_monitor.is_empty() || self.ended != Some(Outcome::Detached)))
            {
                return Ok(outcome);
            }
            let mut entries = self.interests();
            let left = self.held_since.map(|since| KEYS_LIMIT.saturating_sub(since.elapsed()));
            sys::poll(&mut entries, left).doing(|| "wait for input and output".into())?;
            if self.held_since.is_some_and(|since| since.elapsed() >= KEYS_LIMIT) {
                self.pass_held_keys();
            }
            let happened =
                |fd: i32, events: i16| entries.iter().any(|entry| entry.fd == fd && entry.revents & events != 0);
            let any = libc::POLLIN | libc::POLLHUP | libc::POLLERR;
            if happened(self.signals.as_raw_fd(), any) {
                self.take_signals()?;
            }
            if happened(0, any) && self.stdin_open {
                self.take_input(&mut buffer);
            }
            let socket = self.stream.as_raw_fd();
            if happened(socket, libc::POLLOUT) {
                self.send()?;
            }
            if happened(socket, any) && self.ended.is_none() {
                self.receive(&mut buffer)?;
            }
            for index in 0..2 {
                if happened(index as i32 + 1, libc::POLLOUT | libc::POLLERR | libc::POLLHUP) {
                    self.print(index);
                }
            }
        }
    }

    fn interests(&self) -> Vec<libc::pollfd> {
        let mut entries = vec![libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        let mut socket = 0;
        if self.ended.is_none() && self.waiting.iter().all(|waiting| waiting.len() < MAX_WAITING) {
            socket |= libc::POLLIN;
        }
        if !self.to_monitor.is_empty() {
            socket |= libc::POLLOUT;
        }
        if socket != 0 {
            entries.push(libc::pollfd { fd: self.stream.as_raw_fd(), events: socket, revents: 0 });
        }
        // Only after the greeting it is known whether what is typed goes to a terminal.
        if self.stdin_open && self.greeted && self.ended.is_none() && self.to_monitor.len() < MAX_WAITING {
            entries.push(libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 });
        }
        for (index, waiting) in self.waiting.iter().enumerate() {
            if !waiting.is_empty() {
                entries.push(libc::pollfd { fd: index as i32 + 1, events: libc::POLLOUT, revents: 0 });
            }
        }
        entries
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(signal) = sys::read_signal(self.signals.as_fd()).doing(|| "read a signal".into())? {
            match signal {
                libc::SIGWINCH => self.send_size(),
                libc::SIGCONT if self.terminal.is_some() => {
                    // Whoever had the terminal meanwhile may have left it in another mode and size.
                    if let Some(terminal) = &self.terminal {
                        terminal.make_raw()?;
                    }
                    self.send_size();
                }
                signal if self.options.forward_signals => Frame::Signal(signal as u32).encode(&mut self.to_monitor),
                libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT => {
                    self.ended = Some(Outcome::Interrupted(signal));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn send_size(&mut self) {
        // Without a terminal on this side the other one keeps its size.
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdout()).or_else(|_| tcgetwinsize(rustix::stdio::stdin()))
            && size.ws_row > 0
        {
            Frame::Resize { rows: size.ws_row, columns: size.ws_col }.encode(&mut self.to_monitor);
        }
    }

    fn take_input(&mut self, buffer: &mut [u8]) {
        let count = match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(_) => 0,
        };
        if count == 0 {
            self.stdin_open = false;
            let held = self.options.detach_keys.finish();
            Frame::Stdin(held).encode(&mut self.to_monitor);
            Frame::StdinEnd.encode(&mut self.to_monitor);
            return;
        }
        if self.terminal.is_none() {
            Frame::Stdin(buffer[..count].to_vec()).encode(&mut self.to_monitor);
            return;
        }
        let (passed, detached) = self.options.detach_keys.filter(&buffer[..count]);
        self.held_since = self.options.detach_keys.holds().then(Instant::now);
        Frame::Stdin(passed).encode(&mut self.to_monitor);
        if detached {
            Frame::Detach.encode(&mut self.to_monitor);
            self.stdin_open = false;
            self.ended = Some(Outcome::Detached);
        }
    }

    /// The sequence was begun and not gone on with.
    fn pass_held_keys(&mut self) {
        self.held_since = None;
        let held = self.options.detach_keys.finish();
        Frame::Stdin(held).encode(&mut self.to_monitor);
    }

    fn send(&mut self) -> Result<()> {
        match self.stream.write(&self.to_monitor) {
            Ok(count) => drop(self.to_monitor.drain(..count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // What it has sent before may still be read: the exit code.
            Err(_) => self.to_monitor.clear(),
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => self.ended = Some(Outcome::Lost),
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.ended = Some(Outcome::Lost),
            Err(error) => return Err(Error::io("read from the monitor", error)),
        }
        while let Some(frame) = self.decoder.next_frame()? {
            match frame {
                Frame::Hello { terminal, stdin } => self.greeted(terminal, stdin)?,
                Frame::Stdout(bytes) => self.keep(0, &bytes),
                Frame::Stderr(bytes) => self.keep(1, &bytes),
                Frame::Exit(code) => self.ended = Some(Outcome::Exited(code)),
                other => return Err(Error::Protocol(format!("the monitor sent {other:?}"))),
            }
        }
        Ok(())
    }

    fn greeted(&mut self, terminal: bool, stdin: bool) -> Result<()> {
        self.greeted = true;
        if !stdin {
            self.stdin_open = false;
        }
        if terminal && self.stdin_open && isatty(rustix::stdio::stdin()) {
            self.terminal = Some(RawTerminal::new(rustix::stdio::stdin())?);
        }
        if terminal {
            self.send_size();
        }
        Ok(())
    }

    fn keep(&mut self, index: usize, bytes: &[u8]) {
        if !self.broken[index] {
            self.waiting[index].extend_from_slice(bytes);
        }
    }

    fn print(&mut self, index: usize) {
        let target = if index == 0 { rustix::stdio::stdout() } else { rustix::stdio::stderr() };
        let waiting = &mut self.waiting[index];
        match rustix::io::write(target, &waiting[..waiting.len().min(4096)]) {
            Ok(count) => drop(waiting.drain(..count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => {
                // The reader went away (`| head`): the program goes on, as with docker.
                self.broken[index] = true;
                waiting.clear();
            }
        }
    }
}
