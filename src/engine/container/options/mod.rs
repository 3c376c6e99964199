//! What the user asked of a container, as it was said: kept in its record, so that every start, restart and clone
//! begins from the same words.

pub mod environment;
pub mod ids;
pub mod inside;
pub mod limits;
mod logging;
pub mod network;
pub mod place;
pub mod storage;
mod supervision;
pub mod system;

use serde::{Deserialize, Serialize};

use environment::Environment;
use ids::Ids;
use inside::Inside;
use limits::Limits;
pub use logging::LoggingOptions;
use network::Networking;
use place::Place;
pub use supervision::SupervisionOptions;
use system::System;

/// The flags of `run` and `create`, unparsed but for numbers and switches. Parsing them is the runner's `spec` room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The process that copies another container's files into this one, until it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<runner::ProcessId>,
    /// The process that makes it in order to run it once (`run --rm`): when that is gone before a monitor took over, so is it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_by: Option<runner::ProcessId>,
    /// `--name`
    pub name: Option<String>,
    /// `-i`: keep standard input open.
    pub interactive: bool,
    /// `-t`: a terminal.
    pub tty: bool,
    /// `--rm`
    pub remove: bool,
    /// `--pull`: `missing`, `always`, `never`.
    pub pull: Option<String>,
    /// `--platform`
    pub platform: Option<String>,
    /// `-e` and `--env-file`, in order, as `NAME=value`.
    pub env: Vec<String>,
    /// Variables left out or made from others.
    #[serde(flatten)]
    pub environment: Environment,
    /// What the program finds around it.
    #[serde(flatten)]
    pub inside: Inside,
    /// `--replace`: of no use once the container is there.
    #[serde(skip)]
    pub replace: bool,
    /// `-v`
    pub volumes: Vec<String>,
    /// `--mount`
    pub mounts: Vec<String>,
    /// `--tmpfs`
    pub tmpfs: Vec<String>,
    /// `--shm-size`
    pub shm_size: Option<String>,
    /// Mounts by other flags, and storage.
    pub storage: storage::StorageOptions,
    /// `-w`
    pub workdir: Option<String>,
    /// `-u`
    pub user: Option<String>,
    /// `--group-add`
    pub groups: Vec<String>,
    /// `--entrypoint`; the empty string clears the image's.
    pub entrypoint: Option<String>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// Networks, ports and names.
    #[serde(flatten)]
    pub network: Networking,
    /// Limits.
    #[serde(flatten)]
    pub limits: Limits,
    /// Whether it boots a system.
    #[serde(flatten)]
    pub system: System,
    /// User namespace and clocks.
    #[serde(flatten)]
    pub ids: Ids,
    /// Control group and namespaces.
    #[serde(flatten)]
    pub place: Place,
    /// `--cap-add`
    pub cap_add: Vec<String>,
    /// `--cap-drop`
    pub cap_drop: Vec<String>,
    /// `--security-opt`
    pub security: Vec<String>,
    /// `--device`
    pub devices: Vec<String>,
    /// `--sysctl`
    pub sysctls: Vec<String>,
    /// `--ulimit`
    pub ulimits: Vec<String>,
    /// `--read-only`
    pub read_only: bool,
    /// `--privileged`
    pub privileged: bool,
    /// `--init`
    pub init: bool,
    /// `--stop-signal`
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds
    pub stop_timeout: Option<u64>,
    /// What its monitor does for it.
    pub supervision: SupervisionOptions,
    /// Where its output is kept.
    pub logging: LoggingOptions,
    /// `--detach-keys`
    pub detach_keys: Option<String>,
    /// `--label`
    pub labels: Vec<String>,
    /// `--rootfs`: a directory instead of an image; `:O` behind it for a throw-away copy.
    pub rootfs: Option<String>,
    /// The image's name, or nothing with `--rootfs`.
    pub image: String,
    /// The whole command line that made the container.
    pub invocation: Vec<String>,
    /// The words after the image.
    pub command: Vec<String>,
}

impl Options {
    /// Whether it is a `run --rm` that asks for nothing which a container that died may still hold: a name, an address, a port, a volume, a
    /// device. Such a one need not wait for the sweep of the dead.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        self.run_by.is_some()
            && self.name.is_none()
            && self.network.takes_nothing()
            && [&self.volumes, &self.mounts, &self.devices].iter().all(|asked| asked.is_empty())
            && self.storage == storage::StorageOptions::default()
            && self.ids == Ids::default()
            && self.place == Place::default()
    }
}
