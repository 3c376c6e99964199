//! `img network …`: networks on which containers reach each other, by name.

use std::process::ExitCode;

use clap::Args;
use runner::spec::parse::NetworkRequest;
use serde_json::{Value, json};

use super::prune::{Asked, failures, tell};
use super::targets::{Scope, Targets};
use super::{Run, each, inspect_each};
use crate::config::Context;
use crate::engine::networks::create::NetworkOptions;
use crate::engine::networks::{Network, NetworkFilter};
use crate::error::Result;
use crate::ui::{self, format};

/// List networks
///
/// Three are always there: bridge, on which a container is unless told otherwise, host and none.
#[derive(Args)]
pub struct List {
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Only those that fit: name=, id=, label=, driver=, type=custom|builtin, dangling=, until=
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print as `json`, or by a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for List {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = filters(&self.filter)?;
        let networks = context.engine()?.networks()?;
        let id = |network: &Network| if self.no_trunc { network.id.clone() } else { network.id[..12].to_owned() };
        let fitting = networks.iter().filter(|network| NetworkFilter::all_fit(&filters, network));
        if self.quiet {
            for network in fitting {
                ui::outln(id(network))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Value> = fitting
            .map(|network| {
                let labels: Vec<String> =
                    network.data.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                json!({
                    "ID": id(network),
                    "Name": network.name,
                    "Driver": network.driver,
                    "Scope": "local",
                    "CreatedAt": network.created.map(|time| time.to_string()).unwrap_or_default(),
                    "IPv6": network.data.subnet6.is_some().to_string(),
                    "Internal": network.data.internal.to_string(),
                    "Labels": labels.join(","),
                })
            })
            .collect();
        let columns = [("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")];
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Make a network
///
/// Containers started with --network NAME reach each other there, and nobody on another network. It gets a subnet that is
/// free on this machine unless one is given. Prints its id.
#[derive(Args)]
pub struct Create {
    /// Its name
    name: String,
    /// Kind of network: bridge, or macvlan and ipvlan with -o parent=INTERFACE
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// Its addresses, as 10.9.0.0/24; once more for IPv6
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// The host's address on it
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Give out addresses from this part of the subnet
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// No way out: its containers reach each other and the host only
    #[arg(long)]
    internal: bool,
    /// Give it IPv6 addresses too, of a subnet of its own
    #[arg(long)]
    ipv6: bool,
    /// Its containers do not find each other by name
    #[arg(long)]
    disable_dns: bool,
    /// It is no error if it is there already
    #[arg(long)]
    ignore: bool,
    /// Attach a label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Set an option of the driver, as mtu=1400
    #[arg(long, short, value_name = "KEY=VALUE")]
    opt: Vec<String>,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.ignore
            && let Some(network) = engine.networks()?.into_iter().find(|network| network.name == self.name)
        {
            ui::outln(network.id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let options = NetworkOptions {
            driver: self.driver,
            subnets: self.subnet,
            gateways: self.gateway,
            ranges: self.ip_range,
            internal: self.internal,
            ipv6: self.ipv6,
            disable_dns: self.disable_dns,
            labels: self.label,
            options: self.opt,
        };
        let (id, notices) = engine.create_network(&self.name, &options)?;
        for notice in notices {
            ui::note(&notice);
        }
        ui::outln(id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Show all that is known of networks, as JSON
///
/// A list in docker's form: subnets, options, and the running containers with their addresses.
#[derive(Args)]
pub struct Inspect {
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
    /// Print by a template such as '{{.Driver}}', or `json`
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        inspect_each(&self.networks, self.format.as_deref(), |name| engine.inspect_network(name))
    }
}

/// Remove networks
///
/// One that a running container is on stays. Prints the name of each network removed.
#[derive(Args)]
pub struct Remove {
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
    /// Do not mind those that are not there
    #[arg(long, short)]
    force: bool,
}

impl Run for Remove {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.networks, |name| {
            let there = || {
                Ok::<_, crate::error::CommandError>(
                    engine.networks()?.iter().any(|network| network.name == name || network.id.starts_with(name)),
                )
            };
            if self.force && !there()? { Ok(()) } else { ui::outln(engine.remove_network(name)?) }
        }))
    }
}

/// Remove the networks that no container names
///
/// It asks first; without a terminal it wants --force. Prints the name of each network removed.
#[derive(Args)]
pub struct Prune {
    /// Only those that fit: label=, until=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    #[command(flatten)]
    asked: Asked,
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, filters) = (context.engine()?, filters(&self.filter)?);
        if !self.asked.goes_on("Remove the networks that no container names?")? {
            return Ok(ExitCode::SUCCESS);
        }
        let report = engine.prune_networks(&filters, self.asked.dry_run)?;
        if self.asked.dry_run {
            return tell(report, true);
        }
        for name in &report.networks {
            ui::outln(ui::Escaped(name))?;
        }
        Ok(failures(report.failed))
    }
}

/// Put a container on a network, running or not
///
/// A running one gets a further interface at once. It stays on the network when it is started again.
#[derive(Args)]
pub struct Connect {
    /// Network, by name or id
    network: String,
    /// Container, by name or id
    container: String,
    /// A further name by which others on the network find it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Its address there
    #[arg(long, value_name = "IP")]
    ip: Option<std::net::Ipv4Addr>,
    /// Its IPv6 address there
    #[arg(long, value_name = "IP")]
    ip6: Option<std::net::Ipv6Addr>,
    /// Its hardware address there
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// The network with the highest number gets the default route at the next start
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    gw_priority: i64,
}

impl Run for Connect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let request = NetworkRequest {
            name: self.network,
            aliases: self.alias,
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac_address,
            priority: self.gw_priority,
            ..NetworkRequest::default()
        };
        for notice in context.engine()?.connect(&self.container, request)? {
            ui::note(&notice);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Take a container off a network, running or not
///
/// Its interface there goes, and so do ports that were published by it; the default route goes to another of its networks.
#[derive(Args)]
pub struct Disconnect {
    /// Network, by name or id
    network: String,
    /// Container, by name or id
    container: String,
    /// It is no error if the container is not on it
    #[arg(long, short)]
    force: bool,
}

impl Run for Disconnect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if !self.force || engine.is_on(&self.container, &self.network)? {
            engine.disconnect(&self.container, &self.network)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Enter running containers into the firewall again
///
/// For when somebody has flushed its rules, as restarting a firewall does: ways out, published ports and what keeps networks
/// apart are made anew. Connections are not touched. Prints each container.
#[derive(Args)]
pub struct Reload {
    #[command(flatten)]
    targets: Targets,
}

impl Run for Reload {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = self.targets.names(engine, Scope::Running)?;
        Ok(each(&names, |name| {
            engine.reload_network(name)?.iter().for_each(ui::note);
            ui::outln(name)
        }))
    }
}

/// Say by the exit code whether there is a network of this name
///
/// 0 if there is, 1 if not; nothing is printed. For scripts: `img network exists back || img network create back`. Used or not makes
/// no difference; what `img network ls` lists, exists.
#[derive(Args)]
pub struct Exists {
    /// Name or id
    network: String,
}

impl Run for Exists {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let networks = context.engine()?.networks()?;
        let there = networks.iter().any(|network| network.name == self.network || network.id == self.network);
        Ok(if there { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

fn filters(texts: &[String]) -> Result<Vec<NetworkFilter>> {
    texts.iter().map(|text| text.parse()).collect()
}
