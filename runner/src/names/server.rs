//! The name service of one container: it answers what its programs ask 127.0.0.11, over UDP and TCP. Names of containers
//! come from the [`Directory`]; everything else is asked from the host's servers, unless all of the container's networks
//! are internal. Nothing here blocks, and nothing that is sent to it makes it keep more than a bounded amount.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::message::{Code, MAX_QUERY, Query};
use super::upstream::{Forward, Servers, framed, take_frame};
use crate::network::NameSockets;

/// Questions on their way at one time; further ones are answered with a failure.
const MAX_FORWARDS: usize = 128;
/// Connections at one time; the one that was silent longest goes.
const MAX_CLIENTS: usize = 16;
/// Datagrams answered before the monitor looks after its other work.
const AT_ONCE: usize = 32;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Room for one message.
const BUFFER: usize = 8 << 10;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Datagram(SocketAddr),
    /// The connection of this number.
    Stream(u64),
}

#[derive(Debug)]
struct Client {
    number: u64,
    stream: TcpStream,
    input: Vec<u8>,
    out: Vec<u8>,
    /// A question of its is on its way; the next one is read after.
    waits: bool,
    deadline: Instant,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    directory: Directory,
    servers: Servers,
    forwards: Vec<Forward<Asker>>,
    clients: Vec<Client>,
    numbers: u64,
}

impl Server {
    /// Answers on these sockets for the container of `state_dir`.
    pub fn new(sockets: NameSockets, state_dir: &Path) -> Self {
        Self {
            udp: sockets.udp,
            tcp: sockets.tcp,
            directory: Directory::new(state_dir),
            servers: Servers::new(&sockets.servers),
            forwards: Vec::new(),
            clients: Vec::new(),
            numbers: 0,
        }
    }

    /// The container's networks have changed.
    pub fn networks_changed(&mut self) {
        self.directory.forget();
    }

    /// What to wait for.
    pub fn wait_for(&self, add: &mut dyn FnMut(RawFd, i16)) {
        add(self.udp.as_raw_fd(), libc::POLLIN);
        add(self.tcp.as_raw_fd(), libc::POLLIN);
        for forward in &self.forwards {
            let (fd, events) = forward.interest();
            add(fd, events);
        }
        for client in &self.clients {
            let output = if client.out.is_empty() { 0 } else { libc::POLLOUT };
            let input = if client.waits || output != 0 { 0 } else { libc::POLLIN };
            add(client.stream.as_raw_fd(), input | output);
        }
    }

    /// When something is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        let forwards = self.forwards.iter().map(|forward| forward.deadline);
        forwards.chain(self.clients.iter().map(|client| client.deadline)).min()
    }

    /// Does what one descriptor is ready for.
    pub fn is_ready(&mut self, fd: RawFd) {
        if fd == self.udp.as_raw_fd() {
            self.read_datagrams();
        } else if fd == self.tcp.as_raw_fd() {
            self.greet();
        } else if let Some(index) = self.forwards.iter().position(|forward| forward.interest().0 == fd) {
            self.go_on(index);
        } else if let Some(index) = self.clients.iter().position(|client| client.stream.as_raw_fd() == fd) {
            let client = &mut self.clients[index];
            let number = client.number;
            if client.exchange().is_err() {
                self.clients.remove(index);
            } else {
                self.read_frames(number);
            }
        }
    }

    /// Ends what is over.
    pub fn end_what_is_over(&mut self) {
        let now = Instant::now();
        self.clients.retain(|client| client.deadline > now);
        while let Some(index) = self.forwards.iter().position(|forward| forward.deadline <= now) {
            self.ask_next(index);
        }
    }

    fn read_datagrams(&mut self) {
        let mut buffer = [0; MAX_QUERY];
        for _ in 0..AT_ONCE {
            let Ok((length, from)) = self.udp.recv_from(&mut buffer) else { return };
            self.question(&buffer[..length], Asker::Datagram(from));
        }
    }

    /// Answers a question, or sends it on.
    fn question(&mut self, bytes: &[u8], asker: Asker) {
        let Some(query) = Query::parse(bytes) else { return };
        let stream = matches!(asker, Asker::Stream(_));
        if let Some(records) = self.directory.find(&query) {
            return self.reply(asker, &query.answer(Code::Fine, &records, stream));
        }
        if !self.directory.has_way_out() {
            return self.reply(asker, &query.answer(Code::NoSuchName, &[], stream));
        }
        let failed = query.answer(Code::ServerFailure, &[], stream);
        let servers = self.servers.now();
        let forward = match self.forwards.len() < MAX_FORWARDS {
            true => Forward::start(asker, query, bytes, servers, stream),
            false => None,
        };
        match forward {
            Some(forward) => {
                if let Asker::Stream(number) = asker {
                    self.waits(number, true);
                }
                self.forwards.push(forward);
            }
            None => self.reply(asker, &failed),
        }
    }

    fn go_on(&mut self, index: usize) {
        let mut buffer = [0; BUFFER];
        match self.forwards[index].proceed(&mut buffer) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                let forward = self.forwards.swap_remove(index);
                self.answered(forward.asker, &answer);
            }
            Err(_) => self.ask_next(index),
        }
    }

    fn ask_next(&mut self, index: usize) {
        if !self.forwards[index].again() {
            let Forward { asker, query, .. } = self.forwards.swap_remove(index);
            let stream = matches!(asker, Asker::Stream(_));
            self.answered(asker, &query.answer(Code::ServerFailure, &[], stream));
        }
    }

    fn answered(&mut self, asker: Asker, answer: &[u8]) {
        self.reply(asker, answer);
        if let Asker::Stream(number) = asker {
            self.waits(number, false);
            self.read_frames(number);
        }
    }

    fn reply(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            // An asker that is gone, or does not read, asks again if it wants to.
            Asker::Datagram(to) => drop(self.udp.send_to(answer, to)),
            Asker::Stream(number) => {
                if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
                    client.out.extend(framed(answer));
                }
            }
        }
    }

    fn waits(&mut self, number: u64, waits: bool) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            client.waits = waits;
        }
    }

    fn greet(&mut self) {
        let Ok((stream, _)) = self.tcp.accept() else { return };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.len() >= MAX_CLIENTS {
            let oldest = (0..self.clients.len()).min_by_key(|&index| self.clients[index].deadline);
            oldest.map(|index| self.clients.remove(index));
        }
        self.numbers += 1;
        let deadline = Instant::now() + SILENCE;
        let (input, out) = (Vec::new(), Vec::new());
        self.clients.push(Client { number: self.numbers, stream, input, out, waits: false, deadline });
    }

    /// Takes the whole questions that a connection has sent, one at a time.
    fn read_frames(&mut self, number: u64) {
        loop {
            let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else { return };
            if client.waits || !client.out.is_empty() {
                return;
            }
            let Some(frame) = take_frame(&mut client.input) else { return };
            if Query::parse(&frame).is_none() {
                // Nobody sends that by mistake.
                self.clients.retain(|client| client.number != number);
                return;
            }
            self.question(&frame, Asker::Stream(number));
        }
    }
}

impl Client {
    /// Writes what is to be written, or reads what has come.
    fn exchange(&mut self) -> io::Result<()> {
        let done = if self.out.is_empty() {
            let mut buffer = [0; MAX_QUERY];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) if self.input.len() + count > 2 * MAX_QUERY => return Err(io::ErrorKind::InvalidData.into()),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    Ok(())
                }
                Err(error) => Err(error),
            }
        } else {
            self.stream.write(&self.out).map(|count| drop(self.out.drain(..count)))
        };
        match done {
            Ok(()) => {
                self.deadline = Instant::now() + SILENCE;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
