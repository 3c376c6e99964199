//! Published ports: one element of a map each, from the host's address, protocol and port to the container's. The
//! container's id is the element's comment, so that what is left of a dead container is found without records. The
//! kernel refuses a key that is there already; that an address and "every address" overlap is checked by the caller,
//! which holds the lock of published ports.

use std::net::Ipv4Addr;

use super::super::config::Protocol;
use super::super::error::Result;
use super::super::netlink::{Refusal, Socket, Writer, attribute, attributes};
use super::table::{ANY_PORTS, PORTS};
use super::{
    DELSETELEM, GETSETELEM, MAKE_NEW, NEWSETELEM, NFPROTO_IPV4, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE, TABLE, Transaction, absent_is_empty,
    comment, comment_data, header, kind, unless,
};

const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_USERDATA: u16 = 6;

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Element {
    /// The host's address; 0.0.0.0 is every one.
    pub(in super::super) host_ip: Ipv4Addr,
    pub(in super::super) protocol: Protocol,
    pub(in super::super) host_port: u16,
    pub(in super::super) ip: Ipv4Addr,
    pub(in super::super) port: u16,
}

/// A published port and the id of the container it belongs to.
#[derive(Debug, Clone)]
pub(in super::super) struct Owned {
    pub(in super::super) element: Element,
    pub(in super::super) owner: String,
}

impl Element {
    fn map(&self) -> &'static str {
        if self.host_ip.is_unspecified() { ANY_PORTS } else { PORTS }
    }

    /// The parts of the key, each padded to four bytes.
    fn key(&self) -> Vec<u8> {
        let [high, low] = self.host_port.to_be_bytes();
        let mut key = Vec::with_capacity(12);
        if !self.host_ip.is_unspecified() {
            key.extend_from_slice(&self.host_ip.octets());
        }
        key.extend_from_slice(&[self.protocol.number(), 0, 0, 0, high, low, 0, 0]);
        key
    }

    fn value(&self) -> [u8; 8] {
        let ([a, b, c, d], [high, low]) = (self.ip.octets(), self.port.to_be_bytes());
        [a, b, c, d, high, low, 0, 0]
    }

    fn parse(key: &[u8], value: &[u8]) -> Option<Self> {
        let (host_ip, rest) = match key.len() {
            12 => (Ipv4Addr::from(<[u8; 4]>::try_from(&key[..4]).ok()?), &key[4..]),
            8 => (Ipv4Addr::UNSPECIFIED, key),
            _ => return None,
        };
        let (ip, port) = value.split_at_checked(4)?;
        Some(Self {
            host_ip,
            protocol: Protocol::from_number(rest[0])?,
            host_port: u16::from_be_bytes([rest[4], rest[5]]),
            ip: Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?),
            port: u16::from_be_bytes([*port.first()?, *port.get(1)?]),
        })
    }

    /// Whether both would take one and the same packet.
    pub(in super::super) fn collides(&self, other: &Self) -> bool {
        let everywhere = self.host_ip.is_unspecified() || other.host_ip.is_unspecified();
        self.protocol == other.protocol
            && self.host_port == other.host_port
            && (everywhere || self.host_ip == other.host_ip)
    }
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
        let step = format!("publish port {}:{}/{}", element.host_ip, element.host_port, element.protocol);
        transaction.add(step, NEWSETELEM, MAKE_NEW, NFPROTO_IPV4, |w| write(w, element, Some(owner)));
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
        let step = format!("unpublish port {}:{}/{}", element.host_ip, element.host_port, element.protocol);
        transaction.add(step, DELSETELEM, 0, NFPROTO_IPV4, |w| write(w, element, None));
    }
    unless(transaction.commit(socket)?, &[libc::ENOENT])
}

/// Every published port.
pub(in super::super) fn elements(socket: &mut Socket) -> Result<Vec<Owned>> {
    let mut all = Vec::new();
    for map in [PORTS, ANY_PORTS] {
        let mut found = Vec::new();
        let request = |w: &mut Writer<'_>| {
            header(w, NFPROTO_IPV4);
            w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, map);
        };
        let listed = socket.dump("list the published ports", kind(GETSETELEM), request, |body| {
            let Some(body) = body else { return found.clear() };
            let list = body.get(4..).and_then(|rest| attribute(rest, NFTA_SET_ELEM_LIST_ELEMENTS)).unwrap_or_default();
            found.extend(attributes(list).filter_map(|(_, element)| parse(element)));
        });
        absent_is_empty(listed)?;
        all.append(&mut found);
    }
    Ok(all)
}

fn parse(element: &[u8]) -> Option<Owned> {
    let value = |kind| attribute(attribute(element, kind)?, NFTA_DATA_VALUE);
    let owner = attribute(element, NFTA_SET_ELEM_USERDATA).and_then(comment).unwrap_or_default();
    Some(Owned { element: Element::parse(value(NFTA_SET_ELEM_KEY)?, value(NFTA_SET_ELEM_DATA)?)?, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_collide() {
        let one = Element {
            host_ip: Ipv4Addr::new(127, 0, 0, 1),
            protocol: Protocol::Udp,
            host_port: 8053,
            ip: Ipv4Addr::new(10, 76, 0, 2),
            port: 53,
        };
        let any = Element { host_ip: Ipv4Addr::UNSPECIFIED, ..one };
        for element in [one, any] {
            assert_eq!(Element::parse(&element.key(), &element.value()), Some(element));
        }
        assert!(one.collides(&any) && any.collides(&one) && one.collides(&one));
        assert!(!one.collides(&Element { host_ip: Ipv4Addr::new(127, 0, 0, 2), ..one }));
        assert!(!any.collides(&Element { protocol: Protocol::Tcp, ..one }));
        assert!(!any.collides(&Element { host_port: 1, ..one }));
        assert_eq!(Element::parse(&[1, 2, 3], &[0; 8]), None);
        assert_eq!(Element::parse(&one.key(), &[0; 5]), None);
    }
}
