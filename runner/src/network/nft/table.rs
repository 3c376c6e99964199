//! Our own table, `ip img`. Its rules never change while containers come and go: bridges are elements of sets, published
//! ports are elements of maps. In the words of nft(8):
//!
//! ```text
//! set bridges   { type ifname }                  every bridge of ours
//! set internal  { type ifname }                  those with no way out
//! set within    { type ifname . ifname }         each bridge with itself
//! set subnets   { type ipv4_addr; flags interval } the bridges' subnets
//! set protocols { type inet_proto; tcp, udp, sctp }
//! map ports     { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//! map any_ports { type inet_proto . inet_service : ipv4_addr . inet_service }
//! ```
//!
//! Rules are only trusted if all of them are there in this program's version; else they are made anew in one transaction.

use super::super::address::{Subnet, Subnet6};
use super::super::error::Result;
use super::super::netlink::{Socket, Writer, attribute, attributes, text};
use super::expr::{
    ACCEPT, Address, DROP, Expressions, META_IIFNAME, META_L4PROTO, META_OIFNAME, REG_1, REG_1B, REG_2, RETURN,
};
use super::{
    DELRULE, DELSETELEM, DELTABLE, Family, GETSETELEM, MAKE, MAKE_LAST, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM,
    NEWTABLE, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NFTA_RULE_USERDATA, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE, NFTA_TABLE_NAME, TABLE, Transaction, absent_is_empty, comment, comment_data, header,
    kind, rules, unless,
};

/// Comment on each rule; the number changes whenever the rules below do.
const VERSION: &str = "img rules 1";

const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const WITHIN: &str = "within";
const SUBNETS: &str = "subnets";
const PROTOCOLS: &str = "protocols";
/// Map of ports published on one address.
pub(super) const PORTS: &str = "ports";
/// Map of ports published on every address of the host.
pub(super) const ANY_PORTS: &str = "any_ports";

const HOOK_PREROUTING: u32 = 0;
const HOOK_FORWARD: u32 = 2;
const HOOK_LOCAL_OUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;

/// Name, type, hook and priority of each chain.
const CHAINS: [(&str, &str, u32, i32); 5] = [
    ("raw", "filter", HOOK_PREROUTING, -300),
    ("prerouting", "nat", HOOK_PREROUTING, -100),
    ("output", "nat", HOOK_LOCAL_OUT, -100),
    ("postrouting", "nat", HOOK_POSTROUTING, 100),
    ("forward", "filter", HOOK_FORWARD, 0),
];

/// A rule as data: its chain and what writes its expressions.
type Statement = (&'static str, fn(&mut Expressions<'_, '_>));

/// Every rule, in order.
const RULES: &[Statement] = &[
    // Replies to 127.0.0.1 need route_localnet on the bridge; nobody on the bridge may use it to reach the host's
    // loopback services.
    ("raw", |e| e.meta(META_IIFNAME, REG_1).in_set(BRIDGES).is_loopback(Address::Destination).verdict(DROP)),
    // A neighbour that sends to 127.0.0.1 over the wire must not reach what is published on loopback only.
    ("prerouting", |e| e.not_from_loopback_device().is_loopback(Address::Destination).verdict(RETURN)),
    ("prerouting", |e| publish_one(e)),
    ("prerouting", |e| publish_any(e)),
    ("output", |e| publish_one(e)),
    ("output", |e| publish_any(e)),
    ("postrouting", |e| {
        e.meta(META_IIFNAME, REG_1).in_set(BRIDGES).meta(META_OIFNAME, REG_1).not_in_set(BRIDGES).masquerade();
    }),
    // From 127.0.0.1 to a published port: the container could not answer to that address.
    ("postrouting", |e| e.meta(META_OIFNAME, REG_1).in_set(BRIDGES).is_loopback(Address::Source).masquerade()),
    // From a container to a published port of a bridge of ours: the answer must come back by the host. Not by the
    // interface, which is not known where the bridge hands its frames to the firewall (bridge-nf-call-iptables).
    ("postrouting", |e| {
        e.meta(META_OIFNAME, REG_1).in_set(BRIDGES).published().address(Address::Source).in_set(SUBNETS).masquerade();
    }),
    ("forward", |e| {
        e.meta(META_IIFNAME, REG_1).in_set(INTERNAL).meta(META_OIFNAME, REG_1).not_in_set(INTERNAL).verdict(DROP);
    }),
    ("forward", |e| e.meta(META_OIFNAME, REG_1).in_set(BRIDGES).established().verdict(ACCEPT)),
    ("forward", |e| e.meta(META_OIFNAME, REG_1).in_set(BRIDGES).published().verdict(ACCEPT)),
    ("forward", |e| e.meta(META_IIFNAME, REG_1).meta(META_OIFNAME, REG_2).in_set(WITHIN).verdict(ACCEPT)),
    // What was not published is reached from the host and the same bridge only.
    ("forward", |e| e.meta(META_OIFNAME, REG_1).in_set(BRIDGES).verdict(DROP)),
];

fn publish_one(e: &mut Expressions<'_, '_>) {
    let next = e.after_address();
    e.local_destination().meta(META_L4PROTO, REG_1).in_set(PROTOCOLS);
    e.address(Address::Destination).meta(META_L4PROTO, next).destination_port(next + 1).map(PORTS).redirect();
}

fn publish_any(e: &mut Expressions<'_, '_>) {
    e.local_destination().meta(META_L4PROTO, REG_1).in_set(PROTOCOLS);
    e.meta(META_L4PROTO, REG_1).destination_port(REG_1B).map(ANY_PORTS).redirect();
}

/// Types of nft(8), which the kernel only keeps for those who list the set.
/// Stands for the type of an address of the table's family: 7 for IPv4, 8 for IPv6.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTO: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_IFNAME: u32 = 41;
const SET_F_INTERVAL: u32 = 4;
const SET_F_MAP: u32 = 8;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const ELEM_INTERVAL_END: u32 = 1;

/// Name and key of a set: the types it is put together from, and whether nft(8) must be told that the key is in the
/// machine's byte order.
struct SetShape {
    name: &'static str,
    key: &'static [u32],
    host_order: bool,
    /// `SET_F_MAP` for a map to address and port, `SET_F_INTERVAL`, or 0.
    flags: u32,
}

/// The number of a type put together from several, six bits each, and its length in bytes.
fn joined(types: &[u32], family: Family) -> (u32, u32) {
    let address = match family {
        Family::V4 => TYPE_ADDRESS,
        Family::V6 => TYPE_ADDRESS + 1,
    };
    types.iter().fold((0, 0), |(all, bytes), one| match *one {
        TYPE_ADDRESS => (all << 6 | address, bytes + family.length()),
        TYPE_IFNAME => (all << 6 | TYPE_IFNAME, bytes + 16),
        // One alone has its own length, in a row each is padded to four bytes.
        TYPE_PROTO if types.len() == 1 => (TYPE_PROTO, 1),
        other => (all << 6 | other, bytes + 4),
    })
}

const SETS: [SetShape; 7] = [
    SetShape { name: SUBNETS, key: &[TYPE_ADDRESS], host_order: false, flags: SET_F_INTERVAL },
    SetShape { name: BRIDGES, key: &[TYPE_IFNAME], host_order: true, flags: 0 },
    SetShape { name: INTERNAL, key: &[TYPE_IFNAME], host_order: true, flags: 0 },
    SetShape { name: WITHIN, key: &[TYPE_IFNAME, TYPE_IFNAME], host_order: false, flags: 0 },
    SetShape { name: PROTOCOLS, key: &[TYPE_PROTO], host_order: false, flags: 0 },
    SetShape { name: PORTS, key: &[TYPE_ADDRESS, TYPE_PROTO, TYPE_SERVICE], host_order: false, flags: SET_F_MAP },
    SetShape { name: ANY_PORTS, key: &[TYPE_PROTO, TYPE_SERVICE], host_order: false, flags: SET_F_MAP },
];

/// A subnet of either family, as bytes: its first address, the one after its last, and the length of its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Range {
    family: Family,
    first: Vec<u8>,
    end: Vec<u8>,
    prefix: u8,
}

impl From<Subnet> for Range {
    fn from(subnet: Subnet) -> Self {
        let end = subnet.broadcast().to_bits().wrapping_add(1).to_be_bytes().to_vec();
        Self { family: Family::V4, first: subnet.network().octets().to_vec(), end, prefix: subnet.prefix() }
    }
}

impl From<Subnet6> for Range {
    fn from(subnet: Subnet6) -> Self {
        let end = subnet.last().to_bits().wrapping_add(1).to_be_bytes().to_vec();
        Self { family: Family::V6, first: subnet.network().octets().to_vec(), end, prefix: subnet.prefix() }
    }
}

/// A bridge as the firewall knows it.
pub(in super::super) struct Bridge<'a> {
    /// Its interface's name.
    pub(in super::super) name: &'a str,
    /// Its subnet.
    pub(in super::super) subnet: Range,
    /// Whether it has no way out.
    pub(in super::super) internal: bool,
}

/// Makes the table of the subnet's family if it is not there, or not whole, and enters the bridge.
pub(in super::super) fn ensure(socket: &mut Socket, bridge: &Bridge<'_>) -> Result<()> {
    let family = bridge.subnet.family;
    let mut transaction = Transaction::new();
    if !is_whole(socket, family)? {
        add_table(&mut transaction, family);
    }
    if !transaction.is_empty() || !names(socket, family, BRIDGES)?.iter().any(|name| name == bridge.name) {
        add_bridge(&mut transaction, bridge);
    }
    transaction.commit_all(socket)
}

/// Whether the rules are all there, in order and of this version.
fn is_whole(socket: &mut Socket, family: Family) -> Result<bool> {
    let found = rules(socket, family.number(), TABLE, None)?;
    let mut wanted: Vec<&str> = RULES.iter().map(|(chain, _)| *chain).collect();
    let mut got: Vec<&str> = found.iter().map(|rule| rule.chain.as_str()).collect();
    wanted.sort_unstable();
    got.sort_unstable();
    Ok(wanted == got && found.iter().all(|rule| rule.comment.as_deref() == Some(VERSION)))
}

fn add_table(transaction: &mut Transaction, family: Family) {
    let number = family.number();
    transaction.add("create the firewall table img", NEWTABLE, MAKE, number, |w| {
        w.text(NFTA_TABLE_NAME, TABLE);
    });
    for (name, kind, hook, priority) in CHAINS {
        let step = format!("create the firewall chain {name} of table {TABLE}");
        transaction.add(step, NEWCHAIN, MAKE, number, |w| {
            w.text(1, TABLE).text(3, name).text(7, kind).be32(5, ACCEPT);
            w.nest(4, |w| {
                w.be32(1, hook).be32(2, priority.cast_unsigned());
            });
        });
    }
    for (id, set) in (1..).zip(&SETS) {
        add_set(transaction, family, set, id);
    }
    for protocol in [6, 17, 132] {
        add_element(transaction, family, PROTOCOLS, &[protocol], "the protocol");
    }
    // Rules of another version, or what was left of ours.
    transaction.add("clear the firewall rules of table img", DELRULE, 0, number, |w| {
        w.text(NFTA_RULE_TABLE, TABLE);
    });
    for (chain, write) in RULES {
        let step = format!("add the firewall rules of {chain} to table {TABLE}");
        transaction.add(step, NEWRULE, MAKE_LAST, number, |w| {
            w.text(NFTA_RULE_TABLE, TABLE).text(NFTA_RULE_CHAIN, chain);
            w.nest(NFTA_RULE_EXPRESSIONS, |w| write(&mut Expressions(w, family)));
            w.attr(NFTA_RULE_USERDATA, &comment_data(VERSION));
        });
    }
}

fn add_set(transaction: &mut Transaction, family: Family, set: &SetShape, number: u32) {
    let step = format!("create the firewall set {} of table {TABLE}", set.name);
    transaction.add(step, NEWSET, MAKE, family.number(), |w| {
        let (key, length) = joined(set.key, family);
        w.text(1, TABLE).text(2, set.name).be32(3, set.flags);
        w.be32(4, key).be32(5, length);
        if set.flags == SET_F_MAP {
            let (value, length) = joined(&[TYPE_ADDRESS, TYPE_SERVICE], family);
            w.be32(6, value).be32(7, length);
        }
        w.be32(10, number);
        if set.host_order {
            w.attr(13, &[0, 4, 1, 0, 0, 0]);
        }
    });
}

fn add_bridge(transaction: &mut Transaction, bridge: &Bridge<'_>) {
    let family = bridge.subnet.family;
    add_element(transaction, family, BRIDGES, &interface(bridge.name), bridge.name);
    add_element(transaction, family, WITHIN, &interface(bridge.name).repeat(2), bridge.name);
    if bridge.internal {
        add_element(transaction, family, INTERNAL, &interface(bridge.name), bridge.name);
    }
    let step = format!("add the subnet of {} to the firewall set {SUBNETS}", bridge.name);
    transaction.add(step, NEWSETELEM, MAKE, family.number(), |w| interval(w, bridge.name, &bridge.subnet));
}

/// The two elements of an interval: its first address, and the one after its last. The comment tells whose it is, and
/// by the length of the prefix where it ends.
fn interval(w: &mut Writer<'_>, name: &str, subnet: &Range) {
    w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, SUBNETS);
    w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |w| {
        for (address, flags) in [(&subnet.first, 0), (&subnet.end, ELEM_INTERVAL_END)] {
            w.nest(NFTA_LIST_ELEM, |w| {
                w.be32(NFTA_SET_ELEM_FLAGS, flags).nest(NFTA_SET_ELEM_KEY, |w| {
                    w.attr(NFTA_DATA_VALUE, address);
                });
                if flags == 0 {
                    w.attr(NFTA_SET_ELEM_USERDATA, &comment_data(&format!("{name}/{}", subnet.prefix)));
                }
            });
        }
    });
}

/// The subnets entered for a bridge.
fn subnets(socket: &mut Socket, family: Family, name: &str) -> Result<Vec<Range>> {
    let mut found = Vec::new();
    list(socket, family, SUBNETS, |element| match element {
        None => found.clear(),
        Some((key, element)) => {
            let comment = attribute(element, NFTA_SET_ELEM_USERDATA).and_then(comment).unwrap_or_default();
            let prefix = comment.rsplit_once('/').filter(|(owner, _)| *owner == name).map(|(_, prefix)| prefix.parse());
            let Some(Ok(prefix)) = prefix else { return };
            if let Ok(address) = <[u8; 4]>::try_from(key) {
                found.extend(Subnet::new(address.into(), prefix).map(Range::from));
            } else if let Ok(address) = <[u8; 16]>::try_from(key) {
                found.extend(Subnet6::new(address.into(), prefix).map(Range::from));
            }
        }
    })?;
    Ok(found)
}

/// The name of an interface as a key has it.
pub(super) fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
    bytes
}

/// One element of a set of our table.
pub(super) fn element(w: &mut Writer<'_>, set: &str, key: &[u8]) {
    w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, set);
    w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |w| {
        w.nest(NFTA_LIST_ELEM, |w| {
            w.nest(NFTA_SET_ELEM_KEY, |w| {
                w.attr(NFTA_DATA_VALUE, key);
            });
        });
    });
}

fn add_element(transaction: &mut Transaction, family: Family, set: &str, key: &[u8], what: &str) {
    let step = format!("add {what} to the firewall set {set}");
    transaction.add(step, NEWSETELEM, MAKE, family.number(), |w| element(w, set, key));
}

/// The interface names in a set.
fn names(socket: &mut Socket, family: Family, set: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    list(socket, family, set, |element| match element {
        Some((key, _)) => found.extend(text(key)),
        None => found.clear(),
    })?;
    Ok(found)
}

/// Hands the key and the attributes of each element of a set to `read`; after a `None` the list begins anew. A set that
/// is not there has none.
fn list(socket: &mut Socket, family: Family, set: &str, read: impl FnMut(Option<(&[u8], &[u8])>)) -> Result<()> {
    list_elements(socket, family.number(), set, read)
}

/// The same for a set of our table in the family of this number.
pub(super) fn list_elements(
    socket: &mut Socket,
    family: u8,
    set: &str,
    mut read: impl FnMut(Option<(&[u8], &[u8])>),
) -> Result<()> {
    let request = |w: &mut Writer<'_>| {
        header(w, family);
        w.text(NFTA_SET_ELEM_LIST_TABLE, TABLE).text(NFTA_SET_ELEM_LIST_SET, set);
    };
    let listed = socket.dump(&format!("list the firewall set {set}"), kind(GETSETELEM), request, |body| {
        let Some(body) = body else { return read(None) };
        let list = body.get(4..).and_then(|rest| attribute(rest, NFTA_SET_ELEM_LIST_ELEMENTS)).unwrap_or_default();
        for (_, element) in attributes(list) {
            if let Some(key) = attribute(element, NFTA_SET_ELEM_KEY).and_then(|key| attribute(key, NFTA_DATA_VALUE)) {
                read(Some((key, element)));
            }
        }
    });
    absent_is_empty(listed)
}

/// Takes the bridge out of the sets of both families; with the last one goes the table.
pub(in super::super) fn delete_bridge(socket: &mut Socket, name: &str) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        delete_bridge_of(socket, family, name)?;
    }
    Ok(())
}

fn delete_bridge_of(socket: &mut Socket, family: Family, name: &str) -> Result<()> {
    let (known, number) = (names(socket, family, BRIDGES)?, family.number());
    let mut transaction = Transaction::new();
    if known.iter().all(|other| other == name) {
        transaction.add("remove the firewall table img", DELTABLE, 0, number, |w| {
            w.text(NFTA_TABLE_NAME, TABLE);
        });
    } else {
        let internal = names(socket, family, INTERNAL)?;
        for (set, members, times) in [(BRIDGES, &known, 1), (INTERNAL, &internal, 1), (WITHIN, &known, 2)] {
            if members.iter().any(|member| member == name) {
                let step = format!("remove {name} from the firewall set {set}");
                let key = interface(name).repeat(times);
                transaction.add(step, DELSETELEM, 0, number, |w| element(w, set, &key));
            }
        }
        for subnet in subnets(socket, family, name)? {
            let step = format!("remove the subnet of {name} from the firewall set {SUBNETS}");
            transaction.add(step, DELSETELEM, 0, number, |w| interval(w, name, &subnet));
        }
    }
    unless(transaction.commit(socket)?, &[libc::ENOENT]).map(drop)
}
