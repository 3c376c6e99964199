//! From the flags of networks to what the runner sets up: the kind of namespace, a place on each network, and the ports
//! that are published. Networks are looked up here, at each start, so that a container follows changes of its record.

use std::net::IpAddr;

use runner::network::{
    Attachment, BridgeConfig, Config as NetworkConfig, Device, Endpoint, Join, Mode, PortMapping, Protocol,
};
use runner::spec::parse::{self, InterfaceRequest, NetworkChoice, NetworkRequest};

use super::ContainerRecord;
use super::create::usage;
use super::files::Names;
use super::options::Options;
use super::options::network::Networking;
use crate::engine::Engine;
use crate::engine::networks::BRIDGE;
use crate::error::{CommandError, Result};

/// How much of an id is one of the container's names.
const SHORT_ID: usize = 12;

/// Who answers a container's questions for names.
pub(super) fn who_answers(mode: &Mode) -> Names {
    match mode {
        Mode::Host => Names::Host,
        Mode::Networks(places) if places.iter().any(|Endpoint::Bridge(place)| place.resolve) => Names::Served,
        _ => Names::Copied,
    }
}

/// Who answers the questions of a container that is on these networks.
pub(in crate::engine) fn names_of_places(places: &[Attachment]) -> Names {
    if places.iter().any(|place| place.resolve) { Names::Served } else { Names::Copied }
}

impl Engine {
    /// The network that a container has when it is started.
    ///
    /// # Errors
    /// Words that make no sense, a network that is not there.
    pub(in crate::engine) fn network_of(&self, record: &ContainerRecord) -> Result<NetworkConfig> {
        let image = self.run_config(&record.data)?;
        let (_, merged) = self.spec_options(&record.id, &record.data, image.as_ref())?;
        self.network(&record.id, &record.name, &record.data.options, &merged.exposed_ports)
    }

    /// The network that the flags ask for. `exposed` are the ports that the image and the user name.
    pub(super) fn network(&self, id: &str, name: &str, options: &Options, exposed: &[String]) -> Result<NetworkConfig> {
        let asked = &options.network;
        let devices = devices(asked)?;
        let requests = match choices(asked)? {
            Choices::Alone(choice) => {
                return Ok(NetworkConfig { devices, ..NetworkConfig::new(id, self.alone(choice, asked)?) });
            }
            Choices::Networks(requests) => requests,
        };
        if devices.iter().any(|device| !device.gateways.is_empty()) {
            return Err(CommandError::usage(
                "a gateway by an interface of the host cannot be had beside other networks",
            )
            .hint("leave gateway= out: the default route leads by the first network with a way out"));
        }
        let mut places = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let mut place = self.place(id, name, request)?;
            if request.interface.is_none() {
                place.interface = format!("eth{index}");
            }
            places.push(place);
        }
        // The highest priority gets the default route, and of equals the first.
        let priority = |index: usize| (requests[index].priority, std::cmp::Reverse(index));
        let router = (0..places.len()).filter(|&index| !places[index].internal).max_by_key(|&index| priority(index));
        let six = |index: &usize| !places[*index].internal && places[*index].subnet6.is_some();
        let router6 = (0..places.len()).filter(six).max_by_key(|&index| priority(index));
        for (index, place) in places.iter_mut().enumerate() {
            place.default_route = Some(index) == router;
            place.default_route6 = Some(index) == router6;
        }
        let publish = published(asked, exposed)?;
        if !publish.is_empty() {
            let router = router.ok_or_else(|| {
                CommandError::usage("-p publishes ports of networks with a way out, and these are internal")
            })?;
            places[router].publish = publish;
        }
        let mode = Mode::Networks(places.into_iter().map(Endpoint::Bridge).collect());
        let name_servers = servers(asked)?;
        Ok(NetworkConfig { name_servers, devices, ..NetworkConfig::new(id, mode) })
    }

    /// A namespace that is not attached to networks.
    fn alone(&self, choice: NetworkChoice, asked: &Networking) -> Result<Mode> {
        for (flag, given) in [
            ("-p", !asked.publish.is_empty()),
            ("--ip", asked.ip.is_some()),
            ("--ip6", asked.ip6.is_some()),
            ("--mac-address", asked.mac.is_some()),
            ("--network-alias", !asked.aliases.is_empty()),
        ] {
            if given {
                return Err(CommandError::usage(format!(
                    "{flag} is for places on a network, not for --network {}",
                    asked.mode()
                ))
                .hint("with --network host the program's ports are the host's"));
            }
        }
        Ok(match choice {
            NetworkChoice::None => Mode::None,
            NetworkChoice::Empty => Mode::Empty,
            NetworkChoice::Host | NetworkChoice::Network(_) | NetworkChoice::Device(_) => Mode::Host,
            NetworkChoice::Namespace(path) => Mode::Join(Join::Path(path)),
            NetworkChoice::Container(name) => {
                let target = self.find_container(&name)?;
                let state = self.state(&target)?.filter(runner::State::is_running);
                let process = state.and_then(|state| state.process).ok_or_else(|| {
                    CommandError::new(format!("container {name} is not running, its network cannot be joined"))
                })?;
                Mode::Join(Join::Process(process))
            }
        })
    }

    /// A container's place on one network, without ports.
    pub(in crate::engine) fn place(&self, id: &str, name: &str, request: &NetworkRequest) -> Result<BridgeConfig> {
        let mut place = self.network_config(&request.name)?;
        place.ip = request.ip;
        place.ip6 = request.ip6;
        place.mac = request.mac.as_deref().map(str::parse).transpose()?;
        place.host_interface.clone_from(&request.host_interface);
        if let Some(interface) = &request.interface {
            place.interface.clone_from(interface);
        }
        if !request.aliases.is_empty() && !place.resolve {
            return Err(CommandError::usage(format!("network {} has no names, so no aliases either", request.name))
                .hint("`img network create NAME` makes one whose containers find each other by name"));
        }
        if place.resolve {
            let short: String = id.chars().take(SHORT_ID).collect();
            place.names = [name.to_owned(), short, id.to_owned()].into();
            place.names.extend(request.aliases.iter().cloned());
            place.names.retain(|name| !name.is_empty());
        }
        Ok(place)
    }

    /// The bridge as the configuration has it, with nothing published.
    ///
    /// # Errors
    /// A subnet that is none.
    pub(in crate::engine) fn plain_bridge(&self) -> Result<BridgeConfig> {
        let mut bridge = BridgeConfig::default();
        let settings = &self.settings.network;
        if let Some(name) = &settings.bridge {
            bridge.name.clone_from(name);
        }
        bridge.subnet = settings.subnet.as_deref().map(str::parse).transpose()?;
        Ok(bridge)
    }
}

/// `--dns`, parsed.
pub(super) fn servers(asked: &Networking) -> Result<Vec<IpAddr>> {
    let parse =
        |text: &String| text.parse().map_err(|_| CommandError::usage(format!("--dns {text:?} is not an address")));
    asked.dns.iter().map(parse).collect()
}

/// What all `--network` together ask for.
pub(in crate::engine) enum Choices {
    /// One that cannot be joined with others.
    Alone(NetworkChoice),
    /// Places on networks, at least one.
    Networks(Vec<NetworkRequest>),
}

/// The flags of networks, parsed, with those that speak of the first network put there.
pub(in crate::engine) fn choices(asked: &Networking) -> Result<Choices> {
    let (mut requests, mut devices) = (Vec::new(), 0);
    for text in &asked.networks {
        match parse::network(text).map_err(usage)? {
            NetworkChoice::Network(request) => requests.push(request),
            NetworkChoice::Device(_) => devices += 1,
            other if asked.networks.len() == 1 => return Ok(Choices::Alone(other)),
            _ => {
                return Err(CommandError::usage(format!(
                    "--network {text} cannot be had together with another network"
                )));
            }
        }
    }
    if requests.is_empty() && devices > 0 {
        return Ok(Choices::Alone(NetworkChoice::None));
    }
    if requests.is_empty() {
        requests.push(NetworkRequest { name: BRIDGE.to_owned(), ..NetworkRequest::default() });
    }
    for (index, request) in requests.iter().enumerate() {
        if requests[..index].iter().any(|other| other.name == request.name) {
            return Err(CommandError::usage(format!("--network {} is given twice", request.name)));
        }
    }
    let bad = |flag: &str, text: &str| CommandError::usage(format!("{flag} {text:?} is not an address"));
    let first = &mut requests[0];
    if let Some(text) = &asked.ip {
        first.ip = Some(text.parse().map_err(|_| bad("--ip", text))?);
    }
    if let Some(text) = &asked.ip6 {
        first.ip6 = Some(text.parse().map_err(|_| bad("--ip6", text))?);
    }
    if let Some(text) = &asked.mac {
        first.mac = Some(text.clone());
    }
    first.aliases.extend(asked.aliases.iter().cloned());
    Ok(Choices::Networks(requests))
}

/// The interfaces of the host that the flags ask for.
fn devices(asked: &Networking) -> Result<Vec<Device>> {
    let mut devices: Vec<Device> = Vec::new();
    for text in &asked.networks {
        let NetworkChoice::Device(request) = parse::network(text).map_err(usage)? else { continue };
        if devices.iter().any(|other| other.host == request.host) {
            return Err(CommandError::usage(format!("--network phys:{} is given twice", request.host)));
        }
        let interface = request.interface.unwrap_or_else(|| request.host.clone());
        let InterfaceRequest { host, addresses, gateways, .. } = request;
        devices.push(Device { host, interface, addresses, gateways });
    }
    Ok(devices)
}

/// The words of the flags that ask for interfaces of the host.
pub(in crate::engine) fn device_words(asked: &Networking) -> impl Iterator<Item = &String> {
    asked.networks.iter().filter(|text| matches!(parse::network(text), Ok(NetworkChoice::Device(_))))
}

/// The names of the networks that the flags ask for; of a namespace the kind, as docker prints it.
pub(in crate::engine) fn names(asked: &Networking) -> Vec<String> {
    match choices(asked) {
        Ok(Choices::Networks(requests)) => {
            requests.into_iter().map(|request| request.name).chain(device_names(asked)).collect()
        }
        Ok(Choices::Alone(NetworkChoice::Host)) => vec!["host".to_owned()],
        Ok(Choices::Alone(_)) if device_words(asked).next().is_some() => device_names(asked),
        Ok(Choices::Alone(NetworkChoice::None | NetworkChoice::Empty)) => vec!["none".to_owned()],
        Ok(Choices::Alone(_)) | Err(_) => asked.networks.clone(),
    }
}

/// `phys:eth1` for each interface of the host.
fn device_names(asked: &Networking) -> Vec<String> {
    let named = |text: &String| match parse::network(text) {
        Ok(NetworkChoice::Device(request)) => Some(format!("phys:{}", request.host)),
        _ => None,
    };
    asked.networks.iter().filter_map(named).collect()
}

/// The ports to publish: those of `-p`, and with `-P` each exposed one that `-p` does not name.
fn published(asked: &Networking, exposed: &[String]) -> Result<Vec<PortMapping>> {
    let mut ports = Vec::new();
    for text in &asked.publish {
        ports.extend(parse::port(text).map_err(usage)?.iter().map(mapping));
    }
    let mut all = Vec::new();
    for text in exposed.iter().chain(&asked.expose) {
        all.extend(parse::expose(text).map_err(usage)?);
    }
    if asked.publish_all {
        all.sort_unstable();
        all.dedup();
        for (port, protocol) in all {
            let protocol = of_protocol(protocol);
            if !ports.iter().any(|other| other.container_port == port && other.protocol == protocol) {
                ports.push(PortMapping::new(0, port, protocol));
            }
        }
    }
    Ok(ports)
}

/// A published port as the network room takes it.
fn mapping(port: &parse::PortMapping) -> PortMapping {
    let (host_port, choices) = match port.host {
        parse::HostPort::Any => (0, 1),
        parse::HostPort::One(number) => (number, 1),
        parse::HostPort::Between(first, last) => (first, last - first + 1),
    };
    let plain = PortMapping::new(host_port, port.container, of_protocol(port.protocol));
    PortMapping { host_ip: port.address, choices, ..plain }
}

fn of_protocol(protocol: parse::Protocol) -> Protocol {
    match protocol {
        parse::Protocol::Tcp => Protocol::Tcp,
        parse::Protocol::Udp => Protocol::Udp,
        parse::Protocol::Sctp => Protocol::Sctp,
    }
}
