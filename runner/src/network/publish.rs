//! Publishing ports: picks free ones, finds out who holds those that are not, and enters them into the firewall's maps.
//! A port is claimed twice: as an element of the kernel's map, which decides between containers, and by a bound socket,
//! which decides against programs of the host for as long as somebody keeps it open.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
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
}

/// Publishes every port of `mappings` for the container `id` at `ip`, or none of them.
pub(super) fn publish(
    firewall: &mut Socket,
    site: &Site<'_>,
    mappings: &[PortMapping],
    ip: Ipv4Addr,
    id: &str,
) -> Result<Published> {
    let mut published = Published { elements: Vec::new(), sockets: Vec::new() };
    if mappings.is_empty() {
        return Ok(published);
    }
    let _lock = lock(site.state_dir)?;
    let mut taken = nft::elements(firewall)?;
    remove_leftovers(firewall, &mut taken, id, site)?;
    for mapping in mappings {
        for offset in 0..mapping.range {
            let host_port = if mapping.host_port == 0 { 0 } else { mapping.host_port + offset };
            let wanted = Element {
                host_ip: mapping.address(),
                protocol: mapping.protocol,
                host_port,
                ip,
                port: mapping.container_port + offset,
            };
            if published.elements.iter().any(|other| host_port != 0 && other.collides(&wanted)) {
                let Element { host_ip, protocol, .. } = wanted;
                return Err(Error::Config(format!("port {host_ip}:{host_port}/{protocol} is published twice")));
            }
            let (element, socket) = claim(wanted, &taken, &published.elements)?;
            published.elements.push(element);
            published.sockets.extend(socket);
        }
    }
    if let Some(refusal) = nft::insert(firewall, &published.elements, id)?.into_iter().next() {
        let raced = refusal.error.errno() == Some(libc::EEXIST);
        return Err(match published.elements.get(refusal.index) {
            Some(element) if raced => in_use(element, "another container".to_owned()),
            _ => refusal.error,
        });
    }
    Ok(published)
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
    remove(firewall, |owner| owner == id || !(site.is_alive)(owner))?;
    taken.retain(|owned| !old.contains(&owned.element));
    Ok(())
}

/// Claims a port by a socket; a port of 0 becomes a free one.
fn claim(wanted: Element, taken: &[Owned], mine: &[Element]) -> Result<(Element, Option<OwnedFd>)> {
    if wanted.host_port != 0 {
        if let Some(other) = taken.iter().find(|other| other.element.collides(&wanted)) {
            return Err(in_use(&wanted, format!("container {}", other.owner)));
        }
        let (_, socket) = bind_port(&wanted)?;
        return Ok((wanted, socket));
    }
    // Ports that turn out to be a container's stay bound meanwhile, so that the kernel offers others.
    let mut rejected = Vec::new();
    for _ in 0..FREE_PORT_ATTEMPTS {
        let (host_port, socket) = bind_port(&wanted)?;
        let element = Element { host_port, ..wanted };
        let collides = |other: &Element| other.collides(&element);
        if !taken.iter().any(|other| collides(&other.element)) && !mine.iter().any(collides) {
            return Ok((element, socket));
        }
        rejected.push(socket);
    }
    Err(Error::Config(format!("no free {} port found on {}", wanted.protocol, wanted.host_ip)))
}

/// Binds a socket to the element's address and port; returns it with the port, which the kernel picks for 0.
fn bind_port(element: &Element) -> Result<(u16, Option<OwnedFd>)> {
    let Element { host_ip, protocol, host_port, .. } = *element;
    let step = || format!("bind {host_ip}:{host_port}/{protocol}");
    let address = SocketAddrV4::new(host_ip, host_port);
    // A port in TIME_WAIT refuses a plain bind and takes one with SO_REUSEADDR; one with a listener refuses both.
    for reuse in [false, true] {
        let socket = match open(protocol) {
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
                let bound = getsockname(&socket).and_then(SocketAddrV4::try_from).map_err(Error::system(step()))?;
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

fn open(protocol: Protocol) -> rustix::io::Result<OwnedFd> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(number))
}

/// Takes back each port whose owner `of` names; returns how many there were. None is no error.
pub(super) fn remove(firewall: &mut Socket, of: impl Fn(&str) -> bool) -> Result<usize> {
    let mut removed = 0;
    for _ in 0..DELETE_ATTEMPTS {
        let elements: Vec<Element> =
            nft::elements(firewall)?.into_iter().filter(|owned| of(&owned.owner)).map(|owned| owned.element).collect();
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
    for element in elements {
        match there.iter().find(|owned| owned.element.collides(element)) {
            None => missing.push(*element),
            Some(owned) if owned.owner == id && owned.element == *element => {}
            Some(owned) => return Err(in_use(element, format!("container {}", owned.owner))),
        }
    }
    match nft::insert(firewall, &missing, id)?.into_iter().next() {
        Some(refusal) => Err(refusal.error),
        None => Ok(()),
    }
}
