//! Published ports: one element of a map each, from the host's address, protocol and port to the container's. The
//! container's id is the element's comment, so that what is left of a dead container is found without records. The
//! kernel refuses a key that is there already; that an address and "every address" overlap is checked by the caller,
//! which holds the lock of published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::config::Protocol;
use super::super::error::Result;
use super::super::netlink::{Refusal, Socket, Writer, attribute, attributes};
use super::table::{ANY_PORTS, PORTS};
use super::{
    DELSETELEM, Family, GETSETELEM, MAKE_NEW, NEWSETELEM, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE, TABLE, Transaction, absent_is_empty,
    comment, comment_data, header, kind, unless,
};

const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_USERDATA: u16 = 6;

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Element {
    /// The host's address; `0.0.0.0` and `::` are every one of their kind.
    pub(in super::super) host_ip: IpAddr,
    pub(in super::super) protocol: Protocol,
    pub(in super::super) host_port: u16,
    pub(in super::super) ip: IpAddr,
    pub(in super::super) port: u16,
}

/// A published port and the id of the container it belongs to.
#[derive(Debug, Clone)]
pub(in super::super) struct Owned {
    pub(in super::super) element: Element,
    pub(in super::super) owner: String,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.host_ip, self.host_port), self.protocol)
    }
}

impl Element {
    fn map(&self) -> &'static str {
        if self.host_ip.is_unspecified() { ANY_PORTS } else { PORTS }
    }

    fn family(&self) -> Family {
        Family::of(self.host_ip)
    }

    /// The parts of the key, each padded to four bytes.
    fn key(&self) -> Vec<u8> {
        let [high, low] = self.host_port.to_be_bytes();
        let mut key = if self.host_ip.is_unspecified() { Vec::new() } else { bytes(self.host_ip) };
        key.extend_from_slice(&[self.protocol.number(), 0, 0, 0, high, low, 0, 0]);
        key
    }

    fn value(&self) -> Vec<u8> {
        let [high, low] = self.port.to_be_bytes();
        let mut value = bytes(self.ip);
        value.extend_from_slice(&[high, low, 0, 0]);
        value
    }

    fn parse(key: &[u8], value: &[u8], family: Family) -> Option<Self> {
        let (host_ip, rest) = match key.len() {
            12 | 24 => key.split_at(key.len() - 8),
            8 => (&[][..], key),
            _ => return None,
        };
        let host_ip = match (address(host_ip), family) {
            (Some(address), _) => address,
            (None, Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
            (None, Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (ip, port) = value.split_at_checked(family.length() as usize)?;
        Some(Self {
            host_ip,
            protocol: Protocol::from_number(rest[0])?,
            host_port: u16::from_be_bytes([rest[4], rest[5]]),
            ip: address(ip)?,
            port: u16::from_be_bytes([*port.first()?, *port.get(1)?]),
        })
    }

    /// Whether both would take one and the same packet.
    pub(in super::super) fn collides(&self, other: &Self) -> bool {
        let everywhere = self.host_ip.is_unspecified() || other.host_ip.is_unspecified();
        self.protocol == other.protocol
            && self.family() == other.family()
            && self.host_port == other.host_port
            && (everywhere || self.host_ip == other.host_ip)
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn write(w: &mut Writer<'_>, element: &Element, owner: Option<&str>) {
    w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, element.map());
    w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |w| {
        w.nest(NFTA_LIST_ELEM, |w| {
            w.nest(NFTA_SET_ELEM_KEY, |w| {
                w.attr(NFTA_DATA_VALUE, &element.key());
            });
            let Some(owner) = owner else { return };
            w.nest(NFTA_SET_ELEM_DATA, |w| {
                w.attr(NFTA_DATA_VALUE, &element.value());
            });
            w.attr(NFTA_SET_ELEM_USERDATA, &comment_data(owner));
        });
    });
}

/// Publishes all of `elements` for `owner`, or none of them. What the kernel refused is returned with its place in
/// `elements`; EEXIST says that another container has that port.
pub(in super::super) fn insert(socket: &mut Socket, elements: &[Element], owner: &str) -> Result<Vec<Refusal>> {
    let mut transaction = Transaction::new();
    for element in elements {
        let step = format!("publish port {element}");
        transaction.add(step, NEWSETELEM, MAKE_NEW, element.family().number(), |w| write(w, element, Some(owner)));
    }
    let mut refused = transaction.commit(socket)?;
    for refusal in &mut refused {
        refusal.index = refusal.index.saturating_sub(1);
    }
    Ok(refused)
}

/// Takes these ports back, all or none; returns false if one of them was gone already.
pub(in super::super) fn delete(socket: &mut Socket, elements: &[Element]) -> Result<bool> {
    let mut transaction = Transaction::new();
    for element in elements {
        let step = format!("unpublish port {element}");
        transaction.add(step, DELSETELEM, 0, element.family().number(), |w| write(w, element, None));
    }
    unless(transaction.commit(socket)?, &[libc::ENOENT])
}

/// Every published port. Those of IPv6 are looked for only where there is a table of ours for it.
pub(in super::super) fn elements(socket: &mut Socket) -> Result<Vec<Owned>> {
    let mut all = Vec::new();
    for (family, map) in [(Family::V4, PORTS), (Family::V4, ANY_PORTS), (Family::V6, PORTS), (Family::V6, ANY_PORTS)] {
        let mut found = Vec::new();
        let request = |w: &mut Writer<'_>| {
            header(w, family.number());
            w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, map);
        };
        let listed = socket.dump("list the published ports", kind(GETSETELEM), request, |body| {
            let Some(body) = body else { return found.clear() };
            let list = body.get(4..).and_then(|rest| attribute(rest, NFTA_SET_ELEM_LIST_ELEMENTS)).unwrap_or_default();
            found.extend(attributes(list).filter_map(|(_, element)| parse(element, family)));
        });
        absent_is_empty(listed)?;
        all.append(&mut found);
    }
    Ok(all)
}

fn parse(element: &[u8], family: Family) -> Option<Owned> {
    let value = |kind| attribute(attribute(element, kind)?, NFTA_DATA_VALUE);
    let owner = attribute(element, NFTA_SET_ELEM_USERDATA).and_then(comment).unwrap_or_default();
    let element = Element::parse(value(NFTA_SET_ELEM_KEY)?, value(NFTA_SET_ELEM_DATA)?, family)?;
    Some(Owned { element, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_collide() {
        let one = Element {
            host_ip: Ipv4Addr::LOCALHOST.into(),
            protocol: Protocol::Udp,
            host_port: 8053,
            ip: Ipv4Addr::new(10, 76, 0, 2).into(),
            port: 53,
        };
        let any = Element { host_ip: Ipv4Addr::UNSPECIFIED.into(), ..one };
        let six = Element { host_ip: "fd00::1".parse().unwrap(), ip: "fd00::2".parse().unwrap(), ..one };
        let any_six = Element { host_ip: Ipv6Addr::UNSPECIFIED.into(), ..six };
        for element in [one, any, six, any_six] {
            assert_eq!(Element::parse(&element.key(), &element.value(), element.family()), Some(element));
        }
        assert!(one.collides(&any) && any.collides(&one) && one.collides(&one));
        assert!(six.collides(&any_six) && !six.collides(&any) && !any.collides(&any_six));
        assert!(!one.collides(&Element { host_ip: Ipv4Addr::new(127, 0, 0, 2).into(), ..one }));
        assert!(!any.collides(&Element { protocol: Protocol::Tcp, ..one }));
        assert!(!any.collides(&Element { host_port: 1, ..one }));
        assert_eq!(Element::parse(&[1, 2, 3], &[0; 8], Family::V4), None);
        assert_eq!(Element::parse(&one.key(), &[0; 5], Family::V4), None);
    }
}
