//! Device nodes of the host: what `--device` and `--privileged` stand for.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::options::{DeviceNode, DeviceNodeKind};
use super::parse::DeviceRequest;
use super::{Error, Result};

/// More nodes than any machine has; the walk of a directory stops there.
const MAX_NODES: usize = 16_384;
const MAX_DEPTH: usize = 16;

/// The nodes that one `--device` names: one, or all below a directory.
pub fn resolve(request: &DeviceRequest) -> Result<Vec<DeviceNode>> {
    let (host, container, access) = match request {
        DeviceRequest::Path { host, container, access } => (host, container, access),
        DeviceRequest::Cdi(name) => {
            return Err(Error::conflict(
                format!("cannot use device {name}: names of the Container Device Interface are not supported yet"),
                "name the device's nodes, as --device /dev/dri/renderD128",
            ));
        }
    };
    let error = |reason: String| Error::invalid("device", host, reason);
    // A link like /dev/disk/by-id/… is followed: the path is the user's own.
    let found = fs::metadata(host).map_err(|cause| error(cause.to_string()))?;
    let mut nodes = Vec::new();
    if found.is_dir() {
        walk(Path::new(host), Path::new(container), access, 0, &mut nodes)?;
        if nodes.is_empty() {
            return Err(error("no device is in that directory".to_owned()));
        }
    } else {
        nodes.push(node(&found, Path::new(container), access).ok_or_else(|| error("it is not a device".to_owned()))?);
    }
    Ok(nodes)
}

/// Every node of the host's /dev for a privileged container, but for what a container has of its own: terminals, shared memory,
/// message queues, and the usual six.
pub fn all_of_host() -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::new();
    walk(Path::new("/dev"), Path::new("/dev"), "rwm", 0, &mut nodes)?;
    let own = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
    nodes.retain(|node| !own.iter().any(|name| node.path == Path::new("/dev").join(name)));
    Ok(nodes)
}

fn walk(host: &Path, container: &Path, access: &str, depth: usize, nodes: &mut Vec<DeviceNode>) -> Result<()> {
    let error = |reason: String| Error::invalid("device", &host.to_string_lossy(), reason);
    let entries = fs::read_dir(host).map_err(|cause| error(cause.to_string()))?;
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.file_name().into()).collect();
    names.sort();
    for name in names {
        let (from, to) = (host.join(&name), container.join(&name));
        // Nodes come and go; links are left out, as what they name is found by itself.
        let Ok(found) = fs::symlink_metadata(&from) else { continue };
        if found.is_dir() {
            let own = depth == 0
                && host == Path::new("/dev")
                && ["pts", "shm", "mqueue", "fd"].iter().any(|own| name == Path::new(own));
            if !own && depth < MAX_DEPTH {
                walk(&from, &to, access, depth + 1, nodes)?;
            }
        } else if let Some(node) = node(&found, &to, access) {
            if nodes.len() == MAX_NODES {
                return Err(error(format!("more than {MAX_NODES} devices")));
            }
            nodes.push(node);
        }
    }
    Ok(())
}

/// A block device's number, for limits by device.
pub fn block_device(path: &str) -> Result<(u32, u32)> {
    let error = |reason: String| Error::invalid("block device", path, reason);
    let found = fs::metadata(path).map_err(|cause| error(cause.to_string()))?;
    match found.file_type().is_block_device() {
        true => Ok((libc::major(found.rdev()), libc::minor(found.rdev()))),
        false => Err(error("it is not a block device".to_owned())),
    }
}

fn node(found: &fs::Metadata, path: &Path, access: &str) -> Option<DeviceNode> {
    let kind = match found.file_type() {
        kind if kind.is_block_device() => DeviceNodeKind::Block,
        kind if kind.is_char_device() => DeviceNodeKind::Character,
        _ => return None,
    };
    Some(DeviceNode {
        path: path.to_owned(),
        kind,
        major: libc::major(found.rdev()),
        minor: libc::minor(found.rdev()),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        access: access.to_owned(),
    })
}
