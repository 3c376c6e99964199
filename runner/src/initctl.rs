//! Asking a sysvinit to power off, at the pipe where it listens.
//!
//! At SIGPWR it runs what its inittab says, which is a script that Debian's package does not bring: nothing happens, and the
//! system is killed in the end. What telinit writes always works (initreq.h). The pipe is the container's, so it is looked up by
//! descriptor and without links, known to be a pipe before it is opened, and never waited for.

use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::Result;
use crate::inroot::Root;
use crate::rootfs;

/// Where it listens.
const PIPE: &str = "run/initctl";
const MAGIC: i32 = 0x0309_1969;
const CHANGE_RUNLEVEL: i32 = 1;
/// Seconds between SIGTERM and SIGKILL for what runs.
const PATIENCE: i32 = 3;
/// The length of every request.
const LENGTH: usize = 384;

/// A request for a runlevel.
fn request(runlevel: u8) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    for (place, number) in bytes.chunks_exact_mut(4).zip([MAGIC, CHANGE_RUNLEVEL, i32::from(runlevel), PATIENCE]) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    bytes
}

/// Asks the init of a running container to power off. False: none listens there.
///
/// # Errors
/// [`crate::Error::NotRunning`], [`crate::Error::NotFound`].
pub(crate) fn power_off(state_dir: &Path) -> Result<bool> {
    let root = Root::without_links(rootfs::root_of_running(state_dir)?);
    Ok(ask(&root, b'0'))
}

/// Whether somebody listens and has been asked.
fn ask(root: &Root, runlevel: u8) -> bool {
    let Ok(place) = root.open(Path::new(PIPE), OFlags::PATH | OFlags::NOFOLLOW) else { return false };
    let is_pipe = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if !rustix::fs::fstat(&place).is_ok_and(is_pipe) {
        return false;
    }
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
    // Nobody reads: the open fails. It is full: the write does.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(pipe) = rustix::fs::open(again, flags, Mode::empty()) else { return false };
    rustix::io::write(&pipe, &request(runlevel)) == Ok(LENGTH)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, mknodat};

    use super::*;

    fn root(at: &Path) -> Root {
        Root::without_links(rustix::fs::open(at, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap())
    }

    #[test]
    fn only_a_pipe_with_a_reader_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (run, pipe) = (directory.path().join("run"), directory.path().join("run/initctl"));
        assert!(!ask(&root(directory.path()), b'0'), "nothing is there");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(&pipe, "").unwrap();
        assert!(!ask(&root(directory.path()), b'0'), "a file");
        assert_eq!(std::fs::read(&pipe).unwrap(), b"");
        std::fs::remove_file(&pipe).unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert!(!ask(&root(directory.path()), b'0'), "nobody reads");
        let reader = rustix::fs::open(&pipe, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert!(ask(&root(directory.path()), b'0'));
        let mut bytes = [0; 2 * LENGTH];
        assert_eq!(rustix::io::read(&reader, &mut bytes).unwrap(), LENGTH);
        assert_eq!(bytes[..4], MAGIC.to_ne_bytes());
        assert_eq!(bytes[8..12], i32::from(b'0').to_ne_bytes());

        // A link is not followed, wherever it leads.
        std::fs::rename(&pipe, directory.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", &pipe).unwrap();
        assert!(!ask(&root(directory.path()), b'0'));
    }
}
