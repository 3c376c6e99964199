//! What was set up, as data: written into the container's state by the caller and handed back to
//! [`teardown`](super::teardown) and [`reload`](super::reload), perhaps by another process and after an upgrade.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::config::{MacAddr, Protocol, Subnet};

/// The network a container got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub container_id: String,
    /// The kind of network: `none`, `host`, `bridge` or `join`.
    pub driver: String,
    /// The container's place on a bridge; `None` for the other kinds.
    pub attachment: Option<Attachment>,
    /// What the user should be told: switches that were turned on, firewall rules that were added. Sentences without a
    /// full stop.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// A container's place on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The bridge's interface.
    pub bridge: String,
    /// The bridge's subnet.
    pub subnet: Subnet,
    /// The bridge's address: the host, as the container sees it.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// The container's hardware address.
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether there is no way out, and so no default route.
    pub internal: bool,
    /// The interface in the container.
    pub interface: String,
    /// Its other end on the host.
    pub host_interface: String,
    /// Index of the latter, which the kernel does not give out again; 0 if there is none.
    pub host_index: u32,
    /// The published ports as they are, free ones included.
    pub ports: Vec<PublishedPort>,
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address on the host; 0.0.0.0 is every one.
    pub host_ip: Ipv4Addr,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl State {
    pub(super) fn plain(container_id: &str, driver: &str) -> Self {
        Self { container_id: container_id.to_owned(), driver: driver.to_owned(), attachment: None, notices: Vec::new() }
    }
}

/// What [`sweep`](super::sweep) removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Interfaces of the host.
    pub interfaces: usize,
    /// Published ports.
    pub ports: usize,
    /// Leases of addresses.
    pub addresses: usize,
}
