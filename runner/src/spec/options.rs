//! Everything that decides how a container runs, as plain data.
//!
//! The engine fills this from flags and the image; names are resolved by then: volumes are host paths, devices have numbers,
//! `container:NAME` is a namespace's path. [`Options::default`] is a container with the default sandbox and nothing else said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::parse::{DeviceRule, MountRequest, SecurityOptions, Ulimit};

/// How a container gets one of its namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// A new one of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// An existing one, by the path of its file (another container's, or a named one).
    Path(PathBuf),
}

/// One mode for each kind of namespace. A mount namespace is always private. A network of `none` is [`NamespaceMode::Private`] with
/// nothing set up in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Interfaces, addresses, ports.
    pub network: NamespaceMode,
    /// Process ids.
    pub pid: NamespaceMode,
    /// Shared memory, semaphores, message queues.
    pub ipc: NamespaceMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// The view of control groups.
    pub cgroup: NamespaceMode,
    /// User ids; `None`: the one the program runs in.
    pub user: Option<NamespaceMode>,
}

/// Where /dev/shm comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedMemory {
    /// A tmpfs of its own of this many bytes.
    Size(u64),
    /// A directory of the host: another container's, or the host's own with `--ipc host`.
    Bind(PathBuf),
    /// None at all (`--ipc none`).
    None,
}

/// What kind of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNodeKind {
    /// Block device.
    Block,
    /// Character device.
    Character,
}

/// A device node to make in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// In the container.
    pub path: PathBuf,
    /// Block or character.
    pub kind: DeviceNodeKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Some of r, w and m.
    pub access: String,
}

/// Limits, in the units of the flags. `None`: nothing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceOptions {
    /// Bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; -1 unlimited. Unset with `memory` set: twice that, as Docker has it.
    pub memory_swap: Option<i64>,
    /// Bytes that are protected from reclaim as long as possible.
    pub memory_reservation: Option<u64>,
    /// 0 to 100; cgroup version 1 only.
    pub memory_swappiness: Option<u64>,
    /// Version 1 only.
    pub oom_kill_disable: bool,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds per period; -1 unlimited.
    pub cpu_quota: Option<i64>,
    /// Microseconds; version 1 only.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds; version 1 only.
    pub cpu_rt_runtime: Option<i64>,
    /// Relative weight, 1024 is the default.
    pub cpu_shares: Option<u64>,
    /// As `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// As `0-1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 or 0 unlimited.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Weight by device (major, minor).
    pub blkio_weight_device: Vec<((u32, u32), u16)>,
    /// Bytes a second by device.
    pub device_read_bps: Vec<((u32, u32), u64)>,
    /// Bytes a second by device.
    pub device_write_bps: Vec<((u32, u32), u64)>,
    /// Operations a second by device.
    pub device_read_iops: Vec<((u32, u32), u64)>,
    /// Operations a second by device.
    pub device_write_iops: Vec<((u32, u32), u64)>,
    /// Huge pages: size as `2MB`, bytes.
    pub hugetlb: Vec<(String, u64)>,
    /// Files of cgroup v2 by name.
    pub unified: BTreeMap<String, String>,
}

impl ResourceOptions {
    /// How many processes and threads a container may have when nothing is said.
    pub const DEFAULT_PIDS_LIMIT: i64 = 4096;

    /// Nothing limited, not even processes: the starting point of `update`.
    pub fn unlimited() -> Self {
        ResourceOptions { pids_limit: None, ..Self::default() }
    }
}

impl Default for ResourceOptions {
    fn default() -> Self {
        ResourceOptions {
            memory: None,
            memory_swap: None,
            memory_reservation: None,
            memory_swappiness: None,
            oom_kill_disable: false,
            nano_cpus: None,
            cpu_period: None,
            cpu_quota: None,
            cpu_rt_period: None,
            cpu_rt_runtime: None,
            cpu_shares: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            pids_limit: Some(Self::DEFAULT_PIDS_LIMIT),
            blkio_weight: None,
            blkio_weight_device: Vec::new(),
            device_read_bps: Vec::new(),
            device_write_bps: Vec::new(),
            device_read_iops: Vec::new(),
            device_write_iops: Vec::new(),
            hugetlb: Vec::new(),
            unified: BTreeMap::new(),
        }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The container's id: the last part of its control group.
    pub id: String,
    /// The root file system on the host, as the spec shall name it.
    pub root: PathBuf,
    /// The command, entrypoint and all.
    pub args: Vec<String>,
    /// `NAME=value`, the image's and the user's, as [`super::merge`] gives it.
    pub env: Vec<String>,
    /// Working directory; empty is `/`.
    pub cwd: String,
    /// `user[:group]`, by name or number; empty is root. Looked up in the container.
    pub user: String,
    /// Further groups, by name or number.
    pub group_add: Vec<String>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Host name; empty keeps the one of the namespace.
    pub hostname: String,
    /// NIS domain.
    pub domainname: String,
    /// The process gets a terminal.
    pub terminal: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--security-opt`.
    pub security: SecurityOptions,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// All capabilities, devices and paths, no filter.
    pub privileged: bool,
    /// Device nodes beside the usual ones.
    pub devices: Vec<DeviceNode>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<DeviceRule>,
    /// Bind mounts (source is an absolute host path by now), tmpfs and devpts, in the order given.
    pub mounts: Vec<MountRequest>,
    /// /dev/shm.
    pub shared_memory: SharedMemory,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--sysctl`.
    pub sysctls: Vec<(String, String)>,
    /// Limits.
    pub resources: ResourceOptions,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Ids mapped into a user namespace of its own: (container, host, count). Same for groups if `gid_map` is empty.
    pub uid_map: Vec<(u32, u32, u32)>,
    /// Groups mapped.
    pub gid_map: Vec<(u32, u32, u32)>,
    /// Ids that nobody else has at the moment, chosen at the start in place of a map: how many, and the first and last to choose from.
    pub auto_ids: Option<(u32, u32, u32)>,
    /// Of control groups only those of version 2 are shown, where there are any: an init takes them for the whole.
    pub cgroup2_view: bool,
    /// How many seconds clocks of a time namespace of its own are off: `monotonic` or `boottime`.
    pub time_offsets: Vec<(String, i64)>,
    /// Below which control group; `None`: `img`.
    pub cgroup_parent: Option<String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// The signal that asks the container to end.
    pub stop_signal: Option<i32>,
    /// The program runs without being root on the host: no device rules, and what they guard cannot be made.
    pub rootless: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            id: String::new(),
            root: PathBuf::from("rootfs"),
            args: Vec::new(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            group_add: Vec::new(),
            umask: None,
            hostname: String::new(),
            domainname: String::new(),
            terminal: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security: SecurityOptions::default(),
            read_only: false,
            privileged: false,
            devices: Vec::new(),
            device_rules: Vec::new(),
            mounts: Vec::new(),
            shared_memory: SharedMemory::Size(64 << 20),
            ulimits: Vec::new(),
            sysctls: Vec::new(),
            resources: ResourceOptions::default(),
            oom_score_adj: None,
            namespaces: Namespaces::default(),
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            auto_ids: None,
            cgroup2_view: false,
            time_offsets: Vec::new(),
            cgroup_parent: None,
            annotations: BTreeMap::new(),
            stop_signal: None,
            rootless: false,
        }
    }
}
