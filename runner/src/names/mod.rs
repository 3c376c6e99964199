//! Names of containers on user-defined networks, answered by each container's own monitor: no server is resident, and a
//! container without such a network costs nothing. This file ties the service to the monitor's loop.

mod directory;
pub(crate) mod message;
mod server;
mod upstream;

use std::os::fd::RawFd;
use std::time::Instant;

use crate::monitor::task::{Request, Task};
pub(crate) use server::Server;

impl Task for Server {
    fn interests(&self) -> Vec<(RawFd, i16)> {
        let mut interests = Vec::new();
        self.wait_for(&mut |fd, events| interests.push((fd, events)));
        interests
    }

    fn wake_at(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn turn(&mut self, ready: &[RawFd]) -> Vec<Request> {
        ready.iter().for_each(|fd| self.is_ready(*fd));
        self.end_what_is_over();
        Vec::new()
    }
}
