//! A relayed UDP port: each client has a socket of its own towards the container, so that answers find their way back.
//!
//! A client is forgotten when nothing was heard of it for a while, or when there are too many and it is the one of whom nothing was
//! heard for the longest time.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Clients of one port at a time.
const MOST: usize = 256;

/// How long one may be silent.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest datagram.
const LONGEST: usize = 64 << 10;

/// Datagrams that are passed on before others have their turn.
const DATAGRAMS: usize = 64;

/// A port and its clients.
pub(super) struct Port {
    socket: UdpSocket,
    target: SocketAddr,
    clients: Vec<Client>,
}

struct Client {
    address: SocketAddr,
    server: UdpSocket,
    heard: Instant,
}

impl Port {
    pub fn new(socket: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { socket, target, clients: Vec::new() })
    }

    pub fn wait_for(&self, interests: &mut Vec<(RawFd, i16)>) {
        let servers = self.clients.iter().map(|client| &client.server);
        interests.extend(servers.chain([&self.socket]).map(|socket| (socket.as_raw_fd(), libc::POLLIN)));
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.heard + SILENCE).min()
    }

    pub fn turn(&mut self, ready: &[RawFd]) {
        let now = Instant::now();
        self.clients.retain(|client| client.heard + SILENCE > now);
        if ready.is_empty() {
            return;
        }
        let mut datagram = vec![0; LONGEST];
        for client in self.clients.iter_mut().filter(|client| ready.contains(&client.server.as_raw_fd())) {
            for _ in 0..DATAGRAMS {
                // A refusal of the container is told here and meant for nobody else.
                let Ok(count) = client.server.recv(&mut datagram) else { break };
                client.heard = now;
                // Datagrams may be lost.
                let _ = self.socket.send_to(&datagram[..count], client.address);
            }
        }
        if ready.contains(&self.socket.as_raw_fd()) {
            for _ in 0..DATAGRAMS {
                let Ok((count, address)) = self.socket.recv_from(&mut datagram) else { break };
                if let Ok(client) = self.client(address, now) {
                    client.heard = now;
                    let _ = client.server.send(&datagram[..count]);
                }
            }
        }
    }

    fn client(&mut self, address: SocketAddr, now: Instant) -> io::Result<&mut Client> {
        let at = match self.clients.iter().position(|client| client.address == address) {
            Some(at) => at,
            None => {
                let any: SocketAddr = if self.target.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
                let server = UdpSocket::bind(any)?;
                server.set_nonblocking(true)?;
                server.connect(self.target)?;
                if self.clients.len() == MOST {
                    let oldest = self.clients.iter().enumerate().min_by_key(|(_, client)| client.heard);
                    if let Some((at, _)) = oldest {
                        self.clients.swap_remove(at);
                    }
                }
                self.clients.push(Client { address, server, heard: now });
                self.clients.len() - 1
            }
        };
        Ok(&mut self.clients[at])
    }
}
