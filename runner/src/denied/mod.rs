//! Who said no: a container is watched while it runs, and each refusal it meets is put down to the layer that refused.
//!
//! A *witness*, a process beside the container's parent, traces the program and all its children (ptrace) from its exec on and
//! looks at every system call that fails as a refusal would. Whether the filter refused is known exactly: the same filter is
//! interpreted here with the same arguments. For all else the kernel's error, the process's own capabilities and limits, the mounts and
//! the spec decide. This is slow, several times for programs that make many calls, and only ever done when asked for.

mod call;
mod cause;
mod ids;
mod place;
mod space;
mod sys;
mod witness;

use std::fmt;

pub(crate) use witness::Witness;

/// A refusal, counted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Denial {
    /// The system call, or what else was refused.
    pub call: String,
    /// The file or device it was about.
    pub object: Option<String>,
    /// The layer that refused: capability, seccomp, device rule, read-only mount, …
    pub layer: String,
    /// What exactly.
    pub why: String,
    /// The smallest change of the command line that would allow it.
    pub flag: Option<String>,
    /// How often it was met.
    pub count: u32,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if let Some(object) = &self.object {
            write!(f, " {object}")?;
        }
        write!(f, ": {}: {}", self.layer, self.why)?;
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        match &self.flag {
            Some(flag) => write!(f, "; allowed {flag}"),
            None => Ok(()),
        }
    }
}
