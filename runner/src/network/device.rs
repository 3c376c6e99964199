//! Interfaces of the host that a container gets as they are: moved into its namespace, perhaps with another name there and
//! with addresses, and moved back under their old name at the end. The namespace is held by a mount point until then
//! (`<state_dir>/devices/<id>/netns`), because a virtual interface is destroyed with the last user of its namespace: so it
//! comes back whoever was killed, and what was moved is written beside it before it is moved, so that nobody's record is
//! needed. Addresses that it had on the host are lost, as the kernel has it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use super::config::check_interface_name;
use super::error::{Error, Result};
use super::netlink::Socket;
use super::route::{self, Link};
use super::{Site, bridge, lease, namespace};

/// What a container is to get of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The interface of the host.
    pub host: String,
    /// Its name in the container.
    pub interface: String,
    /// Its addresses there, each with the length of its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// By which address the default routes lead, at most one of each family.
    pub gateways: Vec<IpAddr>,
}

impl Device {
    /// Checks all that can be checked without asking the kernel.
    pub(super) fn validate(&self) -> Result<()> {
        if self.host == "lo" {
            let reason = "is the loopback device, which each namespace has for itself".to_owned();
            return Err(Error::Device { name: self.host.clone(), reason });
        }
        check_interface_name(&self.host)?;
        check_interface_name(&self.interface)?;
        for (address, prefix) in &self.addresses {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            if *prefix == 0 || *prefix > longest || address.is_unspecified() || address.is_multicast() {
                return Err(Error::Config(format!("{address}/{prefix} is not an address for interface {}", self.host)));
            }
        }
        Ok(())
    }
}

/// An interface of the host that was moved into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// What was asked for.
    #[serde(flatten)]
    pub device: Device,
    /// Its index in the container; 0 until it is there.
    pub index: u32,
    /// Whether it was up on the host, and is brought up there again.
    pub was_up: bool,
    /// Its hardware address, if it has one of six bytes.
    pub mac: Option<String>,
}

/// What is kept of one container's interfaces.
struct Hold {
    directory: PathBuf,
}

impl Hold {
    fn of(site: &Site<'_>, id: &str) -> Self {
        Self { directory: all(site).join(id) }
    }

    fn list(&self) -> PathBuf {
        self.directory.join("devices.json")
    }

    fn pin(&self) -> PathBuf {
        self.directory.join("netns")
    }

    fn read(&self) -> Result<Vec<Moved>> {
        let path = self.list();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::file("read", &path)(error.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// Whole or not at all: what reads it may come after a crash.
    fn write(&self, devices: &[Moved]) -> Result<()> {
        let (path, new) = (self.list(), self.directory.join("devices.new"));
        let bytes = serde_json::to_vec(devices).map_err(|error| Error::file("write", &path)(error.into()))?;
        fs::write(&new, bytes).map_err(Error::file("write", &new))?;
        fs::rename(&new, &path).map_err(Error::file("write", &path))
    }

    /// Keeps the namespace for as long as the mount point is there.
    fn hold(&self, netns: BorrowedFd<'_>) -> Result<()> {
        let pin = self.pin();
        File::create(&pin).map_err(Error::file("create", &pin))?;
        let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
        rustix::mount::mount_bind(source, &pin).map_err(|error| Error::file("mount a namespace at", &pin)(error.into()))
    }

    /// The namespace, if it is held.
    fn namespace(&self) -> Result<Option<File>> {
        let pin = self.pin();
        let file = match File::open(&pin) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::file("open", &pin))?,
        };
        let system = rustix::fs::fstatfs(&file).map_err(|error| Error::file("look at", &pin)(error.into()))?;
        // After a restart of the machine it is an empty file, and the interfaces are where they belong.
        Ok((system.f_type as i64 == libc::NSFS_MAGIC).then_some(file))
    }

    fn remove(&self) -> Result<()> {
        let pin = self.pin();
        match rustix::mount::unmount(&pin, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(Error::file("unmount", &pin)(error.into())),
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", &self.directory)(error)),
            _ => Ok(()),
        }
    }
}

fn all(site: &Site<'_>) -> PathBuf {
    site.state_dir.join("devices")
}

/// One process at a time moves interfaces and looks where they are.
fn lock(site: &Site<'_>) -> Result<File> {
    lease::make_dir(site.state_dir)?;
    lease::lock(&site.state_dir.join("devices.lock"))
}

/// Moves interfaces of the host into a container. What was moved before an error is taken back by [`give_back`].
pub(super) fn take(devices: &[Device], site: &Site<'_>, id: &str, netns: BorrowedFd<'_>) -> Result<Vec<Moved>> {
    let _lock = lock(site)?;
    let mut host = Socket::route()?;
    let (mut moved, mut links) = (Vec::new(), Vec::new());
    for device in devices {
        let link = find(device, site, &mut host)?;
        let mac = link.mac.map(|bytes| bytes.map(|byte| format!("{byte:02x}")).join(":"));
        moved.push(Moved { device: device.clone(), index: 0, was_up: link.up, mac });
        links.push(link);
    }
    let hold = Hold::of(site, id);
    lease::make_dir(&all(site))?;
    // Of a run that ended badly.
    bring_back(&hold)?;
    lease::make_dir(&hold.directory)?;
    hold.write(&moved)?;
    hold.hold(netns)?;
    let mut inside = namespace::visit(netns, Socket::route)?;
    for (moved, link) in moved.iter_mut().zip(&links) {
        let device = &moved.device;
        route::move_link(&mut host, link, &device.interface, netns).map_err(|error| immovable(device, error))?;
        let there = route::link_by_name(&mut inside, &device.interface)?;
        let gone = || Error::Device { name: device.host.clone(), reason: "vanished while it was moved".to_owned() };
        moved.index = there.ok_or_else(gone)?.index;
    }
    hold.write(&moved)?;
    for moved in &moved {
        route::configure_device(&mut inside, moved)?;
    }
    Ok(moved)
}

/// The kernel's refusal to move an interface, in words.
fn immovable(device: &Device, error: Error) -> Error {
    let name = device.host.clone();
    match error.errno() {
        Some(libc::EINVAL) => {
            let reason = "is of a kind that cannot leave the host's network namespace".to_owned();
            Error::Device { name, reason }
        }
        Some(libc::ENODEV) => Error::Device { name, reason: "is no longer on this host".to_owned() },
        _ => error,
    }
}

/// The interface, if a container may have it.
fn find(device: &Device, site: &Site<'_>, host: &mut Socket) -> Result<Link> {
    let refused = |reason: String| Error::Device { name: device.host.clone(), reason };
    let Some(link) = route::link_by_name(host, &device.host)? else {
        return Err(match holder(&device.host, site)? {
            Some(holder) => refused(format!("is in container {holder}")),
            None => refused("is not there on this host".to_owned()),
        });
    };
    if link.kind.as_deref() == Some("bridge") {
        return Err(refused("is a bridge, which cannot be moved".to_owned()));
    }
    if let Some(owner) = bridge::owner(&link) {
        return Err(refused(format!("belongs to container {owner}")));
    }
    if let Some(master) = link.master {
        let name = route::link_by_index(host, master)?.map_or_else(|| master.to_string(), |link| link.name);
        return Err(refused(format!("is a port of {name}, which it would not come back to")));
    }
    Ok(link)
}

/// The living container that has this interface of the host.
fn holder(name: &str, site: &Site<'_>) -> Result<Option<String>> {
    for id in holders(site)? {
        let has = Hold::of(site, &id).read()?.iter().any(|moved| moved.device.host == name);
        if has && (site.is_alive)(&id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The containers that have interfaces of the host.
fn holders(site: &Site<'_>) -> Result<Vec<String>> {
    let directory = all(site);
    match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries
            .map_err(Error::file("list", &directory))?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()),
    }
}

/// Moves a container's interfaces back to the host, if it has any.
pub(super) fn give_back(site: &Site<'_>, id: &str) -> Result<()> {
    let hold = Hold::of(site, id);
    if !exists(&hold.directory) {
        return Ok(());
    }
    let _lock = lock(site)?;
    bring_back(&hold)
}

/// Moves back what containers have that are dead, and says how many that were.
pub(super) fn sweep(site: &Site<'_>) -> Result<usize> {
    let mut swept = 0;
    for id in holders(site)? {
        if !(site.is_alive)(&id) {
            give_back(site, &id)?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn exists(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok()
}

/// What cannot be moved now stays held, for the next try.
fn bring_back(hold: &Hold) -> Result<()> {
    if !exists(&hold.directory) {
        return Ok(());
    }
    if let Some(netns) = hold.namespace()? {
        let own = "/proc/thread-self/ns/net";
        let home = File::open(own).map_err(Error::file("open the network namespace", own))?;
        let mut inside = namespace::visit(netns.as_fd(), Socket::route)?;
        let mut host = Socket::route()?;
        for moved in hold.read()? {
            let link = match moved.index {
                0 => route::link_by_name(&mut inside, &moved.device.interface)?,
                index => route::link_by_index(&mut inside, index)?,
            };
            // One that the container's own programs destroyed.
            let Some(link) = link else { continue };
            let name = return_link(&mut inside, &link, &moved.device.host, home.as_fd())?;
            if let Some(link) = route::link_by_name(&mut host, &name)?.filter(|_| moved.was_up) {
                route::link_up(&mut host, &link)?;
            }
        }
    }
    hold.remove()
}

/// Moves an interface to the host under its old name, or, if somebody has taken that meanwhile, under a free one.
fn return_link(inside: &mut Socket, link: &Link, name: &str, home: BorrowedFd<'_>) -> Result<String> {
    let mut failed = None;
    for number in 0..64 {
        let wanted = if number == 0 { name.to_owned() } else { format!("back{}", number - 1) };
        match route::move_link(inside, link, &wanted, home) {
            Ok(()) => return Ok(wanted),
            Err(error) if error.errno() == Some(libc::EEXIST) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or_else(|| Error::Device { name: name.to_owned(), reason: "cannot come back".to_owned() }))
}
