//! `--network`: which network namespace a container gets, and its place on a network: `none`, `host`, `container:web`,
//! `phys:eth1`, `lab`, `lab:ip=10.9.0.9,alias=db`, or docker's `name=lab,alias=db`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::{Error, Result, unknown};

/// What `--network` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// A namespace with the loopback device alone.
    None,
    /// The same with the loopback device down, as the kernel makes it.
    Empty,
    /// The host's namespace.
    Host,
    /// The namespace of this container.
    Container(String),
    /// The namespace behind this file.
    Namespace(PathBuf),
    /// A place on a network.
    Network(NetworkRequest),
    /// An interface of the host.
    Device(InterfaceRequest),
}

/// An interface of the host for a container alone: `phys:eth1:ip=10.9.0.9/24,gateway=10.9.0.1,interface_name=lan0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRequest {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container, if it is another one.
    pub interface: Option<String>,
    /// Its addresses in the container, with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// By which address the default routes lead.
    pub gateways: Vec<IpAddr>,
}

/// A place on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The network's name.
    pub name: String,
    /// Further names by which others find the container there.
    pub aliases: Vec<String>,
    /// The container's address.
    pub ip: Option<Ipv4Addr>,
    /// The container's IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address, unchecked.
    pub mac: Option<String>,
    /// The interface's name in the container.
    pub interface: Option<String>,
    /// The name of its other end on the host.
    pub host_interface: Option<String>,
    /// The network with the highest number gets the default route.
    pub priority: i64,
}

impl fmt::Display for NetworkRequest {
    /// The words that mean this place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut word = |key: &str, value: Option<String>| words.extend(value.map(|value| format!("{key}={value}")));
        word("ip", self.ip.map(|ip| ip.to_string()));
        word("ip6", self.ip6.map(|ip| ip.to_string()));
        word("mac", self.mac.clone());
        self.aliases.iter().for_each(|alias| word("alias", Some(alias.clone())));
        word("interface_name", self.interface.clone());
        word("host_interface", self.host_interface.clone());
        word("gw-priority", (self.priority != 0).then(|| self.priority.to_string()));
        match words.as_slice() {
            [] => f.write_str(&self.name),
            words => write!(f, "{}:{}", self.name, words.join(",")),
        }
    }
}

const WHAT: &str = "network";
const KEYS: [&str; 11] = [
    "name",
    "ip",
    "ip6",
    "mac",
    "mac-address",
    "alias",
    "interface_name",
    "host_interface",
    "host_interface_name",
    "gw-priority",
    "driver-opt",
];

/// `--network`: a kind of namespace or a network with its options.
pub fn network(text: &str) -> Result<NetworkChoice> {
    let error = |reason: &str| Error::invalid(WHAT, text, reason);
    let (head, rest) = match (text.find(':'), text.find('=')) {
        (colon, Some(equals)) if colon.is_none_or(|colon| equals < colon) => ("", Some(text)),
        (Some(colon), _) => (&text[..colon], Some(&text[colon + 1..])),
        (None, _) => (text, None),
    };
    match (head, rest) {
        ("none", None) => Ok(NetworkChoice::None),
        ("none", Some("lo=down")) => Ok(NetworkChoice::Empty),
        ("host", None) => Ok(NetworkChoice::Host),
        ("none" | "host", Some(_)) => {
            Err(error(&format!("`{head}` has no such option")).with_hint("there is none:lo=down"))
        }
        ("container", Some(name)) if !name.is_empty() => Ok(NetworkChoice::Container(name.to_owned())),
        ("ns", Some(path)) if path.starts_with('/') => Ok(NetworkChoice::Namespace(path.into())),
        ("ns", Some(name)) if is_name(name) => Ok(NetworkChoice::Namespace(PathBuf::from("/run/netns").join(name))),
        ("phys", Some(words)) if !words.is_empty() => device(text, words).map(NetworkChoice::Device),
        ("phys", _) => Err(error("an interface is missing").with_hint("as phys:eth1, or phys:eth1:ip=10.9.0.9/24")),
        ("container", _) => Err(error("a container's name is missing").with_hint("as container:web")),
        ("ns", _) => Err(error("a path is missing").with_hint("as ns:/run/netns/lab, or ns:lab for the same")),
        (name, options) => {
            let name = if name == "default" { "bridge" } else { name };
            let mut request = NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() };
            for option in options.into_iter().flat_map(|options| options.split(',')) {
                set(&mut request, text, option)?;
            }
            if !is_name(&request.name) {
                return Err(error("a network's name is missing").with_hint("as lab, lab:ip=10.9.0.9 or name=lab"));
            }
            Ok(NetworkChoice::Network(request))
        }
    }
}

const DEVICE_KEYS: [&str; 4] = ["ip", "ip6", "gateway", "interface_name"];

fn device(whole: &str, words: &str) -> Result<InterfaceRequest> {
    let error = |reason: String| Error::invalid(WHAT, whole, reason);
    let (host, options) = words.split_once(':').map_or((words, None), |(host, options)| (host, Some(options)));
    let mut request = InterfaceRequest { host: host.to_owned(), ..InterfaceRequest::default() };
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let Some((key, value)) = option.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return Err(error(format!("`{option}` is not KEY=VALUE")));
        };
        match key {
            "ip" | "ip6" => request.addresses.push(with_prefix(value).ok_or_else(|| {
                error(format!("`{value}` is not an address with its prefix")).with_hint("as ip=10.9.0.9/24")
            })?),
            "gateway" => {
                let ip: IpAddr = value.parse().map_err(|_| error(format!("`{value}` is not an address")))?;
                if request.gateways.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
                    return Err(error("there is one gateway of IPv4 and one of IPv6".to_owned()));
                }
                request.gateways.push(ip);
            }
            "interface_name" => request.interface = Some(value.to_owned()),
            other => return Err(unknown(WHAT, whole, other, &DEVICE_KEYS)),
        }
    }
    Ok(request)
}

fn with_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

/// Whether this can name a network: as names of containers, and never a path.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && text.len() <= 128 && text.bytes().all(legal)
}

fn set(request: &mut NetworkRequest, whole: &str, option: &str) -> Result<()> {
    let error = |reason: String| Error::invalid(WHAT, whole, reason);
    let Some((key, value)) = option.split_once('=').filter(|(_, value)| !value.is_empty()) else {
        return Err(error(format!("`{option}` is not KEY=VALUE")));
    };
    match key {
        "name" if request.name.is_empty() => value.clone_into(&mut request.name),
        "name" => return Err(error("the network is named twice".to_owned())),
        "ip" | "ip6" => match value.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if key == "ip" => request.ip = Some(ip),
            Ok(IpAddr::V6(ip)) => request.ip6 = Some(ip),
            _ => return Err(error(format!("`{value}` is not an address for {key}"))),
        },
        "mac" | "mac-address" => request.mac = Some(value.to_owned()),
        "alias" => request.aliases.push(value.to_owned()),
        "interface_name" => request.interface = Some(value.to_owned()),
        "host_interface" | "host_interface_name" => request.host_interface = Some(value.to_owned()),
        "gw-priority" => {
            request.priority = value.parse().map_err(|_| error(format!("`{value}` is not a number")))?;
        }
        "driver-opt" => match value.split_once('=') {
            Some(("com.docker.network.endpoint.ifname", name)) => request.interface = Some(name.to_owned()),
            _ => {
                return Err(error(format!("`{value}` is not an option of a place on a network")).with_hint(
                    "there is com.docker.network.endpoint.ifname=NAME, which interface_name=NAME says too",
                ));
            }
        },
        other => return Err(unknown(WHAT, whole, other, &KEYS)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> NetworkRequest {
        match network(text).unwrap() {
            NetworkChoice::Network(request) => request,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn kinds() {
        assert_eq!(network("none").unwrap(), NetworkChoice::None);
        assert_eq!(network("none:lo=down").unwrap(), NetworkChoice::Empty);
        assert_eq!(network("host").unwrap(), NetworkChoice::Host);
        assert_eq!(network("container:web").unwrap(), NetworkChoice::Container("web".into()));
        assert_eq!(network("ns:/proc/1/ns/net").unwrap(), NetworkChoice::Namespace("/proc/1/ns/net".into()));
        assert_eq!(network("ns:lab").unwrap(), NetworkChoice::Namespace("/run/netns/lab".into()));
        assert_eq!(place("default").name, "bridge");
    }

    #[test]
    fn interfaces_of_the_host() {
        let device = |text: &str| match network(text).unwrap() {
            NetworkChoice::Device(request) => request,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(device("phys:eth1"), InterfaceRequest { host: "eth1".into(), ..InterfaceRequest::default() });
        let full = device("phys:eth1:ip=10.9.0.9/24,ip6=fd00::9/64,gateway=10.9.0.1,interface_name=lan0");
        assert_eq!(full.addresses, [("10.9.0.9".parse().unwrap(), 24), ("fd00::9".parse().unwrap(), 64)]);
        assert_eq!((full.gateways.len(), full.interface.as_deref()), (1, Some("lan0")));
        for wrong in ["phys", "phys:", "phys:eth1:", "phys:eth1:ip=10.9.0.9", "phys:eth1:gateway=x", "phys:eth1:a=b"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_in_both_spellings() {
        let podman = place("lab:ip=10.9.0.9,mac=02:00:00:00:00:01,alias=db,alias=sql,interface_name=lan0");
        let docker = place(
            "name=lab,ip=10.9.0.9,mac-address=02:00:00:00:00:01,alias=db,alias=sql,\
                            driver-opt=com.docker.network.endpoint.ifname=lan0",
        );
        assert_eq!(podman, docker);
        assert_eq!(
            (podman.aliases.as_slice(), podman.ip),
            (&["db".to_owned(), "sql".to_owned()][..], "10.9.0.9".parse().ok())
        );
        assert_eq!(place("lab:ip=fd00::9").ip6, "fd00::9".parse().ok());
        assert_eq!(place("lab:ip6=fd00::9,gw-priority=-3").priority, -3);
        assert_eq!(place("lab:host_interface=buru").host_interface.as_deref(), Some("buru"));
    }

    #[test]
    fn words_mean_what_they_were_made_from() {
        for text in [
            "lab",
            "lab:ip=10.9.0.9,ip6=fd00::9,mac=02:00:00:00:00:01,alias=a,alias=b,interface_name=x0,host_interface=y0,gw-priority=-2",
        ] {
            assert_eq!(place(text).to_string(), text);
        }
    }

    #[test]
    fn what_makes_no_sense() {
        for wrong in [
            "",
            ":",
            "lab:",
            "lab:ip",
            "lab:ip=x",
            "lab:ip6=10.0.0.1",
            "lab:name=x",
            "alias=x",
            "../x",
            "a/b",
            "container:",
            "ns:",
            "ns:../x",
            "host:x",
            "none:lo=up",
            "lab:gw-priority=x",
            "lab:nope=1",
            "lab:driver-opt=a=b",
            "-x",
            "name=",
        ] {
            assert!(network(wrong).is_err(), "{wrong:?}");
        }
    }
}
