//! Making a network: what the user said is understood, a subnet is chosen that nobody has, the record is written, and the
//! bridge is made. From the look at the subnets to the bridge no other network is made on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use runner::network::{Subnet, Subnet6, Subnets, Uplink, UplinkKind};
use store::record::Record;

use super::{BUILT_IN, NetworkData, state_dir};
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// What `network create` was told.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// `-d`
    pub driver: String,
    /// `--subnet`, of either family.
    pub subnets: Vec<String>,
    /// `--gateway`
    pub gateways: Vec<String>,
    /// `--ip-range`
    pub ranges: Vec<String>,
    /// `--internal`
    pub internal: bool,
    /// `--ipv6`
    pub ipv6: bool,
    /// `--disable-dns`
    pub disable_dns: bool,
    /// `--label`
    pub labels: Vec<String>,
    /// `-o`
    pub options: Vec<String>,
}

/// The options that `-o` takes, under both their names.
const OPTIONS: &str = "com.docker.network.bridge.name (bridge_name), com.docker.network.driver.mtu (mtu), \
                       com.docker.network.bridge.enable_icc, isolate, antispoof";

impl Engine {
    /// Makes a network; gives its id, and what the user should be told.
    ///
    /// # Errors
    /// Words that make no sense, a name or subnet that is taken.
    pub fn create_network(&self, name: &str, asked: &NetworkOptions) -> Result<(String, Vec<String>)> {
        if BUILT_IN.contains(&name) || matches!(name, "default" | "container" | "ns" | "phys") {
            return Err(
                CommandError::new(format!("network name {name} has a meaning of its own")).hint("choose another name")
            );
        }
        self.store.sweep()?;
        let id = self.store.networks().new_id()?;
        let mut data = parse(asked)?;
        if data.interface.is_empty() {
            data.interface = format!("img-{}", &id[..10]);
        }
        let held = Subnets::hold(state_dir())?;
        let (others, unfinished) = self.network_records()?;
        // Nobody else makes networks now, so these belong to the dead. They have no bridge yet.
        for record in unfinished {
            self.store.networks().remove_read(&record)?;
        }
        let taken: Vec<Subnet> = others.iter().filter_map(|other| other.data.subnet).collect();
        if let Some(other) = others.iter().find(|other| other.data.interface == data.interface) {
            return Err(CommandError::new(format!("bridge {} belongs to network {}", data.interface, other.name)));
        }
        match runner::network::find_bridge(&data.interface)? {
            Some(address) => {
                data.adopted = true;
                if data.subnet.is_none()
                    && let Some((ip, subnet)) = address
                {
                    (data.subnet, data.gateway) = (Some(subnet), Some(ip));
                }
            }
            None => {
                // What is on the wire of an interface has a route there already.
                if let Some(subnet) = data.subnet.filter(|_| data.uplink.is_none()) {
                    let other =
                        others.iter().find(|other| other.data.subnet.is_some_and(|taken| taken.overlaps(subnet)));
                    if let Some(other) = other {
                        return Err(CommandError::new(format!(
                            "subnet {subnet} overlaps that of network {}",
                            other.name
                        )));
                    }
                    if let Some(route) = held.overlapping(subnet) {
                        return Err(CommandError::new(format!(
                            "subnet {subnet} overlaps {route}, to which this host has a route"
                        ))
                        .hint("leave --subnet out to get a free one"));
                    }
                }
            }
        }
        if data.subnet.is_none() {
            data.subnet = Some(held.free(&taken)?);
        }
        if asked.ipv6 && data.subnet6.is_none() {
            data.subnet6 = Some(Subnet6::unique_local(lot(&id)));
        }
        if let Some(subnet) = data.subnet6 {
            let other = others.iter().find(|other| other.data.subnet6.is_some_and(|taken| taken.overlaps(subnet)));
            if let Some(other) = other {
                return Err(CommandError::new(format!("subnet {subnet} overlaps that of network {}", other.name)));
            }
        }
        let (config, adopted) = (data.config(name), data.adopted);
        config.validate()?;
        let record =
            Record { id: id.clone(), name: name.to_owned(), created: Timestamp::now(), uses: Vec::new(), data };
        self.store.networks().create(&record).map_err(|error| match error {
            store::Error::Conflict(_) => CommandError::new(format!("network {name} is there already"))
                .hint(format!("`img network inspect {name}` shows it")),
            error => error.into(),
        })?;
        if config.uplink.is_some() {
            self.network_event("create", name, &id, None);
            return Ok((id, Vec::new()));
        }
        // After the record: a bridge without one would be left behind by a crash, a record without a bridge is whole.
        match runner::make_bridge(&self.states(), &config) {
            Ok(notices) => {
                self.network_event("create", name, &id, None);
                Ok((id, notices))
            }
            Err(error) => {
                if !adopted {
                    // What was made of it. What resists is kept as a network, which can be removed later.
                    runner::remove_bridge(&self.states(), &config.name)?;
                }
                self.store.networks().remove(&id)?;
                Err(error.into())
            }
        }
    }
}

/// Forty bits drawn by lot: the beginning of an id.
fn lot(id: &str) -> [u8; 5] {
    std::array::from_fn(|index| {
        id.get(index * 2..index * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(0)
    })
}

fn parse(asked: &NetworkOptions) -> Result<NetworkData> {
    if !["bridge", "macvlan", "ipvlan"].contains(&asked.driver.as_str()) {
        return Err(CommandError::usage(format!("there is no network driver {:?}", asked.driver))
            .hint("there are: bridge, macvlan, ipvlan"));
    }
    let mut data = NetworkData {
        driver: asked.driver.clone(),
        internal: asked.internal,
        names: !asked.disable_dns,
        labels: asked.labels.iter().map(|text| pair(text)).collect(),
        ..NetworkData::default()
    };
    for text in &asked.subnets {
        match (text.parse::<Subnet>(), text.parse::<Subnet6>()) {
            (Ok(subnet), _) if data.subnet.replace(subnet).is_none() => {}
            (_, Ok(subnet)) if data.subnet6.replace(subnet).is_none() => {}
            (Err(error), Err(_)) => return Err(CommandError::from(error).kind(crate::error::Kind::Usage)),
            _ => return Err(CommandError::usage("a network has one subnet of IPv4 and one of IPv6")),
        }
    }
    for text in &asked.gateways {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if data.gateway.replace(ip).is_none() => {}
            Ok(IpAddr::V6(ip)) if data.gateway6.replace(ip).is_none() => {}
            Ok(_) => return Err(CommandError::usage("a network has one gateway of IPv4 and one of IPv6")),
            Err(_) => return Err(CommandError::usage(format!("--gateway {text:?} is not an address"))),
        }
    }
    for text in &asked.ranges {
        let range =
            text.parse::<Subnet>().map_err(|error| CommandError::from(error).kind(crate::error::Kind::Usage))?;
        if data.range.replace(range).is_some() {
            return Err(CommandError::usage("a network has one --ip-range"));
        }
    }
    let needs_subnet = [
        (data.gateway.is_some() || data.range.is_some(), data.subnet.is_some()),
        (data.gateway6.is_some(), data.subnet6.is_some()),
    ];
    if needs_subnet.contains(&(true, false)) {
        return Err(CommandError::usage("--gateway and --ip-range need the --subnet that they are part of"));
    }
    for text in &asked.options {
        let (key, value) = pair(text);
        if asked.driver == "bridge" {
            set(&mut data, &key, &value)?;
        }
        data.options.push((key, value));
    }
    if asked.driver != "bridge" {
        data.uplink = Some(uplink(&mut data.mtu, &asked.driver, &data.options)?);
    }
    Ok(data)
}

/// The options of a network without a bridge.
fn uplink(mtu: &mut Option<u32>, driver: &str, options: &[(String, String)]) -> Result<Uplink> {
    let mut parent = None;
    let mut kind = if driver == "macvlan" { UplinkKind::Macvlan(4) } else { UplinkKind::Ipvlan(0) };
    for (key, value) in options {
        let bad = |what: &str| CommandError::usage(format!("-o {key}={value}: {value:?} is not {what}"));
        match (key.as_str(), driver) {
            ("parent", _) => parent = Some(value.clone()),
            ("com.docker.network.driver.mtu" | "mtu", _) => {
                *mtu = Some(value.parse().map_err(|_| bad("a number of bytes"))?);
            }
            ("macvlan_mode" | "mode", "macvlan") => {
                let mode = [("private", 1), ("vepa", 2), ("bridge", 4), ("passthru", 8)];
                let mode = mode.into_iter().find(|(name, _)| name == value);
                kind = UplinkKind::Macvlan(mode.ok_or_else(|| bad("bridge, private, vepa or passthru"))?.1);
            }
            ("ipvlan_mode" | "mode", "ipvlan") => {
                let mode = [("l2", 0), ("l3", 1), ("l3s", 2)].into_iter().find(|(name, _)| name == value);
                kind = UplinkKind::Ipvlan(mode.ok_or_else(|| bad("l2, l3 or l3s"))?.1);
            }
            _ => {
                return Err(CommandError::usage(format!("-o {key}: there is no such option for {driver}"))
                    .hint("there are: parent, mode, mtu"));
            }
        }
    }
    let parent = parent.ok_or_else(|| {
        CommandError::usage(format!("a {driver} needs the interface of the host that it uses"))
            .hint("as -o parent=eth0")
    })?;
    if !runner::network::has_interface(&parent)? {
        return Err(CommandError::new(format!("there is no interface {parent} on this host")));
    }
    Ok(Uplink { parent, kind })
}

fn set(data: &mut NetworkData, key: &str, value: &str) -> Result<()> {
    let bad = |what: &str| CommandError::usage(format!("-o {key}={value}: {value:?} is not {what}"));
    match key {
        "com.docker.network.bridge.name" | "bridge_name" => value.clone_into(&mut data.interface),
        "com.docker.network.driver.mtu" | "mtu" => {
            data.mtu = Some(value.parse().map_err(|_| bad("a number of bytes"))?)
        }
        "com.docker.network.bridge.enable_icc" => {
            data.isolated = !value.parse::<bool>().map_err(|_| bad("`true` or `false`"))?;
        }
        "antispoof" => data.guarded = value.parse().map_err(|_| bad("`true` or `false`"))?,
        // All bridges are kept apart.
        "isolate" if matches!(value, "true" | "strict" | "1") => {}
        "isolate" if matches!(value, "false" | "0") => {
            return Err(CommandError::usage(format!("-o {key}={value}: networks are always kept apart"))
                .hint("`img network connect` puts a container on both"));
        }
        "isolate" => return Err(bad("`true` or `strict`")),
        _ => {
            return Err(
                CommandError::usage(format!("-o {key}: there is no such option")).hint(format!("there are: {OPTIONS}"))
            );
        }
    }
    Ok(())
}

/// `KEY=VALUE`, or a key alone.
fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// The bridge's own addresses on a network.
pub(super) fn gateways(data: &NetworkData) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let four = data.gateway.or(data.subnet.map(Subnet::first_host));
    (four, data.gateway6.or(data.subnet6.map(|subnet| subnet.nth(1))))
}
