//! What can go wrong at a registry, as types that callers can match on.
//!
//! Messages say what was being done and to what, in lower case, without secrets and without control characters, even
//! where they repeat what a server said. Advice for the user is kept apart, in [`Error::hint`].

use std::time::Duration;

use crate::digest::Digest;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error of this crate. `what` names the action and its object, as in "manifest of docker.io/library/a:1".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reference outside the grammar.
    #[error("invalid reference {text:?}: {why}")]
    InvalidReference {
        /// The start of the text that was given.
        text: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Something that is no digest we know.
    #[error("invalid digest {text:?}: {why}")]
    InvalidDigest {
        /// The start of the text that was given.
        text: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Something that is no platform.
    #[error("invalid platform {0:?}: expected os/architecture or os/architecture/variant")]
    InvalidPlatform(String),
    /// A configuration that cannot be used.
    #[error("invalid registry configuration: {what}")]
    Config {
        /// Which part and what is wrong with it.
        what: String,
        /// The cause, if there is one.
        source: Option<Source>,
    },
    /// The registry has no such thing.
    #[error("{what}: not found{said}")]
    NotFound {
        /// The action and its object.
        what: String,
        /// What the server said about it, cleaned.
        said: Said,
    },
    /// The registry wants (other) credentials.
    #[error("{what}: authentication required{said}")]
    Unauthorized {
        /// The action and its object.
        what: String,
        /// The registry that a login would be for.
        registry: String,
        /// What the server said about it, cleaned.
        said: Said,
    },
    /// The registry knows who is asking and refuses.
    #[error("{what}: access denied{said}")]
    Denied {
        /// The action and its object.
        what: String,
        /// What the server said about it, cleaned.
        said: Said,
    },
    /// Too many requests, and waiting did not help or would take too long.
    #[error("{what}: too many requests{said}")]
    RateLimited {
        /// The action and its object.
        what: String,
        /// How long the server asked us to wait.
        retry_after: Option<Duration>,
        /// What the server said about it, cleaned.
        said: Said,
    },
    /// No connection, or it broke, and trying again did not help.
    #[error("{what}: cannot reach {host}")]
    Unreachable {
        /// The action and its object.
        what: String,
        /// Host and port.
        host: String,
        /// The last failure.
        source: Source,
    },
    /// The server's certificate was not accepted.
    #[error("{what}: certificate of {host} is not trusted")]
    Certificate {
        /// The action and its object.
        what: String,
        /// Host and port.
        host: String,
        /// Why not.
        source: Source,
    },
    /// The server was silent, or slower than the least rate, for too long.
    #[error("{what}: {host} sent too little for {} s", waited.as_secs())]
    Stalled {
        /// The action and its object.
        what: String,
        /// Host and port.
        host: String,
        /// How long we waited.
        waited: Duration,
    },
    /// A status that means a fault in the server, or that we have no use for.
    #[error("{what}: unexpected status {status}{said}")]
    Status {
        /// The action and its object.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the server said about it, cleaned.
        said: Said,
    },
    /// Bytes whose digest is not the expected one. They must not be used.
    #[error("{what}: expected digest {expected}, got {actual}")]
    DigestMismatch {
        /// The action and its object.
        what: String,
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Fewer or more bytes than announced.
    #[error("{what}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// The action and its object.
        what: String,
        /// The announced size.
        expected: u64,
        /// The bytes that came; one too many stands for any larger number.
        actual: u64,
    },
    /// More than we are willing to read.
    #[error("{what}: larger than the limit of {limit} bytes")]
    TooLarge {
        /// The action and its object.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// An answer that breaks the distribution spec.
    #[error("{what}: {why}")]
    Protocol {
        /// The action and its object.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest that we do not take, such as schema 1, an artifact, or one that is two things at once.
    #[error("{what}: {why}")]
    Unsupported {
        /// The action and its object.
        what: String,
        /// What it is and why it is refused.
        why: String,
    },
    /// An index without a manifest for the platform.
    #[error("{what}: no manifest for platform {wanted}")]
    NoPlatform {
        /// The action and its object.
        what: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms there are.
        offered: String,
    },
    /// The configuration forbids this registry or repository.
    #[error("{0} is blocked by configuration")]
    Blocked(String),
    /// A redirect or link that would lose encryption or reach into this machine.
    #[error("{what}: refused to follow {from} to {to}")]
    Redirect {
        /// The action and its object.
        what: String,
        /// Where it came from.
        from: String,
        /// Where it led.
        to: String,
    },
    /// Credentials could not be had or kept.
    #[error("credentials for {registry}: {why}")]
    Credentials {
        /// The registry they are for.
        registry: String,
        /// What failed.
        why: String,
        /// The cause, if there is one.
        source: Option<Source>,
    },
    /// A local read or write failed.
    #[error("{what}")]
    Io {
        /// The action and its object.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The client was dropped while this was under way.
    #[error("{0}: the client was closed")]
    Closed(String),
}

/// What a server said about an error, cleaned for a terminal; displays as ": text", or as nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(pub String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl Error {
    /// What the user can do about it, in one sentence, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidReference { .. } => {
                Some("a reference looks like [registry/]name[:tag][@sha256:digest], with the name in lower case".into())
            }
            Self::NotFound { .. } => {
                Some("check the name and the tag; a private image may need `img login` first".into())
            }
            Self::Unauthorized { registry, .. } => {
                Some(format!("`img login {registry}`, or check that the name exists"))
            }
            Self::Denied { .. } => Some("this account may not do that; check the repository's permissions".into()),
            Self::RateLimited { retry_after: Some(wait), .. } => {
                Some(format!("try again in {} s; logged in users often have a higher limit", wait.as_secs()))
            }
            Self::RateLimited { .. } => Some("try again later; logged in users often have a higher limit".into()),
            Self::Unreachable { .. } => Some("check the network, the host name and the proxy settings".into()),
            Self::Certificate { host, .. } => {
                Some(format!("add the authority's certificate to `ca_files` of host {host:?} in the configuration"))
            }
            Self::Stalled { .. } => {
                Some("the part that came is kept by a resumable pull; run the command again".into())
            }
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                Some("the registry, a mirror or a proxy sent wrong data; nothing of it was kept".into())
            }
            Self::NoPlatform { offered, .. } => Some(format!("available: {offered}; choose one with --platform")),
            Self::Redirect { to, .. } if to.starts_with("http://") => {
                Some(format!("if {to:?} is meant to be used without TLS, configure its host so"))
            }
            _ => None,
        }
    }

    /// Whether the cause is that the thing does not exist at the registry.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
