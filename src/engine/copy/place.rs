//! Where one end of a copy is: the host's file system, or a container's root behind a descriptor. A container's paths
//! are looked up by openat2 with `RESOLVE_IN_ROOT`: no link of it, however made, leads to the host.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use runner::RunningIds;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{CommandError, Result};

/// One file system.
pub struct Place {
    /// The container's name and root; `None` is the host.
    container: Option<(String, OwnedFd)>,
    /// The ids of a running container in a user namespace.
    pub ids: Option<RunningIds>,
}

impl Place {
    /// The host's file system, as the user of `img` sees it.
    pub fn host() -> Self {
        Self { container: None, ids: None }
    }

    /// The root directory of the container `name`, and its ids if those of its files are others than the host's.
    pub fn container(name: &str, root: OwnedFd, ids: Option<RunningIds>) -> Self {
        Self { container: Some((name.to_owned(), root)), ids }
    }

    /// Opens a path; links are followed, the last one too unless `flags` say otherwise.
    pub fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let Some((_, root)) = &self.container else {
            return rustix::fs::openat(CWD, OsStr::from_bytes(path), flags, Mode::empty());
        };
        // A container's path begins at its root, with or without a slash.
        let path = [b"./", path].concat();
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        store::scoped::open(root, OsStr::from_bytes(&path), flags, resolve)
    }

    /// Opens a directory that must be there.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub fn open_directory(&self, path: &str) -> Result<OwnedFd> {
        self.open(path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|error| failed("copy to", &self.shown(path), error))
    }

    /// A path as it is shown in messages.
    pub fn shown(&self, path: &str) -> String {
        match &self.container {
            Some((name, _)) => format!("{name}:{}", path.replace("//", "/")),
            None => path.to_owned(),
        }
    }

    /// Who owns what is copied here, unless owners are kept: root in a container, the user of `img` on the host.
    pub fn default_owner(&self) -> (u32, u32) {
        match &self.container {
            Some(_) => (0, 0),
            None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        }
    }
}

/// An error of the kernel about a path, in plain words.
pub fn failed(verb: &str, path: &str, error: Errno) -> CommandError {
    let why = match error {
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::NOTDIR => "not a directory".to_owned(),
        Errno::ROFS => "its file system is read-only".to_owned(),
        Errno::LOOP => "a symbolic link is in the way".to_owned(),
        error => std::io::Error::from(error).to_string(),
    };
    CommandError::new(format!("cannot {verb} {path}: {why}"))
}
