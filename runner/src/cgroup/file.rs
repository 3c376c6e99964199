//! The few things one does with the files of a control group: read, write, make and remove a directory.
//!
//! Control files are small and made by the kernel; reading is bounded all the same, and a write is one system call (the
//! kernel takes each write as one order).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Error, Result};

/// More than any control file holds (memory.stat has 2 KiB; cgroup.procs of 4096 processes 30 KiB).
const MAX_BYTES: u64 = 4 << 20;

/// The whole text of a control file.
pub(super) fn read(path: &Path) -> Result<String> {
    read_raw(path).map_err(|source| Error::io("read", path, source))
}

/// The whole text, or `None` if there is no such file (another kernel, a removed group).
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>> {
    match read_raw(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

fn read_raw(path: &Path) -> io::Result<String> {
    // Most are shorter: one read for the text and one for its end.
    let mut text = String::with_capacity(4096);
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes one order to a control file.
pub(super) fn write_raw(path: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let written = file.write(value.as_bytes())?;
    if written < value.len() { Err(io::Error::from(io::ErrorKind::WriteZero)) } else { Ok(()) }
}

/// As [`write_raw`], with the path in the error.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    write_raw(path, value).map_err(|source| Error::io("write to", path, source))
}

/// Whether the file or its group is not there (ENODEV: the group was removed while the file was open).
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Makes a group's directory. False if it was there.
pub(super) fn make_directory(path: &Path) -> Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(Error::io("create control group", path, source)),
    }
}

/// Opens a directory for CLONE_INTO_CGROUP and bpf(2).
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path).map(OwnedFd::from)
}

/// Opens a control file for writing.
pub(super) fn open_for_writing(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path).map(OwnedFd::from)
}

/// The names of the groups inside a group; none if it is gone.
pub(super) fn children(path: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("list control group", path, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("list control group", path, source))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a group and the groups inside it, which must be empty of processes or become so before `deadline`: the kernel
/// keeps a group busy for a moment after its last process was reaped.
pub(super) fn remove_tree(path: &Path, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match remove_once(path) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        // A group with children answers EBUSY; look for them only then.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {
            for entry in std::fs::read_dir(path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_once(&entry.path())?;
                }
            }
            std::fs::remove_dir(path)
        }
        result => result,
    }
}
