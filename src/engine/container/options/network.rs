//! The flags of networks, as they were said.

use serde::{Deserialize, Serialize};

/// Which networks a container is on, what it is called there, and which of its ports are the host's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Networking {
    /// `--network`, each as it was said; none of them is the default bridge.
    pub networks: Vec<String>,
    /// `--ip`
    pub ip: Option<String>,
    /// `--ip6`
    pub ip6: Option<String>,
    /// `--mac-address`
    pub mac: Option<String>,
    /// `--network-alias`
    pub aliases: Vec<String>,
    /// `-p`
    pub publish: Vec<String>,
    /// `-P`
    pub publish_all: bool,
    /// `--expose`
    pub expose: Vec<String>,
    /// `--add-host`
    pub add_host: Vec<String>,
    /// `--dns`
    pub dns: Vec<String>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-option`
    pub dns_options: Vec<String>,
}

impl Networking {
    /// Whether it asks for no address or port, and for no network but the usual one or none.
    pub(super) fn takes_nothing(&self) -> bool {
        let usual = self.networks.iter().all(|network| matches!(network.as_str(), "none" | "bridge"));
        let asked = [&self.ip, &self.ip6, &self.mac].iter().any(|asked| asked.is_some());
        usual && !asked && !self.publish_all && self.publish.is_empty()
    }

    /// The networks as docker prints them: the first one's name or kind.
    #[must_use]
    pub fn mode(&self) -> &str {
        self.networks.first().map_or("bridge", String::as_str)
    }
}
