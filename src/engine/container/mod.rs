//! Containers: their records, and everything that is done to them. A record is what the user asked for and what it was
//! resolved to (`<root>/containers/<id>/container.json`); what is true now is the runner's state below the run directory.

mod boot;
pub mod cgroup;
pub mod chown;
pub mod claim;
pub mod clone;
mod columns;
pub mod condition;
pub mod create;
pub mod exec;
pub mod files;
mod fill;
pub mod filter;
pub(in crate::engine) mod fork;
pub mod health;
mod ids;
mod inside;
pub mod inspect;
pub mod lifecycle;
pub mod limit;
mod limits;
pub mod list;
mod logging;
pub mod logs;
pub mod mounts;
pub mod names;
mod namespaces;
pub mod network;
pub mod options;
pub mod ports;
pub mod prepare;
pub mod prune;
pub mod remove;
mod renewal;
mod restarting;
mod rootfs;
pub mod run;
mod secrets;
pub mod signal;
pub mod stats;
pub mod supervise;
pub mod top;
pub mod units;
pub mod update;
pub mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use runner::spec::parse::MountRequest;
use runner::state::{self, State};
use serde::{Deserialize, Serialize};
use store::image::RunConfig;
use store::record::Record;
use store::{DiffId, ImageId};

use self::options::Options;
use self::supervise::Standing;
use super::Engine;
use crate::error::{CommandError, Result};

/// What the record of a container holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerData {
    /// What the user asked for.
    pub options: Options,
    /// The image it was made from; `None` with `--rootfs`.
    pub image: Option<ImageId>,
    /// The image's layers, lowest first.
    pub layers: Vec<DiffId>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Labels: the image's, with those of the flags over them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Anonymous volumes that were made for it.
    #[serde(default)]
    pub anonymous_volumes: Vec<String>,
    /// Directories of the image's volumes that are kept in memory instead (`--image-volume tmpfs`).
    #[serde(default)]
    pub image_tmpfs: Vec<String>,
    /// Mounts that it takes from other containers.
    #[serde(default)]
    pub inherited: Vec<MountRequest>,
    /// The images that its mounts show, by the name that was asked for.
    #[serde(default)]
    pub mounted_images: BTreeMap<String, ImageId>,
    /// Where it was made: relative paths begin there.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// How it ended last.
    #[serde(default)]
    pub last: Option<LastExit>,
    /// What was last wanted of it, if it has a restart policy.
    #[serde(default)]
    pub standing: Standing,
}

/// How a container ended, kept beyond a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Its exit code, if it is known.
    pub code: Option<i32>,
    /// Whether memory had run out.
    pub oom: bool,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// Why it could not be started.
    #[serde(default)]
    pub error: Option<String>,
}

/// A container's record.
pub type ContainerRecord = Record<ContainerData>;

impl ContainerData {
    /// Program and arguments in one line, quoted where a shell would want it, as docker shows them.
    #[must_use]
    pub fn command_line(&self) -> String {
        let quoted = |word: &String| match word.contains([' ', '\t', '\n']) {
            true => format!("'{}'", word.replace('\'', "'\\''")),
            false => word.clone(),
        };
        self.args.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}

impl Engine {
    /// The id of the container that `name` means: a name, an id or the beginning of one.
    ///
    /// # Errors
    /// None of that name, several ids that begin so.
    pub fn find_container(&self, name: &str) -> Result<String> {
        self.store.containers().find(name).map_err(|error| not_there(error, name))
    }

    /// The record of the container of this name or id.
    ///
    /// # Errors
    /// As [`Engine::find_container`], and a damaged record.
    pub fn container_named(&self, name: &str) -> Result<ContainerRecord> {
        let id = self.find_container(name)?;
        self.store.containers().read(&id).map_err(|error| not_there(error, name))
    }

    /// A container's record.
    ///
    /// # Errors
    /// No such container, a damaged record.
    pub fn container_record(&self, id: &str) -> Result<ContainerRecord> {
        Ok(self.store.containers().read(id)?)
    }

    /// What a container's image says of running it; `None` with `--rootfs`.
    ///
    /// # Errors
    /// The image is gone or damaged.
    pub(in crate::engine) fn run_config(&self, data: &ContainerData) -> Result<Option<RunConfig>> {
        let image = data.image.map(|image| self.store.images().get(&image)).transpose()?;
        Ok(image.map(|image| image.config.config))
    }

    /// The ids of all containers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn container_ids(&self) -> Result<Vec<String>> {
        Ok(self.store.containers().ids()?)
    }

    /// The ids of the containers that run, or wait to be started again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn running(&self) -> Result<Vec<String>> {
        let mut running = Vec::new();
        for id in self.container_ids()? {
            if self.state(&id)?.is_some_and(|state| state.is_up()) {
                running.push(id);
            }
        }
        Ok(running)
    }

    /// Where the states of all containers are.
    pub(super) fn states(&self) -> PathBuf {
        self.runroot.join("containers")
    }

    /// Where the state of one container is.
    pub(super) fn state_dir(&self, id: &str) -> PathBuf {
        self.states().join(id)
    }

    /// What is true of a container now; `None` if it was never started since the machine was.
    pub(super) fn state(&self, id: &str) -> Result<Option<State>> {
        match state::load(&self.state_dir(id)) {
            Ok(state) => Ok(Some(state)),
            Err(runner::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The runner's nanoseconds as a time.
pub(super) fn time(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What came of working with a running container. One that has ended or was removed meanwhile is told by the name that it was
/// asked for.
pub(in crate::engine) fn unless_ended<T>(name: &str, done: runner::Result<T>) -> Result<T> {
    match done {
        Err(error) if error.has_ended() => Err(ended(name)),
        done => Ok(done?),
    }
}

/// The error for a container that ought to run.
pub(in crate::engine) fn ended(name: &str) -> CommandError {
    CommandError::new(format!("container {name} is not running")).hint(format!("`img start {name}` starts it"))
}

/// The error for a container whose record cannot be read.
fn not_there(error: store::Error, name: &str) -> CommandError {
    if !error.is_not_found() {
        return error.into();
    }
    CommandError::new(format!("no such container: {name}")).hint("`img ps -a` lists containers")
}
