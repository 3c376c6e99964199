//! Networks as the user manages them. A network is a record in the store; its bridge is made with it, and made again by
//! the first container that needs it after a restart of the machine. Three are always there: bridge, host and none.

pub mod connect;
pub mod create;
mod filter;
mod show;

use std::fs::{File, TryLockError};
use std::path::Path;

use jiff::Timestamp;
use runner::network::{BridgeConfig, Subnet, Subnet6, Uplink};
use serde::{Deserialize, Serialize};
use store::record::Record;

use super::container::network::names;
use super::container::{ContainerData, ContainerRecord};
use super::prune::Removed;
use super::{Engine, lock};
use crate::error::{CommandError, Context as _, Result};

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

/// What became of a network that was to be removed.
enum Removal {
    Done,
    /// It stays; this says who uses it.
    Used(CommandError),
    /// Somebody else was faster.
    Gone,
}

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
        let missing = |error: store::Error| if error.is_not_found() { no_network(name) } else { error.into() };
        let id = self.store.networks().find(name).map_err(missing)?;
        let held = self.lock_network(&id, name, File::try_lock_shared)?;
        // Whoever removes it has the lock for himself.
        let record: Record<NetworkData> = self.store.networks().read(&id).map_err(missing)?;
        self.hold(held);
        Ok(record.data.config(&record.name))
    }

    /// Locks the directory of a network's record (flock(2)): shared by who puts a container on it until its state says so, and
    /// alone by who removes it.
    fn lock_network(
        &self,
        id: &str,
        name: &str,
        how: fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<File> {
        let what = || format!("cannot lock network {name}");
        let directory = match File::open(self.store.networks().path(id)?) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_network(name)),
            opened => opened.with_context(what)?,
        };
        if lock::wait_for(&directory, how).with_context(what)? {
            return Ok(directory);
        }
        Err(CommandError::new(format!("network {name} is in use by a container that is being started")))
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
        match self.remove_unless_used(&network)? {
            Removal::Done => Ok(network.name),
            Removal::Used(error) => Err(error),
            Removal::Gone => Err(no_network(name)),
        }
    }

    /// Removes a network that nobody uses.
    fn remove_unless_used(&self, network: &Network) -> Result<Removal> {
        let (name, bridge) = (&network.name, &network.data.interface);
        // Waits for who is about to put a container on it, which its state says then, and for others who remove it.
        let _alone = match self.lock_network(&network.id, name, File::try_lock) {
            locked if self.store.networks().has(&network.id) => locked?,
            _ => return Ok(Removal::Gone),
        };
        if let Some(user) = self.on_network(name)?.first() {
            let used = CommandError::new(format!("network {name} is in use by container {}", user.name));
            let used = used.hint(format!("`img network disconnect {name} {}` frees it", user.name));
            return Ok(Removal::Used(used));
        }
        if !network.data.adopted {
            // First the bridge: what is left of a removal that was cut short is a network that is still listed.
            runner::remove_bridge(&self.states(), bridge).map_err(|error| match error {
                runner::Error::Network(runner::network::Error::BridgeMismatch { reason, .. }) => {
                    CommandError::new(format!("network {name} is in use: its bridge {bridge} {reason}"))
                }
                error => error.into(),
            })?;
        }
        self.store.networks().remove(&network.id)?;
        self.network_event("destroy", name, &network.id, None);
        Ok(Removal::Done)
    }

    /// Removes the networks that `goes` means, but for the built-in ones; with `dry_run` only looks for them. One that cannot be
    /// removed stays.
    ///
    /// # Errors
    /// The networks cannot be read.
    pub(super) fn remove_networks(&self, dry_run: bool, goes: impl Fn(&Network) -> bool) -> Result<Removed> {
        let mut removed = Removed::default();
        for network in self.networks()?.into_iter().filter(|network| !network.is_built_in() && goes(network)) {
            let size = self.store.networks().disk_usage(&network.id);
            if !dry_run {
                match self.remove_unless_used(&network) {
                    Ok(Removal::Used(_) | Removal::Gone) => continue,
                    Ok(Removal::Done) => {}
                    Err(error) => {
                        removed.failed.push(error.prefixed(&format!("cannot remove network {}", network.name)));
                        continue;
                    }
                }
            }
            removed.bytes += size?;
            removed.names.push(network.name);
        }
        Ok(removed)
    }

    /// The running containers on a network.
    fn on_network(&self, network: &str) -> Result<Vec<ContainerRecord>> {
        let mut found = Vec::new();
        for id in self.running()? {
            let Some(state) = self.state(&id)? else { continue };
            // One that waits to be started again is put on its networks then.
            let waits = state.status == runner::Status::Restarting;
            let is_on =
                state.network.is_some_and(|state| state.attachments.iter().any(|place| place.network == network));
            // One that is gone is on none.
            if let (true, Ok(record)) = (is_on || waits, self.container_record(&id))
                && (is_on || names(&record.data.options.network).iter().any(|used| used == network))
            {
                found.push(record);
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
