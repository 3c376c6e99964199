//! What a caller asks for: the kind of network, and for a bridge its addresses and published ports. Plain data, checked
//! by [`Config::validate`] before anything is touched; parsing of command-line forms is the caller's affair.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

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
}

/// The kinds of network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A namespace of its own with the loopback device and nothing else.
    None,
    /// The host's own namespace.
    Host,
    /// A namespace of its own, attached to a bridge of the host.
    Bridge(BridgeConfig),
    /// The namespace of something else; there is nothing to set up.
    Join(Join),
}

/// A network namespace that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// A file of nsfs, such as those `ip netns` makes.
    Path(PathBuf),
    /// The namespace of this process.
    Pid(i32),
}

/// A bridge and a container's place on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeConfig {
    /// The bridge's interface name; it is made when it is not there.
    pub name: String,
    /// The bridge's subnet. `None` takes what the bridge has, or for a new one the first of
    /// [`candidate subnets`](super::bridge::CANDIDATE_SUBNETS) that no route of the host overlaps.
    pub subnet: Option<Subnet>,
    /// The bridge's address; `None` is the first one of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses are given out from this part of the subnet; `None` is all of it.
    pub range: Option<Subnet>,
    /// MTU in bytes; `None` takes the bridge's, and for a new bridge that of the default route's device.
    pub mtu: Option<u32>,
    /// The container's address; `None` takes a free one.
    pub ip: Option<Ipv4Addr>,
    /// The container's hardware address; `None` derives one from the address.
    pub mac: Option<MacAddr>,
    /// No way out and no published ports: only the bridge's own containers and the host reach each other.
    pub internal: bool,
    /// Ports of the host that lead to the container.
    pub publish: Vec<PortMapping>,
    /// The interface's name in the container.
    pub interface: String,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: DEFAULT_BRIDGE.to_owned(),
            subnet: None,
            gateway: None,
            range: None,
            mtu: None,
            ip: None,
            mac: None,
            internal: false,
            publish: Vec::new(),
            interface: "eth0".to_owned(),
        }
    }
}

/// One published port, or a run of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address of the host to publish on; `None` or `0.0.0.0` is every address. IPv6 is refused so far.
    pub host_ip: Option<IpAddr>,
    /// The first port on the host; 0 takes a free one for each.
    pub host_port: u16,
    /// The first port in the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How many ports, counted up from the first on both sides; at least 1.
    pub range: u16,
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

/// An IPv4 network: its first address and the length of its prefix. Only legal values can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of `address` with `prefix` bits, 0 to 32; host bits of the address are cleared.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self> {
        if prefix > 32 {
            return Err(Error::Config(format!("prefix length {prefix} of subnet {address} is over 32")));
        }
        Ok(Self { network: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix })
    }

    /// The first address.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The last address.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.prefix))
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The first address a host may have.
    #[must_use]
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().saturating_add(1))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    /// Reads `a.b.c.d/n`; bits of the host must be clear, so that a slip is not taken for another network.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Config(format!("{text:?} is not a subnet; one looks like 10.76.0.0/16"));
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let subnet = Self::new(address, prefix.parse().map_err(|_| invalid())?)?;
        if subnet.network != address {
            return Err(Error::Config(format!(
                "subnet {text} has bits set beyond its prefix; the network is {subnet}"
            )));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// A hardware address that one interface may have: neither a group's nor all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Takes six bytes.
    pub fn new(bytes: [u8; 6]) -> Result<Self> {
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(Error::Config(format!("{} is not an address one interface may have", Self(bytes))));
        }
        Ok(Self(bytes))
    }

    /// The address an interface with `address` gets: locally administered, and the same whenever the address is the
    /// same, so that neighbours need not learn a new one when an address changes hands.
    #[must_use]
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x69, a, b, c, d])
    }

    /// Its six bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Config(format!("{text:?} is not a hardware address; one looks like 02:69:0a:4c:00:02"));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        Self::new(bytes)
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
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
    /// Checks all that can be checked without asking the kernel.
    pub fn validate(&self) -> Result<()> {
        check_container_id(&self.container_id)?;
        match &self.mode {
            Mode::None | Mode::Host => Ok(()),
            Mode::Bridge(bridge) => bridge.validate(),
            Mode::Join(Join::Pid(pid)) if *pid <= 0 => Err(Error::Config(format!("{pid} is not a process id"))),
            Mode::Join(_) => Ok(()),
        }
    }
}

impl Mode {
    /// Whether the container is born into a new network namespace, which `setup` then needs.
    #[must_use]
    pub fn needs_namespace(&self) -> bool {
        matches!(self, Self::None | Self::Bridge(_))
    }

    /// The namespace to join, as the path that an OCI `Spec` wants; `None` for the other modes.
    #[must_use]
    pub fn namespace_path(&self) -> Option<PathBuf> {
        match self {
            Self::Join(Join::Path(path)) => Some(path.clone()),
            Self::Join(Join::Pid(pid)) => Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
            _ => None,
        }
    }
}

impl BridgeConfig {
    fn validate(&self) -> Result<()> {
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

impl PortMapping {
    /// One port on every address of the host.
    #[must_use]
    pub fn new(host_port: u16, container_port: u16, protocol: Protocol) -> Self {
        Self { host_ip: None, host_port, container_port, protocol, range: 1 }
    }

    fn validate(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::Config(text));
        match self.host_ip {
            Some(IpAddr::V6(ip)) => {
                return invalid(format!("publishing on the IPv6 address {ip} is not supported yet"));
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
        let last = self.range - 1;
        if self.container_port.checked_add(last).is_none() || self.host_port.checked_add(last).is_none() {
            return invalid(format!(
                "published range {}:{} of {} ports ends beyond port 65535",
                self.host_port, self.container_port, self.range
            ));
        }
        Ok(())
    }

    /// The address of the host, 0.0.0.0 for every one.
    pub(super) fn address(&self) -> Ipv4Addr {
        match self.host_ip {
            Some(IpAddr::V4(ip)) => ip,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(change: impl FnOnce(&mut BridgeConfig)) -> Config {
        let mut bridge = BridgeConfig::default();
        change(&mut bridge);
        Config { container_id: "abc".to_owned(), mode: Mode::Bridge(bridge) }
    }

    #[test]
    fn subnets_hold_only_legal_values() {
        let subnet: Subnet = "10.76.0.0/16".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.76.0.0/16");
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 76, 255, 255));
        assert!(subnet.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(subnet.overlaps("0.0.0.0/0".parse().unwrap()));
        assert!(!subnet.overlaps("10.77.0.0/16".parse().unwrap()));
        for wrong in ["10.76.0.1/16", "10.76.0.0", "10.76.0.0/33", "x/8", "10.76.0.0/-1", ""] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Subnet>("\"10.76.0.9/16\"").is_err());
    }

    #[test]
    fn hardware_addresses() {
        let mac: MacAddr = "02:69:0a:4c:00:02".parse().unwrap();
        assert_eq!(mac, MacAddr::of_address(Ipv4Addr::new(10, 76, 0, 2)));
        assert_eq!(mac.to_string(), "02:69:0a:4c:00:02");
        for wrong in
            ["01:00:00:00:00:01", "00:00:00:00:00:00", "02:69:0a:4c:00", "02:69:0a:4c:00:02:03", "+2:69:0a:4c:00:02"]
        {
            assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
        }
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
        port = PortMapping { host_ip: "::1".parse().ok(), ..PortMapping::new(1, 1, Protocol::Udp) };
        assert!(bridge(|b| b.publish.push(port)).validate().is_err());
        let many = PortMapping { range: 1025, ..PortMapping::new(1, 1, Protocol::Udp) };
        assert!(bridge(|b| b.publish.push(many)).validate().is_err());
        for id in ["", "a/b", "..", "é", &"a".repeat(65)] {
            assert!(Config { container_id: id.to_owned(), mode: Mode::None }.validate().is_err(), "{id}");
        }
    }
}
