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
//!   <state_dir>/leases/img0/<address> → id
//! ```

mod bridge;
mod config;
mod error;
pub mod files;
mod lease;
mod namespace;
mod netlink;
mod nft;
mod publish;
mod route;
mod state;
mod sys;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

pub use bridge::CANDIDATE_SUBNETS;
pub use config::{
    BridgeConfig, Config, DEFAULT_BRIDGE, Join, MAX_PUBLISHED_PORTS, MacAddr, Mode, PortMapping, Protocol, Subnet,
};
pub use error::{Error, KernelError, Result};
pub use state::{Attachment, PublishedPort, State, Swept};

use lease::Leases;
use netlink::Socket;

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
}

/// A kind of network.
pub trait NetworkDriver {
    /// Its name, as in [`State::driver`].
    fn name(&self) -> &'static str;

    /// Fills the container's namespace and does what the host needs. On an error all is taken back.
    fn setup(&self, site: &Site<'_>, id: &str, netns: Option<BorrowedFd<'_>>) -> Result<Network>;

    /// Takes back what `setup` did; doing so twice is no error.
    fn teardown(&self, site: &Site<'_>, state: &State) -> Result<()>;
}

/// The drivers that make nothing on the host.
enum Plain {
    /// Loopback only.
    None,
    /// The host's own namespace.
    Host,
    /// Somebody else's namespace.
    Join,
}

impl NetworkDriver for Plain {
    fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Join => "join",
        }
    }

    fn setup(&self, _: &Site<'_>, id: &str, netns: Option<BorrowedFd<'_>>) -> Result<Network> {
        if let Self::None = self {
            let missing = || Error::Config("network none needs the container's namespace".to_owned());
            route::loopback_up(&mut namespace::visit(netns.ok_or_else(missing)?, Socket::route)?)?;
        }
        Ok(Network { state: State::plain(id, self.name()), held_ports: Vec::new() })
    }

    fn teardown(&self, _: &Site<'_>, _: &State) -> Result<()> {
        Ok(())
    }
}

fn driver(mode: &Mode) -> Box<dyn NetworkDriver + '_> {
    match mode {
        Mode::None => Box::new(Plain::None),
        Mode::Host => Box::new(Plain::Host),
        Mode::Join(_) => Box::new(Plain::Join),
        Mode::Bridge(config) => Box::new(bridge::Bridge { config }),
    }
}

/// Sets up a container's network, while the container waits.
///
/// `netns` is the container's fresh namespace; it may be `None` where [`Mode::needs_namespace`] says so. The calling
/// thread enters it for a moment. Whatever was made is removed again on an error.
pub fn setup(config: &Config, site: &Site<'_>, netns: Option<BorrowedFd<'_>>) -> Result<Network> {
    config.validate()?;
    driver(&config.mode).setup(site, &config.container_id, netns)
}

/// Removes a container's network, in any state of removal. The bridge stays, see [`remove_bridge`]. Errors do not stop
/// the rest of the removal.
pub fn teardown(state: &State, site: &Site<'_>) -> Result<()> {
    bridge::teardown(site, state)
}

/// Like [`teardown`], for a container whose processes are gone and whose namespace nobody holds: gives back its ports and
/// address and leaves the interfaces to the kernel, which removes them with the namespace. Removing them here takes tens of
/// milliseconds, which nobody should wait for.
pub fn release(state: &State, site: &Site<'_>) -> Result<()> {
    bridge::release(site, state)
}

/// Enters a running container into the firewall again, for when an administrator has flushed it. Returns what the user
/// should be told.
pub fn reload(state: &State, site: &Site<'_>) -> Result<Vec<String>> {
    bridge::reload(site, state)
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
    match Socket::netfilter().and_then(|mut firewall| publish::remove(&mut firewall, is_dead)) {
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
    if errors.is_empty() { Ok(swept) } else { Err(Error::Teardown(errors)) }
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
