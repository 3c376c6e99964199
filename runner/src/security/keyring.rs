//! Kernel key rings: a container gets a session keyring of its own.
//!
//! Key rings are not namespaced: a process keeps the session keyring it was born with, and with it the keys of the
//! user who started it. So the child joins a fresh anonymous one before exec, and the default seccomp policy refuses
//! keyctl afterwards.

use super::{Error, Result, sys};

/// Joins a new, empty, anonymous session keyring. A kernel without keys (`ENOSYS`) has nothing to leak and is fine;
/// anything else, the key quota included, is an error. Allocates nothing.
pub fn join_session() -> Result<()> {
    match sys::join_session_keyring() {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        Err(source) => Err(Error::kernel("join a session keyring of its own", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_keyring_changes() {
        let status = sys::in_forked_child(|| match (sys::join_session_keyring(), sys::join_session_keyring()) {
            (Ok(first), Ok(second)) => i32::from(first == second),
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOSYS) => i32::from(join_session().is_err()),
            _ => 2,
        });
        assert_eq!(status, 0);
    }
}
