//! What a container is made of, as plain data handed in by the caller.
//!
//! Nothing here does anything. The rule: paths in these types are host paths that the caller vouches for; everything below the
//! root file system is looked up by descriptor later.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::runtime::Spec;

use crate::id_maps::IdMaps;
use crate::layers::LayerMount;
use crate::log::LogConfig;
use crate::monitor::Supervision;
use crate::network;
use crate::state::ProcessId;

/// A container to be started.
#[derive(Clone, Debug)]
pub struct Container {
    /// Names it, its cgroup and everything else made for it: letters, digits, `-`, `_`, `.`, at most 64.
    pub id: String,
    /// The run directory; the layer mounts are shared by all containers below one.
    pub run_dir: PathBuf,
    /// Its transient state, usually `<run_dir>/containers/<id>`; made 0700 if missing, removed by [`crate::delete`].
    pub state_dir: PathBuf,
    /// Its root file system.
    pub rootfs: Rootfs,
    /// All else, as the OCI runtime spec has it. `root.path` is not used; `root.readonly` is. `process.user.username` may be
    /// `name|uid[:group|gid]`, looked up in the root.
    pub spec: Spec,
    /// Stacks of layers that mounts of the spec show: a mount of type `layers` names one by its number here.
    pub layer_mounts: Vec<MountedLayers>,
    /// Files in memory that mounts of the spec show: a mount of type `file` names one by its number here.
    pub file_mounts: Vec<MountedFile>,
    /// Processes whose directories in /proc the spec names, to join their namespaces: each must be there still when all is
    /// opened, for its number may be another's.
    pub lenders: Vec<ProcessId>,
    /// Its network, set up in the network namespace that the spec asks for; `None`: nothing is set up.
    pub network: Option<network::Config>,
    /// A file that gets the lines of `/etc/hosts` once the network's address is known, before the program runs.
    pub hosts: Option<HostsFile>,
    /// Run a built-in init as PID 1, which reaps and forwards signals.
    pub init: bool,
    /// Where its output is kept; `None`: nowhere.
    pub log: Option<LogConfig>,
    /// Make the working directory if the image has none.
    pub create_cwd: bool,
    /// The cgroup to make its group in; `None`: ours.
    pub cgroup_parent: Option<String>,
    /// The signal that asks it to stop (`STOPSIGNAL`), usually SIGTERM.
    pub stop_signal: i32,
    /// What its monitor does beside waiting for it.
    pub supervision: Supervision,
    /// Descriptors of ours, 3 and above and not close-on-exec, that the program keeps; only in the foreground, for a
    /// monitor has none of them.
    pub passed_on: Vec<RawFd>,
}

/// Layers as a mount inside of a container, beside its root.
#[derive(Clone, Debug)]
pub struct MountedLayers {
    /// The layers, the topmost first.
    pub lowers: Vec<LayerMount>,
    /// What of them is mounted: looked up inside of their merge, from which no link leads out. Empty for all of it.
    pub path: PathBuf,
    /// Writes go to memory and are gone with the mount; else nothing can be written.
    pub writable: bool,
}

/// A file that exists in memory only, as a read-only mount inside of a container: on no disk, in no layer and in no
/// record, and gone with the container.
#[derive(Clone, PartialEq, Eq)]
pub struct MountedFile {
    /// What is in it.
    pub contents: Arc<[u8]>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl std::fmt::Debug for MountedFile {
    /// The contents are usually secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MountedFile({} bytes, {:o} {}:{})", self.contents.len(), self.mode, self.uid, self.gid)
    }
}

/// What `/etc/hosts` of a container says. The file is mounted there by the spec; here it is only written.
#[derive(Clone, Debug)]
pub struct HostsFile {
    /// The file on the host.
    pub path: PathBuf,
    /// The container's name inside.
    pub hostname: String,
    /// Further names (`--add-host`).
    pub extra: Vec<(String, network::files::HostAddress)>,
}

/// A root file system.
#[derive(Clone, Debug)]
pub enum Rootfs {
    /// Layers, with a writable directory on top.
    Overlay {
        /// The layers, the topmost first. None at all is allowed (`FROM scratch`).
        lowers: Vec<LayerMount>,
        /// What the container writes. `upper` and `work` must lie in one directory.
        upper: PathBuf,
        /// The overlay's own work.
        work: PathBuf,
        /// Never sync: for containers that are removed when they end.
        volatile: bool,
    },
    /// Layers, and what the container writes is kept in memory and gone when it ends.
    TmpfsOverlay {
        /// The layers, the topmost first.
        lowers: Vec<LayerMount>,
        /// How much it may write, in bytes; `None`: half of the memory.
        size: Option<u64>,
    },
    /// A directory as it is.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Mount it read-only.
        readonly: bool,
        /// The ids that its own are shown as; else they are the container's.
        ids: Option<IdMaps>,
    },
}

impl Container {
    pub(crate) fn has_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal) == Some(true)
    }
}
