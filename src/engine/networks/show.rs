//! A network in docker's form, with the running containers on it.

use serde_json::{Map, Value, json};

use super::Network;
use super::create::gateways;
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// A network as docker's inspect prints it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn inspect_network(&self, name: &str) -> Result<Value> {
        let network = self.find_network(name)?;
        let mut containers = Map::new();
        for record in self.on_network(&network.name)? {
            let state = self.state(&record.id)?.and_then(|state| state.network);
            let places = state.into_iter().flat_map(|state| state.attachments);
            let Some(place) = places.into_iter().find(|place| place.network == network.name) else { continue };
            let six = place.ipv6.map(|six| format!("{}/{}", six.ip, six.subnet.prefix()));
            containers.insert(
                record.id,
                json!({
                    "Name": record.name,
                    "MacAddress": place.mac.to_string(),
                    "IPv4Address": format!("{}/{}", place.ip, place.subnet.prefix()),
                    "IPv6Address": six.unwrap_or_default(),
                }),
            );
        }
        let data = &network.data;
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created.map(|time| time.to_string()).unwrap_or_default(),
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": matches!(network.driver.as_str(), "bridge" | "macvlan" | "ipvlan"),
            "EnableIPv6": data.subnet6.is_some(),
            "IPAM": { "Driver": "default", "Options": {}, "Config": pools(&network) },
            "Internal": data.internal,
            "Attachable": false,
            "Ingress": false,
            "ConfigOnly": false,
            "Interface": data.interface,
            "NameService": data.names,
            "Containers": containers,
            "Options": map(&data.options),
            "Labels": map(&data.labels),
        }))
    }
}

fn pools(network: &Network) -> Vec<Value> {
    let data = &network.data;
    let (four, six) = gateways(data);
    let mut pools = Vec::new();
    if let Some(subnet) = data.subnet {
        let mut pool = json!({ "Subnet": subnet, "Gateway": four });
        if let Some(range) = data.range {
            pool["IPRange"] = json!(range);
        }
        pools.push(pool);
    }
    pools.extend(data.subnet6.map(|subnet| json!({ "Subnet": subnet, "Gateway": six })));
    pools
}

fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
}
