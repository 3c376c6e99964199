//! Networks as the user manages them. A network is a record in the store; its bridge is made with it, and made again by
//! the first container that needs it after a restart of the machine. Three are always there: bridge, host and none.

pub mod connect;
pub mod create;
mod filter;
mod show;

use std::path::Path;

use jiff::Timestamp;
use runner::network::{BridgeConfig, Subnet, Subnet6, Uplink};
use serde::{Deserialize, Serialize};
use store::record::Record;

use super::Engine;
use super::container::network::names;
use super::container::{ContainerData, ContainerRecord};
use super::prune::Removed;
use crate::error::{CommandError, Result};

pub use filter::NetworkFilter;

/// The name of the default network.
pub const BRIDGE: &str = "bridge";

/// The names that are always there.
const BUILT_IN: [&str; 3] = [BRIDGE, "host", "none"];

/// Where leases of addresses lie, and the locks: one place for the machine.
const STATE_DIR: &str = runner::NETWORK_STATE;

/// What the record of a network holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkData {
    /// `bridge`, `macvlan` or `ipvlan`
    pub driver: String,
    /// The bridge's interface; of other drivers the name under which addresses are leased.
    pub interface: String,
    /// The interface was there before and stays when the network is removed.
    pub adopted: bool,
    /// The subnet.
    pub subnet: Option<Subnet>,
    /// The bridge's address; `None` is the first of the subnet.
    pub gateway: Option<std::net::Ipv4Addr>,
    /// The part of the subnet from which addresses are given out.
    pub range: Option<Subnet>,
    /// The IPv6 subnet.
    pub subnet6: Option<Subnet6>,
    /// The bridge's IPv6 address; `None` is the first of the subnet.
    pub gateway6: Option<std::net::Ipv6Addr>,
    /// No way out.
    pub internal: bool,
    /// Its containers do not reach each other.
    pub isolated: bool,
    /// Its containers are held to their own addresses.
    pub guarded: bool,
    /// Its containers find each other by name.
    pub names: bool,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// The interface of the host that it uses in the place of a bridge.
    pub uplink: Option<Uplink>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// `-o`, as they were said.
    pub options: Vec<(String, String)>,
}

/// A network, for being shown.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made; `None` for those that are always there.
    pub created: Option<Timestamp>,
    /// What its record holds.
    pub data: NetworkData,
    /// The containers that name it, running or not.
    pub used_by: Vec<String>,
}

impl Network {
    /// Whether it is one of the three that are always there.
    pub fn is_built_in(&self) -> bool {
        self.created.is_none()
    }
}

/// Records of networks.
type Networks = Vec<Record<NetworkData>>;

impl Engine {
    /// All networks, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for record in self.network_records()?.0 {
            networks.push(Network {
                id: record.id,
                name: record.name,
                driver: record.data.driver.clone(),
                created: Some(record.created),
                data: record.data,
                used_by: Vec::new(),
            });
        }
        networks.extend(BUILT_IN.iter().map(|name| self.built_in(name)).collect::<Result<Vec<_>>>()?);
        for container in self.store.containers().list::<ContainerData>()? {
            for used in names(&container.data.options.network) {
                for network in networks.iter_mut().filter(|network| network.name == used || network.id == used) {
                    network.used_by.push(container.name.clone());
                }
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network of this name or id.
    ///
    /// # Errors
    /// There is none.
    pub fn find_network(&self, name: &str) -> Result<Network> {
        let networks = self.networks()?;
        if let Some(network) = networks.iter().find(|network| network.name == name) {
            return Ok(network.clone());
        }
        let mut fitting = networks.into_iter().filter(|network| !name.is_empty() && network.id.starts_with(name));
        match (fitting.next(), fitting.next()) {
            (Some(network), None) => Ok(network),
            (None, _) => Err(no_network(name)),
            _ => Err(CommandError::new(format!("more than one network id begins with {name}"))),
        }
    }

    /// The records of networks, and those whose making was cut short before they got their names.
    fn network_records(&self) -> Result<(Networks, Networks)> {
        let records = self.store.networks().list::<NetworkData>()?;
        let named =
            |record: &Record<NetworkData>| self.store.networks().find(&record.name).is_ok_and(|id| id == record.id);
        Ok(records.into_iter().partition(named))
    }

    fn built_in(&self, name: &str) -> Result<Network> {
        // Their ids are fixed: 64 digits made from the name.
        let id: String = name.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
        let (driver, data) = match name {
            BRIDGE => {
                let plain = self.plain_bridge()?;
                ("bridge", NetworkData { interface: plain.name, subnet: plain.subnet, ..NetworkData::default() })
            }
            "host" => ("host", NetworkData::default()),
            _ => ("null", NetworkData::default()),
        };
        let (name, driver) = (name.to_owned(), driver.to_owned());
        Ok(Network { id, name, driver, created: None, data, used_by: Vec::new() })
    }

    /// A place on the network of this name, with nothing chosen yet.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::engine) fn network_config(&self, name: &str) -> Result<BridgeConfig> {
        if name == BRIDGE {
            return self.plain_bridge();
        }
        let id = self
            .store
            .networks()
            .find(name)
            .map_err(|error| if error.is_not_found() { no_network(name) } else { error.into() })?;
        let record: Record<NetworkData> = self.store.networks().read(&id)?;
        Ok(record.data.config(&record.name))
    }

    /// Removes a network and its bridge; gives its name.
    ///
    /// # Errors
    /// There is none, it is always there, a running container is on it.
    pub fn remove_network(&self, name: &str) -> Result<String> {
        let network = self.find_network(name)?;
        if network.is_built_in() {
            return Err(CommandError::new(format!("network {name} is always there and cannot be removed")));
        }
        if let Some(user) = self.on_network(&network.name)?.first() {
            return Err(CommandError::new(format!("network {} is in use by container {}", network.name, user.name))
                .hint(format!("`img network disconnect {} {}` frees it", network.name, user.name)));
        }
        if !network.data.adopted {
            // First the bridge: what is left of a removal that was cut short is a network that is still listed.
            runner::remove_bridge(&self.states(), &network.data.interface)?;
        }
        self.store.networks().remove(&network.id)?;
        self.network_event("destroy", &network.name, &network.id, None);
        Ok(network.name)
    }

    /// Removes the networks that `goes` means, but for the built-in ones; with `dry_run` only looks for them. One that cannot be
    /// removed stays.
    ///
    /// # Errors
    /// The networks cannot be read.
    pub(super) fn remove_networks(&self, dry_run: bool, goes: impl Fn(&Network) -> bool) -> Result<Removed> {
        let mut removed = Removed::default();
        for network in self.networks()?.into_iter().filter(|network| !network.is_built_in() && goes(network)) {
            let size = self.store.networks().disk_usage(&network.id)?;
            if !dry_run {
                match self.remove_network(&network.id) {
                    // Somebody else was faster.
                    Err(_) if !self.store.networks().has(&network.id) => continue,
                    Ok(_) => {}
                    Err(error) => {
                        removed.failed.push(error.prefixed(&format!("cannot remove network {}", network.name)));
                        continue;
                    }
                }
            }
            removed.bytes += size;
            removed.names.push(network.name);
        }
        Ok(removed)
    }

    /// The running containers on a network.
    fn on_network(&self, network: &str) -> Result<Vec<ContainerRecord>> {
        let mut found = Vec::new();
        for id in self.running()? {
            let state = self.state(&id)?.and_then(|state| state.network);
            if state.is_some_and(|state| state.attachments.iter().any(|place| place.network == network)) {
                found.push(self.container_record(&id)?);
            }
        }
        Ok(found)
    }
}

impl NetworkData {
    /// A place on the network `name`, with nothing chosen yet.
    fn config(&self, name: &str) -> BridgeConfig {
        BridgeConfig {
            name: self.interface.clone(),
            network: name.to_owned(),
            uplink: self.uplink.clone(),
            subnet: self.subnet,
            gateway: self.gateway,
            range: self.range,
            subnet6: self.subnet6,
            gateway6: self.gateway6,
            mtu: self.mtu,
            internal: self.internal,
            isolated: self.isolated,
            guarded: self.guarded,
            resolve: self.names,
            ..BridgeConfig::default()
        }
    }
}

fn no_network(name: &str) -> CommandError {
    CommandError::new(format!("no such network: {name}"))
        .hint("`img network ls` lists networks, `img network create` makes one")
}

/// Where the locks and leases of networks lie.
fn state_dir() -> &'static Path {
    Path::new(STATE_DIR)
}
