//! Bundle in, process out: namespaces, mounts, cgroups, networks.
//!
//! The crate takes a container as plain data ([`Container`]: layers, an OCI runtime spec, a network) and makes a process of it, by
//! system calls alone: no subprocess, no daemon, no async runtime. It knows neither images nor registries and never prints.
//!
//! ```text
//!  Container ──► plan ──► create ──► init (the child) ──► the program
//!                           │  dialogue (docs/runner-dialogue.md)
//!                           ▼
//!                        monitor: terminal or pipes, log, exit status, attach socket
//!
//!  state directory ──► state, exec, kill, stop, pause, update, wait, delete, attach, logs
//! ```
//!
//! All functions that clone or enter mount namespaces want a single-threaded caller and say so; those that
//! can do without fork a helper by themselves.

mod added_mounts;
pub mod attach;
mod auto_ids;
mod bind;
mod broker;
pub mod cgroup;
mod container;
mod create;
pub mod denied;
pub mod diagnosis;
mod disk_image;
mod error;
pub mod exec;
mod exec_records;
mod exec_spaces;
#[cfg(feature = "faults")]
mod faults;
mod foreign;
mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod health;
pub(crate) mod hooks;
pub mod host_mount;
pub mod id_maps;
mod idle;
mod init;
mod initctl;
mod inroot;
pub mod interrupt;
pub mod layers;
mod live_mount;
pub mod log;
pub mod monitor;
mod mount;
mod names;
pub mod network;
mod networks;
pub mod oci;
pub mod plan;
mod rootfs;
mod run_in;
mod run_with_terminal;
mod running_ids;
pub mod security;
mod spaces;
pub mod spec;
mod standstill;
pub mod state;
mod sys;
mod terminal;
pub mod timing;
pub mod tool;
pub mod validate;
mod verbs;

pub use bind::can_propagate;
pub use container::{Container, HostsFile, MountedFile, MountedLayers, Rootfs};
pub use error::{Error, Result};
pub use exec_records::{ExecRecord, execs};
pub use idle::return_large_blocks;
pub use init::dialogue::{Failure, FailureKind};
pub use live_mount::{add_mount, remove_mount};
pub use monitor::{
    DetachKeys, Foreground, Happening, MonitorOptions, Observer, Renewal, Supervision, connect_tty, run_explained,
    run_foreground, start_monitored,
};
pub use networks::{NETWORK_STATE, connect, disconnect, make_bridge, reload_network, remove_bridge, rename};
pub use rootfs::{Stopped, mount_stopped, root_of_running};
pub use run_in::run_in;
pub use run_with_terminal::run_with_terminal;
pub use running_ids::RunningIds;
pub use standstill::Standstill;
pub use state::{Exit, ProcessId, State, Status};
pub use verbs::{
    Swept, clear_retired, delete, is_frozen, kill, pause, retire, set_network, set_restart_policy, stop,
    stop_was_requested, sweep, unpause, update, wait,
};
