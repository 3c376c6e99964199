//! Which control group hierarchies this machine has, and where ours live in them.
//!
//! Read once from /proc/self/mountinfo and /proc/self/cgroup: version 1 hierarchies by controller, and the cgroup2 mount, be it
//! alone (v2) or beside them (hybrid). Groups of ours lie below `<mount>/img`; where the top of a cgroup2
//! mount may not be written (an ordinary user), below the highest group above our own that may: the one that was delegated.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Error, Result, file};

/// A controller, by one name for both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// CPU time.
    Cpu,
    /// Which CPUs and memory nodes.
    Cpuset,
    /// Number of processes and threads.
    Pids,
    /// Block devices (`blkio` in version 1).
    Io,
    /// Huge pages.
    Hugetlb,
    /// RDMA handles.
    Rdma,
    /// CPU accounting; version 1 only.
    Cpuacct,
    /// Access to devices; version 1 only.
    Devices,
    /// Stopping all processes; version 1 only.
    Freezer,
    /// Traffic class; version 1 only.
    NetCls,
    /// Traffic priority; version 1 only.
    NetPrio,
}

impl Controller {
    const ALL: [Controller; 12] = [
        Self::Memory,
        Self::Cpu,
        Self::Cpuset,
        Self::Pids,
        Self::Io,
        Self::Hugetlb,
        Self::Rdma,
        Self::Cpuacct,
        Self::Devices,
        Self::Freezer,
        Self::NetCls,
        Self::NetPrio,
    ];

    /// The kernel's name; version 1 calls `io` `blkio`.
    pub fn name(self, version1: bool) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Pids => "pids",
            Self::Io if version1 => "blkio",
            Self::Io => "io",
            Self::Hugetlb => "hugetlb",
            Self::Rdma => "rdma",
            Self::Cpuacct => "cpuacct",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
        }
    }
}

/// The cgroup2 mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    /// Below which our groups lie: the mount point, or the delegated group.
    pub base: PathBuf,
    /// Controllers that groups below `base` can use.
    pub controllers: Vec<String>,
}

impl Unified {
    /// The controllers that we know and that can be had here.
    pub fn usable(&self) -> impl Iterator<Item = &'static str> {
        let there = |name: &&str| self.controllers.iter().any(|known| known == name);
        Controller::ALL.into_iter().map(|controller| controller.name(false)).filter(there)
    }
}

/// Everything found.
#[derive(Clone, Debug, Default)]
pub struct Hierarchies {
    /// Mount points of version 1 by controller.
    pub version1: BTreeMap<Controller, PathBuf>,
    /// The cgroup2 mount, if there is one that can be written.
    pub unified: Option<Unified>,
    /// Stands in for the kernel in tests: called with each directory made.
    #[cfg(test)]
    pub populate: Option<fn(&Path)>,
}

/// How a machine is set up, for `img info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Version 1 only.
    V1,
    /// Controllers on version 1, and a cgroup2 mount beside them.
    Hybrid,
    /// Version 2 only.
    V2,
    /// None that can be used.
    None,
}

impl Hierarchies {
    /// What this machine has; looked up once in the life of the process.
    pub fn detect() -> Result<&'static Self> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let mountinfo = file::read(Path::new("/proc/self/mountinfo"))?;
        let own = file::read(Path::new("/proc/self/cgroup"))?;
        let found = Self::parse(&mountinfo, &own, &writable)?;
        Ok(FOUND.get_or_init(|| found))
    }

    /// From the text of the two files; `writable` tells which directories groups can be made in.
    fn parse(mountinfo: &str, own: &str, writable: &dyn Fn(&Path) -> bool) -> Result<Self> {
        let mut found = Hierarchies::default();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
            let (Some(root), Some(point)) = (left.next(), left.next()) else { continue };
            let (Some(kind), Some(options)) = (right.next(), right.nth(1)) else { continue };
            match kind {
                "cgroup2" if unified.is_none() => unified = Some((unescape(root), unescape(point))),
                "cgroup" => {
                    for controller in Controller::ALL {
                        if options.split(',').any(|option| option == controller.name(true)) {
                            found.version1.entry(controller).or_insert_with(|| unescape(point));
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some((root, point)) = unified {
            let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
            // A bind mount of a part of the tree shows paths relative to that part.
            let own = Path::new(own).strip_prefix(&root).unwrap_or(Path::new(""));
            let mut candidates: Vec<PathBuf> = own.ancestors().map(|part| point.join(part)).collect();
            candidates.reverse();
            if let Some(base) = candidates.into_iter().find(|base| writable(base)) {
                let base: PathBuf = base.components().collect();
                let controllers = file::read_if_there(&base.join("cgroup.controllers"))?.unwrap_or_default();
                let controllers = controllers.split_whitespace().map(str::to_owned).collect();
                found.unified = Some(Unified { base, controllers });
            }
        }
        Ok(found)
    }

    /// Version 1, 2 or both.
    pub fn mode(&self) -> Mode {
        match (&self.unified, self.version1.is_empty()) {
            (None, true) => Mode::None,
            (None, false) => Mode::V1,
            (Some(_), true) => Mode::V2,
            (Some(_), false) => Mode::Hybrid,
        }
    }

    /// Whether limits of a controller are set in version 1 (`Some(true)`), in cgroup2, or nowhere.
    pub fn version1_has(&self, controller: Controller) -> Option<bool> {
        if self.version1.contains_key(&controller) {
            return Some(true);
        }
        let name = controller.name(false);
        self.unified.as_ref().filter(|unified| unified.controllers.iter().any(|known| known == name)).map(|_| false)
    }

    /// As [`Self::version1_has`], with an error that says what is missing.
    pub fn require(&self, controller: Controller, what: &str) -> Result<bool> {
        self.version1_has(controller).ok_or_else(|| Error::Unsupported {
            what: what.to_owned(),
            reason: match &self.unified {
                Some(unified) => format!(
                    "the `{}` controller is not available in {}",
                    controller.name(false),
                    unified.base.display()
                ),
                None => format!("no `{}` control group hierarchy is mounted", controller.name(true)),
            },
        })
    }
}

/// Whether groups can be made in a directory and processes put into them, with our effective ids.
fn writable(directory: &Path) -> bool {
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may(directory) && may(&directory.join("cgroup.procs"))
}

/// mountinfo writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 254:0 / / rw - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blk\\040io rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_machine() {
        let found = Hierarchies::parse(HYBRID, "4:memory:/x\n0::/\n", &|_| true).unwrap();
        assert_eq!(found.mode(), Mode::Hybrid);
        assert_eq!(found.version1[&Controller::Cpu], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.version1[&Controller::Cpuacct], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.version1[&Controller::Io], Path::new("/sys/fs/cgroup/blk io"));
        assert_eq!(found.unified.as_ref().unwrap().base, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.version1_has(Controller::Memory), Some(true));
        let error = found.require(Controller::Rdma, "RDMA").unwrap_err();
        assert!(error.to_string().starts_with("cannot limit RDMA: the `rdma` controller is not available"), "{error}");
    }

    #[test]
    fn ordinary_user_gets_the_highest_delegated_group() {
        let mountinfo = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n";
        let delegated = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
        let found = Hierarchies::parse(mountinfo, own, &|path| path.starts_with(delegated)).unwrap();
        assert_eq!(found.unified.as_ref().unwrap().base, Path::new(delegated));
        assert_eq!(found.mode(), Mode::V2);
        let none = Hierarchies::parse(mountinfo, own, &|_| false).unwrap();
        assert_eq!(none.mode(), Mode::None);
        assert!(none.require(Controller::Memory, "memory").unwrap_err().to_string().contains("no `memory`"));
    }

    #[test]
    fn a_part_of_the_tree_mounted_in_a_container() {
        let mountinfo = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(mountinfo, "0::/docker/abc/inner\n", &|path| path.ends_with("inner")).unwrap();
        assert_eq!(found.unified.unwrap().base, Path::new("/sys/fs/cgroup/inner"));
    }

    #[test]
    fn this_machine() {
        let found = Hierarchies::detect().unwrap();
        eprintln!("control groups here: {:?}", found.mode());
        assert!(std::ptr::eq(found, Hierarchies::detect().unwrap()), "looked up once");
    }
}
