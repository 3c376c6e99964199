//! Questions that nobody here can answer, on their way to the host's name servers and back. Each has a socket of its own,
//! connected to the server and so on a port that cannot be guessed, and a number of its own; what does not answer just
//! that question is thrown away. Servers are asked one after the other, twice, and each for a bounded time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use super::message::Query;
use crate::network::files::name_servers;

/// The host's servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server has for its answer.
const PATIENCE: Duration = Duration::from_millis(2500);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Most servers asked, as resolv.conf(5) has it.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;

/// The servers to ask: those given, else the host's as they are now.
#[derive(Debug)]
pub(crate) struct Servers {
    given: Vec<IpAddr>,
    host: Vec<IpAddr>,
    stamp: Option<(SystemTime, u64)>,
}

impl Servers {
    /// Those given, or with none the host's.
    pub fn new(given: &[IpAddr]) -> Self {
        Self { given: given.to_vec(), host: Vec::new(), stamp: None }
    }

    /// Looks whether the host's file has changed, and says whom to ask.
    pub fn now(&mut self) -> Vec<SocketAddr> {
        if self.given.is_empty() {
            let about = std::fs::metadata(RESOLV_CONF);
            let stamp = about.and_then(|about| Ok((about.modified()?, about.len()))).ok();
            if stamp.is_none() || stamp != self.stamp {
                let text = crate::sys::read_small(RESOLV_CONF).unwrap_or_default();
                self.host = name_servers(&text);
                self.stamp = stamp;
            }
        }
        let servers = if self.given.is_empty() { &self.host } else { &self.given };
        servers.iter().take(MAX_SERVERS).map(|ip| SocketAddr::new(*ip, PORT)).collect()
    }
}

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Forward<T> {
    /// Who wants to know.
    pub asker: T,
    /// What.
    pub query: Query,
    bytes: Vec<u8>,
    id: u16,
    servers: Vec<SocketAddr>,
    asked: usize,
    stream: bool,
    link: Link,
    /// When this server's time is over.
    pub deadline: Instant,
}

#[derive(Debug)]
enum Link {
    Datagram(UdpSocket),
    Stream { stream: TcpStream, out: Vec<u8>, input: Vec<u8> },
}

impl<T> Forward<T> {
    /// Asks the first server that can be reached; `None` if there is none. With `stream` over TCP.
    pub fn start(asker: T, query: Query, bytes: &[u8], servers: Vec<SocketAddr>, stream: bool) -> Option<Self> {
        let (id, mut asked) = (random(), 0);
        let link = next(&servers, &mut asked, &Query::renumbered(bytes, id), stream)?;
        let deadline = Instant::now() + PATIENCE;
        Some(Self { asker, query, bytes: bytes.to_vec(), id, servers, asked, stream, link, deadline })
    }

    /// Asks the next server, after the last one was silent; `false` if all were.
    pub fn again(&mut self) -> bool {
        self.id = random();
        match next(&self.servers, &mut self.asked, &Query::renumbered(&self.bytes, self.id), self.stream) {
            Some(link) => {
                self.link = link;
                self.deadline = Instant::now() + PATIENCE;
                true
            }
            None => false,
        }
    }

    /// What to wait for.
    pub fn interest(&self) -> (RawFd, i16) {
        match &self.link {
            Link::Datagram(socket) => (socket.as_raw_fd(), libc::POLLIN),
            Link::Stream { stream, out, .. } if out.is_empty() => (stream.as_raw_fd(), libc::POLLIN),
            Link::Stream { stream, .. } => (stream.as_raw_fd(), libc::POLLOUT),
        }
    }

    /// Goes on with what is ready: the whole answer under the asker's own number, or `None` if it is not there yet.
    ///
    /// # Errors
    /// This server will not answer.
    pub fn proceed(&mut self, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        let answer = match &mut self.link {
            Link::Datagram(socket) => match socket.recv(buffer) {
                Ok(length) => Some(buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => return Err(error),
            },
            Link::Stream { stream, out, input } => talk(stream, out, input, buffer)?,
        };
        let Some(answer) = answer.filter(|answer| self.query.is_answered_by(answer, self.id)) else { return Ok(None) };
        Ok(Some(Query::renumbered(&answer, self.query.id)))
    }
}

/// Sends what is left of the question, or reads what has come of the answer.
fn talk(
    stream: &mut TcpStream,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    let patient = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected);
    if !out.is_empty() {
        return match stream.write(out) {
            Ok(count) => {
                out.drain(..count);
                Ok(None)
            }
            Err(error) if patient(&error) => Ok(None),
            Err(error) => Err(error),
        };
    }
    match stream.read(buffer) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => input.extend_from_slice(&buffer[..count]),
        Err(error) if patient(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(take_frame(input))
}

/// Takes one message with its length before it, as TCP carries them, from the front of `input`.
pub(crate) fn take_frame(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*input.first()?, *input.get(1)?]));
    let frame = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(frame)
}

/// A message with its length before it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(&message[..message.len().min(usize::from(u16::MAX))]);
    bytes
}

/// Connects to the next server that lets us, and sends the question.
fn next(servers: &[SocketAddr], asked: &mut usize, bytes: &[u8], stream: bool) -> Option<Link> {
    while *asked < servers.len() * ROUNDS {
        let server = servers[*asked % servers.len()];
        *asked += 1;
        let link = if stream { open_stream(server, bytes) } else { open_datagram(server, bytes) };
        if let Ok(link) = link {
            return Some(link);
        }
    }
    None
}

fn open_datagram(server: SocketAddr, bytes: &[u8]) -> io::Result<Link> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(bytes)?;
    Ok(Link::Datagram(socket))
}

fn open_stream(server: SocketAddr, bytes: &[u8]) -> io::Result<Link> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(Link::Stream { stream: socket.into(), out: framed(bytes), input: Vec::new() })
}

/// A number that cannot be guessed: hash maps are seeded by the kernel's random bytes.
fn random() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        let mut input = Vec::new();
        for byte in framed(b"abc") {
            assert_eq!(take_frame(&mut input), None);
            input.push(byte);
        }
        input.extend(framed(b""));
        assert_eq!(take_frame(&mut input).as_deref(), Some(&b"abc"[..]));
        assert_eq!(take_frame(&mut input).as_deref(), Some(&b""[..]));
        assert_eq!(take_frame(&mut input), None);
    }

    #[test]
    fn numbers_differ() {
        let some: std::collections::BTreeSet<u16> = (0..50).map(|_| random()).collect();
        assert!(some.len() > 40);
    }
}
