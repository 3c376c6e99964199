//! The three files that every container gets from outside its image: `/etc/hostname`, `/etc/hosts` and
//! `/etc/resolv.conf`. They lie in its state directory and are mounted over what the image has.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use runner::network::NAME_SERVER;
use runner::network::files::{HostAddress, Resolver, resolv_conf};
use runner::spec::parse::{MountKind, MountRequest};

use super::create::hostname;
use super::options::Options;
use crate::error::{CommandError, Context as _, Kind, Result};

/// Largest file of the host that is read, bytes.
const FILE_MAX: u64 = 64 << 10;

/// Who answers the container's questions for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The host's servers, on loopback too: the container shares its network.
    Host,
    /// The host's servers, as far as they can be reached.
    Copied,
    /// The container's own monitor, who asks the host's for what it does not know.
    Served,
}

/// What must be known to write them.
pub struct EtcFiles {
    /// `--add-host`, parsed.
    pub extra: Vec<(String, HostAddress)>,
    /// `--dns`, parsed.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`
    pub search: Vec<String>,
    /// `--dns-option`
    pub options: Vec<String>,
    /// The container's name inside.
    pub hostname: String,
    /// Who answers for names.
    pub names: Names,
    /// Files that stay as the image has them.
    pub left: Vec<&'static str>,
}

impl EtcFiles {
    /// Understands the flags.
    ///
    /// # Errors
    /// What is no address.
    pub fn parse(options: &Options, id: &str, names: Names) -> Result<Self> {
        let mut extra = options.inside.hosts()?;
        for text in &options.network.add_host {
            let bad = || {
                CommandError::usage(format!("{text:?} is not NAME:IP"))
                    .hint("as --add-host db:10.0.0.5, or host:host-gateway")
            };
            let (name, address) = text.split_once([':', '=']).ok_or_else(bad)?;
            let address = match address {
                "host-gateway" => HostAddress::Gateway,
                address => HostAddress::Ip(address.trim_matches(['[', ']']).parse().map_err(|_| bad())?),
            };
            extra.push((name.to_owned(), address));
        }
        let asked = &options.network;
        let dns = super::network::servers(asked)?;
        let (search, options_of_resolver) = (asked.dns_search.clone(), asked.dns_options.clone());
        let left = [("hosts", options.inside.no_hosts), ("hostname", options.inside.no_hostname)];
        let left = left.into_iter().filter(|(_, left)| *left).map(|(name, _)| name).collect();
        Ok(Self { extra, dns, search, options: options_of_resolver, hostname: hostname(options, id), names, left })
    }

    /// Writes `hostname` and `resolv.conf` into `directory`, and an empty `hosts`, which is filled once the network's
    /// address is known. Gives their mounts, but for what the user mounts there.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> Result<Vec<MountRequest>> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context("cannot make the container's state directory")?;
        let resolver = self.resolver()?;
        let mut mounts = Vec::new();
        for (name, text) in
            [("hostname", format!("{}\n", self.hostname)), ("resolv.conf", resolver), ("hosts", String::new())]
        {
            if self.left.contains(&name) {
                continue;
            }
            let path = directory.join(name);
            write(&path, &text)?;
            let mut mount = MountRequest::new(MountKind::Bind, path.to_str(), &format!("/etc/{name}"));
            mount.options = vec!["nosuid".into(), "nodev".into()];
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// The text of `resolv.conf`.
    fn resolver(&self) -> Result<String> {
        let (host, upstream) = (read("/etc/resolv.conf"), read("/run/systemd/resolve/resolv.conf"));
        let own = [IpAddr::V4(NAME_SERVER)];
        // Names of containers have no dots: they are to be asked for as they are, first.
        let dotted = self.names == Names::Served && !self.options.iter().any(|option| option.starts_with("ndots:"));
        let mut options = Vec::new();
        if dotted {
            options.extend(self.options.iter().cloned().chain(["ndots:0".to_owned()]));
        }
        let resolver = Resolver {
            host: &host,
            upstream: Some(upstream.as_str()).filter(|text| !text.is_empty()),
            dns: if self.names == Names::Served { &own } else { &self.dns },
            search: &self.search,
            options: if options.is_empty() { &self.options } else { &options },
            shares_host: self.names == Names::Host,
            ipv6: false,
        };
        Ok(resolv_conf(&resolver).map_err(|error| CommandError::from(error).kind(Kind::Container))?.text)
    }

    /// Writes `resolv.conf` of a running container anew, in place: the file is mounted there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rewrite_resolver(&self, directory: &Path) -> Result<()> {
        let path = directory.join("resolv.conf");
        fs::write(&path, self.resolver()?).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Writes a file that the container's programs may read whatever their user.
fn write(path: &PathBuf, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // A new file each time: the old one may still be mounted in a container that is just ending.
    let _ = fs::remove_file(path);
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A file of the host; nothing if it cannot be read.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_enters_what_is_made() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("containers/x");
        EtcFiles::parse(&Options::default(), "x", Names::Copied).unwrap().write(&directory).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The directories are for their owner; the files are for every user in the container, mounted one by one.
        assert_eq!((mode(&place.path().join("containers")), mode(&directory)), (0o700, 0o700));
        assert_eq!(mode(&directory.join("hosts")), 0o644);
    }
}
