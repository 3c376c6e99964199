//! From a Spec to the ordered list of steps that the child carries out. Pure: no root, no kernel, no file is touched.
//!
//! A [`Plan`] can be printed and compared in a test; carrying it out (`init`) is a loop over [`Plan::steps`]. The rule: whatever of
//! the Spec this version cannot do is refused here, with its name, before anything has been made.

pub mod mount_options;

use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Process, Spec};

use crate::error::{Error, Result};
use mount_options::MountOptions;

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

/// One step of the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Move into the v1 groups through their `tasks` files.
    JoinCgroups,
    /// Move into existing namespaces.
    JoinNamespaces,
    /// Make the groups joined so far the root of a cgroup namespace.
    NewCgroupNamespace,
    /// A session keyring of its own.
    NewKeyring,
    /// Let no mount event in or out.
    IsolateMounts,
    /// Mount the root file system and attach it where nobody else looks.
    MountRoot,
    /// One mount of the Spec, by its number there.
    Mount(MountStep),
    /// Device nodes and the usual links in a fresh /dev.
    MakeDevices(Vec<DeviceNode>),
    /// A terminal of the container's own devpts; its master goes to the parent.
    OpenConsole,
    /// Make the working directory if it is missing.
    MakeWorkingDirectory(PathBuf),
    /// Hide a path.
    Mask(PathBuf),
    /// Make a path and what is mounted below it read-only.
    MakeReadOnly(PathBuf),
    /// Make the root mount read-only.
    MakeRootReadOnly,
    /// The new root becomes the root, the host's goes.
    PivotRoot,
    /// Tell the parent which mount points were made, and wait for its Go.
    Synchronise,
    /// Host name.
    SetHostname(String),
    /// NIS domain name.
    SetDomainname(String),
    /// A kernel parameter of the namespaces: path below /proc/sys, and value.
    SetSysctl(String, String),
    /// How readily the kernel kills it when memory ends.
    SetOomScore(i32),
    /// A resource limit: name, number, soft, hard.
    SetRlimit(String, u32, u64, u64),
    /// Execution domain.
    SetPersonality(u64),
    /// A label for the next exec: file below `attr` of the process, and text.
    SetLabel(&'static str, String),
    /// Find user and groups in the root's /etc/passwd and /etc/group.
    LookUpUser,
    /// Enter the working directory, and make sure that it is inside.
    EnterWorkingDirectory(PathBuf),
    /// Standard input, output and error.
    ConnectStdio,
    /// File mode creation mask.
    SetUmask(u32),
    /// Take capabilities out of the bounding set.
    DropBoundingCapabilities,
    /// No exec gains privileges any more.
    SetNoNewPrivileges,
    /// Load the system call filter.
    LoadSeccomp,
    /// Groups, group and user.
    ChangeUser,
    /// Permitted, effective, inheritable and ambient capabilities.
    SetCapabilities,
    /// Become the init of the container in one process and go on in another.
    BecomeInit,
    /// Close what is open, and execute the program.
    Execute,
}

/// A mount of the Spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStep {
    /// Its number in the Spec.
    pub index: usize,
    /// Where, in the container.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// How.
    pub options: MountOptions,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A host file or directory, alone or with all that is mounted below it.
    Bind {
        /// The host path; opened by the parent.
        source: PathBuf,
        /// Whether what is mounted below comes along.
        recursive: bool,
    },
    /// The container's own groups.
    Cgroup,
    /// A new file system of this type.
    FileSystem(String),
}

/// A device node below /dev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub kind: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// What the plan depends on beside the Spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// A built-in init as PID 1.
    pub init: bool,
    /// Make the working directory if it is missing.
    pub create_cwd: bool,
}

/// The nodes every container has (OCI runtime spec, "Default Devices"): name, major, minor.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

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

impl fmt::Display for Step {
    /// The name of the step, as error messages and `--print-plan` show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::JoinCgroups => write!(f, "join the cgroups"),
            Step::JoinNamespaces => write!(f, "join namespaces"),
            Step::NewCgroupNamespace => write!(f, "make a cgroup namespace"),
            Step::NewKeyring => write!(f, "join a new session keyring"),
            Step::IsolateMounts => write!(f, "isolate the mounts"),
            Step::MountRoot => write!(f, "mount the root file system"),
            Step::Mount(mount) => {
                let at = mount.destination.display();
                match &mount.kind {
                    MountKind::Bind { source, .. } => write!(f, "mount {} on {at}", source.display()),
                    MountKind::Cgroup => write!(f, "mount the cgroup view on {at}"),
                    MountKind::FileSystem(kind) => write!(f, "mount {kind} on {at}"),
                }
            }
            Step::MakeDevices(nodes) => write!(f, "make {} device nodes", nodes.len()),
            Step::OpenConsole => write!(f, "open a terminal"),
            Step::MakeWorkingDirectory(path) => write!(f, "make the working directory {}", path.display()),
            Step::Mask(path) => write!(f, "mask {}", path.display()),
            Step::MakeReadOnly(path) => write!(f, "make {} read-only", path.display()),
            Step::MakeRootReadOnly => write!(f, "make the root read-only"),
            Step::PivotRoot => write!(f, "change the root"),
            Step::Synchronise => write!(f, "wait for the network"),
            Step::SetHostname(name) => write!(f, "set the host name {name:?}"),
            Step::SetDomainname(name) => write!(f, "set the domain name {name:?}"),
            Step::SetSysctl(name, value) => write!(f, "set the kernel parameter {name} to {value:?}"),
            Step::SetOomScore(score) => write!(f, "set the OOM score adjustment {score}"),
            Step::SetRlimit(name, _, soft, hard) => write!(f, "set the limit {name} to {soft}:{hard}"),
            Step::SetPersonality(persona) => write!(f, "set the personality {persona}"),
            Step::SetLabel(_, text) => write!(f, "set the security label {text:?}"),
            Step::LookUpUser => write!(f, "look up the user"),
            Step::EnterWorkingDirectory(path) => write!(f, "enter the working directory {}", path.display()),
            Step::ConnectStdio => write!(f, "connect standard input and output"),
            Step::SetUmask(mask) => write!(f, "set the umask {mask:04o}"),
            Step::DropBoundingCapabilities => write!(f, "drop capabilities"),
            Step::SetNoNewPrivileges => write!(f, "set no_new_privs"),
            Step::LoadSeccomp => write!(f, "load the seccomp filter"),
            Step::ChangeUser => write!(f, "change the user"),
            Step::SetCapabilities => write!(f, "set capabilities"),
            Step::BecomeInit => write!(f, "start the init process"),
            Step::Execute => write!(f, "execute the program"),
        }
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
