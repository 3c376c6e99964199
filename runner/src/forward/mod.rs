//! Published ports on the IPv6 loopback address, relayed by the container's own monitor.
//!
//! The kernel leads no packet from `::1` out of the loopback device and back, as it does from 127.0.0.1 with `route_localnet`. So the
//! sockets that hold the ports there are served: what comes in goes to the container's address, as if the host had asked. Nothing
//! waits here; what cannot be done at once is done when the monitor's loop says that it can.

mod tcp;
mod udp;

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use crate::monitor::task::{Request, Task};
use crate::network::{Protocol, Relayed};

/// The ports of a container that its monitor relays.
pub(crate) struct Forward {
    tcp: Vec<tcp::Port>,
    udp: Vec<udp::Port>,
}

impl Forward {
    /// Begins to serve these sockets.
    pub fn begin(relayed: Vec<Relayed>) -> io::Result<Self> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for Relayed { socket, protocol, target } in relayed {
            match protocol {
                Protocol::Udp => udp.push(udp::Port::new(socket, target)?),
                Protocol::Tcp | Protocol::Sctp => tcp.push(tcp::Port::new(socket, target)?),
            }
        }
        Ok(Self { tcp, udp })
    }
}

impl Task for Forward {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        let mut interests = Vec::new();
        self.tcp.iter().for_each(|port| port.wait_for(&mut interests));
        self.udp.iter().for_each(|port| port.wait_for(&mut interests));
        interests
    }

    fn wake_at(&self) -> Option<Instant> {
        self.udp.iter().filter_map(udp::Port::next_deadline).min()
    }

    fn turn(&mut self, ready: &[RawFd]) -> Vec<Request> {
        self.tcp.iter_mut().for_each(|port| port.turn(ready));
        self.udp.iter_mut().for_each(|port| port.turn(ready));
        Vec::new()
    }
}
