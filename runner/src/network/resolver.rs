//! The sockets of the name service, in a container's namespace. Programs ask 127.0.0.11 on port 53; the sockets are bound
//! to that address on a port that happens to be free, and a rule in the namespace leads there. So port 53 stays free for a
//! name server that runs in the container itself.

use std::net::{IpAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;

use super::error::{Error, Result};
use super::netlink::Socket;
use super::{NAME_SERVER, namespace, nft};

/// How often another port is tried when the one of UDP is taken for TCP.
const ATTEMPTS: usize = 16;

/// Where the programs of a container ask for names.
#[derive(Debug)]
pub struct NameSockets {
    /// Datagrams.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
    /// Who is asked for what is no container's name; none is the host's servers.
    pub servers: Vec<IpAddr>,
}

/// Opens the sockets, which do not block, and leads port 53 there.
pub(super) fn open(netns: BorrowedFd<'_>) -> Result<NameSockets> {
    let (udp, tcp, port, mut firewall) = namespace::visit(netns, || {
        let (udp, tcp, port) = bind()?;
        Ok((udp, tcp, port, Socket::netfilter()?))
    })?;
    nft::redirect_names(&mut firewall, NAME_SERVER, port)?;
    Ok(NameSockets { udp, tcp, servers: Vec::new() })
}

fn bind() -> Result<(UdpSocket, TcpListener, u16)> {
    let step = "bind the sockets of the name service";
    let failed = Error::system::<std::io::Error>;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let udp = UdpSocket::bind(SocketAddrV4::new(NAME_SERVER, 0)).map_err(failed(step))?;
        let port = udp.local_addr().map_err(failed(step))?.port();
        match TcpListener::bind(SocketAddrV4::new(NAME_SERVER, port)) {
            Ok(tcp) => {
                udp.set_nonblocking(true).and_then(|()| tcp.set_nonblocking(true)).map_err(failed(step))?;
                return Ok((udp, tcp, port));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(failed(step)(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into())))
}
