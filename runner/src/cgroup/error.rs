//! What can go wrong with control groups.

use std::io;
use std::path::PathBuf;

/// A failure of the cgroup room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine offers no control groups that this process may use.
    #[error("cannot use control groups: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// A group's name is not one path component, or a parent not a plain path.
    #[error("cannot use `{name}` as the name of a control group: {reason}")]
    Name {
        /// As given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A limit that this kernel's control groups do not have.
    #[error("cannot limit {what}: {reason}")]
    Unsupported {
        /// The resource, in the user's words.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A control file that is not there, or cannot be used so.
    #[error("control file `{name}`: {reason}")]
    ControlFile {
        /// As given.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The kernel refused a limit.
    #[error("cannot set {what} to `{value}`")]
    Limit {
        /// The resource, in the user's words.
        what: String,
        /// What was written.
        value: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file or directory of a group could not be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file of a group does not read as it should.
    #[error("cannot understand {}: {reason}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A group of that name has processes.
    #[error("control group `{name}` is in use")]
    InUse {
        /// Which group.
        name: String,
        /// Some of the processes in it.
        processes: Vec<i32>,
    },
    /// The group did not do as told in time.
    #[error("cannot {doing} control group `{name}`: not done after {seconds} s")]
    TimedOut {
        /// What was being done.
        doing: &'static str,
        /// Which group.
        name: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The device rules could not be put on the group.
    #[error("cannot {doing} the device rules of a control group")]
    Devices {
        /// Load, attach, or read.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { doing, path: path.into(), source }
    }

    /// What the user could do about it, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unavailable { .. } => Some(
                "limits of an ordinary user need cgroup v2 and a delegated group, as systemd gives to user sessions; \
                 without them use --ulimit"
                    .to_owned(),
            ),
            Error::InUse { processes, .. } => Some(format!("processes in it: {processes:?}")),
            Error::Limit { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => {
                Some("the group already uses more than the new limit".to_owned())
            }
            Error::Limit { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
                Some("the value must lie inside what the parent group and the machine have".to_owned())
            }
            _ => None,
        }
    }
}
