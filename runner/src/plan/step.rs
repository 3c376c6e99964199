//! The steps of a plan, as data with a name.
//!
//! The name is what an error message begins with and what a printed plan shows. What a step does is in `init`.

use std::fmt;
use std::path::PathBuf;

use super::mount_options::MountOptions;
use crate::id_maps::IdMaps;
use crate::sys::SchedulerAttributes;

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
    Mount(Box<MountStep>),
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
    /// Tell the parent that everything is mounted, and wait until it has run its hooks.
    AwaitHooks,
    /// Run the createContainer hooks.
    RunCreateHooks,
    /// The new root becomes the root, the host's goes.
    PivotRoot,
    /// The new root becomes the root by chroot(2); the host's stays below it.
    ChangeRoot,
    /// Propagation of the root mount: type, and whether for the whole tree.
    SetRootPropagation(u64, bool),
    /// Tell the parent which mount points were made, and wait for its Go.
    Synchronise,
    /// Host name.
    SetHostname(String),
    /// NIS domain name.
    SetDomainname(String),
    /// A kernel parameter of the namespaces: path below /proc/sys, and value.
    SetSysctl(String, String),
    /// The CPUs it may run on.
    SetAffinity(Vec<u32>),
    /// Priority of block I/O, as ioprio_set(2) takes it.
    SetIoPriority(u32),
    /// Scheduling policy and priority.
    SetScheduler(SchedulerAttributes),
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
    /// Make sure that there is a program to execute.
    FindProgram,
    /// All is done but the exec: wait for the order.
    AwaitStart,
    /// Run the startContainer hooks.
    RunStartHooks,
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
    /// What a new file system is told it is of (a device, a name).
    pub source: Option<String>,
    /// Whose its files are, where that is not as on the disk.
    pub id_maps: Option<Box<MountIds>>,
}

/// Ids of a mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIds {
    /// Its own maps; `None`: those of the container's user namespace.
    pub maps: Option<IdMaps>,
    /// Whether for all mounts below too.
    pub recursive: bool,
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
    /// A file system in a file or on a block device; opened and mounted by the parent.
    DiskImage {
        /// The file or device.
        source: PathBuf,
        /// Where in it the file system begins.
        offset: u64,
    },
    /// A stack of layers that was handed in beside the Spec, by its number.
    Layers(usize),
    /// A file in memory that was handed in beside the Spec, by its number.
    File(usize),
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
                    MountKind::DiskImage { source, .. } => {
                        write!(f, "mount the image file {} on {at}", source.display())
                    }
                    MountKind::Layers(number) => write!(f, "mount the layers {number} on {at}"),
                    MountKind::File(number) => write!(f, "mount the file {number} on {at}"),
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
            Step::AwaitHooks => write!(f, "wait for the hooks"),
            Step::RunCreateHooks => write!(f, "run the createContainer hooks"),
            Step::ChangeRoot => write!(f, "change the root without a pivot"),
            Step::SetRootPropagation(..) => write!(f, "set the propagation of the root"),
            Step::SetAffinity(cpus) => write!(f, "run on the CPUs {cpus:?}"),
            Step::SetIoPriority(_) => write!(f, "set the I/O priority"),
            Step::SetScheduler(_) => write!(f, "set the scheduler"),
            Step::FindProgram => write!(f, "find the program"),
            Step::AwaitStart => write!(f, "wait for the start"),
            Step::RunStartHooks => write!(f, "run the startContainer hooks"),
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
