//! The bridge network: a bridge of the host, made when it is first needed, and for each container a pair of interfaces,
//! an address, and its published ports. It owns what is made on the host for a container and in which order; each thing
//! carries the container's id, so that whatever a crash leaves is found by name and removed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::address::{MacAddr, Subnet, Subnet6};
use super::config::{BridgeConfig, check_place};
use super::error::{Error, Result};
use super::lease::{self, Leases, Pool};
use super::netlink::Socket;
use super::nft::{self, Element};
use super::publish::{self, Target};
use super::route::{self, Link, PortFlags, Veth};
use super::state::{Attachment, Attachment6, PublishedPort};
use super::{Place, Site, namespace};

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

/// How many derived IPv6 addresses are tried when somebody chose one of them.
const DERIVED_TRIES: u32 = 64;

/// The name of the host's end of a container's pair: `img` and twelve characters of the id for its first network, `i01`
/// and the same for the next.
pub(super) fn host_interface(id: &str, index: usize) -> String {
    let part: String = id.chars().take(ID_IN_NAME).collect();
    match index {
        0 => format!("{VETH_PREFIX}{part:_<ID_IN_NAME$}"),
        more => format!("i{more:02}{part:_<ID_IN_NAME$}"),
    }
}

/// What follows the prefix in a name that [`host_interface`] made.
fn id_in_name(name: &str) -> Option<&str> {
    let (prefix, part) = name.split_at_checked(VETH_PREFIX.len()).filter(|(_, part)| part.len() == ID_IN_NAME)?;
    let numbered = prefix.strip_prefix('i').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    (prefix == VETH_PREFIX || numbered).then_some(part)
}

/// The owner of an interface of the host, if it is the host's end of a container's pair: the id, or the first twelve
/// characters of it where a crash came before the whole was written.
pub(super) fn owner(link: &Link) -> Option<String> {
    if link.kind.as_deref() != Some("veth") {
        return None;
    }
    let alias = link.alias.as_deref().and_then(|alias| alias.strip_prefix(ALIAS_PREFIX));
    alias.or_else(|| id_in_name(&link.name).map(|part| part.trim_end_matches('_'))).map(str::to_owned)
}

/// A bridge that is there and up.
struct Ready {
    link: Link,
    gateway: Ipv4Addr,
    subnet: Subnet,
}

/// A place on a bridge that was set up.
pub(super) struct Attached {
    pub(super) attachment: Attachment,
    pub(super) notices: Vec<String>,
    pub(super) held_ports: Vec<OwnedFd>,
    pub(super) relayed: Vec<publish::Relayed>,
}

/// Gives a container its place on a bridge. On an error all is taken back.
pub(super) fn attach(config: &BridgeConfig, place: &Place<'_>) -> Result<Attached> {
    let Place { site, id, .. } = *place;
    let bridge = Bridge { config };
    let (mut links, mut firewall) = (Socket::route()?, Socket::netfilter()?);
    let ready = bridge.bridge(site, &mut links)?;
    let notices = bridge.host(&mut firewall, ready.subnet)?;

    let leases = Leases::open(site.state_dir, &config.name)?;
    let claims = Claims { config, subnet: ready.subnet, gateway: ready.gateway };
    let (ip, ipv6) = claims.take(&leases, site, id)?;
    let mut attachment = Attachment {
        network: config.network.clone(),
        bridge: config.name.clone(),
        subnet: ready.subnet,
        gateway: ready.gateway,
        ip,
        ipv6,
        mac: config.mac.unwrap_or_else(|| MacAddr::of_address(ip)),
        mtu: config.mtu.unwrap_or(ready.link.mtu),
        internal: config.internal,
        guarded: config.guarded,
        default_route: config.default_route && !config.internal,
        default_route6: config.default_route6 && !config.internal && ipv6.is_some(),
        resolve: config.resolve,
        names: config.names.clone(),
        interface: config.interface.clone(),
        host_interface: config.host_interface.clone().unwrap_or_else(|| host_interface(id, place.index)),
        host_index: 0,
        ports: Vec::new(),
    };
    let target = Target { ip, ip6: attachment.ipv6.map(|six| six.ip) };
    let made = guard(&mut firewall, site, &attachment)
        .and_then(|()| connect(&mut attachment, config, &ready, &mut links, place))
        .and_then(|()| publish::publish(&mut firewall, site, &config.publish, target, id));
    let published = match made {
        Ok(published) => published,
        Err(first) => {
            let mut cleanup = release_claims(&attachment, id, site, &mut firewall);
            cleanup.extend(remove_interface(&attachment, id, &mut links).err());
            return Err(if cleanup.is_empty() { first } else { Error::Cleanup { first: Box::new(first), cleanup } });
        }
    };
    attachment.ports = published.elements.iter().map(port).collect();
    Ok(Attached { attachment, notices, held_ports: published.sockets, relayed: published.relayed })
}

/// The address of the bridge `name`, if it is there.
pub(super) fn inspect(name: &str) -> Result<Option<Option<(Ipv4Addr, Subnet)>>> {
    let mut links = Socket::route()?;
    let Some(link) = route::link_by_name(&mut links, name)? else { return Ok(None) };
    if link.kind.as_deref() != Some("bridge") {
        let reason = "is an interface of another kind".to_owned();
        return Err(Error::BridgeMismatch { bridge: name.to_owned(), reason });
    }
    let address = route::addresses(&mut links, link.index)?.first().copied();
    Ok(Some(address.map(|(ip, prefix)| Ok::<_, Error>((ip, Subnet::new(ip, prefix)?))).transpose()?))
}

/// Makes the bridge itself, without a container.
pub(super) fn make(config: &BridgeConfig, site: &Site<'_>) -> Result<Vec<String>> {
    let bridge = Bridge { config };
    let (mut links, mut firewall) = (Socket::route()?, Socket::netfilter()?);
    let ready = bridge.bridge(site, &mut links)?;
    bridge.host(&mut firewall, ready.subnet)
}

fn port(element: &Element) -> PublishedPort {
    PublishedPort {
        host_ip: element.host_ip,
        host_port: element.host_port,
        container_port: element.port,
        protocol: element.protocol,
    }
}

fn element(attachment: &Attachment, port: &PublishedPort) -> Element {
    let ip = match (port.host_ip, &attachment.ipv6) {
        (IpAddr::V6(_), Some(six)) => six.ip.into(),
        _ => attachment.ip.into(),
    };
    Element { host_ip: port.host_ip, protocol: port.protocol, host_port: port.host_port, ip, port: port.container_port }
}

/// The driver of one bridge.
struct Bridge<'a> {
    config: &'a BridgeConfig,
}

impl Bridge<'_> {
    /// Finds the bridge, or makes it. A half-made one, which a crash may leave, is completed.
    fn bridge(&self, site: &Site<'_>, socket: &mut Socket) -> Result<Ready> {
        let ready = self.bridge4(site, socket)?;
        if let Some(subnet) = self.config.subnet6 {
            route::add_bridge_address6(socket, &ready.link, self.gateway6(subnet), subnet)?;
        }
        Ok(ready)
    }

    fn gateway6(&self, subnet: Subnet6) -> Ipv6Addr {
        self.config.gateway6.unwrap_or(subnet.nth(1))
    }

    fn bridge4(&self, site: &Site<'_>, socket: &mut Socket) -> Result<Ready> {
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
                if let Some(taken) = overlapping(socket, subnet)? {
                    return Err(Error::SubnetInUse { subnet, taken });
                }
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
        enter(firewall, &config.name, subnet, config.subnet6, config.internal)?;
        if config.internal {
            return Ok(Vec::new());
        }
        let mut notices = nft::allow_forwarding(firewall, &config.name, config.subnet6.is_some())?;
        if namespace::switch_on("ipv4/ip_forward")? {
            notices.push("turned on IPv4 forwarding (net.ipv4.ip_forward), which this host had off".to_owned());
        }
        if config.subnet6.is_some() && namespace::forward_ipv6()? {
            notices
                .push("turned on IPv6 forwarding (net.ipv6.conf.all.forwarding), which this host had off".to_owned());
        }
        let loopback =
            |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_ipv4() && (ip.is_loopback() || ip.is_unspecified()));
        if config.publish.iter().any(|mapping| loopback(mapping.host_ip)) {
            namespace::switch_on(&format!("ipv4/conf/{}/route_localnet", config.name))?;
        }
        Ok(notices)
    }
}

/// Which addresses a container wants of a subnet.
pub(super) struct Claims<'a> {
    pub(super) config: &'a BridgeConfig,
    pub(super) subnet: Subnet,
    pub(super) gateway: Ipv4Addr,
}

impl Claims<'_> {
    /// Takes an address, and one of IPv6 if the network has it; both or none.
    pub(super) fn take(&self, leases: &Leases, site: &Site<'_>, id: &str) -> Result<(Ipv4Addr, Option<Attachment6>)> {
        let ip = self.address(leases, site, id)?;
        match self.address6(leases, ip, site, id) {
            Ok(ipv6) => Ok((ip, ipv6)),
            Err(error) => {
                // The first error is the one to show; a lease that stays is swept with its owner.
                let _ = leases.release(ip.into(), id);
                Err(error)
            }
        }
    }

    fn address(&self, leases: &Leases, site: &Site<'_>, id: &str) -> Result<Ipv4Addr> {
        match self.config.ip {
            Some(ip) => leases.take(ip.into(), id, site.is_alive).map(|()| ip),
            None => {
                let range = self.config.range.unwrap_or(self.subnet);
                let pool = Pool { range, subnet: self.subnet, gateway: self.gateway };
                leases.take_any(&pool, id, site.is_alive)
            }
        }
    }

    /// The IPv6 side. An address that nobody chose follows from the one of IPv4, which is given out once only; both are
    /// leased, since somebody may choose what follows from another's.
    fn address6(&self, leases: &Leases, ip: Ipv4Addr, site: &Site<'_>, id: &str) -> Result<Option<Attachment6>> {
        let Some(subnet) = self.config.subnet6 else { return Ok(None) };
        let gateway = self.config.gateway6.unwrap_or(subnet.nth(1));
        let made = |ip: Ipv6Addr| Some(Attachment6 { subnet, gateway, ip });
        if let Some(ip) = self.config.ip6 {
            return leases.take(ip.into(), id, site.is_alive).map(|()| made(ip));
        }
        let place = ip.to_bits() - self.subnet.network().to_bits();
        for attempt in 0..DERIVED_TRIES {
            let ip = subnet.nth(place.wrapping_add(attempt * 0x101));
            if ip == gateway || ip == subnet.network() {
                continue;
            }
            match leases.take(ip.into(), id, site.is_alive) {
                Ok(()) => return Ok(made(ip)),
                Err(Error::AddressInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Config(format!("no free address found in {subnet}")))
    }
}

/// Enters a bridge into the firewall, for each family that it has.
fn enter(firewall: &mut Socket, name: &str, subnet: Subnet, subnet6: Option<Subnet6>, internal: bool) -> Result<()> {
    nft::ensure(firewall, &nft::Bridge { name, subnet: subnet.into(), internal })?;
    match subnet6 {
        Some(subnet) => nft::ensure(firewall, &nft::Bridge { name, subnet: subnet.into(), internal }),
        None => Ok(()),
    }
}

/// A route of the host that `subnet` overlaps; the default route does not count.
pub(super) fn overlapping(socket: &mut Socket, subnet: Subnet) -> Result<Option<Subnet>> {
    let mut found = None;
    route::routes(socket, |route| match route {
        None => found = None,
        Some((taken, _)) if taken.prefix() > 0 && taken.overlaps(subnet) => found = Some(taken),
        Some(_) => {}
    })?;
    Ok(found)
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
fn connect(
    attachment: &mut Attachment,
    config: &BridgeConfig,
    ready: &Ready,
    links: &mut Socket,
    place: &Place<'_>,
) -> Result<()> {
    let Place { site, id, netns, .. } = *place;
    // Under a name that tells the owner until the mark is on it, whatever the user wants it to be called.
    let name = host_interface(id, place.index);
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
                Some(old) if owner(&old).is_some_and(|o| id.starts_with(&o) || !(site.is_alive)(&o)) => {
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
    let flags = PortFlags { hairpin: !config.publish.is_empty(), isolated: config.isolated };
    route::bring_up_veth(links, &host, &format!("{ALIAS_PREFIX}{id}"), config.host_interface.as_deref(), flags)?;

    let mut inside = namespace::visit(netns, Socket::route)?;
    let peer = &attachment.interface;
    let link =
        route::link_by_name(&mut inside, peer)?.ok_or_else(|| verify(format!("{peer} is not in the container")))?;
    route::configure_container(&mut inside, &link, attachment)?;

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

/// Holds a container to its own addresses, if its network wants that.
fn guard(firewall: &mut Socket, site: &Site<'_>, place: &Attachment) -> Result<()> {
    if !place.guarded {
        return Ok(());
    }
    let addresses: Vec<IpAddr> =
        std::iter::once(place.ip.into()).chain(place.ipv6.map(|six| IpAddr::V6(six.ip))).collect();
    nft::guard(firewall, site.state_dir, &place.host_interface, place.mac, &addresses)
}

/// Forgets guarded ports that carry the ids of the dead.
pub(super) fn sweep_guards(site: &Site<'_>) -> Result<()> {
    let dead = |name: &str| id_in_name(name).is_some_and(|id| !(site.is_alive)(id.trim_end_matches('_')));
    nft::unguard(&mut Socket::netfilter()?, site.state_dir, &dead)
}

/// Gives back the ports and addresses of a place; goes on after an error and returns them all.
fn release_claims(attachment: &Attachment, id: &str, site: &Site<'_>, firewall: &mut Socket) -> Vec<Error> {
    let mut errors = Vec::new();
    let six = attachment.ipv6.map(|six| IpAddr::V6(six.ip));
    let addresses: Vec<IpAddr> = std::iter::once(attachment.ip.into()).chain(six).collect();
    // Ports first: nothing may be sent to an address that is no longer the container's.
    let ours = |owned: &nft::Owned| owned.owner == id && addresses.contains(&owned.element.ip);
    errors.extend(publish::remove(firewall, ours).err());
    if attachment.guarded {
        let port = attachment.host_interface.as_str();
        errors.extend(nft::unguard(firewall, site.state_dir, &|name| name == port).err());
    }
    match Leases::open(site.state_dir, &attachment.bridge) {
        Ok(leases) => errors.extend(addresses.iter().filter_map(|ip| leases.release(*ip, id).err())),
        Err(error) => errors.push(error),
    }
    errors
}

fn remove_interface(attachment: &Attachment, id: &str, links: &mut Socket) -> Result<()> {
    if attachment.host_interface.is_empty() {
        return Ok(());
    }
    let Some(link) = route::link_by_name(links, &attachment.host_interface)? else { return Ok(()) };
    // An index is never used twice: another one is the pair of a later run. 0 is a set-up that failed half-way.
    let same_run = attachment.host_index == 0 || attachment.host_index == link.index;
    if owner(&link).is_some_and(|owner| id == owner || id.starts_with(&owner)) && same_run {
        route::delete_link(links, &link)?;
    }
    Ok(())
}

/// Removes a place on a bridge; what is gone already is no error. `interfaces` says whether the pair is removed here, or
/// by the kernel with the namespace.
pub(super) fn detach(site: &Site<'_>, id: &str, attachment: &Attachment, interfaces: bool) -> Vec<Error> {
    let mut errors = match Socket::netfilter() {
        Ok(mut firewall) => release_claims(attachment, id, site, &mut firewall),
        Err(error) => vec![error],
    };
    if interfaces {
        errors.extend(Socket::route().and_then(|mut links| remove_interface(attachment, id, &mut links)).err());
    }
    errors
}

/// Enters a place of a running container into the firewall again, after somebody flushed it.
pub(super) fn reload(site: &Site<'_>, id: &str, attachment: &Attachment) -> Result<Vec<String>> {
    let mut firewall = Socket::netfilter()?;
    let subnet6 = attachment.ipv6.map(|six| six.subnet);
    enter(&mut firewall, &attachment.bridge, attachment.subnet, subnet6, attachment.internal)?;
    guard(&mut firewall, site, attachment)?;
    let elements: Vec<Element> = attachment.ports.iter().map(|port| element(attachment, port)).collect();
    publish::restore(&mut firewall, site.state_dir, &elements, id)?;
    if attachment.internal {
        return Ok(Vec::new());
    }
    nft::allow_forwarding(&mut firewall, &attachment.bridge, subnet6.is_some())
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
        let mut ports = 0;
        for port in all.iter().filter(|link| link.master == Some(bridge.index)) {
            // The kernel removes a dead container's pair some time after its end: do not wait for it.
            match owner(port) {
                Some(owner) if !(site.is_alive)(&owner) => route::delete_link(&mut links, port)?,
                _ => ports += 1,
            }
        }
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
