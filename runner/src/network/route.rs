//! Interfaces, addresses and routes by rtnetlink(7): the few requests that a bridge network needs, and what the kernel
//! answers. It owns the layout of these messages (kernel `include/uapi/linux/{rtnetlink,if_link,if_addr}.h`); what is
//! made when, and what is removed, is decided by `bridge`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::address::{MacAddr, Subnet, Subnet6};
use super::config::UplinkKind;
use super::device::Moved;
use super::error::{Error, Result};
use super::netlink::{
    Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Socket, Writer, attribute, attributes, read_u32, text,
};
use super::state::Attachment;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFA_F_NODAD: u8 = 2;

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
const OPERSTATE_UP: u8 = 6;
const IFF_UP: u32 = libc::IFF_UP as u32;
/// How many milliseconds to wait for an interface to settle.
const SETTLE_ATTEMPTS: usize = 100;
/// The loopback device is the first of each namespace.
const LOOPBACK_INDEX: u32 = 1;

/// An interface, as the kernel tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `bridge`, `veth`, …; hardware has none.
    pub(super) kind: Option<String>,
    /// Index of the bridge it is a port of.
    pub(super) master: Option<u32>,
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// Whether packets pass: it is up, and so is its other end or, for a bridge, a port.
    pub(super) operational: bool,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) alias: Option<String>,
}

/// How a container's pair of interfaces is to be made.
pub(super) struct Veth<'a> {
    /// The host's end.
    pub(super) name: &'a str,
    /// Index of the bridge.
    pub(super) bridge: u32,
    /// The container's end.
    pub(super) peer: &'a str,
    pub(super) peer_mac: MacAddr,
    pub(super) mtu: u32,
    /// Where the container's end is born.
    pub(super) netns: BorrowedFd<'a>,
}

fn link_header(w: &mut Writer<'_>, index: u32, flags: u32, change: u32) {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    w.raw(&header);
}

/// The interface does not give itself an IPv6 address, so it neither waits for duplicates nor sends router
/// solicitations into the bridge.
fn no_ipv6_address(w: &mut Writer<'_>) {
    w.nest(IFLA_AF_SPEC, |w| {
        w.nest(libc::AF_INET6 as u16, |w| {
            w.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let mut link = Link { index: read_u32(body, 4)?, up: read_u32(body, 8)? & IFF_UP != 0, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value)?,
            IFLA_MTU => link.mtu = read_u32(value, 0)?,
            IFLA_MASTER => link.master = read_u32(value, 0),
            IFLA_OPERSTATE => link.operational = value.first() == Some(&OPERSTATE_UP),
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_LINKINFO => link.kind = attribute(value, IFLA_INFO_KIND).and_then(text),
            _ => {}
        }
    }
    Some(link)
}

/// The interface of this name, if there is one.
pub(super) fn link_by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let request = |w: &mut Writer<'_>| {
        link_header(w, 0, 0, 0);
        w.text(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    socket.get(&format!("look up the interface {name}"), RTM_GETLINK, request, parse_link)
}

/// The interface of this index, if there is one.
pub(super) fn link_by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>> {
    let request = |w: &mut Writer<'_>| {
        link_header(w, index, 0, 0);
        w.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    socket.get(&format!("look up interface {index}"), RTM_GETLINK, request, parse_link)
}

/// Waits until packets pass an interface, which is some time after it was brought up: until then the kernel drops them,
/// and the sender tries again a second later. Newer kernels (6.7) are done when they answer; others are asked again, and
/// after a while left to themselves.
pub(super) fn settle(socket: &mut Socket, index: u32) -> Result<Option<Link>> {
    for _ in 0..SETTLE_ATTEMPTS {
        let link = link_by_index(socket, index)?;
        if link.as_ref().is_none_or(|link| link.operational) {
            return Ok(link);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    link_by_index(socket, index)
}

/// Every interface of the namespace.
pub(super) fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut found = Vec::new();
    let request = |w: &mut Writer<'_>| {
        link_header(w, 0, 0, 0);
        w.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    socket.dump("list the interfaces", RTM_GETLINK, request, |body| match body {
        Some(body) => found.extend(parse_link(body)),
        None => found.clear(),
    })?;
    Ok(found)
}

/// The IPv4 addresses of an interface, each with the length of its prefix.
pub(super) fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<(Ipv4Addr, u8)>> {
    let mut found = Vec::new();
    let request = |w: &mut Writer<'_>| {
        w.raw(&[AF_INET, 0, 0, 0]).raw(&[0; 4]);
    };
    socket.dump("list the addresses", RTM_GETADDR, request, |body| match body {
        Some(body) if read_u32(body, 4) == Some(index) => {
            let local = body.get(8..).and_then(|rest| ipv4(attribute(rest, IFA_LOCAL)?));
            found.extend(local.map(|address| (address, body[1])));
        }
        Some(_) => {}
        None => found.clear(),
    })?;
    Ok(found)
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

/// Hands every unicast route of the namespace to `read`: its destination and the index of its interface. After a `None`
/// the list begins anew.
pub(super) fn routes(socket: &mut Socket, mut read: impl FnMut(Option<(Subnet, Option<u32>)>)) -> Result<()> {
    let request = |w: &mut Writer<'_>| {
        w.raw(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]).raw(&[0; 4]);
    };
    socket.dump("list the routes", RTM_GETROUTE, request, |body| {
        let Some(body) = body else { return read(None) };
        let Some((header, rest)) = body.split_at_checked(12) else { return };
        let destination = match attribute(rest, RTA_DST) {
            Some(bytes) => ipv4(bytes),
            None => Some(Ipv4Addr::UNSPECIFIED),
        };
        // Broadcast, multicast and anycast entries only repeat what the addresses of the interfaces say.
        if matches!(header[7], libc::RTN_BROADCAST | libc::RTN_MULTICAST | libc::RTN_ANYCAST) {
            return;
        }
        if let Some(subnet) = destination.and_then(|address| Subnet::new(address, header[1]).ok()) {
            read(Some((subnet, attribute(rest, RTA_OIF).and_then(|bytes| read_u32(bytes, 0)))));
        }
    })
}

/// Makes a bridge, which is still down. EEXIST is an error.
pub(super) fn create_bridge(socket: &mut Socket, name: &str, mac: MacAddr, mtu: u32) -> Result<()> {
    let mut batch = Batch::new();
    batch.add(format!("create the bridge {name}"), RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        link_header(w, 0, 0, 0);
        w.text(IFLA_IFNAME, name).u32(IFLA_MTU, mtu).attr(IFLA_ADDRESS, &mac.bytes());
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_KIND, "bridge");
        });
    });
    socket.all(batch)
}

/// Gives an interface its address and brings it up; what is there already is left.
pub(super) fn bring_up(socket: &mut Socket, link: &Link, address: Ipv4Addr, subnet: Subnet) -> Result<()> {
    let mut batch = Batch::new();
    let name = &link.name;
    batch.add(format!("switch off IPv6 addresses on {name}"), RTM_NEWLINK, NLM_F_ACK, |w| {
        link_header(w, link.index, 0, 0);
        no_ipv6_address(w);
    });
    add_address(&mut batch, name, link.index, address, subnet);
    add_up(&mut batch, name, link.index);
    tolerate(socket.each(batch)?, |index, errno| match index {
        0 => errno == libc::EAFNOSUPPORT,
        1 => errno == libc::EEXIST,
        _ => false,
    })
}

/// The first refusal that is not to be tolerated.
fn tolerate(refused: Vec<super::netlink::Refusal>, accept: impl Fn(usize, i32) -> bool) -> Result<()> {
    let mut errors = refused.into_iter().filter(|r| !accept(r.index, r.error.errno().unwrap_or(0)));
    match errors.next() {
        Some(refusal) => Err(refusal.error),
        None => Ok(()),
    }
}

fn add_up(batch: &mut Batch, name: &str, index: u32) {
    batch.add(format!("bring up {name}"), RTM_NEWLINK, NLM_F_ACK, |w| link_header(w, index, IFF_UP, IFF_UP));
}

/// An IPv6 address, which is used at once: nobody else can have it, so there is no wait for duplicates.
fn add_address6(batch: &mut Batch, name: &str, index: u32, address: Ipv6Addr, subnet: Subnet6) {
    let step = format!("add the address {address}/{} to {name}", subnet.prefix());
    batch.add(step, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        w.raw(&[AF_INET6, subnet.prefix(), IFA_F_NODAD, 0]).raw(&index.to_ne_bytes());
        w.attr(IFA_LOCAL, &address.octets()).attr(IFA_ADDRESS, &address.octets());
    });
}

/// Gives a bridge its IPv6 address; one that is there already is left.
pub(super) fn add_bridge_address6(socket: &mut Socket, link: &Link, address: Ipv6Addr, subnet: Subnet6) -> Result<()> {
    let mut batch = Batch::new();
    add_address6(&mut batch, &link.name, link.index, address, subnet);
    tolerate(socket.each(batch)?, |_, errno| errno == libc::EEXIST)
}

fn add_address(batch: &mut Batch, name: &str, index: u32, address: Ipv4Addr, subnet: Subnet) {
    let step = format!("add the address {address}/{} to {name}", subnet.prefix());
    batch.add(step, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        w.raw(&[AF_INET, subnet.prefix(), 0, 0]).raw(&index.to_ne_bytes());
        w.attr(IFA_LOCAL, &address.octets()).attr(IFA_ADDRESS, &address.octets());
        w.attr(IFA_BROADCAST, &subnet.broadcast().octets());
    });
}

/// Makes a pair of interfaces: the host's end a port of the bridge, the container's end born in its namespace with its
/// name. EEXIST is an error: one of the names is taken.
pub(super) fn create_veth(socket: &mut Socket, veth: &Veth<'_>) -> Result<()> {
    let mut batch = Batch::new();
    let step = format!("create the interface pair {} and {}", veth.name, veth.peer);
    batch.add(step, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        link_header(w, 0, 0, 0);
        // More queues than one are only memory: a veth uses one unless told otherwise.
        w.text(IFLA_IFNAME, veth.name).u32(IFLA_MTU, veth.mtu).u32(IFLA_MASTER, veth.bridge);
        w.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |w| {
                w.nest(VETH_INFO_PEER, |w| {
                    link_header(w, 0, 0, 0);
                    w.text(IFLA_IFNAME, veth.peer).u32(IFLA_MTU, veth.mtu);
                    w.attr(IFLA_ADDRESS, &veth.peer_mac.bytes());
                    w.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
                    w.attr(IFLA_NET_NS_FD, &veth.netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
    });
    socket.all(batch)
}

/// Makes a device on top of another one, born in a container's namespace with its name there.
pub(super) fn create_on_top(
    socket: &mut Socket,
    parent: u32,
    kind: UplinkKind,
    name: &str,
    mac: Option<MacAddr>,
    mtu: u32,
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let mut batch = Batch::new();
    let step = format!("create the {} {name} in the container", kind.name());
    batch.add(step, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        link_header(w, 0, 0, 0);
        w.text(IFLA_IFNAME, name).u32(IFLA_MTU, mtu).u32(IFLA_LINK, parent);
        if let Some(mac) = mac {
            w.attr(IFLA_ADDRESS, &mac.bytes());
        }
        w.attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_KIND, kind.name()).nest(IFLA_INFO_DATA, |w| match kind {
                UplinkKind::Macvlan(mode) => drop(w.u32(IFLA_MACVLAN_MODE, mode)),
                UplinkKind::Ipvlan(mode) => drop(w.attr(IFLA_IPVLAN_MODE, &mode.to_ne_bytes())),
            });
        });
    });
    socket.all(batch)
}

/// What is special about a port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortFlags {
    /// The bridge also sends packets back to where they came from, as a container that asks its own published port wants
    /// where the bridge itself sees the firewall (`bridge-nf-call-iptables`).
    pub(super) hairpin: bool,
    /// Nothing passes between this port and others of its kind.
    pub(super) isolated: bool,
}

/// Marks the host's end with its owner, gives it its final name, and brings it up.
pub(super) fn bring_up_veth(
    socket: &mut Socket,
    link: &Link,
    alias: &str,
    rename: Option<&str>,
    flags: PortFlags,
) -> Result<()> {
    let name = &link.name;
    let mut batch = Batch::new();
    batch.add(format!("mark {name} as a container's"), RTM_NEWLINK, NLM_F_ACK, |w| {
        link_header(w, link.index, 0, 0);
        w.attr(IFLA_IFALIAS, alias.as_bytes());
    });
    batch.add(format!("switch off IPv6 addresses on {name}"), RTM_NEWLINK, NLM_F_ACK, |w| {
        link_header(w, link.index, 0, 0);
        no_ipv6_address(w);
    });
    if let Some(new) = rename {
        batch.add(format!("name the interface {new}"), RTM_NEWLINK, NLM_F_ACK, |w| {
            link_header(w, link.index, 0, 0);
            w.text(IFLA_IFNAME, new);
        });
    }
    if flags.hairpin || flags.isolated {
        batch.add(format!("set the bridge port {name}"), RTM_NEWLINK, NLM_F_ACK, |w| {
            link_header(w, link.index, 0, 0);
            w.nest(IFLA_LINKINFO, |w| {
                w.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |w| {
                    w.attr(IFLA_BRPORT_MODE, &[u8::from(flags.hairpin)]);
                    w.attr(IFLA_BRPORT_ISOLATED, &[u8::from(flags.isolated)]);
                });
            });
        });
    }
    add_up(&mut batch, name, link.index);
    tolerate(socket.each(batch)?, |index, errno| index == 1 && errno == libc::EAFNOSUPPORT)
}

/// Brings up the loopback device of the socket's namespace.
pub(super) fn loopback_up(socket: &mut Socket) -> Result<()> {
    let mut batch = Batch::new();
    add_up(&mut batch, "lo", LOOPBACK_INDEX);
    socket.all(batch)
}

/// Brings up loopback and the container's end, and gives the latter its addresses and, where it is wanted, the default
/// route.
pub(super) fn configure_container(socket: &mut Socket, link: &Link, place: &Attachment) -> Result<()> {
    let mut batch = Batch::new();
    add_up(&mut batch, "lo", LOOPBACK_INDEX);
    add_address(&mut batch, &link.name, link.index, place.ip, place.subnet);
    if let Some(six) = &place.ipv6 {
        add_address6(&mut batch, &link.name, link.index, six.ip, six.subnet);
    }
    add_up(&mut batch, &link.name, link.index);
    add_default_routes(&mut batch, link.index, place);
    socket.all(batch)
}

/// Gives the container the default routes of a place that it is on already.
pub(super) fn take_default_routes(socket: &mut Socket, place: &Attachment) -> Result<()> {
    let Some(link) = link_by_name(socket, &place.interface)? else { return Ok(()) };
    let mut batch = Batch::new();
    add_default_routes(&mut batch, link.index, place);
    // The container's own programs may have made one meanwhile.
    tolerate(socket.each(batch)?, |_, errno| errno == libc::EEXIST)
}

fn add_default_routes(batch: &mut Batch, index: u32, place: &Attachment) {
    if place.default_route {
        add_default_route(batch, AF_INET, &place.gateway.to_string(), &place.gateway.octets(), index);
    }
    if let Some(six) = place.ipv6.as_ref().filter(|_| place.default_route6) {
        add_default_route(batch, AF_INET6, &six.gateway.to_string(), &six.gateway.octets(), index);
    }
}

fn add_default_route(batch: &mut Batch, family: u8, words: &str, gateway: &[u8], index: u32) {
    let step = format!("add the default route by {words}");
    batch.add(step, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |w| {
        // Family, lengths of destination, source and TOS, then table, protocol, scope and type.
        w.raw(&[family, 0, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST]);
        w.raw(&[0; 4]).attr(RTA_GATEWAY, gateway).u32(RTA_OIF, index);
    });
}

/// Moves an interface to another namespace and gives it a name there. EEXIST: that name is taken; the interface may then be
/// either here or there under another name.
pub(super) fn move_link(socket: &mut Socket, link: &Link, name: &str, netns: BorrowedFd<'_>) -> Result<()> {
    let mut batch = Batch::new();
    batch.add(format!("move the interface {} and name it {name}", link.name), RTM_NEWLINK, NLM_F_ACK, |w| {
        link_header(w, link.index, 0, 0);
        w.attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes()).text(IFLA_IFNAME, name);
    });
    socket.all(batch)
}

/// Brings up an interface.
pub(super) fn link_up(socket: &mut Socket, link: &Link) -> Result<()> {
    let mut batch = Batch::new();
    add_up(&mut batch, &link.name, link.index);
    socket.all(batch)
}

/// Gives an interface of the host that is in the container now its addresses there, brings it up, and leads the default
/// routes by it where that is wanted.
pub(super) fn configure_device(socket: &mut Socket, moved: &Moved) -> Result<()> {
    let (mut batch, name) = (Batch::new(), &moved.device.interface);
    for (address, prefix) in &moved.device.addresses {
        match address {
            IpAddr::V4(ip) => add_address(&mut batch, name, moved.index, *ip, Subnet::new(*ip, *prefix)?),
            IpAddr::V6(ip) => add_address6(&mut batch, name, moved.index, *ip, Subnet6::new(*ip, *prefix)?),
        }
    }
    add_up(&mut batch, name, moved.index);
    for gateway in &moved.device.gateways {
        match gateway {
            IpAddr::V4(ip) => add_default_route(&mut batch, AF_INET, &ip.to_string(), &ip.octets(), moved.index),
            IpAddr::V6(ip) => add_default_route(&mut batch, AF_INET6, &ip.to_string(), &ip.octets(), moved.index),
        }
    }
    socket.all(batch)
}

/// Removes an interface; one that is gone is no error.
pub(super) fn delete_link(socket: &mut Socket, link: &Link) -> Result<()> {
    let mut batch = Batch::new();
    batch.add(format!("remove the interface {}", link.name), RTM_DELLINK, NLM_F_ACK, |w| {
        link_header(w, link.index, 0, 0);
    });
    match socket.all(batch) {
        Err(Error::Kernel { source, .. }) if source.errno() == libc::ENODEV => Ok(()),
        other => other,
    }
}
