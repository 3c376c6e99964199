//! Addresses as types that can only hold legal values: networks of IPv4 and IPv6, and hardware addresses. Each reads the
//! form that users write and prints the same. What a network is used for is decided elsewhere.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

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

/// An IPv6 network: its first address and the length of its prefix. Only legal values can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    network: Ipv6Addr,
    prefix: u8,
}

impl Subnet6 {
    /// The network of `address` with `prefix` bits, 0 to 128; host bits of the address are cleared.
    pub fn new(address: Ipv6Addr, prefix: u8) -> Result<Self> {
        if prefix > 128 {
            return Err(Error::Config(format!("prefix length {prefix} of subnet {address} is over 128")));
        }
        Ok(Self { network: Ipv6Addr::from_bits(address.to_bits() & mask6(prefix)), prefix })
    }

    /// A network of 64 bits that nobody else has: of the private block fd00::/8, with 40 bits that the caller drew by lot
    /// (RFC 4193).
    #[must_use]
    pub fn unique_local(random: [u8; 5]) -> Self {
        let [a, b, c, d, e] = random;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
        Self { network: Ipv6Addr::from(bytes), prefix: 64 }
    }

    /// The first address.
    #[must_use]
    pub fn network(self) -> Ipv6Addr {
        self.network
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The last address.
    #[must_use]
    pub fn last(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | !mask6(self.prefix))
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & mask6(self.prefix) == self.network.to_bits()
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The address that many places after the first; the caller has checked that the prefix leaves room.
    #[must_use]
    pub fn nth(self, place: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | (u128::from(place) & !mask6(self.prefix)))
    }
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet6 {
    type Err = Error;

    /// Reads `fd00:1::/64`; bits of the host must be clear, as with [`Subnet`].
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Config(format!("{text:?} is not an IPv6 subnet; one looks like fd00:1::/64"));
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv6Addr = address.parse().map_err(|_| invalid())?;
        let subnet = Self::new(address, prefix.parse().map_err(|_| invalid())?)?;
        if subnet.network != address {
            return Err(Error::Config(format!(
                "subnet {text} has bits set beyond its prefix; the network is {subnet}"
            )));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn subnets_of_ipv6() {
        let subnet: Subnet6 = "fd00:1::/64".parse().unwrap();
        assert_eq!((subnet.to_string().as_str(), subnet.nth(2).to_string().as_str()), ("fd00:1::/64", "fd00:1::2"));
        assert_eq!(subnet.last().to_string(), "fd00:1::ffff:ffff:ffff:ffff");
        assert!(subnet.contains("fd00:1::9".parse().unwrap()) && !subnet.contains("fd00:2::9".parse().unwrap()));
        assert!(subnet.overlaps("fd00::/16".parse().unwrap()) && !subnet.overlaps("fd00:2::/64".parse().unwrap()));
        assert_eq!(Subnet6::unique_local([1, 2, 3, 4, 5]).to_string(), "fd01:203:405::/64");
        for wrong in ["fd00::1/64", "fd00::", "fd00::/129", "10.0.0.0/8", ""] {
            assert!(wrong.parse::<Subnet6>().is_err(), "{wrong}");
        }
    }
}
