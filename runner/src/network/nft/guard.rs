//! Containers held to their own addresses: a table `bridge img` that looks at each frame where it enters a bridge, before
//! anybody learns from it. Its rules are fixed; a guarded port is some elements of sets, each beginning with its name:
//!
//! ```text
//! set guarded    { type ifname }                  ports that are looked at
//! set macs       { type ifname . ether_addr }     who may be the sender of a frame, and of an ARP message
//! set addresses  { type ifname . ipv4_addr }      of an IPv4 packet, and of an ARP message
//! set addresses6 { type ifname . ipv6_addr }      of an IPv6 packet, and whose neighbour may be announced
//! ```
//!
//! Other protocols, and announcements of routers, are dropped at a guarded port. The table goes with its last port.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::super::address::MacAddr;
use super::super::error::Result;
use super::super::lease;
use super::super::netlink::Socket;
use super::expr::{ACCEPT, DROP, Expressions, META_IIFNAME, META_L4PROTO, REG_1, REG_2};
use super::table::{element, interface, list_elements};
use super::{
    DELSETELEM, DELTABLE, Family, MAKE, MAKE_LAST, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_TABLE_NAME, TABLE, Transaction, comment_data,
    rules, unless,
};

const NFPROTO_BRIDGE: u8 = 7;
const CHAIN: &str = "prerouting";
const HOOK_PREROUTING: u32 = 0;
const PRIORITY: i32 = -300;
/// Comment on each rule; the number changes whenever the rules below do.
const VERSION: &str = "img guard 1";

const GUARDED: &str = "guarded";
const MACS: &str = "macs";
const ADDRESSES: &str = "addresses";
const ADDRESSES6: &str = "addresses6";

/// Each set with the type of its key, six bits for each part, and the key's length.
const SETS: [(&str, u32, u32); 4] =
    [(GUARDED, 41, 16), (MACS, 41 << 6 | 9, 24), (ADDRESSES, 41 << 6 | 7, 20), (ADDRESSES6, 41 << 6 | 8, 32)];

const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

type Statement = fn(&mut Expressions<'_, '_>);

/// Every rule, in order.
const RULES: [Statement; 11] = [
    |e| e.meta(META_IIFNAME, REG_1).not_in_set(GUARDED).verdict(ACCEPT),
    |e| unless_in(e, LINK, 6, 6, MACS),
    |e| unless_in(e.of_type(ARP), NETWORK, 8, 6, MACS),
    |e| unless_in(e.of_type(ARP), NETWORK, 14, 4, ADDRESSES),
    |e| e.of_type(ARP).verdict(ACCEPT),
    |e| unless_in(e.of_type(IPV4), NETWORK, 12, 4, ADDRESSES),
    |e| e.of_type(IPV4).verdict(ACCEPT),
    |e| unless_in(e.of_type(IPV6), NETWORK, 8, 16, ADDRESSES6),
    |e| unless_in(e.of_type(IPV6).icmpv6(NEIGHBOUR_ADVERTISEMENT), TRANSPORT, 8, 16, ADDRESSES6),
    |e| e.of_type(IPV6).icmpv6(ROUTER_ADVERTISEMENT).verdict(DROP),
    |e| e.not_of_type(IPV6).verdict(DROP),
];

/// Drops what has something else there than this port may send.
fn unless_in(e: &mut Expressions<'_, '_>, base: u32, offset: u32, length: u32, set: &str) {
    e.meta(META_IIFNAME, REG_1).payload(base, offset, length, REG_2).not_in_set(set).verdict(DROP);
}

impl Expressions<'_, '_> {
    fn of_type(&mut self, ethertype: [u8; 2]) -> &mut Self {
        self.payload(LINK, 12, 2, REG_1).equals(&ethertype)
    }

    fn not_of_type(&mut self, ethertype: [u8; 2]) -> &mut Self {
        self.payload(LINK, 12, 2, REG_1).differs(&ethertype)
    }

    fn icmpv6(&mut self, kind: u8) -> &mut Self {
        self.meta_is(META_L4PROTO, &[ICMPV6]).payload(TRANSPORT, 0, 1, REG_1).equals(&[kind])
    }
}

/// The address that an interface gives itself on its wire.
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.bytes();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

fn lock(state_dir: &Path) -> Result<File> {
    lease::make_dir(state_dir)?;
    lease::lock(&state_dir.join("guards.lock"))
}

/// Lets only these addresses in by a port of a bridge, which need not be there yet.
pub(in super::super) fn guard(
    socket: &mut Socket,
    state_dir: &Path,
    port: &str,
    mac: MacAddr,
    addresses: &[IpAddr],
) -> Result<()> {
    let _lock = lock(state_dir)?;
    let mut transaction = Transaction::new();
    let found = rules(socket, NFPROTO_BRIDGE, TABLE, None)?;
    let whole = found.len() == RULES.len() && found.iter().all(|rule| rule.comment.as_deref() == Some(VERSION));
    if !whole {
        add_table(&mut transaction, !found.is_empty());
    }
    for (set, key) in stale(socket, &|name| name == port)? {
        remove(&mut transaction, set, &key);
    }
    let name = interface(port);
    add(&mut transaction, GUARDED, &name);
    add(&mut transaction, MACS, &[&name[..], &mac.bytes(), &[0, 0]].concat());
    for address in addresses {
        match address {
            IpAddr::V4(ip) => add(&mut transaction, ADDRESSES, &[&name[..], &ip.octets()].concat()),
            IpAddr::V6(ip) => add(&mut transaction, ADDRESSES6, &[&name[..], &ip.octets()].concat()),
        }
    }
    // A host asks from no address at all whether somebody has its own.
    for ip in [link_local(mac), Ipv6Addr::UNSPECIFIED] {
        add(&mut transaction, ADDRESSES6, &[&name[..], &ip.octets()].concat());
    }
    transaction.commit_all(socket)
}

/// Forgets the ports whose names `gone` tells; with the last one goes the table.
pub(in super::super) fn unguard(socket: &mut Socket, state_dir: &Path, gone: &dyn Fn(&str) -> bool) -> Result<()> {
    let _lock = lock(state_dir)?;
    let stale_ones = stale(socket, gone)?;
    if stale_ones.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    let of_all = stale(socket, &|_| true)?;
    if of_all.len() == stale_ones.len() {
        transaction.add("remove the firewall table of guarded ports", DELTABLE, 0, NFPROTO_BRIDGE, |w| {
            w.text(NFTA_TABLE_NAME, TABLE);
        });
    } else {
        for (set, key) in stale_ones {
            remove(&mut transaction, set, &key);
        }
    }
    unless(transaction.commit(socket)?, &[libc::ENOENT]).map(drop)
}

/// The elements of the ports whose names fit.
fn stale(socket: &mut Socket, fits: &dyn Fn(&str) -> bool) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut found = Vec::new();
    for (set, ..) in SETS {
        let before = found.len();
        list_elements(socket, NFPROTO_BRIDGE, set, |element| match element {
            None => found.truncate(before),
            Some((key, _)) => {
                let name = key.get(..16).and_then(super::super::netlink::text).unwrap_or_default();
                if fits(&name) {
                    found.push((set, key.to_vec()));
                }
            }
        })?;
    }
    Ok(found)
}

fn add(transaction: &mut Transaction, set: &str, key: &[u8]) {
    let step = format!("add a port to the firewall set {set}");
    transaction.add(step, NEWSETELEM, MAKE, NFPROTO_BRIDGE, |w| element(w, set, key));
}

fn remove(transaction: &mut Transaction, set: &str, key: &[u8]) {
    let step = format!("remove a port from the firewall set {set}");
    transaction.add(step, DELSETELEM, 0, NFPROTO_BRIDGE, |w| element(w, set, key));
}

/// Makes the table with its sets and rules; those of another version, or what is left of ours, go first.
fn add_table(transaction: &mut Transaction, clear: bool) {
    transaction.add("create the firewall table of guarded ports", NEWTABLE, MAKE, NFPROTO_BRIDGE, |w| {
        w.text(NFTA_TABLE_NAME, TABLE);
    });
    transaction.add("create the firewall chain of guarded ports", NEWCHAIN, MAKE, NFPROTO_BRIDGE, |w| {
        w.text(1, TABLE).text(3, CHAIN).text(7, "filter").be32(5, ACCEPT).nest(4, |w| {
            w.be32(1, HOOK_PREROUTING).be32(2, PRIORITY.cast_unsigned());
        });
    });
    for (number, (set, kind, length)) in (1..).zip(SETS) {
        transaction.add(format!("create the firewall set {set}"), NEWSET, MAKE, NFPROTO_BRIDGE, |w| {
            w.text(1, TABLE).text(2, set).be32(3, 0).be32(4, kind).be32(5, length).be32(10, number);
            if set == GUARDED {
                w.attr(13, &[0, 4, 1, 0, 0, 0]);
            }
        });
    }
    if clear {
        transaction.add("clear the firewall rules of guarded ports", super::DELRULE, 0, NFPROTO_BRIDGE, |w| {
            w.text(NFTA_RULE_TABLE, TABLE);
        });
    }
    for write in RULES {
        transaction.add("add a firewall rule of guarded ports", NEWRULE, MAKE_LAST, NFPROTO_BRIDGE, |w| {
            w.text(NFTA_RULE_TABLE, TABLE).text(NFTA_RULE_CHAIN, CHAIN);
            // No expression above asks for the family.
            w.nest(NFTA_RULE_EXPRESSIONS, |w| write(&mut Expressions(w, Family::V4)));
            w.attr(NFTA_RULE_USERDATA, &comment_data(VERSION));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_names_itself_on_its_wire() {
        let mac = "02:69:0a:4c:00:4f".parse().unwrap();
        assert_eq!(link_local(mac), "fe80::69:aff:fe4c:4f".parse::<Ipv6Addr>().unwrap());
    }
}
