//! What can go wrong while a sandbox is worked out or put on.

use std::io;

/// A failure of the security room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No capability of that name.
    #[error("unknown capability `{name}`")]
    UnknownCapability {
        /// As it was written.
        name: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<&'static str>,
    },
    /// The kernel refused a step in the child.
    #[error("cannot {doing}")]
    Kernel {
        /// What was being done, as "drop CAP_X from the bounding set".
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A seccomp profile asks for something that cannot be compiled.
    #[error("cannot compile the seccomp profile: {reason}")]
    Seccomp {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A seccomp profile is not JSON of the known forms.
    #[error("cannot read the seccomp profile")]
    Profile {
        /// Where the JSON is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A label was asked for that this kernel cannot enforce.
    #[error("cannot apply {kind} label `{label}`: {reason}")]
    Label {
        /// `AppArmor` or `SELinux`.
        kind: &'static str,
        /// The profile or context asked for.
        label: String,
        /// Why not.
        reason: &'static str,
    },
}

impl Error {
    /// What the user could do about it, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::UnknownCapability { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Error::UnknownCapability { .. } => Some("capabilities(7) lists the names; `ALL` stands for all".into()),
            Error::Label { .. } => {
                Some("leave the label out, or run on a kernel with that security module enabled".into())
            }
            Error::Kernel { source, .. } if source.raw_os_error() == Some(libc::EPERM) => {
                Some("the program needs to be root (or root in its own user namespace) for this".into())
            }
            _ => None,
        }
    }

    pub(crate) fn kernel(doing: &'static str, source: io::Error) -> Self {
        Error::Kernel { doing, source }
    }
}
