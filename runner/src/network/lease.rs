//! Addresses given to containers: one symbolic link per address, named after it, whose target is the owner's id. A
//! symbolic link is made whole or not at all and never twice, so two containers cannot get one address, and a crash
//! leaves no half-written lease. Only who holds the lock removes a lease; making one needs no lock.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::address::Subnet;
use super::error::{Error, Result};

/// Longest wait for the lock, which is held for some milliseconds at most.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The leases of one bridge.
pub(super) struct Leases {
    dir: PathBuf,
    lock: PathBuf,
    next: PathBuf,
}

/// Which addresses may be given out.
pub(super) struct Pool {
    /// The part of the subnet to take from.
    pub(super) range: Subnet,
    /// The whole subnet, whose first and last address nobody gets.
    pub(super) subnet: Subnet,
    /// The bridge's own address.
    pub(super) gateway: Ipv4Addr,
}

impl Pool {
    fn allows(&self, address: Ipv4Addr) -> bool {
        address != self.subnet.network() && address != self.subnet.broadcast() && address != self.gateway
    }
}

/// Takes an exclusive lock on a file that is made if it is missing; the lock ends with the returned file.
pub(super) fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::file("open the lock", path))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => return Err(Error::LockTimeout { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", path)(error)),
        }
    }
}

/// Makes a directory only its owner may enter, with its parents.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

impl Leases {
    /// The leases of `bridge` below the state directory, which is made if it is missing.
    pub(super) fn open(state_dir: &Path, bridge: &str) -> Result<Self> {
        let dir = directory(state_dir, bridge);
        if !dir.is_dir() {
            make_dir(&dir)?;
        }
        Ok(Self { lock: dir.join("lock"), next: dir.join("next"), dir })
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.dir.join(address.to_string())
    }

    fn owner(&self, address: IpAddr) -> Result<Option<String>> {
        let path = self.path(address);
        match fs::read_link(&path) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read the lease", path)(error)),
        }
    }

    fn try_take(&self, address: IpAddr, id: &str) -> Result<bool> {
        let path = self.path(address);
        match symlink(id, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::file("write the lease", path)(error)),
        }
    }

    /// Removes the lease of `address` if `remove` says so of its owner. The caller holds the lock.
    fn remove_if(&self, address: IpAddr, remove: impl FnOnce(&str) -> bool) -> Result<bool> {
        let Some(owner) = self.owner(address)? else { return Ok(false) };
        if !remove(&owner) {
            return Ok(false);
        }
        let path = self.path(address);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::file("remove the lease", path)(error)),
        }
    }

    /// Takes this very address for `id`. One that `id` has already is fine; a dead owner loses it.
    pub(super) fn take(&self, address: IpAddr, id: &str, is_alive: &dyn Fn(&str) -> bool) -> Result<()> {
        loop {
            if self.try_take(address, id)? {
                return Ok(());
            }
            let _lock = lock(&self.lock)?;
            match self.owner(address)? {
                Some(owner) if owner == id => return Ok(()),
                Some(owner) if is_alive(&owner) => return Err(Error::AddressInUse { address, owner }),
                _ => self.remove_if(address, |owner| owner != id && !is_alive(owner))?,
            };
        }
    }

    /// Takes a free address for `id`: the next after the one given out last, so that an address rests as long as the
    /// subnet allows before another container gets it. When none is free, those of dead owners are.
    pub(super) fn take_any(&self, pool: &Pool, id: &str, is_alive: &dyn Fn(&str) -> bool) -> Result<Ipv4Addr> {
        let (first, last) = (pool.range.network().to_bits(), pool.range.broadcast().to_bits());
        // Only a hint: a missing, torn or stale one costs some tries.
        let start = match fs::read_to_string(&self.next).ok().and_then(|text| text.trim().parse::<Ipv4Addr>().ok()) {
            Some(address) if pool.range.contains(address) => address.to_bits(),
            _ => first,
        };
        let around = || (start..=last).chain(first..start).map(Ipv4Addr::from_bits).filter(|a| pool.allows(*a));
        for address in around() {
            if self.try_take(address.into(), id)? {
                self.remember(pool.range, address);
                return Ok(address);
            }
        }
        let _lock = lock(&self.lock)?;
        for address in around() {
            if self.remove_if(address.into(), |owner| !is_alive(owner))? && self.try_take(address.into(), id)? {
                self.remember(pool.range, address);
                return Ok(address);
            }
        }
        Err(Error::NoFreeAddress(pool.range))
    }

    fn remember(&self, range: Subnet, address: Ipv4Addr) {
        let next = Ipv4Addr::from_bits(address.to_bits().wrapping_add(1));
        let next = if range.contains(next) { next } else { range.network() };
        // A hint that cannot be written (a full disk) must not fail a container.
        let _ = fs::write(&self.next, next.to_string());
    }

    /// Gives `address` back, if it is `id`'s.
    pub(super) fn release(&self, address: IpAddr, id: &str) -> Result<()> {
        let _lock = lock(&self.lock)?;
        self.remove_if(address, |owner| owner == id).map(drop)
    }

    /// Removes each lease whose owner `is_dead`; returns how many.
    pub(super) fn sweep(&self, is_dead: &dyn Fn(&str) -> bool) -> Result<usize> {
        let entries = fs::read_dir(&self.dir).map_err(Error::file("list", &self.dir))?;
        let mut addresses = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::file("list", &self.dir))?.file_name();
            addresses.extend(name.to_str().and_then(|name| name.parse::<IpAddr>().ok()));
        }
        if addresses.is_empty() {
            return Ok(0);
        }
        let _lock = lock(&self.lock)?;
        let mut removed = 0;
        for address in addresses {
            removed += usize::from(self.remove_if(address, is_dead)?);
        }
        Ok(removed)
    }
}

/// The bridges that have a directory of leases.
pub(super) fn bridges(state_dir: &Path) -> Result<Vec<String>> {
    let dir = state_dir.join("leases");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", &dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Error::file("list", &dir))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// The directory of a bridge's leases.
pub(crate) fn directory(state_dir: &Path, bridge: &str) -> PathBuf {
    state_dir.join("leases").join(bridge)
}

/// The ids of those who hold a lease of this directory, each once.
pub(crate) fn owners(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let owners = entries.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok());
    let mut owners: Vec<String> = owners.collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Removes the directory of a bridge that is gone, with its leases.
pub(super) fn remove_bridge(state_dir: &Path, bridge: &str) -> Result<()> {
    let dir = directory(state_dir, bridge);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Pool {
        let subnet: Subnet = text.parse().unwrap();
        Pool { range: subnet, subnet, gateway: subnet.first_host() }
    }

    #[test]
    fn goes_round_before_it_reuses() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::open(dir.path(), "img0").unwrap();
        let pool = pool("10.1.0.0/29");
        let alive = |_: &str| true;
        let take = |id: &str| leases.take_any(&pool, id, &alive).map(|a| a.octets()[3]);
        assert_eq!((take("a").unwrap(), take("b").unwrap()), (2, 3));
        leases.release(Ipv4Addr::new(10, 1, 0, 2).into(), "a").unwrap();
        assert_eq!((take("c").unwrap(), take("d").unwrap(), take("e").unwrap()), (4, 5, 6));
        assert_eq!(take("f").unwrap(), 2);
        assert!(matches!(take("g"), Err(Error::NoFreeAddress(_))));
        leases.release(Ipv4Addr::new(10, 1, 0, 4).into(), "not-c").unwrap();
        assert!(take("g").is_err());
    }

    #[test]
    fn the_dead_lose_their_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::open(dir.path(), "img0").unwrap();
        let pool = pool("10.1.0.0/30");
        let ip = Ipv4Addr::new(10, 1, 0, 2);
        assert_eq!(leases.take_any(&pool, "dead", &|_| true).unwrap(), ip);
        assert!(matches!(leases.take(ip.into(), "b", &|_| true), Err(Error::AddressInUse { .. })));
        assert_eq!(leases.take_any(&pool, "b", &|id| id != "dead").unwrap(), ip);
        leases.take(ip.into(), "b", &|_| true).unwrap();
        leases.take(ip.into(), "c", &|id| id != "b").unwrap();
        assert_eq!(leases.sweep(&|id| id == "b").unwrap(), 0);
        assert_eq!(leases.sweep(&|id| id == "c").unwrap(), 1);
        assert_eq!(bridges(dir.path()).unwrap(), ["img0"]);
        remove_bridge(dir.path(), "img0").unwrap();
        assert!(bridges(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_broken_hint_is_only_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::open(dir.path(), "img0").unwrap();
        for hint in ["", "x", "1.2.3.4", "10.1.0.999"] {
            fs::write(dir.path().join("leases/img0/next"), hint).unwrap();
            let ip = leases.take_any(&pool("10.1.0.0/24"), "a", &|_| true).unwrap();
            assert_eq!(ip, Ipv4Addr::new(10, 1, 0, 2));
            leases.release(ip.into(), "a").unwrap();
        }
    }
}
