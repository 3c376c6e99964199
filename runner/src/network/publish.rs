//! Publishing ports: picks free ones, finds out who holds those that are not, and enters them into the firewall's maps.
//! A port is claimed twice: as an element of the kernel's map, which decides between containers, and by a bound socket,
//! which decides against programs of the host for as long as somebody keeps it open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with};

use super::config::{PortMapping, Protocol};
use super::error::{Error, Result};
use super::netlink::Socket;
use super::nft::{self, Element, Owned};
use super::{Site, lease};

/// How often another free port is tried when the one the kernel offered belongs to a container.
const FREE_PORT_ATTEMPTS: usize = 64;
/// How often a removal is tried again because somebody else removed one of the elements.
const DELETE_ATTEMPTS: usize = 8;

/// What was published.
pub(super) struct Published {
    /// One element per port.
    pub(super) elements: Vec<Element>,
    /// Bound sockets that keep programs of the host from taking the ports.
    pub(super) sockets: Vec<OwnedFd>,
    /// Those at which connections arrive.
    pub(super) relayed: Vec<Relayed>,
}

/// A published port that the kernel cannot lead to the container: the one on `::1`. Who keeps the socket passes on what comes.
#[derive(Debug)]
pub struct Relayed {
    /// The bound socket.
    pub socket: OwnedFd,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it is in the container.
    pub target: SocketAddr,
}

/// The container's addresses, to which published ports lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) ip: Ipv4Addr,
    pub(super) ip6: Option<Ipv6Addr>,
}

/// Publishes every port of `mappings` for the container `id` at `target`, or none of them.
pub(super) fn publish(
    firewall: &mut Socket,
    site: &Site<'_>,
    mappings: &[PortMapping],
    target: Target,
    id: &str,
) -> Result<Published> {
    let mut published = Published { elements: Vec::new(), sockets: Vec::new(), relayed: Vec::new() };
    if mappings.is_empty() {
        return Ok(published);
    }
    let _lock = lock(site.state_dir)?;
    let mut taken = nft::elements(firewall)?;
    remove_leftovers(firewall, &mut taken, id, site)?;
    for mapping in mappings {
        for offset in 0..mapping.range {
            let wanted = wanted(mapping, offset, target)?;
            let twice = |one: &Element| published.elements.iter().any(|other| other.collides(one));
            if let Some(element) = wanted.iter().find(|one| one.host_port != 0 && mapping.choices == 1 && twice(one)) {
                return Err(Error::Config(format!("port {element} is published twice")));
            }
            let claimed = claim(&wanted, mapping.choices, &taken, &published.elements)?;
            for (element, socket) in claimed {
                published.elements.push(element);
                match socket {
                    Some(socket) if is_relayed(&element) => published.relayed.push(Relayed {
                        socket,
                        protocol: element.protocol,
                        target: SocketAddr::new(element.ip, element.port),
                    }),
                    socket => published.sockets.extend(socket),
                }
            }
        }
    }
    let entries = entries(&published.elements);
    if let Some(refusal) = nft::insert(firewall, &entries, id)?.into_iter().next() {
        let raced = refusal.error.errno() == Some(libc::EEXIST);
        return Err(match entries.get(refusal.index) {
            Some(element) if raced => in_use(element, "another container".to_owned()),
            _ => refusal.error,
        });
    }
    Ok(published)
}

/// The elements of one port: one, or one for each family where every address of the host is meant.
fn wanted(mapping: &PortMapping, offset: u16, target: Target) -> Result<Vec<Element>> {
    let host_port = if mapping.host_port == 0 { 0 } else { mapping.host_port + offset };
    let element = |host_ip: IpAddr, ip: IpAddr| Element {
        host_ip,
        protocol: mapping.protocol,
        host_port,
        ip,
        port: mapping.container_port + offset,
    };
    let (any, any6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    match (mapping.host_ip, target.ip6) {
        (None, None) => Ok(vec![element(any, target.ip.into())]),
        (None, Some(ip6)) => Ok(vec![element(any, target.ip.into()), element(any6, ip6.into())]),
        (Some(host_ip @ IpAddr::V4(_)), _) => Ok(vec![element(host_ip, target.ip.into())]),
        (Some(IpAddr::V6(host_ip)), _) if host_ip.is_loopback() && mapping.protocol == Protocol::Sctp => {
            Err(Error::Config(format!("cannot publish sctp on {host_ip}: only tcp and udp can be relayed from there")))
        }
        (Some(IpAddr::V6(host_ip)), ip6) if host_ip.is_loopback() => {
            Ok(vec![element(host_ip.into(), ip6.map_or(target.ip.into(), IpAddr::V6))])
        }
        (Some(host_ip @ IpAddr::V6(_)), Some(ip6)) => Ok(vec![element(host_ip, ip6.into())]),
        (Some(host_ip), None) => Err(Error::Config(format!(
            "cannot publish on {host_ip}: the container's network has no IPv6; one made with --ipv6 has"
        ))),
    }
}

/// Whether connections to `::1` arrive at the socket of this port.
fn is_relayed(element: &Element) -> bool {
    let IpAddr::V6(host_ip) = element.host_ip else { return false };
    (host_ip.is_loopback() || host_ip.is_unspecified()) && element.protocol != Protocol::Sctp
}

/// What of published ports is in the firewall's maps. `::1` is left to the relay: for a port on every address of IPv6 an entry of its
/// own says so, and one on `::1` alone has none.
fn entries(elements: &[Element]) -> Vec<Element> {
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let itself = |one: &Element| Element { host_ip: loopback, ip: loopback, port: one.host_port, ..*one };
    let entered = elements.iter().filter(|element| element.host_ip != loopback);
    entered.flat_map(|one| [Some(*one), is_relayed(one).then(|| itself(one))]).flatten().collect()
}

fn lock(state_dir: &Path) -> Result<std::fs::File> {
    lease::lock(&state_dir.join("ports.lock"))
}

fn in_use(element: &Element, holder: String) -> Error {
    Error::PortInUse { host_ip: element.host_ip, port: element.host_port, protocol: element.protocol, holder }
}

/// Removes ports of the dead, and those this container has from an earlier run.
fn remove_leftovers(firewall: &mut Socket, taken: &mut Vec<Owned>, id: &str, site: &Site<'_>) -> Result<()> {
    let left = |owned: &Owned| owned.owner == id || !(site.is_alive)(&owned.owner);
    let old: Vec<Element> = taken.iter().filter(|owned| left(owned)).map(|owned| owned.element).collect();
    if old.is_empty() {
        return Ok(());
    }
    remove(firewall, |owned| owned.owner == id || !(site.is_alive)(&owned.owner))?;
    taken.retain(|owned| !old.contains(&owned.element));
    Ok(())
}

type Claimed = Vec<(Element, Option<OwnedFd>)>;

/// Claims one port by sockets, the same for each of `wanted`. A port of 0 becomes a free one; of several choices the
/// first free one is taken.
fn claim(wanted: &[Element], choices: u16, taken: &[Owned], mine: &[Element]) -> Result<Claimed> {
    let first = wanted.first().map_or(0, |element| element.host_port);
    if first != 0 {
        let mut failed = None;
        for port in (first..=u16::MAX).take(usize::from(choices)) {
            match claim_at(wanted, port, taken, mine) {
                Err(error @ Error::PortInUse { .. }) => failed = Some(error),
                other => return other,
            }
        }
        return Err(failed.unwrap_or_else(|| Error::Config("a range of no ports".to_owned())));
    }
    // Ports that turn out to be a container's stay bound meanwhile, so that the kernel offers others.
    let mut rejected = Vec::new();
    for _ in 0..FREE_PORT_ATTEMPTS {
        let Some(one) = wanted.first() else { break };
        let (port, socket) = bind_port(one)?;
        let rest = wanted.get(1..).unwrap_or_default();
        let element = Element { host_port: port, ..*one };
        let collides = |other: &Element| other.collides(&element);
        if !taken.iter().any(|other| collides(&other.element)) && !mine.iter().any(collides) {
            match claim_at(rest, port, taken, mine) {
                Err(Error::PortInUse { .. }) => {}
                others => {
                    let mut claimed = vec![(element, socket)];
                    claimed.extend(others?);
                    return Ok(claimed);
                }
            }
        }
        rejected.push(socket);
    }
    let what = wanted.first().map(ToString::to_string).unwrap_or_default();
    Err(Error::Config(format!("no free port found for {what}")))
}

/// Claims this very port for each of `wanted`.
fn claim_at(wanted: &[Element], port: u16, taken: &[Owned], mine: &[Element]) -> Result<Claimed> {
    let mut claimed = Vec::new();
    for element in wanted {
        let element = Element { host_port: port, ..*element };
        if let Some(other) = taken.iter().find(|other| other.element.collides(&element)) {
            return Err(in_use(&element, format!("container {}", other.owner)));
        }
        if mine.iter().any(|other| other.collides(&element)) {
            return Err(in_use(&element, "this container itself".to_owned()));
        }
        let (_, socket) = bind_port(&element)?;
        claimed.push((element, socket));
    }
    Ok(claimed)
}

/// Binds a socket to the element's address and port; returns it with the port, which the kernel picks for 0.
fn bind_port(element: &Element) -> Result<(u16, Option<OwnedFd>)> {
    let Element { host_ip, protocol, host_port, .. } = *element;
    let step = || format!("bind {element}");
    let address = SocketAddr::new(host_ip, host_port);
    // A port in TIME_WAIT refuses a plain bind and takes one with SO_REUSEADDR; one with a listener refuses both.
    for reuse in [false, true] {
        let socket = match open(protocol, host_ip) {
            Ok(socket) => socket,
            // SCTP is a module that many hosts do not have; then no program of the host can hold its ports.
            Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp && host_port != 0 => {
                return Ok((host_port, None));
            }
            Err(errno) => return Err(Error::system(step())(errno)),
        };
        if reuse {
            set_socket_reuseaddr(&socket, true).map_err(Error::system(step()))?;
        }
        match bind(&socket, &address) {
            Ok(()) => {
                let bound = getsockname(&socket).and_then(SocketAddr::try_from).map_err(Error::system(step()))?;
                return Ok((bound.port(), Some(socket)));
            }
            Err(Errno::ADDRINUSE) if !reuse && protocol == Protocol::Tcp => {}
            Err(Errno::ADDRINUSE) => break,
            Err(Errno::ADDRNOTAVAIL) => {
                return Err(Error::Config(format!("cannot publish on {host_ip}: no interface of this host has it")));
            }
            Err(errno) => return Err(Error::system(step())(errno)),
        }
    }
    Err(in_use(element, "a program of this host".to_owned()))
}

fn open(protocol: Protocol, host_ip: IpAddr) -> rustix::io::Result<OwnedFd> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if host_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if family == AddressFamily::INET6 {
        // The port of IPv4 is another one, claimed by a socket of its own.
        set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// Takes back each port that `of` says; returns how many there were. None is no error.
pub(super) fn remove(firewall: &mut Socket, of: impl Fn(&Owned) -> bool) -> Result<usize> {
    let mut removed = 0;
    for _ in 0..DELETE_ATTEMPTS {
        let elements: Vec<Element> =
            nft::elements(firewall)?.into_iter().filter(&of).map(|owned| owned.element).collect();
        removed = removed.max(elements.len());
        // False: another process removed one of them first, and so none was removed here.
        if elements.is_empty() || nft::delete(firewall, &elements)? {
            return Ok(removed);
        }
    }
    Err(Error::System {
        step: "remove published ports".to_owned(),
        source: std::io::Error::from_raw_os_error(libc::EAGAIN),
    })
}

/// Enters those of `elements` that the firewall has lost.
pub(super) fn restore(firewall: &mut Socket, state_dir: &Path, elements: &[Element], id: &str) -> Result<()> {
    let _lock = lock(state_dir)?;
    let there = nft::elements(firewall)?;
    let mut missing = Vec::new();
    for element in entries(elements) {
        if there.iter().any(|owned| owned.owner == id && owned.element == element) {
            continue;
        }
        if let Some(other) = there.iter().find(|other| other.owner != id && other.element.collides(&element)) {
            return Err(in_use(&element, format!("container {}", other.owner)));
        }
        missing.push(element);
    }
    match nft::insert(firewall, &missing, id)?.into_iter().next() {
        Some(refusal) => Err(refusal.error),
        None => Ok(()),
    }
}
