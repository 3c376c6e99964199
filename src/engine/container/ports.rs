//! The networks and published ports of a running container in docker's forms: as `inspect` has them, and as a line of
//! `ps`. What is told is what the runner set up, so a port of the kernel's choice has its number.

use runner::network::{Attachment, Moved, PublishedPort};
use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::error::Result;

/// A published port, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLine {
    /// `80/tcp`
    pub inside: String,
    /// `0.0.0.0:8080`
    pub host: String,
}

impl Engine {
    /// The published ports of a container, by their numbers inside; none if it does not run.
    ///
    /// # Errors
    /// No such container.
    pub fn published_ports(&self, name: &str) -> Result<Vec<PortLine>> {
        let state = self.state(&self.find_container(name)?)?.filter(runner::State::is_running);
        let mut ports = published(state.as_ref());
        ports.sort_by_key(|port| (port.container_port, port.protocol, port.host_ip, port.host_port));
        let line = |port: &PublishedPort| PortLine {
            inside: format!("{}/{}", port.container_port, port.protocol),
            host: std::net::SocketAddr::new(port.host_ip, port.host_port).to_string(),
        };
        Ok(ports.iter().map(line).collect())
    }
}

/// The published ports of a running container.
pub(super) fn published(state: Option<&runner::State>) -> Vec<PublishedPort> {
    places(state).iter().flat_map(|place| place.ports.iter().copied()).collect()
}

fn places(state: Option<&runner::State>) -> &[Attachment] {
    state.and_then(|state| state.network.as_ref()).map_or(&[], |network| &network.attachments)
}

/// `NetworkSettings` of `inspect`. The fields beside `Networks` speak of the network that has the default route.
pub(super) fn network_settings(state: Option<&runner::State>) -> Value {
    let places = places(state);
    let mut ports = Map::new();
    for port in published(state) {
        let list = ports.entry(format!("{}/{}", port.container_port, port.protocol)).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!({ "HostIp": port.host_ip, "HostPort": port.host_port.to_string() }));
        }
    }
    let devices = state.and_then(|state| state.network.as_ref()).map_or(&[][..], |network| &network.devices);
    let mut networks: Map<String, Value> =
        places.iter().map(|place| (place.network.clone(), Value::Object(fields(place)))).collect();
    networks.extend(devices.iter().map(|moved| (format!("phys:{}", moved.device.host), device(moved))));
    let main = places.iter().find(|place| place.default_route).or(places.first());
    let mut settings = main.map(fields).unwrap_or_else(|| Map::from_iter([("IPAddress".to_owned(), json!(""))]));
    settings.insert("Bridge".to_owned(), json!(main.map_or("", |place| place.bridge.as_str())));
    settings.insert("Ports".to_owned(), Value::Object(ports));
    settings.insert("Networks".to_owned(), Value::Object(networks));
    Value::Object(settings)
}

fn fields(place: &Attachment) -> Map<String, Value> {
    let six = place.ipv6.as_ref();
    let fields = [
        ("IPAddress", json!(place.ip)),
        ("IPPrefixLen", json!(place.subnet.prefix())),
        ("Gateway", json!(if place.internal { String::new() } else { place.gateway.to_string() })),
        ("MacAddress", json!(place.mac.to_string())),
        ("GlobalIPv6Address", json!(six.map(|six| six.ip.to_string()).unwrap_or_default())),
        ("GlobalIPv6PrefixLen", json!(six.map_or(0, |six| six.subnet.prefix()))),
        ("IPv6Gateway", json!(six.filter(|_| !place.internal).map(|six| six.gateway.to_string()).unwrap_or_default())),
        ("Aliases", json!(place.names.get(3..).unwrap_or_default())),
        ("DNSNames", json!(place.names)),
        ("Interface", json!(place.interface)),
        ("HostInterface", json!(place.host_interface)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An interface of the host in the same form.
fn device(moved: &Moved) -> Value {
    let Moved { device, mac, .. } = moved;
    let address = |four: bool| device.addresses.iter().find(|(ip, _)| ip.is_ipv4() == four);
    let gateway = |four: bool| device.gateways.iter().find(|ip| ip.is_ipv4() == four);
    let words = |ip: Option<&std::net::IpAddr>| ip.map(ToString::to_string).unwrap_or_default();
    json!({
        "IPAddress": words(address(true).map(|(ip, _)| ip)),
        "IPPrefixLen": address(true).map_or(0, |(_, prefix)| *prefix),
        "Gateway": words(gateway(true)),
        "MacAddress": mac.clone().unwrap_or_default(),
        "GlobalIPv6Address": words(address(false).map(|(ip, _)| ip)),
        "GlobalIPv6PrefixLen": address(false).map_or(0, |(_, prefix)| *prefix),
        "IPv6Gateway": words(gateway(false)),
        "Interface": device.interface,
        "HostInterface": device.host,
    })
}

/// The published ports as `ps` shows them: runs of ports are one entry.
pub(super) fn lines(state: Option<&runner::State>) -> Vec<String> {
    let mut ports = published(state);
    ports.sort_by_key(|port| (port.host_ip, port.protocol, port.host_port, port.container_port));
    let mut lines: Vec<(PublishedPort, u16)> = Vec::new();
    for port in ports {
        match lines.last_mut() {
            Some((first, more))
                if (first.host_ip, first.protocol) == (port.host_ip, port.protocol)
                    && first.host_port.checked_add(*more + 1) == Some(port.host_port)
                    && first.container_port.checked_add(*more + 1) == Some(port.container_port) =>
            {
                *more += 1;
            }
            _ => lines.push((port, 0)),
        }
    }
    lines.iter().map(|(port, more)| line(port, *more)).collect()
}

fn line(port: &PublishedPort, more: u16) -> String {
    let range =
        |first: u16| if more == 0 { first.to_string() } else { format!("{first}-{}", first.saturating_add(more)) };
    let host = match port.host_ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("{host}:{}->{}/{}", range(port.host_port), range(port.container_port), port.protocol)
}
