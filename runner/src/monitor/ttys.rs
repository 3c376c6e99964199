//! The terminals of a system beside its console: `/dev/tty1` and so on, each for one client at a time.
//!
//! The container's first process makes them and hands their masters to the monitor. A client says on a socket of their own which
//! one it wants, hears whether it may have it, and speaks frames from then on, as with the console. Nobody reads a terminal
//! without a client: what is written there waits in the kernel, and who writes more than that waits too.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcsetwinsize};

use super::frame::Frame;
use super::peer::{Peer, accept};
use super::task::{Request, Task};
use super::{connect_in, listen_in};
use crate::error::{Doing, Error, Result};
use crate::log::Stream;

/// The socket in the state directory.
pub(crate) const SOCKET: &str = "ttys.sock";

/// How long the client waits to hear whether it may have a terminal.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Output for a client that has not taken it yet, from which on its terminal is not read.
const MOST_WAITING: usize = 64 * 1024;

/// Clients that have not said what they want, at a time.
const MOST_STRANGERS: usize = 16;

/// What the monitor answers: the terminal is the client's, is somebody else's, or is not there.
const YOURS: u8 = 0;
const TAKEN: u8 = 1;
const MISSING: u8 = 2;

/// The terminals of a container that runs.
pub(super) struct Ttys {
    listener: UnixListener,
    strangers: Vec<UnixStream>,
    ttys: Vec<Tty>,
}

struct Tty {
    master: OwnedFd,
    /// Held open: a terminal that nobody has open tells its master of nothing else.
    slave: Option<OwnedFd>,
    client: Option<Peer>,
    input: VecDeque<u8>,
}

impl Ttys {
    /// Serves the terminals with these masters.
    pub fn begin(state_dir: &Path, masters: Vec<OwnedFd>) -> Result<Self> {
        let listener = listen_in(state_dir, SOCKET)?;
        let mut ttys = Vec::new();
        for master in masters {
            rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK).doing(|| "set up a terminal".into())?;
            let slave = open_slave(&master);
            ttys.push(Tty { master, slave, client: None, input: VecDeque::new() });
        }
        Ok(Self { listener, strangers: Vec::new(), ttys })
    }

    /// Hears what a client wants, and gives it that or says why not.
    fn answer(&mut self, mut stream: UnixStream) {
        let mut number = [0];
        let asked = match stream.read(&mut number) {
            Ok(1) => usize::from(number[0]),
            // Not yet.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.strangers.push(stream),
            _ => return,
        };
        let tty = asked.checked_sub(1).and_then(|index| self.ttys.get_mut(index));
        let answer = match &tty {
            None => MISSING,
            Some(tty) if tty.client.is_some() => TAKEN,
            Some(_) => YOURS,
        };
        if let (Ok(()), YOURS, Some(tty)) = (stream.write_all(&[answer]), answer, tty)
            && let Ok(mut peer) = Peer::socket(stream, false)
        {
            peer.frame(&Frame::Hello { terminal: true, stdin: true });
            tty.client = Some(peer);
        }
    }
}

impl Task for Ttys {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        let mut interests = Vec::new();
        if self.strangers.len() < MOST_STRANGERS {
            interests.push((self.listener.as_raw_fd(), libc::POLLIN));
        }
        interests.extend(self.strangers.iter().map(|stream| (stream.as_raw_fd(), libc::POLLIN)));
        self.ttys.iter().for_each(|tty| tty.wait_for(&mut interests));
        interests
    }

    fn wake_at(&self) -> Option<Instant> {
        None
    }

    fn turn(&mut self, ready: &[RawFd]) -> Vec<Request> {
        self.ttys.iter_mut().for_each(|tty| tty.turn(ready));
        let (asking, strangers): (Vec<_>, Vec<_>) =
            self.strangers.drain(..).partition(|stream| ready.contains(&stream.as_raw_fd()));
        self.strangers = strangers;
        asking.into_iter().for_each(|stream| self.answer(stream));
        if ready.contains(&self.listener.as_raw_fd())
            && let Ok(Some(stream)) = accept(&self.listener)
            && stream.set_nonblocking(true).is_ok()
        {
            self.answer(stream);
        }
        Vec::new()
    }
}

impl Drop for Ttys {
    /// The system has ended: its clients are told, as far as they listen.
    fn drop(&mut self) {
        for client in self.ttys.iter_mut().filter_map(|tty| tty.client.as_mut()) {
            client.frame(&Frame::Exit(0));
            let socket = client.interests(false).first().map(|(fd, _)| *fd);
            socket.into_iter().for_each(|fd| client.write_ready(fd));
        }
    }
}

impl Tty {
    fn wait_for(&self, interests: &mut Vec<(RawFd, i16)>) {
        let Some(client) = &self.client else { return };
        interests.extend(client.interests(self.input.len() < MOST_WAITING));
        let output = if client.backlog() < MOST_WAITING { libc::POLLIN } else { 0 };
        let input = if self.input.is_empty() { 0 } else { libc::POLLOUT };
        if output | input != 0 {
            interests.push((self.master.as_raw_fd(), output | input));
        }
    }

    fn turn(&mut self, ready: &[RawFd]) {
        let Some(client) = &mut self.client else { return };
        let socket = client.interests(true).first().map(|(fd, _)| *fd);
        let mut buffer = [0; 8192];
        if socket.is_some_and(|fd| ready.contains(&fd)) {
            let Ok(frames) = client.read_ready(&mut buffer) else { return self.client = None };
            for frame in frames {
                match frame {
                    Frame::Stdin(bytes) => self.input.extend(bytes),
                    Frame::Resize { rows, columns } => {
                        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                        // A terminal that is just going away has no size.
                        let _ = tcsetwinsize(&self.master, size);
                    }
                    Frame::StdinEnd | Frame::Signal(_) => {}
                    // It leaves, or speaks out of turn.
                    _ => client.closed = true,
                }
            }
        }
        if ready.contains(&self.master.as_raw_fd()) && client.backlog() < MOST_WAITING {
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(count) => client.output(Stream::Stdout, &buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Hung up by whoever logs in or out there: opened again, it is as new.
                Err(_) => self.slave = open_slave(&self.master),
            }
        }
        let (front, _) = self.input.as_slices();
        if !front.is_empty()
            && let Ok(count) = rustix::io::write(&self.master, front)
        {
            drop(self.input.drain(..count));
        }
        socket.into_iter().for_each(|fd| client.write_ready(fd));
        if client.closed {
            self.client = None;
            self.input.clear();
        }
    }
}

/// The other side of a terminal.
pub(super) fn open_slave(master: &OwnedFd) -> Option<OwnedFd> {
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok()
}

/// Connects to terminal `number`, from 1 on, of a running container; [`crate::attach::attach`] does the rest.
///
/// # Errors
/// [`Error::NotRunning`] if nobody listens, [`Error::Invalid`] if there is no such terminal, or somebody has it.
pub fn connect_tty(state_dir: &Path, number: u8) -> Result<UnixStream> {
    let mut stream = connect_in(state_dir, SOCKET)?;
    let doing = || format!("ask for terminal {number}");
    stream.set_read_timeout(Some(ANSWER_LIMIT)).doing(doing)?;
    let mut answer = [0];
    stream.write_all(&[number]).and_then(|()| stream.read_exact(&mut answer)).doing(doing)?;
    stream.set_read_timeout(None).doing(doing)?;
    match answer[0] {
        YOURS => Ok(stream),
        TAKEN => Err(Error::invalid(format!("somebody is on terminal {number} already"))),
        _ => Err(Error::invalid(format!("there is no terminal {number}"))),
    }
}
