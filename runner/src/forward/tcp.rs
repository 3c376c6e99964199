//! A relayed TCP port: each connection is two sockets and what was read of either and not yet written to the other.
//!
//! The end of what one side sends is passed on as such, so that half-closed connections work; an error on either side ends both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, listen, socket_with};

/// Connections of one port at a time; more wait in the kernel.
const MOST: usize = 256;

/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 128;

/// How much of one direction is held here.
const PIECE: usize = 64 << 10;

/// Pieces that are passed on before others have their turn.
const PIECES: usize = 16;

/// A port and its connections.
pub(super) struct Port {
    listener: TcpListener,
    target: SocketAddr,
    connections: Vec<Connection>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// The container has not answered yet.
    opening: bool,
    up: Direction,
    down: Direction,
}

/// What goes from one side to the other.
#[derive(Default)]
struct Direction {
    held: Vec<u8>,
    written: usize,
    /// Nothing more comes.
    ended: bool,
    /// And the other side knows.
    told: bool,
}

impl Port {
    pub fn new(socket: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        listen(&socket, BACKLOG)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self { listener, target, connections: Vec::new() })
    }

    pub fn wait_for(&self, interests: &mut Vec<(RawFd, i16)>) {
        if self.connections.len() < MOST {
            interests.push((self.listener.as_raw_fd(), libc::POLLIN));
        }
        self.connections.iter().for_each(|connection| connection.wait_for(interests));
    }

    pub fn turn(&mut self, ready: &[RawFd]) {
        let is_ready = |fd: RawFd| ready.contains(&fd);
        self.connections.retain_mut(|connection| {
            let asked = is_ready(connection.client.as_raw_fd()) || is_ready(connection.server.as_raw_fd());
            !asked || connection.turn().is_ok_and(|open| open)
        });
        if is_ready(self.listener.as_raw_fd()) {
            while self.connections.len() < MOST {
                // One that gave up while it waited is nobody's error.
                let Ok((client, _)) = self.listener.accept() else { break };
                // The container refuses: so do we, by hanging up.
                self.connections.extend(Connection::new(client, self.target));
            }
        }
    }
}

impl Connection {
    fn new(client: TcpStream, target: SocketAddr) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let server = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match connect(&server, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let server = TcpStream::from(server);
        // What is small and urgent for one side is so for the other.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self { client, server, opening: true, up: Direction::default(), down: Direction::default() })
    }

    fn wait_for(&self, interests: &mut Vec<(RawFd, i16)>) {
        let (client, server) = (self.client.as_raw_fd(), self.server.as_raw_fd());
        if self.opening {
            return interests.push((server, libc::POLLOUT));
        }
        let of_client = self.up.wants_input() | self.down.wants_output();
        let of_server = self.down.wants_input() | self.up.wants_output();
        // With nothing to wait for, a hang-up would be told again and again.
        interests.extend([(client, of_client), (server, of_server)].into_iter().filter(|(_, events)| *events != 0));
    }

    /// Passes on what can be. False: both sides have ended.
    fn turn(&mut self) -> io::Result<bool> {
        if self.opening {
            if let Some(error) = self.server.take_error()? {
                return Err(error);
            }
            self.opening = false;
        }
        self.up.pass_on(&self.client, &self.server)?;
        self.down.pass_on(&self.server, &self.client)?;
        Ok(!(self.up.told && self.down.told))
    }
}

impl Direction {
    fn wants_input(&self) -> i16 {
        if self.held.is_empty() && !self.ended { libc::POLLIN } else { 0 }
    }

    fn wants_output(&self) -> i16 {
        if self.held.is_empty() { 0 } else { libc::POLLOUT }
    }

    fn pass_on(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        for _ in 0..PIECES {
            if !self.held.is_empty() {
                match to.write(&self.held[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
                if self.written == self.held.len() {
                    // An idle connection holds no memory.
                    (self.held, self.written) = (Vec::new(), 0);
                }
            } else if self.ended {
                if !std::mem::replace(&mut self.told, true) {
                    to.shutdown(Shutdown::Write)?;
                }
                return Ok(());
            } else {
                let mut piece = vec![0; PIECE];
                match from.read(&mut piece) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        piece.truncate(count);
                        self.held = piece;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
