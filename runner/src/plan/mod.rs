//! From a Spec to the ordered list of steps that the child carries out. Pure: no root, no kernel, no file is touched.
//!
//! A [`Plan`] can be printed and compared in a test; carrying it out (`init`) is a loop over [`Plan::steps`]. The rule: whatever of
//! the Spec this version cannot do is refused here, with its name, before anything has been made.

pub mod mount_options;
mod step;

use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Process, Spec};

use crate::error::{Error, Result};
pub use step::{DeviceNode, MountKind, MountStep, Step};

/// What the child has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Namespaces the child is born in (`CLONE_NEW*`); the cgroup namespace is not among them.
    pub new_namespaces: u64,
    /// Existing namespaces to join: `CLONE_NEW*` flag and the file; `CLONE_NEWPID` is the parent's work.
    pub joined: Vec<(i32, PathBuf)>,
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
}

/// The type of a mount that shows layers handed in beside the Spec ([`crate::MountedLayers`]).
pub const LAYERS: &str = "layers";

/// The nodes every container has (OCI runtime spec, "Default Devices"): name, major, minor.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

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
        refuse_unsupported(spec)?;
        let process = spec.process().as_ref().ok_or_else(|| Error::invalid("the spec has no process"))?;
        let linux = spec.linux().as_ref().ok_or_else(|| Error::invalid("the spec has no linux section"))?;
        let (new_namespaces, joined, own_cgroup) = namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
        if new_namespaces & libc::CLONE_NEWNS as u64 == 0 {
            return Err(Error::invalid("a container needs a mount namespace of its own"));
        }
        let mut steps = vec![Step::JoinCgroups];
        if !joined.is_empty() {
            steps.push(Step::JoinNamespaces);
        }
        if own_cgroup {
            steps.push(Step::NewCgroupNamespace);
        }
        steps.extend([Step::NewKeyring, Step::IsolateMounts, Step::MountRoot]);
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let step = mount_step(index, mount)?;
            let fresh_dev = step.destination == Path::new("/dev") && matches!(step.kind, MountKind::FileSystem(_));
            steps.push(Step::Mount(step));
            if fresh_dev {
                steps.push(Step::MakeDevices(devices(linux.devices().as_deref().unwrap_or_default())?));
            }
        }
        if process.terminal() == Some(true) {
            steps.push(Step::OpenConsole);
        }
        if settings.create_cwd {
            steps.push(Step::MakeWorkingDirectory(process.cwd().clone()));
        }
        for path in linux.masked_paths().iter().flatten() {
            steps.push(Step::Mask(absolute(Path::new(path), "a masked path")?));
        }
        for path in linux.readonly_paths().iter().flatten() {
            steps.push(Step::MakeReadOnly(absolute(Path::new(path), "a read-only path")?));
        }
        if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
            steps.push(Step::MakeRootReadOnly);
        }
        steps.extend([Step::PivotRoot, Step::Synchronise]);
        let own_uts = new_namespaces & libc::CLONE_NEWUTS as u64 != 0;
        for (name, step) in
            [(spec.hostname(), Step::SetHostname as fn(String) -> Step), (spec.domainname(), Step::SetDomainname)]
        {
            if let Some(name) = name.as_ref().filter(|name| !name.is_empty()) {
                if !own_uts {
                    return Err(Error::invalid("a host or domain name needs a UTS namespace of its own"));
                }
                steps.push(step(name.clone()));
            }
        }
        let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
        sysctls.sort();
        for (name, value) in sysctls {
            steps.push(Step::SetSysctl(sysctl_path(name)?, value.clone()));
        }
        if let Some(personality) = linux.personality() {
            use oci_spec::runtime::LinuxPersonalityDomain::{PerLinux, PerLinux32};
            steps.push(Step::SetPersonality(match personality.domain() {
                PerLinux => 0,
                PerLinux32 => 8,
            }));
        }
        steps.extend(process_steps(process, linux.seccomp().is_some(), settings.init)?);
        Ok(Self { new_namespaces, joined, steps })
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
        steps.push(Step::Synchronise);
        steps.extend(process_steps(process, seccomp, false)?);
        Ok(Self { new_namespaces: 0, joined: Vec::new(), steps })
    }
}

/// The last part, the same for run, exec and build steps: limits, user, sandbox, exec.
fn process_steps(process: &Process, seccomp: bool, init: bool) -> Result<Vec<Step>> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("there is no program to run: the process has no arguments"));
    }
    if process.io_priority().is_some() || process.scheduler().is_some() || process.exec_cpu_affinity().is_some() {
        return Err(Error::invalid("ioPriority, scheduler and execCPUAffinity of a process are not supported"));
    }
    let mut steps = Vec::new();
    if let Some(score) = process.oom_score_adj() {
        steps.push(Step::SetOomScore(score));
    }
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let number = rlimit_number(&name)?;
        if limit.soft() > limit.hard() {
            return Err(Error::invalid(format!("{name}: the soft limit is above the hard one")));
        }
        steps.push(Step::SetRlimit(name, number, limit.soft(), limit.hard()));
    }
    for (label, kind) in [
        (process.apparmor_profile(), crate::security::label::Label::AppArmor as fn(String) -> _),
        (process.selinux_label(), crate::security::label::Label::SeLinux),
    ] {
        if let Some(text) = label.as_ref().filter(|text| !text.is_empty()) {
            let (file, text) = kind(text.clone()).exec_attribute();
            steps.push(Step::SetLabel(file, text));
        }
    }
    steps.extend([
        Step::LookUpUser,
        Step::EnterWorkingDirectory(absolute(process.cwd(), "the working directory")?),
        Step::ConnectStdio,
        Step::SetUmask(process.user().umask().unwrap_or(0o022) & 0o7777),
        Step::DropBoundingCapabilities,
    ]);
    // Loading a filter needs no_new_privs or CAP_SYS_ADMIN. So with the first it comes last, and without it before the user
    // and the capabilities change, whose few calls every usable filter allows.
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if no_new_privileges {
        steps.push(Step::SetNoNewPrivileges);
    } else if seccomp {
        steps.push(Step::LoadSeccomp);
    }
    steps.extend([Step::ChangeUser, Step::SetCapabilities]);
    if no_new_privileges && seccomp {
        steps.push(Step::LoadSeccomp);
    }
    if init {
        steps.push(Step::BecomeInit);
    }
    steps.push(Step::Execute);
    Ok(steps)
}

/// Splits the namespaces into those to be born in, those to join, and whether there is a cgroup namespace to be made.
#[allow(clippy::type_complexity)]
fn namespaces(list: &[oci_spec::runtime::LinuxNamespace]) -> Result<(u64, Vec<(i32, PathBuf)>, bool)> {
    let (mut new, mut joined, mut own_cgroup) = (0u64, Vec::new(), false);
    let mut seen = Vec::new();
    for namespace in list {
        let kind = namespace.typ();
        if seen.contains(&kind) {
            return Err(Error::invalid(format!("the {kind} namespace is named twice")));
        }
        seen.push(kind);
        let flag = match kind {
            LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
            LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
            LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
            LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
            LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
            LinuxNamespaceType::Network => libc::CLONE_NEWNET,
            LinuxNamespaceType::User => {
                return Err(Error::invalid("user namespaces in the spec are not supported yet (--userns)"));
            }
            LinuxNamespaceType::Time => return Err(Error::invalid("time namespaces are not supported yet")),
        };
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(_) if kind == LinuxNamespaceType::Mount => {
                return Err(Error::invalid("a container cannot be made in another mount namespace"));
            }
            Some(path) => joined.push((flag, path.clone())),
            // The groups are joined after the clone; only then they can become the root of a namespace.
            None if kind == LinuxNamespaceType::Cgroup => own_cgroup = true,
            None => new |= flag as u64,
        }
    }
    Ok((new, joined, own_cgroup))
}

fn mount_step(index: usize, mount: &oci_spec::runtime::Mount) -> Result<MountStep> {
    let destination = absolute(mount.destination(), "a mount's destination")?;
    if destination == Path::new("/") {
        return Err(Error::invalid("a mount's destination cannot be /"));
    }
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(Error::invalid(format!("{}: id mappings on a mount are not supported yet", destination.display())));
    }
    let options = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
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
            MountKind::Bind { source, recursive: options.bind.unwrap_or(true) }
        }
        (None, LAYERS) => {
            let number = mount.source().as_deref().and_then(Path::to_str).and_then(|number| number.parse().ok());
            MountKind::Layers(number.ok_or_else(|| {
                Error::invalid(format!("{}: a mount of layers names them by their number", destination.display()))
            })?)
        }
        (None, "cgroup" | "cgroup2") => MountKind::Cgroup,
        (
            None,
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "overlay" | "ramfs" | "securityfs" | "debugfs"
            | "tracefs",
        ) => MountKind::FileSystem(typ.to_owned()),
        (None, other) => {
            let at = destination.display();
            return Err(Error::invalid(format!("{at}: a mount of type `{other}` is not supported")));
        }
    };
    Ok(MountStep { index, destination, kind, options })
}

fn devices(listed: &[LinuxDevice]) -> Result<Vec<DeviceNode>> {
    let mut nodes: Vec<DeviceNode> = DEFAULT_DEVICES
        .iter()
        .map(|(name, major, minor)| DeviceNode {
            path: Path::new("/dev").join(name),
            kind: libc::S_IFCHR,
            major: *major,
            minor: *minor,
            mode: 0o666,
            owner: (0, 0),
        })
        .collect();
    for device in listed {
        let path = absolute(device.path(), "a device's path")?;
        let name = path.display();
        if !path.starts_with("/dev") || path == Path::new("/dev") {
            return Err(Error::invalid(format!("{name}: a device node must lie below /dev")));
        }
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => return Err(Error::invalid(format!("{name}: a device node cannot be of all types"))),
        };
        let number =
            |value: i64| u32::try_from(value).map_err(|_| Error::invalid(format!("{name}: bad device number")));
        let (major, minor) = (number(device.major())?, number(device.minor())?);
        let node = DeviceNode {
            kind,
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666) & 0o777,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
            path,
        };
        nodes.retain(|known| known.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
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

fn rlimit_number(name: &str) -> Result<u32> {
    Ok(match name {
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        other => return Err(Error::invalid(format!("unknown resource limit {other}"))),
    })
}

fn refuse_unsupported(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let asked = [
        (spec.hooks().is_some(), "hooks"),
        (linux.is_some_and(|linux| linux.intel_rdt().is_some()), "linux.intelRdt"),
        (linux.is_some_and(|linux| linux.memory_policy().is_some()), "linux.memoryPolicy"),
        (linux.is_some_and(|linux| linux.time_offsets().is_some()), "linux.timeOffsets"),
        (linux.is_some_and(|linux| linux.net_devices().is_some()), "linux.netDevices"),
        (linux.is_some_and(|linux| linux.mount_label().as_ref().is_some_and(|l| !l.is_empty())), "linux.mountLabel"),
        (linux.is_some_and(|linux| linux.uid_mappings().as_ref().is_some_and(|m| !m.is_empty())), "linux.uidMappings"),
        (linux.is_some_and(|linux| linux.gid_mappings().as_ref().is_some_and(|m| !m.is_empty())), "linux.gidMappings"),
    ];
    match asked.iter().find(|(asked, _)| *asked) {
        Some((_, name)) => Err(Error::invalid(format!("{name} of the spec is not supported yet"))),
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
