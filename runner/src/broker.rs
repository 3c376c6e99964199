//! Work in a forked child, for callers with threads.
//!
//! Moving between mount namespaces and cloning containers needs a single-threaded process. [`in_child`] forks one (by fork(3), after
//! which malloc works), runs a closure there and brings its result back over a pipe. The rule: the child closes every
//! descriptor it was not given, so that no lock and no pipe of another thread lives on in it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::sys;

/// The longest result.
const MAX_RESULT: u64 = 64 << 20;

/// Runs `work` in a child and returns its result. An error comes back as its text.
pub fn in_child<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    in_child_with(&[], work)
}

/// As [`in_child`], for a child that keeps the descriptors `keep`.
pub fn in_child_with<T: Serialize + DeserializeOwned>(keep: &[RawFd], work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (reader, writer) = io::pipe().doing(|| "make a pipe".into())?;
    let keep: Vec<RawFd> = keep.iter().copied().chain([writer.as_raw_fd()]).collect();
    let child = spawn(&keep, || {
        let answer = work().map_err(|error| Failure::new("", &error));
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        i32::from((&writer).write_all(&bytes).is_err())
    })?;
    drop(writer);
    let mut bytes = Vec::new();
    let read = reader.take(MAX_RESULT).read_to_end(&mut bytes);
    sys::wait(child.as_fd()).doing(|| "wait for a helper process".into())?;
    read.doing(|| "read from a helper process".into())?;
    let answer: std::result::Result<T, Failure> =
        serde_json::from_slice(&bytes).map_err(|_| Error::invalid("a helper process ended without an answer"))?;
    answer.map_err(Error::Start)
}

/// Forks a child that keeps standard input and output and `keep`, runs `work` and leaves with its result. Returns its pidfd.
pub fn spawn(keep: &[RawFd], work: impl FnOnce() -> i32) -> Result<OwnedFd> {
    match sys::fork().doing(|| "start a helper process".into())? {
        sys::Forked::Child => {
            let code = if close_all_but(keep).is_ok() { work() } else { 125 };
            sys::exit(code)
        }
        sys::Forked::Parent(pid) => {
            let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::invalid("fork gave no process id"))?;
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                .doing(|| "watch a helper process".into())
        }
    }
}

/// Closes all descriptors above 2 that are not in `keep`.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    gaps(keep).into_iter().try_for_each(|(first, last)| sys::close_range(first, last))
}

/// Marks all descriptors from 3 on but `keep` close-on-exec.
pub fn close_on_exec_all_but(keep: &[RawFd]) -> io::Result<()> {
    gaps(keep).into_iter().try_for_each(|(first, last)| sys::close_on_exec(first, last))
}

/// The first `count` descriptors from 3 on, as a service manager passes them.
pub fn from_three(count: u32) -> Vec<RawFd> {
    (3..3u32.saturating_add(count)).map_while(|fd| RawFd::try_from(fd).ok()).collect()
}

/// The ranges from 3 on, both ends included, that hold none of `keep`.
fn gaps(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut gaps = Vec::new();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = fd + 1;
    }
    gaps.push((first, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_leave_out_what_is_kept() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[5, 3, 5, 1, -1]), [(4, 4), (6, u32::MAX)]);
        assert_eq!(gaps(&from_three(2)), [(5, u32::MAX)]);
    }

    #[test]
    fn results_and_errors_come_back() {
        assert_eq!(in_child(|| Ok(vec![1, 2, 3])).unwrap(), [1, 2, 3]);
        let error = in_child(|| -> Result<()> { Err(Error::NotFound("x".into())) }).unwrap_err();
        assert_eq!(error.to_string(), "no such container: x");
    }

    #[test]
    fn descriptors_do_not_leak_into_the_child() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let open = in_child(|| Ok(std::fs::exists(format!("/proc/self/fd/{number}")).unwrap_or(true))).unwrap();
        assert!(!open);
    }
}
