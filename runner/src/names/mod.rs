//! Names of containers on user-defined networks, answered by each container's own monitor: no server is resident, and a
//! container without such a network costs nothing. This file ties the service to the monitor's loop.

mod directory;
pub(crate) mod message;
mod server;
mod upstream;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use server::Server;

use crate::monitor::task::{Request, Task};
use crate::network::{self, NameSockets};
use crate::networks::CHANGED;
use crate::{state, sys};

/// What a monitor does for its container's networks: it answers for names, and hears of changes.
#[derive(Debug)]
pub(crate) struct Names {
    state_dir: PathBuf,
    /// Who is asked for what is no container's name.
    servers: Vec<IpAddr>,
    /// Tells that the container was put on a network, or taken off (a signalfd); `None` if that could not be had.
    changes: Option<OwnedFd>,
    /// The service; `None` while the container is on no network with names.
    server: Option<Server>,
}

impl Names {
    /// Serves the container of `state_dir` by these sockets, if it is on a network with names already.
    pub fn new(state_dir: &Path, servers: &[IpAddr], sockets: Option<NameSockets>) -> Self {
        Self {
            state_dir: state_dir.to_path_buf(),
            servers: servers.to_vec(),
            changes: sys::signal_fd(&[CHANGED]).ok(),
            server: sockets.map(|sockets| Server::new(sockets, state_dir)),
        }
    }

    /// The container's networks have changed: begins to serve if there are names now.
    fn look_again(&mut self) {
        if let Some(server) = &mut self.server {
            return server.networks_changed();
        }
        let Ok(state) = state::load(&self.state_dir) else { return };
        let has_names = state.network.is_some_and(|network| network.attachments.iter().any(|place| place.resolve));
        let Some(process) = state.process.filter(|_| has_names) else { return };
        // The process is our child and was not reaped: the number is its own.
        let opened = File::open(format!("/proc/{}/ns/net", process.pid)).ok();
        let sockets = opened.and_then(|netns| network::open_names(netns.as_fd(), &self.servers).ok());
        self.server = sockets.map(|sockets| Server::new(sockets, &self.state_dir));
    }
}

impl Task for Names {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        let mut interests: Vec<_> = self.changes.iter().map(|changes| (changes.as_raw_fd(), libc::POLLIN)).collect();
        if let Some(server) = &self.server {
            server.wait_for(&mut |fd, events| interests.push((fd, events)));
        }
        interests
    }

    fn wake_at(&self) -> Option<Instant> {
        self.server.as_ref().and_then(Server::next_deadline)
    }

    fn turn(&mut self, ready: &[RawFd]) -> Vec<Request> {
        let changed = self.changes.as_ref().filter(|changes| ready.contains(&changes.as_raw_fd()));
        if let Some(changes) = changed {
            while matches!(sys::read_signal(changes.as_fd()), Ok(Some(_))) {}
            self.look_again();
        }
        if let Some(server) = &mut self.server {
            ready.iter().for_each(|fd| server.is_ready(*fd));
            server.end_what_is_over();
        }
        Vec::new()
    }
}
