//! From a Spec to the ordered list of steps that the child carries out. Pure: no root, no kernel, no file is touched.
//!
//! A [`Plan`] can be printed and compared in a test; carrying it out (`init`) is a loop over [`Plan::steps`]. The rule: whatever of
//! the Spec this version cannot do is refused here, with its name, before anything has been made.

mod devices;
pub mod mount_options;
mod namespaces;
mod process;
mod step;

use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

use crate::error::{Error, Result};
use crate::id_maps::IdMaps;
use namespaces::Namespaces;
pub use namespaces::TimeOffset;
use process::process_steps;
pub use step::{DeviceNode, MountIds, MountKind, MountStep, Step};

/// What the child has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Namespaces the child is born in (`CLONE_NEW*`); the cgroup namespace is not among them.
    pub new_namespaces: u64,
    /// Existing namespaces to join: `CLONE_NEW*` flag and the file; `CLONE_NEWPID` is the parent's work.
    pub joined: Vec<(i32, PathBuf)>,
    /// The ids of the new user namespace, if there is one.
    pub id_maps: Option<IdMaps>,
    /// An existing user namespace to be born in, instead of a new one.
    pub joined_users: Option<PathBuf>,
    /// How far the clocks of the new time namespace are off, if there is one.
    pub time: Option<Vec<TimeOffset>>,
    /// The OOM score adjustment, where only the parent can set it: a process in a user namespace cannot write its own while
    /// it is not dumpable.
    pub oom_score: Option<i32>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// What the plan depends on beside the Spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// A built-in init as PID 1.
    pub init: bool,
    /// Make the working directory if it is missing.
    pub create_cwd: bool,
    /// Made by one command and started by a later one, as OCI runtimes do: hooks are run, and with everything done but the
    /// exec the child waits for the order.
    pub staged: bool,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// Change the root with chroot(2), where the old root cannot be pivoted away from (an initial ramdisk).
    pub no_pivot: bool,
}

/// The type of a mount that shows layers handed in beside the Spec ([`crate::MountedLayers`]).
pub const LAYERS: &str = "layers";
/// The type of a mount that shows a file in memory handed in beside the Spec ([`crate::MountedFile`]).
pub const FILE: &str = "file";
/// The type of a mount of a file system that lies in a file or on a block device.
pub const DISK_IMAGE: &str = "image-file";

/// Files of /proc that may be replaced by a bind mount, as lxcfs does.
const REPLACEABLE: [&str; 9] =
    ["cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime"];

/// Whether something may be mounted at a place in procfs: a file that tools replace on purpose, by a bind mount; an empty tmpfs,
/// which only hides; procfs itself.
pub fn allowed_in_proc(destination: &Path, bind: bool, file_system: &str) -> bool {
    let name = destination.strip_prefix("/proc").ok().and_then(Path::to_str).unwrap_or("");
    (bind && REPLACEABLE.contains(&name)) || file_system == "proc" || (file_system == "tmpfs" && !name.is_empty())
}

impl Plan {
    /// The plan for a container's first process.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what contradicts itself or is not supported.
    pub fn for_container(spec: &Spec, settings: Settings) -> Result<Self> {
        refuse_unsupported(spec, settings)?;
        let process = spec.process().as_ref().ok_or_else(|| Error::invalid("the spec has no process"))?;
        let linux = spec.linux().as_ref().ok_or_else(|| Error::invalid("the spec has no linux section"))?;
        let spaces = Namespaces::read(linux)?;
        if spaces.new & libc::CLONE_NEWNS as u64 == 0 {
            return Err(Error::invalid("a container needs a mount namespace of its own"));
        }
        let mut steps = vec![Step::JoinCgroups];
        if !spaces.joined.is_empty() {
            steps.push(Step::JoinNamespaces);
        }
        if spaces.own_cgroup {
            steps.push(Step::NewCgroupNamespace);
        }
        if !settings.keep_keyring {
            steps.push(Step::NewKeyring);
        }
        steps.extend([Step::IsolateMounts, Step::MountRoot]);
        let listed = linux.devices().as_deref().unwrap_or_default();
        let mut has_dev = false;
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let step = mount_step(index, mount, settings)?;
            let is_dev = step.destination == Path::new("/dev");
            let fresh_dev = is_dev && matches!(step.kind, MountKind::FileSystem(_));
            has_dev |= is_dev;
            steps.push(Step::Mount(Box::new(step)));
            if fresh_dev {
                steps.push(Step::MakeDevices(devices::nodes(listed)?));
            }
        }
        if settings.staged && !has_dev {
            // The root's own /dev, as OCI runtimes have it.
            steps.push(Step::MakeDevices(devices::nodes(listed)?));
        }
        if process.terminal() == Some(true) {
            steps.push(Step::OpenConsole);
        }
        if settings.create_cwd {
            steps.push(Step::MakeWorkingDirectory(process.cwd().clone()));
        }
        if settings.staged && spec.hooks().is_some() {
            steps.extend([Step::AwaitHooks, Step::RunCreateHooks]);
        }
        // Before anything is hidden: /etc/passwd may be.
        steps.push(Step::LookUpUser);
        for path in linux.masked_paths().iter().flatten() {
            steps.push(Step::Mask(absolute(Path::new(path), "a masked path")?));
        }
        for path in linux.readonly_paths().iter().flatten() {
            steps.push(Step::MakeReadOnly(absolute(Path::new(path), "a read-only path")?));
        }
        if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
            steps.push(Step::MakeRootReadOnly);
        }
        steps.push(if settings.no_pivot { Step::ChangeRoot } else { Step::PivotRoot });
        if let Some(word) = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty()) {
            let known = mount_options::propagation(word);
            let (kind, tree) = known.ok_or_else(|| Error::invalid(format!("unknown root propagation `{word}`")))?;
            if kind != libc::MS_PRIVATE {
                steps.push(Step::SetRootPropagation(kind, tree));
            }
        }
        steps.push(Step::Synchronise);
        let has_uts = spaces.has(libc::CLONE_NEWUTS, settings.staged);
        for (name, step) in
            [(spec.hostname(), Step::SetHostname as fn(String) -> Step), (spec.domainname(), Step::SetDomainname)]
        {
            if let Some(name) = name.as_ref().filter(|name| !name.is_empty()) {
                if !has_uts {
                    return Err(Error::invalid("a host or domain name needs a UTS namespace of its own"));
                }
                steps.push(step(name.clone()));
            }
        }
        let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
        sysctls.sort();
        for (name, value) in sysctls {
            let path = sysctl_path(name)?;
            if settings.staged {
                spaces.check_sysctl(name, &path)?;
            }
            steps.push(Step::SetSysctl(path, value.clone()));
        }
        if let Some(personality) = linux.personality() {
            use oci_spec::runtime::LinuxPersonalityDomain::{PerLinux, PerLinux32};
            if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
                return Err(Error::invalid(
                    "flags of a personality are not supported: the OCI runtime spec names none",
                ));
            }
            steps.push(Step::SetPersonality(match personality.domain() {
                PerLinux => 0,
                PerLinux32 => 8,
            }));
        }
        steps.extend(process_steps(process, linux.seccomp().is_some(), settings)?);
        let mut plan = Self {
            new_namespaces: spaces.new,
            joined: spaces.joined,
            id_maps: spaces.id_maps,
            joined_users: spaces.joined_users,
            time: spaces.time,
            oom_score: None,
            steps,
        };
        if plan.has_users() {
            plan.leave_oom_score_to_parent();
        }
        Ok(plan)
    }

    /// Whether the container is in a user namespace other than ours.
    pub fn has_users(&self) -> bool {
        self.id_maps.is_some() || self.joined_users.is_some()
    }

    /// Takes the OOM score out of the child's steps.
    pub fn leave_oom_score_to_parent(&mut self) {
        self.steps.retain(|step| match step {
            Step::SetOomScore(score) => {
                self.oom_score = Some(*score);
                false
            }
            _ => true,
        });
    }

    /// The plan for a further process of a running container.
    ///
    /// # Errors
    /// As [`Plan::for_container`].
    pub fn for_exec(process: &Process, seccomp: bool) -> Result<Self> {
        let mut steps = vec![Step::JoinCgroups, Step::JoinNamespaces, Step::NewKeyring];
        if process.terminal() == Some(true) {
            steps.push(Step::OpenConsole);
        }
        steps.extend([Step::Synchronise, Step::LookUpUser]);
        steps.extend(process_steps(process, seccomp, Settings::default())?);
        Ok(Self {
            new_namespaces: 0,
            joined: Vec::new(),
            id_maps: None,
            joined_users: None,
            time: None,
            oom_score: None,
            steps,
        })
    }
}

/// One mount for a container that runs already.
pub(crate) fn live_mount_step(mount: &oci_spec::runtime::Mount) -> Result<MountStep> {
    mount_step(0, mount, Settings::default())
}

fn mount_step(index: usize, mount: &oci_spec::runtime::Mount, settings: Settings) -> Result<MountStep> {
    let destination = absolute(mount.destination(), "a mount's destination")?;
    if destination == Path::new("/") {
        return Err(Error::invalid("a mount's destination cannot be /"));
    }
    let mut options = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
    let typ = mount.typ().as_deref().unwrap_or("");
    let kind = match (options.bind, typ) {
        (Some(_), _) | (None, "bind" | "none" | "") => {
            let source = mount.source().clone().filter(|source| source.is_absolute()).ok_or_else(|| {
                Error::invalid(format!("{}: a bind mount needs an absolute source path", destination.display()))
            })?;
            if let Some((word, _)) = options.data.first() {
                let at = destination.display();
                return Err(Error::invalid(format!("{at}: unknown option `{word}` of a bind mount")));
            }
            MountKind::Bind { source, recursive: options.bind.unwrap_or(!settings.staged) }
        }
        (None, DISK_IMAGE) => {
            let source = mount.source().clone().filter(|source| source.is_absolute()).ok_or_else(|| {
                Error::invalid(format!("{}: an image file needs an absolute source path", destination.display()))
            })?;
            let offset = options.data.iter().position(|(key, _)| key == "offset").map(|at| options.data.remove(at).1);
            let offset = offset.map_or(Some(0), |text| text?.parse().ok()).ok_or_else(|| {
                Error::invalid(format!("{}: the offset of an image file is a number of bytes", destination.display()))
            })?;
            MountKind::DiskImage { source, offset }
        }
        (None, LAYERS | FILE) => {
            let number = mount.source().as_deref().and_then(Path::to_str).and_then(|number| number.parse().ok());
            let number = number.ok_or_else(|| {
                Error::invalid(format!("{}: a mount of {typ} names them by their number", destination.display()))
            })?;
            if typ == LAYERS { MountKind::Layers(number) } else { MountKind::File(number) }
        }
        (None, "cgroup" | "cgroup2") => MountKind::Cgroup,
        (
            None,
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "overlay" | "ramfs" | "securityfs" | "debugfs"
            | "tracefs",
        ) => MountKind::FileSystem(typ.to_owned()),
        // An OCI runtime mounts what the engine names; the kernel knows the file systems it has.
        (None, _) if settings.staged => MountKind::FileSystem(typ.to_owned()),
        (None, other) => {
            let at = destination.display();
            return Err(Error::invalid(format!("{at}: a mount of type `{other}` is not supported")));
        }
    };
    let from_host = matches!(kind, MountKind::Bind { .. } | MountKind::DiskImage { .. });
    if !from_host && (options.overlay || options.subdir.is_some()) {
        let at = destination.display();
        return Err(Error::invalid(format!("{at}: only a bind mount takes X-overlay and X-mount.subdir")));
    }
    let id_maps = mounted_ids(mount, &options, &kind, &destination)?;
    let source = mount.source().as_deref().and_then(Path::to_str).filter(|source| !source.is_empty());
    let source = settings.staged.then_some(source).flatten().map(str::to_owned);
    Ok(MountStep { index, destination, kind, options, source, id_maps })
}

/// Which ids the files of a mount shall have: its own maps, or those of the container.
fn mounted_ids(
    mount: &oci_spec::runtime::Mount,
    options: &mount_options::MountOptions,
    kind: &MountKind,
    destination: &Path,
) -> Result<Option<Box<MountIds>>> {
    let (users, groups) = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    let (users, groups) = (users.unwrap_or_default(), groups.unwrap_or_default());
    let maps = IdMaps::from_oci(users, groups)?;
    let recursive = match (options.id_map, maps.is_empty()) {
        (None, true) => return Ok(None),
        (recursive, _) => recursive == Some(true),
    };
    let at = destination.display();
    if !matches!(kind, MountKind::Bind { .. } | MountKind::DiskImage { .. }) {
        return Err(Error::invalid(format!("{at}: only a bind mount can have ids of its own")));
    }
    if !maps.is_empty() && (users.is_empty() || groups.is_empty()) {
        return Err(Error::invalid(format!("{at}: a mount needs maps of both user and group ids")));
    }
    Ok(Some(Box::new(MountIds { maps: (!maps.is_empty()).then_some(maps), recursive })))
}

/// A path without `..`, which therefore means the same before and after it is looked up.
fn absolute(path: &Path, what: &str) -> Result<PathBuf> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(format!("{what} must be an absolute path without `..`: {}", path.display())));
    }
    Ok(path.components().collect())
}

/// `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/x` as a path below /proc/sys.
fn sysctl_path(name: &str) -> Result<String> {
    // As sysctl(8): what comes first, a dot or a slash, is the separator, and the other one means itself.
    let first = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    let path: String = match first {
        Some(b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    let fine = !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if fine { Ok(path) } else { Err(Error::invalid(format!("`{name}` is not the name of a kernel parameter"))) }
}

fn refuse_unsupported(spec: &Spec, settings: Settings) -> Result<()> {
    let linux = spec.linux().as_ref();
    let asked = [
        (!settings.staged && spec.hooks().is_some(), "hooks", "only an OCI runtime runs them"),
        (spec.vm().is_some(), "vm", "containers are processes of this kernel"),
        (
            linux.is_some_and(|linux| linux.intel_rdt().is_some()),
            "linux.intelRdt",
            "cache and memory bandwidth allocation is not set up here",
        ),
        (
            linux.is_some_and(|linux| linux.memory_policy().is_some()),
            "linux.memoryPolicy",
            "memory nodes are chosen by resources.cpu.mems",
        ),
        (
            linux.is_some_and(|linux| linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
            "linux.netDevices",
            "network devices are moved by the network's own set-up",
        ),
        (
            linux.is_some_and(|linux| linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
            "linux.mountLabel",
            "mounts are not labelled here",
        ),
    ];
    match asked.iter().find(|(asked, ..)| *asked) {
        Some((_, name, why)) => Err(Error::invalid(format!("{name} of the spec is not supported: {why}"))),
        None => Ok(()),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:2}. {step}", number + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
