//! What a container may not do: capabilities, system calls, paths, keys and labels.
//!
//! The room owns the default sandbox and the code that puts it on a process. Everything that needs thought (names,
//! rules, programs) is worked out by the parent as plain data; what runs in the child between clone and exec is a
//! few system calls without allocation. The rule: a part of the sandbox that cannot be had is an error, never a warning.
//!
//! Order in the child, without `no_new_privs`: [`keyring::join_session`], [`capabilities::Sets::apply_bounding`], load the
//! seccomp [`seccomp::Program`] (the kernel wants CAP_SYS_ADMIN for that), change the user with kept capabilities,
//! [`capabilities::Sets::apply_sets`], exec. With `no_new_privs` the program is loaded last of all.

pub mod capabilities;
mod error;
pub mod keyring;
pub mod label;
pub mod paths;
pub mod seccomp;
pub(crate) mod sys;

pub use error::Error;

/// Makes all capabilities that the caller may have effective.
pub(crate) fn raise_permitted() -> std::io::Result<()> {
    let (_, permitted, inheritable) = sys::capget()?;
    sys::capset(permitted, permitted, inheritable)
}

/// The result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;
