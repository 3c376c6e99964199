//! Subnets for new networks. Who makes one holds [`Subnets`] from the look at what is taken until the new bridge is there,
//! so that two networks made at one time cannot get the same; the next one sees the first by its route.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;

use super::address::Subnet;
use super::error::{Error, Result};
use super::netlink::Socket;
use super::{lease, route};

/// Where the subnets of user-defined networks are taken from, 256 addresses each: these two, then the third. They keep
/// clear of what a default bridge and other programs take (see [`super::CANDIDATE_SUBNETS`]).
const POOLS: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 79, 0, 0), 16), (Ipv4Addr::new(10, 179, 0, 0), 16), (Ipv4Addr::new(172, 31, 0, 0), 16)];
const PREFIX: u8 = 24;

/// The subnets to which this machine has routes, and the right to add one.
#[derive(Debug)]
pub struct Subnets {
    taken: Vec<Subnet>,
    _lock: File,
}

impl Subnets {
    /// Waits for that right and looks at the routes. `state_dir` is that of [`super::Site`].
    pub fn hold(state_dir: &Path) -> Result<Self> {
        lease::make_dir(state_dir)?;
        let lock = lease::lock(&state_dir.join("subnets.lock"))?;
        let mut taken = Vec::new();
        route::routes(&mut Socket::route()?, |found| match found {
            None => taken.clear(),
            // The default route overlaps everything.
            Some((subnet, _)) if subnet.prefix() > 0 => taken.push(subnet),
            Some(_) => {}
        })?;
        Ok(Self { taken, _lock: lock })
    }

    /// A route that `subnet` overlaps.
    #[must_use]
    pub fn overlapping(&self, subnet: Subnet) -> Option<Subnet> {
        self.taken.iter().copied().find(|taken| taken.overlaps(subnet))
    }

    /// The first subnet that overlaps no route and none of `reserved`.
    pub fn free(&self, reserved: &[Subnet]) -> Result<Subnet> {
        for (pool, prefix) in POOLS {
            for number in 0..1u32 << (PREFIX - prefix) {
                let address = Ipv4Addr::from_bits(pool.to_bits() + (number << (32 - PREFIX)));
                let subnet = Subnet::new(address, PREFIX)?;
                if self.taken.iter().chain(reserved).all(|taken| !taken.overlaps(subnet)) {
                    return Ok(subnet);
                }
            }
        }
        Err(Error::Config("no free subnet is left for another network; give one with --subnet".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(taken: &[&str]) -> Subnets {
        let file = tempfile::tempfile().unwrap();
        Subnets { taken: taken.iter().map(|text| text.parse().unwrap()).collect(), _lock: file }
    }

    #[test]
    fn the_first_that_nobody_has() {
        let free = |taken: &[&str], reserved: &[&str]| {
            let reserved: Vec<Subnet> = reserved.iter().map(|text| text.parse().unwrap()).collect();
            held(taken).free(&reserved).map(|subnet| subnet.to_string())
        };
        assert_eq!(free(&[], &[]).unwrap(), "10.79.0.0/24");
        assert_eq!(free(&["10.79.0.0/24"], &["10.79.1.0/24"]).unwrap(), "10.79.2.0/24");
        assert_eq!(free(&["10.64.0.0/10"], &[]).unwrap(), "10.179.0.0/24");
        assert_eq!(free(&["10.79.0.0/17"], &["10.79.128.7/32"]).unwrap(), "10.79.129.0/24");
        assert!(free(&["10.0.0.0/8", "172.16.0.0/12"], &[]).is_err());
        assert!(held(&["10.0.0.0/8"]).overlapping("10.1.0.0/24".parse().unwrap()).is_some());
        assert!(held(&["10.0.0.0/8"]).overlapping("11.1.0.0/24".parse().unwrap()).is_none());
    }
}
