//! What is remembered of a container between two commands: `state.json` and `config.json` in its directory.
//!
//! The record is written before anything else is made, and replaced by rename. What of it is true is asked of the kernel each
//! time: a container whose process is gone is stopped, one whose gate is there has not been started, one whose group is frozen is
//! paused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Runtime;
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::state::{self, ProcessId};

/// The fifo by which a container is started.
pub(super) const ORDER: &str = "start";
/// The fifo by which it tells why it could not.
pub(super) const FAILURES: &str = "failures";
/// The configuration as it was at the creation.
pub(super) const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
/// The largest file that is read.
const MAX_FILE: u64 = 16 << 20;

/// Where a container is in its life (OCI runtime spec, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being made, or what is left of that.
    Creating,
    /// Waiting to be started.
    Created,
    /// Its program runs.
    Running,
    /// It runs and is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The word of the specification.
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// One container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The version of the specification that its configuration is written in.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// Its first process.
    pub process: Option<ProcessId>,
    /// The boot during which it was made.
    boot_id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// The user who made it.
    pub owner: u32,
    /// The path of its groups below the mounts.
    pub cgroup: String,
    /// Whether the groups were made for it: before, those at that path are somebody else's.
    #[serde(default)]
    pub made: bool,
    /// Whether it has a user namespace of its own.
    pub own_users: bool,
    /// Annotations of the configuration.
    pub annotations: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(id: &str, bundle: &Path, rootfs: &Path, spec: &Spec, cgroup: String) -> Result<Self> {
        Ok(Self {
            id: id.to_owned(),
            oci_version: spec.version().clone(),
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            process: None,
            boot_id: state::boot_id()?.to_owned(),
            created: timestamp(state::now()),
            owner: rustix::process::geteuid().as_raw(),
            cgroup,
            made: false,
            own_users: false,
            annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }

    /// Writes the record into the container's directory.
    pub(super) fn save(&self, directory: &Path) -> Result<()> {
        state::replace(&directory.join(STATE), self)
    }

    /// A descriptor of its first process, if that lives.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        if self.boot_id != state::boot_id()? {
            return Ok(None);
        }
        self.process.map(|process| process.open()).transpose().map(Option::flatten)
    }

    /// Its groups, if they were made for it and are still there.
    pub(super) fn groups(&self) -> Result<Option<Cgroup>> {
        // Whatever has a process was put into a group of its own.
        if !self.made && self.process.is_none() {
            return Ok(None);
        }
        match Cgroup::open_at(&self.cgroup) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(crate::cgroup::Error::Unavailable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is in its life, now. `directory` is its own.
    pub fn status(&self, directory: &Path) -> Result<Status> {
        if self.process.is_none() {
            return Ok(Status::Creating);
        }
        if self.pidfd()?.is_none() {
            return Ok(Status::Stopped);
        }
        if directory.join(ORDER).exists() {
            return Ok(Status::Created);
        }
        let frozen = self.groups()?.map(|cgroup| cgroup.is_frozen()).transpose()? == Some(true);
        Ok(if frozen { Status::Paused } else { Status::Running })
    }

    /// Its state as hooks read it; `status` and `pid` may differ from what is recorded.
    pub(super) fn hook_state(&self, status: Status) -> Value {
        let mut state = json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status.word(),
            "bundle": self.bundle,
        });
        if let Some(process) = self.process.filter(|_| status != Status::Stopped) {
            state["pid"] = process.pid.into();
        }
        if !self.annotations.is_empty() {
            state["annotations"] = json!(self.annotations);
        }
        state
    }
}

impl Runtime {
    /// Makes a container's directory. One that is there is [`Error::Invalid`].
    pub(super) fn make_directory(&self, id: &str) -> Result<PathBuf> {
        let directory = self.directory(id)?;
        let make = |path: &Path, recursive| fs::DirBuilder::new().recursive(recursive).mode(0o700).create(path);
        make(&self.root, true).doing(|| format!("make the directory {}", self.root.display()))?;
        match make(&directory, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::invalid(format!("container with given ID already exists: {id}")))
            }
            result => result.doing(|| format!("make the directory {}", directory.display())).map(|()| directory),
        }
    }

    /// The record of a container, and its directory.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn load(&self, id: &str) -> Result<(Record, PathBuf)> {
        let directory = self.directory(id)?;
        let path = directory.join(STATE);
        let bytes = read(&path, || Error::NotFound(id.to_owned()))?;
        let record = serde_json::from_slice(&bytes).map_err(|source| Error::Record { path, source })?;
        Ok((record, directory))
    }

    /// The configuration that a container was made with.
    pub fn config(&self, id: &str) -> Result<Spec> {
        let path = self.directory(id)?.join(CONFIG);
        let bytes = read(&path, || Error::NotFound(id.to_owned()))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Record { path, source })
    }

    /// The state of a container as the `state` command prints it.
    pub fn state(&self, id: &str) -> Result<Value> {
        let (record, directory) = self.load(id)?;
        let status = record.status(&directory)?;
        Ok(state_of(&record, status))
    }

    /// All containers in the order of their names, with their states.
    pub fn list(&self) -> Result<Vec<(Record, Status)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(format!("list {}", self.root.display()), error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.doing(|| format!("list {}", self.root.display()))?;
            let name = entry.file_name();
            let Some(id) = name.to_str().filter(|id| self.directory(id).is_ok()) else { continue };
            match self.load(id) {
                Ok((record, directory)) => {
                    let status = record.status(&directory)?;
                    all.push((record, status));
                }
                // Just being made or removed.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        Ok(all)
    }
}

/// The state as JSON, with what runc adds to the specification's fields.
pub fn state_of(record: &Record, status: Status) -> Value {
    let pid = record.process.filter(|_| status != Status::Stopped).map_or(0, |process| process.pid);
    let mut state = json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": pid,
        "status": status.word(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    });
    if !record.annotations.is_empty() {
        state["annotations"] = json!(record.annotations);
    }
    state["owner"] = "".into();
    state
}

/// Reads a file that is not too large; `missing` if it is not there.
pub(super) fn read(path: &Path, missing: impl FnOnce() -> Error) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        result => result.doing(doing)?,
    };
    let mut bytes = Vec::with_capacity(8192);
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE + 1), &mut bytes).doing(doing)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::invalid(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub fn timestamp(nanoseconds: u64) -> String {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a date: years begin in March, so that the leap day is the last one; 400 years have 146,097 days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_799, "2024-02-28T23:59:59"),
            (4_102_444_799, "2099-12-31T23:59:59"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000 + 5), format!("{text}.000000005Z"));
        }
    }

    #[test]
    fn an_id_is_one_plain_name() {
        let runtime = Runtime::new("/run/x");
        for id in ["a", "A_1.b-c+d", &"x".repeat(250)] {
            assert!(runtime.directory(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(251)] {
            assert!(runtime.directory(id).is_err(), "{id}");
        }
    }
}
