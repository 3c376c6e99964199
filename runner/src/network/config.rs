//! What a caller asks for: the kind of network, and for a bridge its addresses and published ports. Plain data, checked
//! by [`Config::validate`] before anything is touched; parsing of command-line forms is the caller's affair.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::{MacAddr, Subnet, Subnet6};
use super::device::Device;
use super::error::{Error, Result};
use crate::state::ProcessId;

/// The bridge used when none is named.
pub const DEFAULT_BRIDGE: &str = "img0";
/// Most host ports one container may publish; each is one element of a kernel map and one held socket.
pub const MAX_PUBLISHED_PORTS: usize = 1024;
/// Longest name of a network interface (`IFNAMSIZ` without the closing zero).
const MAX_INTERFACE_NAME: usize = 15;

/// The network of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The container's id: 1 to 64 of `[0-9A-Za-z_.-]`. What is made in the kernel carries it.
    pub container_id: String,
    /// The kind of network.
    pub mode: Mode,
    /// Who is asked for names that are no container's; none is the host's servers.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// Interfaces of the host that it gets as they are, in a namespace of its own.
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// The kinds of network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A namespace of its own with the loopback device and nothing else.
    None,
    /// The same as the kernel makes it: even the loopback device is down.
    Empty,
    /// The host's own namespace.
    Host,
    /// A namespace of its own, attached to these networks, in this order.
    Networks(Vec<Endpoint>),
    /// The namespace of something else; there is nothing to set up.
    Join(Join),
}

/// A container's place on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// An interface on a bridge of the host.
    Bridge(BridgeConfig),
}

/// A network namespace that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// A file of nsfs, such as those `ip netns` makes.
    Path(PathBuf),
    /// The namespace of this process.
    Process(ProcessId),
}

/// An interface of the host that containers use without a bridge: each gets a device of its own on top of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The interface of the host.
    pub parent: String,
    /// What is put on top of it.
    pub kind: UplinkKind,
}

/// Devices on top of another one; the numbers are the kernel's (`if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UplinkKind {
    /// macvlan in this mode: 1 private, 2 vepa, 4 bridge, 8 passthru.
    Macvlan(u32),
    /// ipvlan in this mode: 0 l2, 1 l3, 2 l3s.
    Ipvlan(u16),
}

impl UplinkKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        }
    }
}

/// A bridge and a container's place on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeConfig {
    /// The bridge's interface name; it is made when it is not there.
    pub name: String,
    /// What users call the network.
    pub network: String,
    /// Use this interface in the place of a bridge; `name` is then only that of the pool of addresses.
    pub uplink: Option<Uplink>,
    /// The bridge's subnet. `None` takes what the bridge has, or for a new one the first of
    /// [`candidate subnets`](super::bridge::CANDIDATE_SUBNETS) that no route of the host overlaps.
    pub subnet: Option<Subnet>,
    /// The bridge's address; `None` is the first one of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses are given out from this part of the subnet; `None` is all of it.
    pub range: Option<Subnet>,
    /// The bridge's IPv6 subnet; `None` has no IPv6.
    pub subnet6: Option<Subnet6>,
    /// The bridge's IPv6 address; `None` is the first one of the subnet.
    pub gateway6: Option<Ipv6Addr>,
    /// MTU in bytes; `None` takes the bridge's, and for a new bridge that of the default route's device.
    pub mtu: Option<u32>,
    /// The container's address; `None` takes a free one.
    pub ip: Option<Ipv4Addr>,
    /// The container's IPv6 address; `None` derives one from the address.
    pub ip6: Option<Ipv6Addr>,
    /// The container's hardware address; `None` derives one from the address.
    pub mac: Option<MacAddr>,
    /// No way out and no published ports: only the bridge's own containers and the host reach each other.
    pub internal: bool,
    /// Containers of the bridge do not reach each other, only the host and, unless it is internal, what is beyond.
    pub isolated: bool,
    /// A container sends from its own addresses only; whatever else it claims to be is dropped at its port.
    pub guarded: bool,
    /// The container's default route leads here. At most one of its networks has it; an internal one never.
    pub default_route: bool,
    /// The same for IPv6.
    pub default_route6: bool,
    /// Containers of the network find each other by name.
    pub resolve: bool,
    /// The names by which the others find this container.
    pub names: Vec<String>,
    /// Ports of the host that lead to the container.
    pub publish: Vec<PortMapping>,
    /// The interface's name in the container.
    pub interface: String,
    /// The name of its other end on the host; `None` derives one from the container's id.
    pub host_interface: Option<String>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: DEFAULT_BRIDGE.to_owned(),
            network: "bridge".to_owned(),
            uplink: None,
            subnet: None,
            gateway: None,
            range: None,
            subnet6: None,
            gateway6: None,
            mtu: None,
            ip: None,
            ip6: None,
            mac: None,
            internal: false,
            isolated: false,
            guarded: false,
            default_route: true,
            default_route6: true,
            resolve: false,
            names: Vec::new(),
            publish: Vec::new(),
            interface: "eth0".to_owned(),
            host_interface: None,
        }
    }
}

/// One published port, or a run of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address of the host to publish on; `None` is every address, `0.0.0.0` every one of IPv4, `::` of IPv6.
    pub host_ip: Option<IpAddr>,
    /// The first port on the host; 0 takes a free one for each.
    pub host_port: u16,
    /// The first port in the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How many ports, counted up from the first on both sides; at least 1.
    pub range: u16,
    /// How many ports of the host may be tried for a range of 1, counted up from the first; the first free one is taken.
    pub choices: u16,
}

/// Protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Whether the kernel takes `name` for an interface and it is safe as a part of a path and of a firewall rule.
pub(super) fn check_interface_name(name: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty()
        || name.len() > MAX_INTERFACE_NAME
        || !name.bytes().all(legal)
        || matches!(name, "." | ".." | "all" | "default" | "lo")
    {
        return Err(Error::Config(format!("{name:?} cannot name an interface: 1 to 15 of A-Z a-z 0-9 _ . -")));
    }
    Ok(())
}

pub(super) fn check_container_id(id: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(legal) || id.starts_with('.') {
        return Err(Error::Config(format!("{id:?} is not a container id: 1 to 64 of A-Z a-z 0-9 _ . -")));
    }
    Ok(())
}

impl Config {
    /// The network of a container that asks the host's servers for names.
    #[must_use]
    pub fn new(container_id: &str, mode: Mode) -> Self {
        Self { container_id: container_id.to_owned(), mode, name_servers: Vec::new(), devices: Vec::new() }
    }

    /// Checks all that can be checked without asking the kernel.
    pub fn validate(&self) -> Result<()> {
        check_container_id(&self.container_id)?;
        self.check_devices()?;
        match &self.mode {
            Mode::None | Mode::Empty | Mode::Host => Ok(()),
            Mode::Networks(endpoints) => check_endpoints(endpoints),
            Mode::Join(Join::Process(process)) if process.pid <= 0 => {
                Err(Error::Config(format!("{} is not a process id", process.pid)))
            }
            Mode::Join(_) => Ok(()),
        }
    }
}

impl Config {
    fn check_devices(&self) -> Result<()> {
        if !self.devices.is_empty() && !self.mode.needs_namespace() {
            return Err(Error::Config(
                "interfaces of the host need a network namespace of the container's own".to_owned(),
            ));
        }
        let mut names = BTreeSet::new();
        if let Mode::Networks(endpoints) = &self.mode {
            names.extend(endpoints.iter().map(|Endpoint::Bridge(config)| config.interface.as_str()));
        }
        for device in &self.devices {
            device.validate()?;
            if !names.insert(&device.interface) {
                return Err(Error::Config(format!("two networks want the interface name {}", device.interface)));
            }
        }
        Ok(())
    }
}

fn check_endpoints(endpoints: &[Endpoint]) -> Result<()> {
    let mut interfaces = BTreeSet::new();
    for endpoint in endpoints {
        let Endpoint::Bridge(config) = endpoint;
        config.validate()?;
        if !interfaces.insert(config.interface.as_str()) {
            return Err(Error::Config(format!("two networks want the interface name {}", config.interface)));
        }
    }
    let count = |wants: fn(&BridgeConfig) -> bool| {
        endpoints.iter().filter(|Endpoint::Bridge(config)| !config.internal && wants(config)).count()
    };
    if count(|config| config.default_route) > 1 || count(|config| config.default_route6 && config.subnet6.is_some()) > 1
    {
        return Err(Error::Config("two networks want the default route".to_owned()));
    }
    Ok(())
}

impl Mode {
    /// One bridge and nothing else.
    #[must_use]
    pub fn bridge(config: BridgeConfig) -> Self {
        Self::Networks(vec![Endpoint::Bridge(config)])
    }

    /// Whether the container is born into a new network namespace, which `setup` then needs.
    #[must_use]
    pub fn needs_namespace(&self) -> bool {
        matches!(self, Self::None | Self::Empty | Self::Networks(_))
    }

    /// The namespace to join, as the path that an OCI `Spec` wants; `None` for the other modes.
    #[must_use]
    pub fn namespace_path(&self) -> Option<PathBuf> {
        match self {
            Self::Join(Join::Path(path)) => Some(path.clone()),
            Self::Join(Join::Process(process)) => Some(process.directory().join("ns/net")),
            _ => None,
        }
    }
}

impl BridgeConfig {
    /// Checks all that can be checked without asking the kernel.
    pub fn validate(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::Config(text));
        check_interface_name(&self.name)?;
        check_interface_name(&self.interface)?;
        if self.name.starts_with(super::bridge::VETH_PREFIX) && self.name.len() == MAX_INTERFACE_NAME {
            return invalid(format!("bridge name {} could be taken for a container's interface", self.name));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
            return invalid(format!("MTU {mtu} is not between 68 and 65535"));
        }
        if let Some(subnet) = self.subnet {
            check_place("subnet", subnet, self.gateway, self.ip, self.range)?;
        }
        if let Some(name) = &self.host_interface {
            check_interface_name(name)?;
        }
        match self.subnet6 {
            Some(subnet) => check_place6(subnet, self.gateway6, self.ip6)?,
            None if self.ip6.is_some() => {
                return invalid(format!("network {} has no IPv6, so no address of it can be had", self.network));
            }
            None => {}
        }
        if let Some(uplink) = &self.uplink {
            check_interface_name(&uplink.parent)?;
            let kind = uplink.kind.name();
            if self.subnet.is_none() {
                return invalid(format!("network {} is a {kind} and needs a subnet", self.network));
            }
            if !self.publish.is_empty() {
                return invalid(format!(
                    "a {kind} cannot publish ports: its containers are reached by their own addresses"
                ));
            }
        }
        if self.internal && !self.publish.is_empty() {
            return invalid("an internal network cannot publish ports".to_owned());
        }
        let mut count = 0;
        for mapping in &self.publish {
            mapping.validate()?;
            count += usize::from(mapping.range);
        }
        if count > MAX_PUBLISHED_PORTS {
            return invalid(format!(
                "{count} published ports exceed the limit of {MAX_PUBLISHED_PORTS} for a container"
            ));
        }
        Ok(())
    }
}

/// Checks that gateway, address and range fit into a subnet with room for hosts.
pub(super) fn check_place(
    what: &str,
    subnet: Subnet,
    gateway: Option<Ipv4Addr>,
    ip: Option<Ipv4Addr>,
    range: Option<Subnet>,
) -> Result<()> {
    if !(8..=30).contains(&subnet.prefix()) {
        return Err(Error::Config(format!("{what} {subnet} must have a prefix of 8 to 30 bits")));
    }
    for (name, address) in [("gateway", gateway), ("address", ip)] {
        let Some(address) = address else { continue };
        if !subnet.contains(address) || address == subnet.network() || address == subnet.broadcast() {
            return Err(Error::Config(format!("{name} {address} is not a host address of {subnet}")));
        }
    }
    if ip.is_some() && ip == Some(gateway.unwrap_or(subnet.first_host())) {
        return Err(Error::Config(format!("address {} is the gateway's", gateway.unwrap_or(subnet.first_host()))));
    }
    match range {
        Some(range) if !subnet.contains(range.network()) || range.prefix() < subnet.prefix() => {
            Err(Error::Config(format!("range {range} is not part of {subnet}")))
        }
        _ => Ok(()),
    }
}

/// Checks that IPv6 gateway and address fit into a subnet with room for hosts.
pub(super) fn check_place6(subnet: Subnet6, gateway: Option<Ipv6Addr>, ip: Option<Ipv6Addr>) -> Result<()> {
    if !(8..=112).contains(&subnet.prefix()) {
        return Err(Error::Config(format!("IPv6 subnet {subnet} must have a prefix of 8 to 112 bits")));
    }
    let router = gateway.unwrap_or(subnet.nth(1));
    for (name, address) in [("gateway", gateway), ("address", ip)] {
        let Some(address) = address else { continue };
        if !subnet.contains(address) || address == subnet.network() {
            return Err(Error::Config(format!("{name} {address} is not a host address of {subnet}")));
        }
    }
    if ip == Some(router) {
        return Err(Error::Config(format!("address {router} is the gateway's")));
    }
    Ok(())
}

impl PortMapping {
    /// One port on every address of the host.
    #[must_use]
    pub fn new(host_port: u16, container_port: u16, protocol: Protocol) -> Self {
        Self { host_ip: None, host_port, container_port, protocol, range: 1, choices: 1 }
    }

    fn validate(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::Config(text));
        match self.host_ip {
            Some(IpAddr::V6(ip)) if ip.is_multicast() || ip.to_ipv4_mapped().is_some() => {
                return invalid(format!("cannot publish on {ip}: not an IPv6 address of a host"));
            }
            Some(IpAddr::V4(ip)) if ip.is_multicast() || ip.is_broadcast() => {
                return invalid(format!("cannot publish on {ip}: not an address of a host"));
            }
            _ => {}
        }
        if self.container_port == 0 {
            return invalid("container port 0 cannot be published".to_owned());
        }
        if self.range == 0 {
            return invalid("a published range must have at least one port".to_owned());
        }
        if self.choices == 0 || (self.choices > 1 && (self.range > 1 || self.host_port == 0)) {
            return invalid("a choice of host ports is for one container port".to_owned());
        }
        let last = self.range.max(self.choices) - 1;
        let container_last = self.range - 1;
        if self.container_port.checked_add(container_last).is_none() || self.host_port.checked_add(last).is_none() {
            return invalid(format!(
                "published range {}:{} of {} ports ends beyond port 65535",
                self.host_port, self.container_port, self.range
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(change: impl FnOnce(&mut BridgeConfig)) -> Config {
        let mut bridge = BridgeConfig::default();
        change(&mut bridge);
        Config::new("abc", Mode::bridge(bridge))
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert!(bridge(|_| {}).validate().is_ok());
        assert!(bridge(|b| b.name = "a/b".to_owned()).validate().is_err());
        assert!(bridge(|b| b.name = "all".to_owned()).validate().is_err());
        assert!(bridge(|b| b.name = "img012345678901".to_owned()).validate().is_err());
        assert!(bridge(|b| b.mtu = Some(20)).validate().is_err());
        assert!(bridge(|b| b.subnet = "10.0.0.0/31".parse().ok()).validate().is_err());
        let subnet = "10.9.0.0/24".parse().ok();
        assert!(bridge(|b| (b.subnet, b.ip) = (subnet, Some(Ipv4Addr::new(10, 9, 1, 2)))).validate().is_err());
        assert!(bridge(|b| (b.subnet, b.ip) = (subnet, Some(Ipv4Addr::new(10, 9, 0, 1)))).validate().is_err());
        assert!(bridge(|b| (b.subnet, b.ip) = (subnet, Some(Ipv4Addr::new(10, 9, 0, 255)))).validate().is_err());
        assert!(bridge(|b| (b.subnet, b.range) = (subnet, "10.9.0.0/16".parse().ok())).validate().is_err());
        let mut port = PortMapping::new(65535, 80, Protocol::Tcp);
        assert!(bridge(|b| b.publish.push(port.clone())).validate().is_ok());
        port.range = 2;
        assert!(bridge(|b| b.publish.push(port.clone())).validate().is_err());
        let many = PortMapping { range: 1025, ..PortMapping::new(1, 1, Protocol::Udp) };
        assert!(bridge(|b| b.publish.push(many)).validate().is_err());
        for id in ["", "a/b", "..", "é", &"a".repeat(65)] {
            assert!(Config::new(id, Mode::None).validate().is_err(), "{id}");
        }
    }
}
