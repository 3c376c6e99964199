//! What a program finds around it beside its image: time zone, file systems in memory, annotations, mask, and the file
//! that `/etc/hosts` begins with.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use runner::network::files::HostAddress;
use runner::spec::parse::{self, MountKind, MountRequest};

use super::create::usage;
use super::options::Options;
use super::options::inside::Inside;
use crate::error::{CommandError, Context as _, Result};

/// Where the host keeps its time zones.
const ZONES: &str = "/usr/share/zoneinfo";
/// Largest file of hosts that is read, bytes.
const HOSTS_MAX: u64 = 1 << 20;
/// Where programs write that are not meant to be kept.
const SCRATCH: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

impl Inside {
    /// `--umask`, parsed.
    ///
    /// # Errors
    /// What is no mode.
    pub fn mask(&self) -> Result<Option<u32>> {
        let Some(text) = &self.umask else { return Ok(None) };
        match u32::from_str_radix(text, 8) {
            Ok(mask @ 0..=0o777) => Ok(Some(mask)),
            _ => Err(CommandError::usage(format!("--umask {text} is not a mask of mode bits"))
                .hint("it is an octal number up to 0777, as 0027")),
        }
    }

    /// `--annotation`, parsed.
    ///
    /// # Errors
    /// One without a key, or with a key that is ours.
    pub fn annotated(&self) -> Result<BTreeMap<String, String>> {
        let pairs = self.annotations.iter().map(|text| {
            let (key, value) = parse::key_value("annotation", text).map_err(usage)?;
            if key.starts_with("img.") {
                return Err(CommandError::usage(format!("--annotation {text}: keys that begin with img. are our own")));
            }
            Ok((key, value))
        });
        pairs.collect()
    }

    /// The lines that `/etc/hosts` begins with.
    ///
    /// # Errors
    /// A file that cannot be read, or is not one of hosts.
    pub fn hosts(&self) -> Result<Vec<(String, HostAddress)>> {
        let path = match self.hosts_file.as_deref() {
            None | Some("none") => return Ok(Vec::new()),
            Some("image") => {
                return Err(CommandError::usage(
                    "--hosts-file image is not supported: the image is not read before a start",
                )
                .hint("--no-hosts leaves the image's file as it is, without the container's own name"));
            }
            Some(path) => path,
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(HOSTS_MAX).read_to_string(&mut text))
            .with_context(|| format!("cannot read --hosts-file {path}"))?;
        let mut all = Vec::new();
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
            let mut words = line.split_whitespace();
            let Some(address) = words.next() else { continue };
            let address = address
                .parse()
                .map_err(|_| CommandError::usage(format!("--hosts-file {path}: {address:?} is not an address")))?;
            all.extend(words.map(|name| (name.to_owned(), HostAddress::Ip(address))));
        }
        Ok(all)
    }

    /// The host's file of the time zone.
    fn zone(&self) -> Result<Option<PathBuf>> {
        let Some(zone) = &self.tz else { return Ok(None) };
        if zone == "local" {
            let file = Path::new("/etc/localtime");
            let file = std::fs::canonicalize(file).context("--tz local: cannot find the host's time zone")?;
            return Ok(Some(file));
        }
        let plain = Path::new(zone).components().all(|part| matches!(part, Component::Normal(_)));
        let path = Path::new(ZONES).join(zone);
        if !plain || zone.is_empty() || !path.is_file() {
            return Err(CommandError::usage(format!("--tz {zone}: the host knows no such time zone"))
                .hint(format!("the names are those below {ZONES}, as Europe/Berlin; or local")));
        }
        Ok(Some(path))
    }
}

/// The mounts that these flags ask for, but for those at a place where the user mounts something.
///
/// # Errors
/// A time zone that is not there.
pub(super) fn mounts(asked: &Options) -> Result<Vec<MountRequest>> {
    let mut mounts = Vec::new();
    if let Some(zone) = asked.inside.zone()? {
        let mut mount = MountRequest::new(MountKind::Bind, zone.to_str(), "/etc/localtime");
        mount.read_only = true;
        mounts.push(mount);
    }
    if asked.read_only && asked.inside.read_only_tmpfs {
        let scratch = SCRATCH.iter().map(|place| {
            let mut mount = MountRequest::new(MountKind::Tmpfs, None, place);
            mount.options = vec!["nosuid".into(), "nodev".into(), "exec".into()];
            mount
        });
        mounts.extend(scratch);
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_zones_and_annotations_are_checked() {
        let inside = |change: fn(&mut Inside)| {
            let mut inside = Inside::default();
            change(&mut inside);
            inside
        };
        assert_eq!(inside(|i| i.umask = Some("0027".into())).mask().unwrap(), Some(0o27));
        assert!(inside(|i| i.umask = Some("9".into())).mask().is_err());
        assert!(inside(|i| i.umask = Some("1777".into())).mask().is_err());
        for zone in ["../../../etc/passwd", "/etc/passwd", "", "No/Where"] {
            let inside = Inside { tz: Some(zone.into()), ..Inside::default() };
            assert!(inside.zone().is_err(), "{zone}");
        }
        assert!(inside(|i| i.annotations = vec!["img.process.groups=x".into()]).annotated().is_err());
        assert_eq!(inside(|i| i.annotations = vec!["a=b".into()]).annotated().unwrap()["a"], "b");
    }
}
