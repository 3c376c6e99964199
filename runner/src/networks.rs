//! Networks apart from the start of a container: their bridges are made and removed here, for whoever keeps the records.
//!
//! Addresses, bridges and published ports are the machine's, so their leases and locks are in one place for all run
//! directories: containers of two stores on one bridge must not get one address.

use std::path::Path;

use crate::cgroup::Cgroup;
use crate::create::is_alive;
use crate::error::Result;
use crate::network::{self, BridgeConfig, Site};

/// Where leases of addresses lie, and the locks of networks.
pub const NETWORK_STATE: &str = "/run/img/network";

/// What all networks of this machine share: the leases, and who is alive. `containers` is the directory of the state
/// directories.
pub(crate) fn with_site<T>(containers: &Path, work: impl FnOnce(&Site<'_>) -> Result<T>) -> Result<T> {
    let is_alive = |prefix: &str| is_alive(containers, prefix) || Cgroup::exists(prefix);
    work(&Site { state_dir: Path::new(NETWORK_STATE), is_alive: &is_alive })
}

/// Makes a bridge, or completes it. Returns what the user should be told.
///
/// # Errors
/// [`network::Error`]: a subnet or a name that is taken, a firewall that cannot be made to forward.
pub fn make_bridge(containers: &Path, config: &BridgeConfig) -> Result<Vec<String>> {
    with_site(containers, |site| Ok(network::make_bridge(config, site)?))
}

/// Removes a bridge with its firewall entries and leases; one that is gone is no error.
///
/// # Errors
/// [`network::Error`]: the bridge is in use.
pub fn remove_bridge(containers: &Path, name: &str) -> Result<()> {
    with_site(containers, |site| Ok(network::remove_bridge(name, site)?))
}
