//! Published ports: `8080:80`, `127.0.0.1:8000-8005:80-85/udp`, `[::1]::443`, `80`.

use std::net::IpAddr;

use super::{Error, Result, unknown};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The host's side of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// Any free port.
    Any,
    /// This one.
    One(u16),
    /// A free one out of these, both ends included.
    Between(u16, u16),
}

/// One port of a container made reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The host's address; `None`: all.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host: HostPort,
    /// The container's port.
    pub container: u16,
    /// The protocol.
    pub protocol: Protocol,
}

const WHAT: &str = "port mapping";
const FORM: &str = "the form is [[address:]host-port:]container-port[/protocol], as 8080:80 or 127.0.0.1:53:53/udp";

/// `-p`: one mapping for each container port that the text names.
pub fn port(text: &str) -> Result<Vec<PortMapping>> {
    let error = |reason: &str| Error::invalid(WHAT, text, reason).with_hint(FORM);
    let (rest, protocol) = split_protocol(WHAT, text)?;
    let (host, container) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((host, container)) => (Some(host), container),
    };
    let (address, host) = match host {
        None => (None, ""),
        Some(host) => match host.rsplit_once(':') {
            None if host.parse::<IpAddr>().is_ok() => {
                return Err(
                    error("an address needs a host port").with_hint(format!("did you mean `{host}::{container}`?"))
                );
            }
            None => (None, host),
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
                if bare.is_none() && address.contains(':') {
                    return Err(error("an IPv6 address must be in brackets")
                        .with_hint(format!("as [{address}]:{host}:{container}")));
                }
                let parsed = bare.unwrap_or(address).parse::<IpAddr>();
                (Some(parsed.map_err(|_| error(&format!("`{address}` is not an address")))?), host)
            }
        },
    };
    let (first, last) = range(WHAT, text, container)?;
    // As docker has it: 0 is whichever is free.
    if host.is_empty() || host == "0" {
        return Ok((first..=last)
            .map(|container| PortMapping { address, host: HostPort::Any, container, protocol })
            .collect());
    }
    let (host_first, host_last) = range(WHAT, text, host)?;
    if host_last - host_first == last - first {
        let pairs = (host_first..=host_last).zip(first..=last);
        return Ok(pairs
            .map(|(host, container)| PortMapping { address, host: HostPort::One(host), container, protocol })
            .collect());
    }
    if first == last {
        let host = HostPort::Between(host_first, host_last);
        return Ok(vec![PortMapping { address, host, container: first, protocol }]);
    }
    let (many, few) = (host_last - host_first, last - first);
    Err(error(&format!("{} host ports for {} container ports", u32::from(many) + 1, u32::from(few) + 1)))
}

/// `--expose`: a port or range with a protocol.
pub fn expose(text: &str) -> Result<Vec<(u16, Protocol)>> {
    const WHAT: &str = "exposed port";
    let (ports, protocol) = split_protocol(WHAT, text)?;
    let (first, last) = range(WHAT, text, ports)?;
    Ok((first..=last).map(|port| (port, protocol)).collect())
}

fn split_protocol<'a>(what: &'static str, text: &'a str) -> Result<(&'a str, Protocol)> {
    let Some((rest, protocol)) = text.rsplit_once('/') else { return Ok((text, Protocol::Tcp)) };
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(unknown(what, text, protocol, &["tcp", "udp", "sctp"])),
    };
    Ok((rest, protocol))
}

fn range(what: &'static str, whole: &str, text: &str) -> Result<(u16, u16)> {
    let error = |reason: String| Error::invalid(what, whole, reason).with_hint(FORM);
    let number = |part: &str| match part.parse::<u16>() {
        Ok(port @ 1..) if part.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ if part.is_empty() => Err(error("a port is missing".to_owned())),
        _ => Err(error(format!("`{part}` is not a port from 1 to 65535"))),
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last { Err(error(format!("the range `{text}` is backwards"))) } else { Ok((first, last)) }
}
