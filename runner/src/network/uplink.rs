//! Containers straight on an interface of the host: each gets a macvlan or ipvlan device on top of it, born in its
//! namespace, and is a neighbour of the machines on that wire. There is no bridge, no firewall rule and nothing on the
//! host; the device goes with the namespace. Only addresses are leased, from a pool that has the network's name.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::address::MacAddr;
use super::bridge::{Attached, Claims};
use super::config::{BridgeConfig, Uplink, UplinkKind};
use super::error::{Error, Result};
use super::lease::Leases;
use super::netlink::Socket;
use super::state::Attachment;
use super::{Place, namespace, route};

/// Gives a container its device on an interface of the host. On an error all is taken back.
pub(super) fn attach(config: &BridgeConfig, uplink: &Uplink, place: &Place<'_>) -> Result<Attached> {
    let Place { site, id, .. } = *place;
    let subnet = config.subnet.ok_or_else(|| Error::Config(format!("network {} has no subnet", config.network)))?;
    let gateway = config.gateway.unwrap_or(subnet.first_host());
    let leases = Leases::open(site.state_dir, &config.name)?;
    let (ip, ipv6) = Claims { config, subnet, gateway }.take(&leases, site, id)?;
    let mac = config.mac.unwrap_or_else(|| MacAddr::of_address(ip));
    let mut attachment = Attachment {
        network: config.network.clone(),
        bridge: config.name.clone(),
        subnet,
        gateway,
        ip,
        ipv6,
        mac,
        mtu: config.mtu.unwrap_or_default(),
        internal: config.internal,
        guarded: false,
        default_route: config.default_route && !config.internal,
        default_route6: config.default_route6 && !config.internal && ipv6.is_some(),
        resolve: config.resolve,
        names: config.names.clone(),
        interface: config.interface.clone(),
        host_interface: String::new(),
        host_index: 0,
        ports: Vec::new(),
    };
    match make(&mut attachment, uplink, config.mtu, place.netns) {
        Ok(()) => Ok(Attached { attachment, notices: Vec::new(), held_ports: Vec::new(), relayed: Vec::new() }),
        Err(first) => {
            let addresses = std::iter::once(IpAddr::V4(ip)).chain(ipv6.map(|six| IpAddr::V6(six.ip)));
            let cleanup: Vec<Error> = addresses.filter_map(|ip| leases.release(ip, id).err()).collect();
            Err(if cleanup.is_empty() { first } else { Error::Cleanup { first: Box::new(first), cleanup } })
        }
    }
}

fn make(attachment: &mut Attachment, uplink: &Uplink, mtu: Option<u32>, netns: BorrowedFd<'_>) -> Result<()> {
    let mut links = Socket::route()?;
    let missing = || Error::Config(format!("there is no interface {} on this host", uplink.parent));
    let parent = route::link_by_name(&mut links, &uplink.parent)?.ok_or_else(missing)?;
    attachment.mtu = mtu.unwrap_or(parent.mtu);
    // An ipvlan has its parent's hardware address.
    let mac = match uplink.kind {
        UplinkKind::Macvlan(_) => Some(attachment.mac),
        UplinkKind::Ipvlan(_) => None,
    };
    let name = attachment.interface.clone();
    route::create_on_top(&mut links, parent.index, uplink.kind, &name, mac, attachment.mtu, netns)?;
    let mut inside = namespace::visit(netns, Socket::route)?;
    let made = route::link_by_name(&mut inside, &name)?;
    let gone = || Error::Verify { container: attachment.network.clone(), what: format!("{name} is not there") };
    let link = made.ok_or_else(gone)?;
    if let Some(mac) = link.mac.map(MacAddr::new) {
        attachment.mac = mac?;
    }
    let configured = route::configure_container(&mut inside, &link, attachment);
    if configured.is_err() {
        // A container that runs already must not keep it; of others the namespace goes anyway.
        route::delete_link(&mut inside, &link)?;
    }
    configured
}

/// Removes the device of a running container; one that is gone is no error.
pub(super) fn remove(place: &Attachment, netns: BorrowedFd<'_>) -> Result<()> {
    let mut inside = namespace::visit(netns, Socket::route)?;
    match route::link_by_name(&mut inside, &place.interface)? {
        Some(link) => route::delete_link(&mut inside, &link),
        None => Ok(()),
    }
}
