//! The device nodes of a container's /dev: those that every container has, and those of the Spec.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{DeviceNode, absolute};
use crate::error::{Error, Result};

/// The nodes every container has (OCI runtime spec, "Default Devices"): name, major, minor.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// All nodes; one of the Spec takes the place of a default one.
pub(super) fn nodes(listed: &[LinuxDevice]) -> Result<Vec<DeviceNode>> {
    let mut nodes: Vec<DeviceNode> = DEFAULT_DEVICES
        .iter()
        .map(|(name, major, minor)| DeviceNode {
            path: Path::new("/dev").join(name),
            kind: libc::S_IFCHR,
            major: *major,
            minor: *minor,
            mode: 0o666,
            owner: (0, 0),
        })
        .collect();
    for device in listed {
        let path = absolute(device.path(), "a device's path")?;
        let name = path.display();
        if !path.starts_with("/dev") || path == Path::new("/dev") {
            return Err(Error::invalid(format!("{name}: a device node must lie below /dev")));
        }
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => return Err(Error::invalid(format!("{name}: a device node cannot be of all types"))),
        };
        let number =
            |value: i64| u32::try_from(value).map_err(|_| Error::invalid(format!("{name}: bad device number")));
        let (major, minor) = (number(device.major())?, number(device.minor())?);
        let node = DeviceNode {
            kind,
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666) & 0o777,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
            path,
        };
        nodes.retain(|known| known.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
}
