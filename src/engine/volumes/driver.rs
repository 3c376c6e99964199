//! The options of the local driver, as docker and podman take them: what a volume is made of. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runner::host_mount::FileSystem;
use runner::spec::parse;

use crate::engine::container::create::usage;
use crate::error::{CommandError, Result};

/// What `-o` says, by key; `o` holds a list of its own.
pub type DriverOptions = BTreeMap<String, String>;

/// Where a volume's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// In a directory of the store.
    Directory,
    /// In a directory of the host that is there already.
    Bind(PathBuf),
    /// In a file of a limited size in the store, which holds a file system.
    Sized {
        /// Bytes.
        size: u64,
        /// How many files at most.
        inodes: Option<u64>,
    },
    /// In a file system that is mounted while the volume is used.
    Mounted(FileSystem),
}

/// A volume as its options have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where its files are.
    pub backing: Backing,
    /// Who owns its root.
    pub owner: Option<(u32, u32)>,
    /// The mode of its root.
    pub mode: Option<u32>,
    /// It is not filled from an image.
    pub no_copy: bool,
    /// Options of the mount.
    pub words: Vec<String>,
}

impl Plan {
    /// Understands the options.
    ///
    /// # Errors
    /// A key or kind that is not known, a combination that makes no sense.
    pub fn of(options: &DriverOptions) -> Result<Self> {
        let (mut kind, mut device, mut words) = (None, None, Vec::new());
        for (key, value) in options {
            match key.as_str() {
                "type" => kind = Some(value.as_str()),
                "device" => device = Some(value.as_str()),
                "o" => words.extend(value.split(',').filter(|word| !word.is_empty()).map(str::to_owned)),
                "size" | "inodes" | "uid" | "gid" | "mode" => words.push(format!("{key}={value}")),
                "nocopy" | "copy" if value.is_empty() => words.push(key.clone()),
                other => {
                    return Err(CommandError::usage(format!("the option {other:?} of a volume is not known"))
                        .hint("known are type, device, o, size, inodes, uid, gid, mode and nocopy"));
                }
            }
        }
        let (mut size, mut inodes, mut uid, mut gid) = (None, None, None, None);
        let mut plan = Self { backing: Backing::Directory, owner: None, mode: None, no_copy: false, words: Vec::new() };
        let mut bind = false;
        for word in words {
            match (word.as_str(), word.split_once('=')) {
                ("bind" | "rbind", _) => bind = true,
                ("nocopy", _) => plan.no_copy = true,
                ("copy", _) => plan.no_copy = false,
                (_, Some(("size", value))) => size = Some(parse::size("size of a volume", value).map_err(usage)?),
                (_, Some(("inodes" | "nr_inodes", value))) => inodes = Some(number(&word, value)?),
                (_, Some(("uid", value))) => uid = Some(number(&word, value)?),
                (_, Some(("gid", value))) => gid = Some(number(&word, value)?),
                (_, Some(("mode", value))) => plan.mode = Some(mode(&word, value)?),
                _ => plan.words.push(word),
            }
        }
        if uid.is_some() || gid.is_some() {
            plan.owner = Some((uid.unwrap_or(0), gid.unwrap_or(0)));
        }
        let needed = |what: &str| {
            device.filter(|device| Path::new(device).is_absolute()).map(PathBuf::from).ok_or_else(|| {
                CommandError::usage(format!("a volume of type {what} needs a device"))
                    .hint("as -o device=/absolute/path")
            })
        };
        plan.backing = match kind {
            None | Some("none" | "") if bind => Backing::Bind(needed("none with o=bind")?),
            None | Some("none" | "") if device.is_some() => {
                return Err(CommandError::usage("a volume with a device needs its type")
                    .hint("type=none with o=bind for a directory, else that of the file system, as type=ext4"));
            }
            None | Some("none" | "") => match size {
                Some(size) => Backing::Sized { size, inodes },
                None => Backing::Directory,
            },
            Some("tmpfs") => {
                plan.words.extend(size.map(|size| format!("size={size}")));
                plan.words.extend(inodes.map(|count| format!("nr_inodes={count}")));
                Backing::Mounted(FileSystem::Memory)
            }
            Some(kind @ ("nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph")) => {
                return Err(CommandError::usage(format!(
                    "a volume of type {kind} cannot be made: it lies on the network"
                ))
                .hint("mount it on the host, and make a volume with -o type=none -o o=bind -o device=/where/it/is"));
            }
            Some(kind) => {
                let source = needed(kind)?;
                let kind = Some(kind).filter(|kind| *kind != "auto").map(str::to_owned);
                Backing::Mounted(FileSystem::Device { source, kind })
            }
        };
        let limits = size.is_some() || inodes.is_some();
        match &plan.backing {
            Backing::Bind(_) | Backing::Mounted(FileSystem::Device { .. }) if limits || plan.owner.is_some() => Err(
                CommandError::usage("size, inodes, uid and gid are for volumes that are made, not for what is there"),
            ),
            Backing::Directory if limits => Err(CommandError::usage("inodes of a volume needs a size")),
            Backing::Directory | Backing::Sized { .. } if !plan.words.is_empty() => {
                Err(CommandError::usage(format!("the option {:?} of a volume needs a type", plan.words[0])))
            }
            Backing::Sized { size, .. } if *size < store::ext4::MIN => {
                Err(CommandError::usage("a volume cannot be smaller than 1 MiB"))
            }
            _ => Ok(plan),
        }
    }
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| CommandError::usage(format!("the option {word:?} of a volume gives no number")))
}

fn mode(word: &str, value: &str) -> Result<u32> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| CommandError::usage(format!("the option {word:?} of a volume is no mode like 0755")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(options: &[(&str, &str)]) -> Result<Plan> {
        Plan::of(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn options_as_docker_and_podman_have_them() {
        assert_eq!(plan(&[]).unwrap().backing, Backing::Directory);
        let sized = Backing::Sized { size: 10 << 20, inodes: Some(50) };
        assert_eq!(plan(&[("o", "size=10m,inodes=50")]).unwrap().backing, sized);
        assert_eq!(plan(&[("size", "10m"), ("inodes", "50")]).unwrap().backing, sized);
        let bind = plan(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]).unwrap();
        assert_eq!((bind.backing, bind.words), (Backing::Bind("/srv".into()), vec!["ro".to_owned()]));
        let memory = plan(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=5,noexec")]).unwrap();
        assert_eq!((memory.backing, memory.owner), (Backing::Mounted(FileSystem::Memory), Some((5, 0))));
        assert_eq!(memory.words, ["noexec", "size=1048576"]);
        let device = plan(&[("type", "ext4"), ("device", "/dev/x")]).unwrap().backing;
        let source = PathBuf::from("/dev/x");
        assert_eq!(device, Backing::Mounted(FileSystem::Device { source, kind: Some("ext4".to_owned()) }));
        let bad: [&[(&str, &str)]; 7] = [
            &[("type", "nfs"), ("device", ":/x"), ("o", "addr=1.2.3.4")],
            &[("o", "bind")],
            &[("device", "/srv")],
            &[("o", "inodes=5")],
            &[("o", "noexec")],
            &[("size", "5k")],
            &[("nonsense", "1")],
        ];
        for options in bad {
            assert!(plan(options).is_err(), "{options:?}");
        }
    }
}
