//! What can go wrong while a network is made or removed. Messages are lower case and name the step; the cause is in
//! `source()`, and what a user may do about it in [`Error::hint`]. Nothing here prints.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::address::Subnet;
use super::config::Protocol;

/// Result with the network's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal by the kernel, with the sentence it may add to the error number (`NLMSGERR_ATTR_MSG`).
#[derive(Debug)]
pub struct KernelError {
    errno: i32,
    message: Option<String>,
}

impl KernelError {
    pub(super) fn new(errno: i32, message: Option<String>) -> Self {
        Self { errno, message }
    }

    /// The error number, positive, as in errno(3).
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.errno
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        match &self.message {
            Some(message) => write!(f, ": {}", message.escape_default()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

/// An error of container networking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("cannot {step}")]
    Kernel {
        /// What was being done, as a verb phrase with its object.
        step: String,
        /// The kernel's answer.
        source: KernelError,
    },
    /// A system call on a socket or a namespace failed.
    #[error("cannot {step}")]
    System {
        /// What was being done, as a verb phrase with its object.
        step: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of the state directory, or a switch below `/proc/sys`, could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel's answer could not be understood.
    #[error("cannot {step}: the kernel's answer is malformed")]
    Malformed {
        /// What was being done.
        step: String,
    },
    /// What was asked for contradicts itself or cannot be had.
    #[error("invalid network configuration: {0}")]
    Config(String),
    /// A host port is held by a program of the host or by another container.
    #[error("port is already in use: {}/{protocol} is held by {holder}", SocketAddr::new(*host_ip, *port))]
    PortInUse {
        /// The address on the host.
        host_ip: IpAddr,
        /// The port on the host.
        port: u16,
        /// The protocol.
        protocol: Protocol,
        /// Who holds it: `container <id>`, or `a program of this host`.
        holder: String,
    },
    /// The address asked for belongs to another container.
    #[error("address {address} is already used by container {owner}")]
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The container's id.
        owner: String,
    },
    /// Each address of the subnet belongs to a living container.
    #[error("no free address in {0}")]
    NoFreeAddress(Subnet),
    /// None of the subnets to choose from is free of the host's routes.
    #[error("no free subnet for bridge {bridge}: each candidate overlaps a route of this host")]
    NoFreeSubnet {
        /// The bridge.
        bridge: String,
    },
    /// A subnet asked for leads elsewhere already.
    #[error("subnet {subnet} overlaps {taken}, to which this host has a route")]
    SubnetInUse {
        /// The subnet.
        subnet: Subnet,
        /// Where the route leads.
        taken: Subnet,
    },
    /// The bridge exists but is not what was asked for.
    #[error("bridge {bridge} {reason}")]
    BridgeMismatch {
        /// The bridge.
        bridge: String,
        /// How it differs.
        reason: String,
    },
    /// An interface of the host that a container cannot have.
    #[error("interface {name} {reason}")]
    Device {
        /// Its name on the host.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A firewall that this code cannot change drops forwarded packets.
    #[error("forwarding to and from {bridge} is blocked by {blocker}")]
    ForwardBlocked {
        /// The bridge.
        bridge: String,
        /// The chain or rule, in words.
        blocker: String,
        /// What removes the block.
        hint: String,
    },
    /// What was set does not read back as it was set.
    #[error("network of container {container} does not read back as set: {what}")]
    Verify {
        /// The container's id.
        container: String,
        /// What differs.
        what: String,
    },
    /// A lock was not released in time by another process.
    #[error("timed out waiting for the lock {}", path.display())]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
    },
    /// Something failed, and so did part of the cleaning up after it.
    #[error("{first} (and cleaning up failed: {})", list(cleanup))]
    Cleanup {
        /// The first error: why cleaning up was begun.
        #[source]
        first: Box<Error>,
        /// What cleaning up could not do.
        cleanup: Vec<Error>,
    },
    /// Part of a removal failed; the rest of it was done.
    #[error("cannot remove all of the network: {}", list(.0))]
    Teardown(Vec<Error>),
}

impl Error {
    pub(super) fn file(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.as_ref().to_path_buf(), source }
    }

    pub(super) fn system<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self::System { step: step.into(), source: error.into() }
    }

    /// The error number behind this error, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => Some(source.errno),
            Self::System { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            Self::Cleanup { first, .. } => first.errno(),
            _ => None,
        }
    }

    /// What the user may do about it, as a sentence without a full stop; `None` where the message says all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if let Self::ForwardBlocked { hint, .. } = self {
            return Some(hint.clone());
        }
        if let Self::Cleanup { first, .. } = self {
            return first.hint();
        }
        if let Self::Device { .. } = self {
            return Some(
                "`ip link` lists the interfaces of this host; a macvlan on top of one can be shared".to_owned(),
            );
        }
        if let Self::PortInUse { .. } = self {
            return Some("publish on another host port, or leave it out to get a free one".to_owned());
        }
        let hint = match (self.errno()?, self) {
            (libc::EPERM | libc::EACCES, _) => {
                "this needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run as root, or use a network that needs neither (none, host)"
            }
            (libc::EROFS, Self::File { .. }) => "/proc/sys is read-only here; set the switch outside and try again",
            (
                libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOENT | libc::ENODEV,
                Self::Kernel { .. },
            ) => {
                "a kernel module may be missing: veth, bridge, nf_tables, nft_nat, nft_masq, nft_fib_ipv4, nft_ct and for IPv6 nft_fib_ipv6 are needed"
            }
            (libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT, Self::System { .. }) => {
                "the kernel lacks netlink for nf_tables (CONFIG_NF_TABLES)"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn list(errors: &[Error]) -> String {
    let texts: Vec<String> = errors
        .iter()
        .map(|error| match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
        .collect();
    texts.join("; ")
}
