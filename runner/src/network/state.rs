//! What was set up, as data: written into the container's state by the caller and handed back to
//! [`teardown`](super::teardown) and [`reload`](super::reload), perhaps by another process and after an upgrade.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::address::{MacAddr, Subnet, Subnet6};
use super::config::Protocol;
use super::device::Moved;

/// The network a container got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub container_id: String,
    /// The kind of network: `none`, `host`, `join`, or `bridge` for a namespace that is attached to networks.
    pub driver: String,
    /// The container's places on networks, in order.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// The interfaces of the host that are in the container.
    #[serde(default)]
    pub devices: Vec<Moved>,
    /// What the user should be told: switches that were turned on, firewall rules that were added. Sentences without a
    /// full stop.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What users call the network.
    #[serde(default)]
    pub network: String,
    /// The bridge's interface.
    pub bridge: String,
    /// The bridge's subnet.
    pub subnet: Subnet,
    /// The bridge's address: the host, as the container sees it.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// The container's IPv6 address, if the network has IPv6.
    #[serde(default)]
    pub ipv6: Option<Attachment6>,
    /// The container's hardware address.
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether there is no way out, and so no default route.
    pub internal: bool,
    /// Whether the container is held to its own addresses.
    #[serde(default)]
    pub guarded: bool,
    /// Whether the container's default route leads here.
    #[serde(default)]
    pub default_route: bool,
    /// The same for IPv6.
    #[serde(default)]
    pub default_route6: bool,
    /// Whether containers of the network find each other by name.
    #[serde(default)]
    pub resolve: bool,
    /// The names by which the others find this container.
    #[serde(default)]
    pub names: Vec<String>,
    /// The interface in the container.
    pub interface: String,
    /// Its other end on the host.
    pub host_interface: String,
    /// Index of the latter, which the kernel does not give out again; 0 if there is none.
    pub host_index: u32,
    /// The published ports as they are, free ones included.
    pub ports: Vec<PublishedPort>,
}

/// The IPv6 side of a place on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment6 {
    /// The bridge's subnet.
    pub subnet: Subnet6,
    /// The bridge's address.
    pub gateway: Ipv6Addr,
    /// The container's address.
    pub ip: Ipv6Addr,
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address on the host; `0.0.0.0` and `::` are every one of their kind.
    pub host_ip: IpAddr,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl State {
    pub(super) fn plain(container_id: &str, driver: &str) -> Self {
        Self {
            container_id: container_id.to_owned(),
            driver: driver.to_owned(),
            attachments: Vec::new(),
            devices: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// The first place on a network, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<&Attachment> {
        self.attachments.first()
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
    /// Containers whose interfaces of the host were moved back.
    pub holders: usize,
}
