//! Opening paths that others wrote, without leaving the directory they are meant in (openat2(2)).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// openat2(2) of what is there, close-on-exec, and again where the kernel says so: a rename or mount anywhere on the machine
/// makes it unsure of a `..` (`EAGAIN`), which is no answer to whoever asked.
///
/// # Errors
/// As openat2(2), without `EAGAIN` and `EINTR`.
pub fn open(top: impl AsFd, path: impl Arg, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    path.into_with_c_str(|path| {
        loop {
            #[expect(clippy::disallowed_methods, reason = "this is what is to be called instead")]
            match rustix::fs::openat2(&top, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    })
}
