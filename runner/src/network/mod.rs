//! Networks of containers, by netlink messages alone: interfaces, addresses, routes and the firewall are made without a
//! subprocess. The caller has made the container's network namespace and hands it in; [`setup`] fills it and returns what
//! it did as [`State`], [`teardown`] takes that back, and [`sweep`] removes what dead containers left, found by the ids
//! that all things carry. Nothing here stays resident, prints, or reads the environment.
//!
//! ```text
//!   host namespace                                   container's namespace
//!   ──────────────                                   ─────────────────────
//!   table ip img ── dnat, masquerade, forward        lo   up
//!   img0  bridge ── img<id> ═════════ veth ═════════ eth0 up, address, default route
//!   img-… bridge ── i01<id> ═════════ veth ═════════ eth1 up, address
//!   eth7, moved ═══════════════════════════════════▶ eth7 up, address
//!   <state_dir>/leases/img0/<address> → id
//!   <state_dir>/devices/<id>/netns                   holds the namespace for as long as eth7 is in it
//! ```

mod address;
mod bridge;
mod config;
mod device;
mod error;
pub mod files;
mod lease;
mod namespace;
mod netlink;
mod nft;
mod publish;
mod resolver;
mod route;
mod state;
mod subnets;
mod sys;
mod uplink;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

pub use address::{MacAddr, Subnet, Subnet6};
pub use bridge::CANDIDATE_SUBNETS;
pub use config::{
    BridgeConfig, Config, DEFAULT_BRIDGE, Endpoint, Join, MAX_PUBLISHED_PORTS, Mode, PortMapping, Protocol, Uplink,
    UplinkKind,
};
pub use device::{Device, Moved};
pub use error::{Error, KernelError, Result};
pub(crate) use lease::{directory as leases_of, owners};
pub use publish::Relayed;
pub use resolver::NameSockets;
pub use state::{Attachment, Attachment6, PublishedPort, State, Swept};
pub use subnets::Subnets;

use lease::Leases;
use netlink::Socket;

/// Where a container on a network with names asks for them.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What the networks of one store share.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Where leases and locks live: a directory of our own that does not survive a reboot. It is made (0700) if missing.
    pub state_dir: &'a Path,
    /// Whether the container of this id is there, or is just being made. It may be asked with only the first twelve
    /// characters of an id. What belongs to others is taken away from them.
    pub is_alive: &'a dyn Fn(&str) -> bool,
}

/// A network that was set up.
#[derive(Debug)]
pub struct Network {
    /// What was done; to be kept for [`teardown`].
    pub state: State,
    /// One bound socket per published port. While somebody (the container's monitor) keeps them open, no program of the
    /// host can take the ports; closing them does no other harm.
    pub held_ports: Vec<OwnedFd>,
    /// The sockets of ports that somebody has to relay.
    pub relayed: Vec<Relayed>,
    /// Where the container's programs ask for names, if one of its networks has names. Nobody answers there yet.
    pub names: Option<NameSockets>,
}

/// Brings up the loopback device of a network namespace that gets nothing else.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    route::loopback_up(&mut namespace::visit(netns, Socket::route)?)
}

/// Where a container's place on a network is made.
#[derive(Clone, Copy)]
struct Place<'a> {
    site: &'a Site<'a>,
    /// The container.
    id: &'a str,
    /// Which of its networks it is, for the name of the host's interface.
    index: usize,
    /// The container's namespace.
    netns: BorrowedFd<'a>,
}

/// Sets up a container's network, while the container waits.
///
/// `netns` is the container's fresh namespace; it may be `None` where [`Mode::needs_namespace`] says so. The calling
/// thread enters it for a moment. Whatever was made is removed again on an error.
pub fn setup(config: &Config, site: &Site<'_>, netns: Option<BorrowedFd<'_>>) -> Result<Network> {
    config.validate()?;
    let mut network = setup_mode(config, site, netns)?;
    if let Some(netns) = netns.filter(|_| !config.devices.is_empty()) {
        match device::take(&config.devices, site, &config.container_id, netns) {
            Ok(moved) => network.state.devices = moved,
            Err(error) => return Err(undone(&network, site, error)),
        }
    }
    Ok(network)
}

fn setup_mode(config: &Config, site: &Site<'_>, netns: Option<BorrowedFd<'_>>) -> Result<Network> {
    let id = config.container_id.as_str();
    let plain = |driver| {
        Ok(Network { state: State::plain(id, driver), held_ports: Vec::new(), relayed: Vec::new(), names: None })
    };
    let missing = || Error::Config("this network needs the container's namespace".to_owned());
    match &config.mode {
        Mode::Host => plain("host"),
        Mode::Join(_) => plain("join"),
        Mode::Empty => plain("none"),
        Mode::None => {
            route::loopback_up(&mut namespace::visit(netns.ok_or_else(missing)?, Socket::route)?)?;
            plain("none")
        }
        Mode::Networks(endpoints) => {
            let mut network =
                Network { state: State::plain(id, "bridge"), held_ports: Vec::new(), relayed: Vec::new(), names: None };
            let netns = netns.ok_or_else(missing)?;
            for (index, endpoint) in endpoints.iter().enumerate() {
                if let Err(first) = attach(&mut network, endpoint, &Place { site, id, index, netns }) {
                    return Err(undone(&network, site, first));
                }
            }
            if network.state.attachments.iter().any(|place| place.resolve) {
                match open_names(netns, &config.name_servers) {
                    Ok(names) => network.names = Some(names),
                    Err(error) => return Err(undone(&network, site, error)),
                }
            }
            Ok(network)
        }
    }
}

/// Takes back a network whose set-up failed.
fn undone(network: &Network, site: &Site<'_>, first: Error) -> Error {
    match teardown(&network.state, site) {
        Ok(()) => first,
        Err(error) => Error::Cleanup { first: Box::new(first), cleanup: vec![error] },
    }
}

/// Opens the sockets of the name service in a container's namespace. `servers` are asked instead of the host's.
pub(crate) fn open_names(netns: BorrowedFd<'_>, servers: &[IpAddr]) -> Result<NameSockets> {
    let sockets = resolver::open(netns)?;
    Ok(NameSockets { servers: servers.to_vec(), ..sockets })
}

fn attach_one(config: &BridgeConfig, place: &Place<'_>) -> Result<bridge::Attached> {
    match &config.uplink {
        Some(uplink) => uplink::attach(config, uplink, place),
        None => bridge::attach(config, place),
    }
}

fn attach(network: &mut Network, endpoint: &Endpoint, place: &Place<'_>) -> Result<()> {
    let Endpoint::Bridge(config) = endpoint;
    let attached = attach_one(config, place)?;
    network.state.attachments.push(attached.attachment);
    for notice in attached.notices {
        if !network.state.notices.contains(&notice) {
            network.state.notices.push(notice);
        }
    }
    network.held_ports.extend(attached.held_ports);
    network.relayed.extend(attached.relayed);
    Ok(())
}

/// Gives a running container a place on one more network, whose interface on the host has the number `index`. Returns the
/// place, and what the user should be told.
pub(crate) fn connect(
    config: &BridgeConfig,
    site: &Site<'_>,
    id: &str,
    index: usize,
    netns: BorrowedFd<'_>,
) -> Result<(Attachment, Vec<String>)> {
    config.validate()?;
    let attached = attach_one(config, &Place { site, id, index, netns })?;
    Ok((attached.attachment, attached.notices))
}

/// Takes a running container's place on one network back; what is gone already is no error.
pub(crate) fn disconnect(place: &Attachment, site: &Site<'_>, id: &str, netns: BorrowedFd<'_>) -> Result<()> {
    let mut errors = bridge::detach(site, id, place, true);
    if place.host_interface.is_empty() {
        errors.extend(uplink::remove(place, netns).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Teardown(errors)) }
}

/// Leads the default routes of a running container to a place it is on.
pub(crate) fn route_by(place: &Attachment, netns: BorrowedFd<'_>) -> Result<()> {
    route::take_default_routes(&mut namespace::visit(netns, Socket::route)?, place)
}

/// Gives back what a container holds of a network that nothing was recorded of: its addresses on the bridge, and its
/// interfaces but for those of `places`, on which it is.
pub(crate) fn forget(bridge: &str, site: &Site<'_>, id: &str, places: &[Attachment]) -> Result<()> {
    let mut links = Socket::route()?;
    for link in route::links(&mut links)? {
        let ours = bridge::owner(&link).is_some_and(|owner| !owner.is_empty() && id.starts_with(&owner));
        if ours && !places.iter().any(|place| place.host_interface == link.name) {
            route::delete_link(&mut links, &link)?;
        }
    }
    if places.iter().any(|place| place.bridge == bridge) {
        return Ok(());
    }
    Leases::open(site.state_dir, bridge)?.sweep(&|owner| owner == id).map(drop)
}

/// The name of the host's end of a container's pair of this number.
pub(crate) fn host_interface(id: &str, index: usize) -> String {
    bridge::host_interface(id, index)
}

/// Removes a container's network, in any state of removal. The bridge stays, see [`remove_bridge`]. Errors do not stop
/// the rest of the removal.
pub fn teardown(state: &State, site: &Site<'_>) -> Result<()> {
    detach_all(state, site, true)
}

/// Like [`teardown`], for a container whose processes are gone and whose namespace nobody holds: gives back its ports and
/// address and leaves the interfaces to the kernel, which removes them with the namespace. Removing them here takes tens of
/// milliseconds, which nobody should wait for.
pub fn release(state: &State, site: &Site<'_>) -> Result<()> {
    detach_all(state, site, false)
}

fn detach_all(state: &State, site: &Site<'_>, interfaces: bool) -> Result<()> {
    let detach = |place| bridge::detach(site, &state.container_id, place, interfaces);
    let mut errors: Vec<Error> = state.attachments.iter().flat_map(detach).collect();
    errors.extend(device::give_back(site, &state.container_id).err());
    if errors.is_empty() { Ok(()) } else { Err(Error::Teardown(errors)) }
}

/// Enters a running container into the firewall again, for when an administrator has flushed it. Returns what the user
/// should be told.
pub fn reload(state: &State, site: &Site<'_>) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    for place in state.attachments.iter().filter(|place| !place.host_interface.is_empty()) {
        notices.extend(bridge::reload(site, &state.container_id, place)?);
    }
    Ok(notices)
}

/// Makes a bridge, or completes it, without a container on it. Returns what the user should be told.
pub fn make_bridge(config: &BridgeConfig, site: &Site<'_>) -> Result<Vec<String>> {
    bridge::make(config, site)
}

/// What is known of a bridge that is there: its IPv4 address with the subnet, if it has one. `None` if there is no
/// interface of that name; one of another kind is an error.
pub fn find_bridge(name: &str) -> Result<Option<Option<(Ipv4Addr, Subnet)>>> {
    config::check_interface_name(name)?;
    bridge::inspect(name)
}

/// Whether the host has an interface of this name.
pub fn has_interface(name: &str) -> Result<bool> {
    config::check_interface_name(name)?;
    Ok(route::link_by_name(&mut Socket::route()?, name)?.is_some())
}

/// Removes a bridge with its firewall entries and leases, and with the last one our firewall table. A bridge that is in
/// use is an error, one that is not there is none.
pub fn remove_bridge(name: &str, site: &Site<'_>) -> Result<()> {
    config::check_interface_name(name)?;
    bridge::remove(site, name)
}

/// Removes what dead containers left: interfaces, published ports and leases. It needs no records; each thing tells its
/// owner, and `site.is_alive` is asked. Errors do not stop the rest.
pub fn sweep(site: &Site<'_>) -> Result<Swept> {
    let is_dead = |id: &str| !(site.is_alive)(id);
    let (mut swept, mut errors) = (Swept::default(), Vec::new());
    match Socket::netfilter().and_then(|mut firewall| publish::remove(&mut firewall, |owned| is_dead(&owned.owner))) {
        Ok(ports) => swept.ports = ports,
        Err(error) => errors.push(error),
    }
    match sweep_interfaces(&is_dead) {
        Ok(interfaces) => swept.interfaces = interfaces,
        Err(error) => errors.push(error),
    }
    match sweep_leases(site, &is_dead) {
        Ok(addresses) => swept.addresses = addresses,
        Err(error) => errors.push(error),
    }
    errors.extend(bridge::sweep_guards(site).err());
    match device::sweep(site) {
        Ok(holders) => swept.holders = holders,
        Err(error) => errors.push(error),
    }
    if errors.is_empty() { Ok(swept) } else { Err(Error::Teardown(errors)) }
}

/// Moves interfaces of the host back that dead containers have. Where there are none, this is a look into one directory.
pub fn sweep_devices(site: &Site<'_>) -> Result<usize> {
    device::sweep(site)
}

fn sweep_interfaces(is_dead: &dyn Fn(&str) -> bool) -> Result<usize> {
    let mut socket = Socket::route()?;
    let mut removed = 0;
    for link in route::links(&mut socket)? {
        if bridge::owner(&link).is_some_and(|owner| is_dead(&owner)) {
            route::delete_link(&mut socket, &link)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn sweep_leases(site: &Site<'_>, is_dead: &dyn Fn(&str) -> bool) -> Result<usize> {
    let mut removed = 0;
    for name in lease::bridges(site.state_dir)? {
        removed += Leases::open(site.state_dir, &name)?.sweep(is_dead)?;
    }
    Ok(removed)
}
