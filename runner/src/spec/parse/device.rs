//! Devices: `--device`, `--device-cgroup-rule`, and block I/O limits by device.

use super::{Error, Result, size};

/// A device as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A node, or a directory of nodes, of the host.
    Path {
        /// On the host.
        host: String,
        /// In the container.
        container: String,
        /// Some of r, w and m (make nodes).
        access: String,
    },
    /// A name of the Container Device Interface, `vendor/class=device`.
    Cdi(String),
}

/// `--device`: `host[:container[:access]]`, `host:access`, or a CDI name.
pub fn device(text: &str) -> Result<DeviceRequest> {
    const WHAT: &str = "device";
    let error =
        |reason: String| Error::invalid(WHAT, text, reason).with_hint("the form is /dev/host[:/dev/container[:rwm]]");
    if !text.starts_with('/')
        && let Some((kind, name)) = text.split_once('=')
        && let Some((vendor, class)) = kind.split_once('/')
    {
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'))
        };
        return match word(vendor) && word(class) && word(name) {
            true => Ok(DeviceRequest::Cdi(text.to_owned())),
            false => Err(error("it is neither a path nor a CDI name like vendor.com/class=name".to_owned())),
        };
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm'));
    let (host, container, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, access] if is_access(access) => (*host, *host, *access),
        [host, container] => (*host, *container, "rwm"),
        [host, container, access] => (*host, *container, *access),
        _ => return Err(error("it has more than three parts".to_owned())),
    };
    if !host.starts_with('/') {
        return Err(error(format!("`{host}` is not an absolute path")));
    }
    super::mount::target(WHAT, text, container)?;
    if !is_access(access) {
        return Err(error(format!("`{access}` is not made of r, w and m")));
    }
    Ok(DeviceRequest::Path { host: host.to_owned(), container: container.to_owned(), access: access.to_owned() })
}

/// A rule about device numbers; `None` stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// Some of r, w and m.
    pub access: String,
}

/// `--device-cgroup-rule`: `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`.
pub fn device_rule(text: &str) -> Result<DeviceRule> {
    let error = |reason: &str| {
        Error::invalid("device rule", text, reason).with_hint("the form is `c 1:3 rwm`, with a, b or c first")
    };
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = parts.as_slice() else { return Err(error("it does not have three words")) };
    let kind = match *kind {
        "a" => 'a',
        "b" => 'b',
        "c" => 'c',
        _ => return Err(error("its kind is not a, b or c")),
    };
    let number = |part: &str| match part {
        "*" => Ok(None),
        _ => part.parse::<u32>().map(Some).map_err(|_| error("its numbers are not like 1:3 or 1:*")),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(|| error("its numbers are not like 1:3 or 1:*"))?;
    if access.is_empty() || access.len() > 3 || !access.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm')) {
        return Err(error("its access is not made of r, w and m"));
    }
    Ok(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access: (*access).to_owned() })
}

/// `--device-read-bps` and friends: `/dev/sda:1mb`, a path and a rate. `bytes` tells whether the rate may have a unit.
pub fn throttle(what: &'static str, text: &str, bytes: bool) -> Result<(String, u64)> {
    let hint = if bytes { "as /dev/sda:1mb" } else { "as /dev/sda:1000" };
    let error = |reason: &str| Error::invalid(what, text, reason).with_hint(hint);
    let (path, rate) = text.rsplit_once(':').ok_or_else(|| error("it has no rate"))?;
    if !path.starts_with("/dev/") {
        return Err(error("it is not a path below /dev"));
    }
    let rate =
        if bytes { size(what, rate)? } else { rate.parse().map_err(|_| error("its rate is not a whole number"))? };
    if rate == 0 { Err(error("a rate of nothing")) } else { Ok((path.to_owned(), rate)) }
}

/// `--blkio-weight-device`: `/dev/sda:500`.
pub fn weight_device(text: &str) -> Result<(String, u16)> {
    let error = |reason: &str| Error::invalid("weight of a device", text, reason).with_hint("as /dev/sda:500");
    let (path, weight) = text.rsplit_once(':').ok_or_else(|| error("it has no weight"))?;
    if !path.starts_with("/dev/") {
        return Err(error("it is not a path below /dev"));
    }
    match weight.parse() {
        Ok(weight @ 10..=1000) => Ok((path.to_owned(), weight)),
        _ => Err(error("weights go from 10 to 1000")),
    }
}
