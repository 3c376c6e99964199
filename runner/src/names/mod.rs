//! Names of containers on user-defined networks, answered by each container's own monitor: no server is resident, and a
//! container without such a network costs nothing. This file ties the service to the monitor's loop.

mod directory;
pub(crate) mod message;
mod server;
mod upstream;

use std::os::fd::RawFd;
use std::time::Instant;

use crate::monitor::relay::Aside;
pub(crate) use server::Server;

impl Aside for Server {
    fn interests(&self, add: &mut dyn FnMut(RawFd, i16)) {
        self.wait_for(add);
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn serve(&mut self, fd: RawFd) {
        self.is_ready(fd);
    }

    fn tick(&mut self) {
        self.end_what_is_over();
    }
}
