//! The flags of networks: which ones a container is on, its addresses and names there, its published ports, and what it
//! knows of names.

use clap::Args;

use crate::engine::container::options::network::Networking;

/// Networks, ports and names.
#[derive(Args)]
pub struct NetworkFlags {
    /// Network: bridge, none, host, container:NAME, ns:PATH, phys:INTERFACE, or one of `img network ls`, as NAME[:ip=…,alias=…]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Address on the network
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address on the network
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// Hardware address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// A further name by which others on the network find it
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Publish a port: [[IP:]HOST:]CONTAINER[/PROTOCOL], also ranges
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all exposed ports on free ports of the host
    #[arg(long, short = 'P')]
    publish_all: bool,
    /// A port that the program listens on: PORT[-PORT][/PROTOCOL]
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Add a line to /etc/hosts: NAME:IP, or NAME:host-gateway
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,
    /// Name server to ask
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// Domain to search names in
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver, as ndots:2
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

impl NetworkFlags {
    /// The same as the engine takes it.
    pub fn networking(self) -> Networking {
        Networking {
            networks: self.network,
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac_address,
            aliases: self.network_alias,
            publish: self.publish,
            publish_all: self.publish_all,
            expose: self.expose,
            add_host: self.add_host,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
        }
    }
}
