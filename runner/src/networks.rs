//! Networks apart from the start of a container: their bridges are made and removed here, and running containers are put
//! on them and taken off. Who does that tells the container's monitor by SIGURG, which means nothing to anybody else.
//!
//! Addresses, bridges and published ports are the machine's, so their leases and locks are in one place for all run
//! directories: containers of two stores on one bridge must not get one address.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use crate::cgroup::Cgroup;
use crate::create::is_alive;
use crate::error::{Doing, Error, Result};
use crate::network::{self, Attachment, BridgeConfig, Site};
use crate::state::{self, State};
use crate::sys;
use crate::verbs::while_running;

/// What tells a monitor that its container's networks have changed: ignored by whoever does not know it.
pub(crate) const CHANGED: i32 = libc::SIGURG;

/// The file in a state directory that holds the name of a bridge while the container is being put on it, and the lock of
/// whoever does so. What is in it after a crash is given back with the container.
pub(crate) const JOINING: &str = "joining";

/// Where leases of addresses lie, and the locks of networks.
pub const NETWORK_STATE: &str = "/run/img/network";

/// What all networks of this machine share: the leases, and who is alive. `containers` is the directory of the state
/// directories.
pub(crate) fn with_site<T>(containers: &Path, work: impl FnOnce(&Site<'_>) -> Result<T>) -> Result<T> {
    let is_alive = |prefix: &str| is_alive(containers, prefix) || Cgroup::exists(prefix);
    work(&Site { state_dir: Path::new(NETWORK_STATE), is_alive: &is_alive })
}

/// Makes a bridge, or completes it. Returns what the user should be told.
///
/// # Errors
/// [`network::Error`]: a subnet or a name that is taken, a firewall that cannot be made to forward.
pub fn make_bridge(containers: &Path, config: &BridgeConfig) -> Result<Vec<String>> {
    with_site(containers, |site| Ok(network::make_bridge(config, site)?))
}

/// Removes a bridge with its firewall entries and leases; one that is gone is no error.
///
/// # Errors
/// [`network::Error`]: the bridge is in use.
pub fn remove_bridge(containers: &Path, name: &str) -> Result<()> {
    with_site(containers, |site| Ok(network::remove_bridge(name, site)?))
}

/// Removes what dead containers left of networks. If nobody is known to have died, only interfaces of the host that are in
/// dead containers are looked for, which costs a look into a directory.
pub(crate) fn sweep(containers: &Path, somebody_died: bool) {
    // What resists must not keep other containers from being started: it is found again by its name.
    let _ = with_site(containers, |site| match somebody_died {
        true => Ok(network::sweep(site).map(drop)?),
        false => Ok(network::sweep_devices(site).map(drop)?),
    });
}

/// Puts a running container on one more network. Returns its state as it is then, and what the user should be told.
///
/// # Errors
/// [`Error::NotRunning`], a container without a namespace of its own, an address or name that is taken.
pub fn connect(state_dir: &Path, config: BridgeConfig, chosen: bool) -> Result<(State, Vec<String>)> {
    while_running(state_dir, |_| connect_running(state_dir, config, chosen))
}

fn connect_running(state_dir: &Path, mut config: BridgeConfig, chosen: bool) -> Result<(State, Vec<String>)> {
    let joining = lock(state_dir)?;
    let (state, netns) = running(state_dir)?;
    let places = state.network.as_ref().map_or(&[][..], |network| &network.attachments);
    if let Some(place) = places.iter().find(|place| place.network == config.network) {
        return Err(Error::invalid(format!("it is on network {} already", place.network)));
    }
    let free = |used: &dyn Fn(usize) -> bool| (0..).find(|number| !used(*number)).unwrap_or_default();
    // The number of a pair that has a name of the user's choice is free, too.
    let index =
        free(&|number| places.iter().any(|place| place.host_interface == network::host_interface(&state.id, number)));
    if !chosen {
        let name = free(&|number| places.iter().any(|place| place.interface == format!("eth{number}")));
        config.interface = format!("eth{name}");
    }
    config.default_route = !places.iter().any(|place| place.default_route);
    config.default_route6 = !places.iter().any(|place| place.default_route6);
    note(&joining, &config.name)?;
    let (place, notices) =
        with_site(containers(state_dir), |site| Ok(network::connect(&config, site, &state.id, index, netns.as_fd())?))?;
    let added = place.clone();
    let updated = state::update(state_dir, |state| {
        if let Some(network) = state.network.as_mut() {
            network.attachments.push(added);
        }
    });
    match updated {
        Ok(state) if state.is_running() => {
            note(&joining, "")?;
            tell_monitor(&state);
            Ok((state, notices))
        }
        ended => {
            with_site(containers(state_dir), |site| Ok(network::disconnect(&place, site, &state.id, netns.as_fd())?))?;
            note(&joining, "")?;
            Err(ended.err().unwrap_or(Error::NotRunning(state.id)))
        }
    }
}

/// Takes a running container off a network, with its ports there. The default route goes to another network, if there is
/// one with a way out. Returns its state as it is then.
///
/// # Errors
/// [`Error::NotRunning`], a container that is not on that network.
pub fn disconnect(state_dir: &Path, network: &str) -> Result<State> {
    while_running(state_dir, |_| disconnect_running(state_dir, network))
}

fn disconnect_running(state_dir: &Path, network: &str) -> Result<State> {
    let _lock = lock(state_dir)?;
    let (state, netns) = running(state_dir)?;
    let mut places = state.network.as_ref().map(|network| network.attachments.clone()).unwrap_or_default();
    let Some(at) = places.iter().position(|place| place.network == network) else {
        return Err(Error::invalid(format!("it is not on network {network}")));
    };
    let gone = places.remove(at);
    with_site(containers(state_dir), |site| Ok(network::disconnect(&gone, site, &state.id, netns.as_fd())?))?;
    if let Some(place) = heir(&mut places, &gone) {
        network::route_by(place, netns.as_fd())?;
    }
    let state = state::update(state_dir, |state| {
        if let Some(network) = state.network.as_mut() {
            network.attachments = places;
        }
    })?;
    tell_monitor(&state);
    Ok(state)
}

/// Enters a running container into the firewall again, as after somebody has flushed it. Returns what the user should be told.
///
/// # Errors
/// [`Error::NotRunning`], a port that somebody else has taken meanwhile.
pub fn reload_network(state_dir: &Path) -> Result<Vec<String>> {
    while_running(state_dir, |_| {
        let _lock = lock(state_dir)?;
        let state = state::load(state_dir)?;
        if !state.is_running() {
            return Err(Error::NotRunning(state.id));
        }
        // One on the host's or another's network has nothing of its own there.
        let Some(network) = &state.network else { return Ok(Vec::new()) };
        with_site(containers(state_dir), |site| Ok(network::reload(network, site)?))
    })
}

/// Gives the default routes of a place that is gone to the first other one with a way out.
fn heir<'a>(places: &'a mut [Attachment], gone: &Attachment) -> Option<&'a Attachment> {
    let place = places.iter_mut().find(|place| !place.internal)?;
    place.default_route |= gone.default_route;
    place.default_route6 |= gone.default_route6 && place.ipv6.is_some();
    Some(place)
}

/// Gives a container that may be running another name on its networks. One that was never started has none yet.
///
/// # Errors
/// A record that cannot be changed.
pub fn rename(state_dir: &Path, old: &str, new: &str) -> Result<()> {
    let renamed = state::update(state_dir, |state| {
        let places = state.network.iter_mut().flat_map(|network| &mut network.attachments);
        for name in places.flat_map(|place| &mut place.names).filter(|name| name.as_str() == old) {
            new.clone_into(name);
        }
    });
    match renamed {
        Err(Error::NotFound(_)) => Ok(()),
        result => result.map(drop),
    }
}

/// Gives back what a container that has ended holds of a network that it was just being put on.
pub(crate) fn forget_unfinished(state_dir: &Path, id: &str) {
    let Ok(bridge) = sys::read_small(state_dir.join(JOINING)) else { return };
    if !bridge.is_empty() {
        // What stays is a lease of the dead, which whoever needs the address takes.
        let _ = with_site(containers(state_dir), |site| Ok(network::forget(&bridge, site, id, &[])?));
    }
}

/// The namespace of a running container that has one of its own.
fn running(state_dir: &Path) -> Result<(State, File)> {
    let state = state::load(state_dir)?;
    let process = state.process.filter(|_| state.is_running()).ok_or_else(|| Error::NotRunning(state.id.clone()))?;
    match state.network.as_ref().map(|network| network.driver.as_str()) {
        Some("bridge" | "none") => {}
        _ => return Err(Error::invalid(format!("container {} has no network of its own", state.id))),
    }
    let path = format!("/proc/{}/ns/net", process.pid);
    let netns = File::open(&path).doing(|| format!("open {path}"))?;
    // Looked at after it was opened: it is this process's.
    match process.open()? {
        Some(_) => Ok((state, netns)),
        None => Err(Error::NotRunning(state.id)),
    }
}

fn containers(state_dir: &Path) -> &Path {
    state_dir.parent().unwrap_or(state_dir)
}

fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join(JOINING);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .doing(|| format!("open {}", path.display()))?;
    file.lock().doing(|| format!("lock {}", path.display()))?;
    // Left by somebody who was killed: the container holds what nothing else tells of.
    let mut bridge = String::new();
    file.read_to_string(&mut bridge).doing(|| format!("read {}", path.display()))?;
    if !bridge.is_empty() {
        let state = state::load(state_dir)?;
        let places = state.network.as_ref().map_or(&[][..], |network| &network.attachments);
        with_site(containers(state_dir), |site| Ok(network::forget(&bridge, site, &state.id, places)?))?;
        note(&file, "")?;
    }
    Ok(file)
}

fn note(mut file: &File, text: &str) -> Result<()> {
    use std::io::Seek;
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .doing(|| "note which network is being joined".into())
}

fn tell_monitor(state: &State) {
    // A monitor that is gone has no names to serve either.
    if let Some(Ok(Some(monitor))) = state.monitor.map(|monitor| monitor.open()) {
        let _ = sys::pidfd_send_signal(monitor.as_fd(), CHANGED);
    }
}
