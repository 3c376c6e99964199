//! The runner as an OCI runtime: a bundle on disk is created, started and deleted by commands of their own.
//!
//! ```text
//!   create   bundle ──► plan, clone, dialogue ──► the child waits at its gate; the caller may end
//!   start    opens the gate ──► the program runs, or the reason why it does not
//!   kill, pause, resume, update, exec, state, events   by the record, a pidfd and the cgroup
//!   delete   cgroup, poststop hooks, record
//! ```
//!
//! A [`Runtime`] is a directory with one directory for each container. Nothing stays behind to look after a container: whoever
//! called `create` (conmon, a containerd shim) inherits it. The rule: a field of the configuration is honoured or refused, and
//! what is left after a crash is found by its record.

mod bundle;
mod cgroups;
mod console;
mod create;
mod delete;
mod events;
mod example;
mod exec;
mod features;
mod foreground;
mod record;
mod start;
mod verbs;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub use create::{CreateOptions, Created, Stdio};
pub use events::{Event, Events};
pub use example::example;
pub use exec::{ExecOptions, Executed};
pub use features::features;
pub use foreground::{Foreground, inherit_orphans};
pub use record::{Record, Status, state_of, timestamp};

/// The version of the runtime specification that is spoken.
pub const SPEC_VERSION: &str = "1.2.0";

/// A directory of containers.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
}

impl Runtime {
    /// The runtime whose records lie below `root`, an absolute path; the directory is made when it is needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the records are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of one container.
    fn directory(&self, id: &str) -> Result<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
        if id.is_empty() || id.len() > 250 || !id.bytes().all(plain) || matches!(id, "." | "..") {
            return Err(Error::invalid(format!("invalid container ID format: {id:?}")));
        }
        Ok(self.root.join(id))
    }
}
