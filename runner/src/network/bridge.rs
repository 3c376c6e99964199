//! The bridge network: a bridge of the host, made when it is first needed, and for each container a pair of interfaces,
//! an address, and its published ports. It owns what is made on the host for a container and in which order; each thing
//! carries the container's id, so that whatever a crash leaves is found by name and removed.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use super::config::{BridgeConfig, MacAddr, Subnet, check_place};
use super::error::{Error, Result};
use super::lease::{self, Leases, Pool};
use super::netlink::Socket;
use super::nft::{self, Element};
use super::route::{self, Link, Veth};
use super::state::{Attachment, PublishedPort, State};
use super::{Network, NetworkDriver, Site, namespace, publish};

/// Subnets for a bridge that none was named for, in order of preference. They keep clear of those that Docker (172.17 to
/// 172.31, 192.168), Podman (10.88 and up), CRI-O (10.85), k3s (10.42, 10.43), and kubeadm's habits (10.96, 10.244) take.
pub const CANDIDATE_SUBNETS: [(Ipv4Addr, u8); 8] = [
    (Ipv4Addr::new(10, 76, 0, 0), 16),
    (Ipv4Addr::new(10, 77, 0, 0), 16),
    (Ipv4Addr::new(10, 78, 0, 0), 16),
    (Ipv4Addr::new(10, 176, 0, 0), 16),
    (Ipv4Addr::new(10, 177, 0, 0), 16),
    (Ipv4Addr::new(172, 30, 0, 0), 16),
    (Ipv4Addr::new(192, 168, 176, 0), 20),
    (Ipv4Addr::new(192, 168, 76, 0), 24),
];

/// First letters of the host's end of a container's pair; twelve characters of its id follow.
pub(super) const VETH_PREFIX: &str = "img";
const ID_IN_NAME: usize = 12;
const ALIAS_PREFIX: &str = "img ";
const DEFAULT_MTU: u32 = 1500;

/// The driver for [`Mode::Bridge`](super::Mode::Bridge).
pub(super) struct Bridge<'a> {
    pub(super) config: &'a BridgeConfig,
}

/// The name of the host's end of a container's pair.
pub(super) fn host_interface(id: &str) -> String {
    let part: String = id.chars().take(ID_IN_NAME).collect();
    format!("{VETH_PREFIX}{part:_<ID_IN_NAME$}")
}

/// The owner of an interface of the host, if it is the host's end of a container's pair: the id, or the first twelve
/// characters of it where a crash came before the whole was written.
pub(super) fn owner(link: &Link) -> Option<String> {
    let part = link.name.strip_prefix(VETH_PREFIX).filter(|part| part.len() == ID_IN_NAME)?;
    if link.kind.as_deref() != Some("veth") {
        return None;
    }
    let alias = link.alias.as_deref().and_then(|alias| alias.strip_prefix(ALIAS_PREFIX));
    Some(alias.unwrap_or(part.trim_end_matches('_')).to_owned())
}

/// A bridge that is there and up.
struct Ready {
    link: Link,
    gateway: Ipv4Addr,
    subnet: Subnet,
}

impl NetworkDriver for Bridge<'_> {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn setup(&self, site: &Site<'_>, id: &str, netns: Option<BorrowedFd<'_>>) -> Result<Network> {
        let config = self.config;
        let netns =
            netns.ok_or_else(|| Error::Config("a bridge network needs the container's namespace".to_owned()))?;
        let (mut links, mut firewall) = (Socket::route()?, Socket::netfilter()?);
        let ready = self.bridge(site, &mut links)?;
        let notices = self.host(&mut firewall, ready.subnet)?;

        let leases = Leases::open(site.state_dir, &config.name)?;
        let ip = self.address(&leases, &ready, site, id)?;
        let mut attachment = Attachment {
            bridge: config.name.clone(),
            subnet: ready.subnet,
            gateway: ready.gateway,
            ip,
            mac: config.mac.unwrap_or_else(|| MacAddr::of_address(ip)),
            mtu: config.mtu.unwrap_or(ready.link.mtu),
            internal: config.internal,
            interface: config.interface.clone(),
            host_interface: host_interface(id),
            host_index: 0,
            ports: Vec::new(),
        };
        let made = attach(&mut attachment, &ready, &mut links, site, id, netns, !config.publish.is_empty())
            .and_then(|()| publish::publish(&mut firewall, site, &config.publish, ip, id));
        let published = match made {
            Ok(published) => published,
            Err(first) => {
                let mut cleanup = release_claims(&attachment, id, site, &mut firewall);
                cleanup.extend(remove_interface(&attachment, id, &mut links).err());
                return Err(if cleanup.is_empty() {
                    first
                } else {
                    Error::Cleanup { first: Box::new(first), cleanup }
                });
            }
        };
        attachment.ports = published.elements.iter().map(port).collect();
        let state = State { attachment: Some(attachment), notices, ..State::plain(id, self.name()) };
        Ok(Network { state, held_ports: published.sockets })
    }

    fn teardown(&self, site: &Site<'_>, state: &State) -> Result<()> {
        teardown(site, state)
    }
}

fn port(element: &Element) -> PublishedPort {
    PublishedPort {
        host_ip: element.host_ip,
        host_port: element.host_port,
        container_port: element.port,
        protocol: element.protocol,
    }
}

fn element(ip: Ipv4Addr, port: &PublishedPort) -> Element {
    Element { host_ip: port.host_ip, protocol: port.protocol, host_port: port.host_port, ip, port: port.container_port }
}

impl Bridge<'_> {
    /// Finds the bridge, or makes it. A half-made one, which a crash may leave, is completed.
    fn bridge(&self, site: &Site<'_>, socket: &mut Socket) -> Result<Ready> {
        if let Some(ready) = self.find(socket)? {
            return Ok(ready);
        }
        lease::make_dir(site.state_dir)?;
        let _lock = lease::lock(&site.state_dir.join("bridge.lock"))?;
        if let Some(ready) = self.find(socket)? {
            return Ok(ready);
        }
        let config = self.config;
        let subnet = match config.subnet {
            Some(subnet) => subnet,
            None => choose_subnet(socket, &config.name)?,
        };
        check_place("subnet", subnet, config.gateway, config.ip, config.range)?;
        let gateway = config.gateway.unwrap_or(subnet.first_host());
        let link = match route::link_by_name(socket, &config.name)? {
            Some(link) => link,
            None => {
                let mtu = match config.mtu {
                    Some(mtu) => mtu,
                    None => default_mtu(socket)?,
                };
                route::create_bridge(socket, &config.name, MacAddr::of_address(gateway), mtu)?;
                route::link_by_name(socket, &config.name)?.ok_or_else(|| self.mismatch("vanished while it was made"))?
            }
        };
        route::bring_up(socket, &link, gateway, subnet)?;
        self.find(socket)?.ok_or_else(|| self.mismatch("did not come up"))
    }

    fn mismatch(&self, reason: impl Into<String>) -> Error {
        Error::BridgeMismatch { bridge: self.config.name.clone(), reason: reason.into() }
    }

    /// The bridge, if it is there with an address and up; an error if it is there and cannot be the one asked for.
    fn find(&self, socket: &mut Socket) -> Result<Option<Ready>> {
        let config = self.config;
        let Some(link) = route::link_by_name(socket, &config.name)? else { return Ok(None) };
        if link.kind.as_deref() != Some("bridge") {
            return Err(self.mismatch("is an interface of another kind"));
        }
        let addresses = route::addresses(socket, link.index)?;
        let wanted = |address: Ipv4Addr, prefix: u8| {
            config.gateway.is_none_or(|gateway| gateway == address)
                && config.subnet.is_none_or(|s| s.prefix() == prefix && s.contains(address))
        };
        let Some((gateway, prefix)) = addresses.iter().copied().find(|(address, prefix)| wanted(*address, *prefix))
        else {
            return match addresses.first() {
                Some((address, prefix)) => {
                    Err(self.mismatch(format!("has the address {address}/{prefix}, not the one asked for")))
                }
                None => Ok(None),
            };
        };
        let subnet = Subnet::new(gateway, prefix)?;
        check_place("subnet of the bridge", subnet, Some(gateway), config.ip, config.range)?;
        Ok(link.up.then_some(Ready { link, gateway, subnet }))
    }

    /// Makes the host forward for the bridge; returns what the user should be told.
    fn host(&self, firewall: &mut Socket, subnet: Subnet) -> Result<Vec<String>> {
        let config = self.config;
        nft::ensure(firewall, &nft::Bridge { name: &config.name, subnet, internal: config.internal })?;
        if config.internal {
            return Ok(Vec::new());
        }
        let mut notices = nft::allow_forwarding(firewall, &config.name)?;
        if namespace::switch_on("ipv4/ip_forward")? {
            notices.push("turned on IPv4 forwarding (net.ipv4.ip_forward), which this host had off".to_owned());
        }
        let loopback = |ip: Ipv4Addr| ip.is_loopback() || ip.is_unspecified();
        if config.publish.iter().any(|mapping| loopback(mapping.address())) {
            namespace::switch_on(&format!("ipv4/conf/{}/route_localnet", config.name))?;
        }
        Ok(notices)
    }

    fn address(&self, leases: &Leases, ready: &Ready, site: &Site<'_>, id: &str) -> Result<Ipv4Addr> {
        match self.config.ip {
            Some(ip) => leases.take(ip, id, site.is_alive).map(|()| ip),
            None => {
                let range = self.config.range.unwrap_or(ready.subnet);
                let pool = Pool { range, subnet: ready.subnet, gateway: ready.gateway };
                leases.take_any(&pool, id, site.is_alive)
            }
        }
    }
}

/// The first candidate that no route of the host overlaps.
fn choose_subnet(socket: &mut Socket, bridge: &str) -> Result<Subnet> {
    let mut free = Vec::new();
    let mut failed = None;
    route::routes(socket, |found| match found {
        None => {
            free.clear();
            for (address, prefix) in CANDIDATE_SUBNETS {
                match Subnet::new(address, prefix) {
                    Ok(subnet) => free.push(subnet),
                    Err(error) => failed = Some(error),
                }
            }
        }
        // Everything overlaps the default route; a wider one of a VPN counts, as it is there to be used.
        Some((taken, _)) => free.retain(|subnet| taken.prefix() == 0 || !taken.overlaps(*subnet)),
    })?;
    match (free.first(), failed) {
        (Some(subnet), _) => Ok(*subnet),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::NoFreeSubnet { bridge: bridge.to_owned() }),
    }
}

/// The MTU of the device the default route leaves by: larger packets would only be cut or lost there.
fn default_mtu(socket: &mut Socket) -> Result<u32> {
    let mut device = None;
    route::routes(socket, |found| match found {
        None => device = None,
        Some((destination, index)) if destination.prefix() == 0 && device.is_none() => device = index,
        Some(_) => {}
    })?;
    let link = match device {
        Some(index) => route::link_by_index(socket, index)?,
        None => None,
    };
    Ok(link.map_or(DEFAULT_MTU, |link| link.mtu.clamp(576, 65535)))
}

/// Makes the pair of interfaces and sets up the container's end.
fn attach(
    attachment: &mut Attachment,
    ready: &Ready,
    links: &mut Socket,
    site: &Site<'_>,
    id: &str,
    netns: BorrowedFd<'_>,
    hairpin: bool,
) -> Result<()> {
    let name = attachment.host_interface.clone();
    let veth = Veth {
        name: &name,
        bridge: ready.link.index,
        peer: &attachment.interface,
        peer_mac: attachment.mac,
        mtu: attachment.mtu,
        netns,
    };
    match route::create_veth(links, &veth) {
        Err(error) if error.errno() == Some(libc::EEXIST) => {
            // The kernel removes a dead container's pair some time after its end: do not wait for it.
            match route::link_by_name(links, &name)? {
                Some(old) if owner(&old).is_some_and(|o| o == id || !(site.is_alive)(&o)) => {
                    route::delete_link(links, &old)?;
                }
                _ => return Err(error),
            }
            route::create_veth(links, &veth)?;
        }
        other => other?,
    }
    let verify = |what: String| Error::Verify { container: id.to_owned(), what };
    let host = route::link_by_name(links, &name)?.ok_or_else(|| verify(format!("{name} is not there")))?;
    attachment.host_index = host.index;
    if host.master != Some(ready.link.index) {
        return Err(verify(format!("{name} is not a port of {}", attachment.bridge)));
    }
    route::bring_up_veth(links, &host, &format!("{ALIAS_PREFIX}{id}"), hairpin)?;

    let mut inside = namespace::visit(netns, Socket::route)?;
    let peer = &attachment.interface;
    let link =
        route::link_by_name(&mut inside, peer)?.ok_or_else(|| verify(format!("{peer} is not in the container")))?;
    let gateway = (!attachment.internal).then_some(attachment.gateway);
    route::configure_container(&mut inside, &link, attachment.ip, attachment.subnet, gateway)?;

    // From the container outwards: the bridge runs when its first port does.
    let link = route::settle(&mut inside, link.index)?.unwrap_or_default();
    route::settle(links, host.index)?;
    route::settle(links, ready.link.index)?;
    if !link.up || link.mac != Some(attachment.mac.bytes()) {
        return Err(verify(format!("{peer} is not up with the address {}", attachment.mac)));
    }
    if !route::addresses(&mut inside, link.index)?.contains(&(attachment.ip, attachment.subnet.prefix())) {
        return Err(verify(format!("{peer} does not have the address {}", attachment.ip)));
    }
    Ok(())
}

/// Gives back a container's ports and its address; goes on after an error and returns them all.
fn release_claims(attachment: &Attachment, id: &str, site: &Site<'_>, firewall: &mut Socket) -> Vec<Error> {
    let mut errors = Vec::new();
    // Ports first: nothing may be sent to an address that is no longer the container's.
    errors.extend(publish::remove(firewall, |owner| owner == id).err());
    errors.extend(Leases::open(site.state_dir, &attachment.bridge).and_then(|l| l.release(attachment.ip, id)).err());
    errors
}

fn remove_interface(attachment: &Attachment, id: &str, links: &mut Socket) -> Result<()> {
    let Some(link) = route::link_by_name(links, &attachment.host_interface)? else { return Ok(()) };
    // An index is never used twice: another one is the pair of a later run. 0 is a set-up that failed half-way.
    let same_run = attachment.host_index == 0 || attachment.host_index == link.index;
    if owner(&link).is_some_and(|owner| id == owner || id.starts_with(&owner)) && same_run {
        route::delete_link(links, &link)?;
    }
    Ok(())
}

/// Removes a container's network; what is gone already is no error.
pub(super) fn teardown(site: &Site<'_>, state: &State) -> Result<()> {
    let Some(attachment) = &state.attachment else { return Ok(()) };
    let (mut links, mut firewall) = (Socket::route()?, Socket::netfilter()?);
    let mut errors = release_claims(attachment, &state.container_id, site, &mut firewall);
    errors.extend(remove_interface(attachment, &state.container_id, &mut links).err());
    if errors.is_empty() { Ok(()) } else { Err(Error::Teardown(errors)) }
}

/// Removes a container's network but for its interfaces, which the kernel removes with their namespace.
pub(super) fn release(site: &Site<'_>, state: &State) -> Result<()> {
    let Some(attachment) = &state.attachment else { return Ok(()) };
    let errors = release_claims(attachment, &state.container_id, site, &mut Socket::netfilter()?);
    if errors.is_empty() { Ok(()) } else { Err(Error::Teardown(errors)) }
}

/// Enters a running container into the firewall again, after somebody flushed it.
pub(super) fn reload(site: &Site<'_>, state: &State) -> Result<Vec<String>> {
    let Some(attachment) = &state.attachment else { return Ok(Vec::new()) };
    let mut firewall = Socket::netfilter()?;
    let (subnet, internal) = (attachment.subnet, attachment.internal);
    nft::ensure(&mut firewall, &nft::Bridge { name: &attachment.bridge, subnet, internal })?;
    let elements: Vec<Element> = attachment.ports.iter().map(|port| element(attachment.ip, port)).collect();
    publish::restore(&mut firewall, site.state_dir, &elements, &state.container_id)?;
    if attachment.internal { Ok(Vec::new()) } else { nft::allow_forwarding(&mut firewall, &attachment.bridge) }
}

/// Removes a bridge that no container is attached to, with all that was made for it. One that is gone is no error.
pub(super) fn remove(site: &Site<'_>, name: &str) -> Result<()> {
    lease::make_dir(site.state_dir)?;
    let _lock = lease::lock(&site.state_dir.join("bridge.lock"))?;
    let (mut links, mut firewall) = (Socket::route()?, Socket::netfilter()?);
    let all = route::links(&mut links)?;
    let bridge = all.iter().find(|link| link.name == name);
    if let Some(bridge) = bridge {
        let mismatch = |reason: String| Error::BridgeMismatch { bridge: name.to_owned(), reason };
        if bridge.kind.as_deref() != Some("bridge") {
            return Err(mismatch("is an interface of another kind".to_owned()));
        }
        let ports = all.iter().filter(|link| link.master == Some(bridge.index)).count();
        if ports > 0 {
            return Err(mismatch(format!("is in use by {ports} interfaces")));
        }
    }
    let mut errors = Vec::new();
    errors.extend(nft::forbid_forwarding(&mut firewall, name).err());
    errors.extend(nft::delete_bridge(&mut firewall, name).err());
    errors.extend(bridge.and_then(|bridge| route::delete_link(&mut links, bridge).err()));
    errors.extend(lease::remove_bridge(site.state_dir, name).err());
    if errors.is_empty() { Ok(()) } else { Err(Error::Teardown(errors)) }
}
