//! Control files by name, of whatever version the machine has: a name of version 1 is found on version 2 and the other way.
//!
//! A file that is there is read and written as it is. One that belongs to the other version is translated, value and all; one
//! that has no counterpart is refused with the reason. Nothing but the container's own groups is reached: a name is a name,
//! never a path.

use std::path::{Path, PathBuf};

use super::control::event;
use super::translate::{self, Other};
use super::{Cgroup, Controller, Error, Result, control, file};

/// The largest value that is written.
const VALUE_MAX: usize = 4096;

impl Cgroup {
    /// What a control file says, without the line feed at its end.
    ///
    /// # Errors
    /// A name that is none, or of a file that no version here has.
    pub fn get(&self, name: &str) -> Result<String> {
        if let Some(text) = self.read_own(name)? {
            return Ok(text);
        }
        let missing = |reason: &str| Error::ControlFile { name: name.to_owned(), reason: reason.to_owned() };
        match translate::other(name) {
            Some(Other::None(reason)) => Err(missing(reason)),
            Some(Other::Read(read)) => {
                let value = read(&|file: &str| self.read_own(file).ok().flatten());
                value.ok_or_else(|| self.absent(name))
            }
            Some(Other::Both(read, _)) => {
                let value = read(&|file: &str| self.read_own(file).ok().flatten());
                value.ok_or_else(|| self.absent(name))
            }
            None => Err(self.absent(name)),
        }
    }

    /// Writes a control file; what the container is limited by from then on is the caller's to remember.
    ///
    /// # Errors
    /// As [`Cgroup::get`], and a value that the kernel refuses.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        check_name(name)?;
        if value.contains('\n') || value.len() > VALUE_MAX {
            return Err(Error::ControlFile { name: name.to_owned(), reason: "its value must be one line".to_owned() });
        }
        self.ensure(name)?;
        if let Some(path) = self.own_file(name) {
            return self.write_file(name, &path, value);
        }
        match translate::other(name) {
            Some(Other::Both(_, write_to)) => {
                let writes = {
                    let read = |file: &str| self.read_own(file).ok().flatten();
                    write_to(value, &read).map_err(|reason| Error::ControlFile { name: name.to_owned(), reason })?
                };
                for (file, value) in writes {
                    self.ensure(file)?;
                    let path = self.own_file(file).ok_or_else(|| self.absent(name))?;
                    self.write_file(name, &path, &value)?;
                }
                Ok(())
            }
            Some(Other::Read(_)) => {
                Err(Error::ControlFile { name: name.to_owned(), reason: "it can only be read".to_owned() })
            }
            Some(Other::None(reason)) => Err(Error::ControlFile { name: name.to_owned(), reason: reason.to_owned() }),
            None => Err(self.absent(name)),
        }
    }

    /// Every control file that can be read, with its directory and what it says.
    ///
    /// # Errors
    /// A group that cannot be listed.
    pub fn dump(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut directories: Vec<PathBuf> = self.directories().map(|(_, path)| path.to_owned()).collect();
        directories.sort();
        directories.dedup();
        let mut all = Vec::new();
        for directory in directories {
            let entries = std::fs::read_dir(&directory);
            let entries = entries.map_err(|source| Error::io("list control group", directory.clone(), source))?;
            let mut files: Vec<PathBuf> =
                entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
            files.sort();
            // Some can only be written.
            all.extend(files.into_iter().filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))));
        }
        Ok(all)
    }

    /// A limit is also written where the container reads it as its own; the kernel's `cgroup.` files hold for all that is inside.
    fn write_file(&self, name: &str, path: &Path, value: &str) -> Result<()> {
        write(name, path, value)?;
        let (Some(unified), Some(payload)) = (&self.unified, &self.payload) else { return Ok(()) };
        match path.strip_prefix(unified) {
            Ok(file) if !file.to_string_lossy().starts_with("cgroup.") => write(name, &payload.join(file), value),
            _ => Ok(()),
        }
    }

    fn own_file(&self, name: &str) -> Option<PathBuf> {
        check_name(name).ok()?;
        let mut files = self.directories().map(|(_, directory)| directory.join(name));
        files.find(|path| path.is_file())
    }

    fn read_own(&self, name: &str) -> Result<Option<String>> {
        check_name(name)?;
        match self.own_file(name) {
            Some(path) => Ok(file::read_if_there(&path)?.map(|text| text.trim_end_matches('\n').to_owned())),
            None => Ok(None),
        }
    }

    /// Version 1 makes a container's group only for a limit: one that is to be set now is made now.
    fn ensure(&mut self, name: &str) -> Result<()> {
        let prefix = name.split('.').next().unwrap_or_default();
        let known = self.hierarchies.version1.keys().copied().find(|controller| controller.name(true) == prefix);
        let Some(controller) = known.filter(|controller| !self.version1.contains_key(controller)) else {
            return Ok(());
        };
        let mount = &self.hierarchies.version1[&controller];
        if !mount.join(name).is_file() && !mount.join(super::HOME).join(name).is_file() {
            return Ok(());
        }
        self.make_version1(controller)?;
        let directory = self.version1[&controller].clone();
        control::move_all(|| self.processes(), &directory)
    }

    fn absent(&self, name: &str) -> Error {
        let prefix = name.split('.').next().unwrap_or_default();
        let of = |controller: &Controller| [controller.name(true), controller.name(false)].contains(&prefix);
        let reason = match self.hierarchies.version1.keys().any(of) && !self.version1.keys().any(of) {
            true => format!("the container has no group of its own for `{prefix}`, for nothing limits it there"),
            false => "no control group here has a file of that name".to_owned(),
        };
        Error::ControlFile { name: name.to_owned(), reason }
    }
}

fn write(name: &str, path: &Path, value: &str) -> Result<()> {
    file::write_raw(path, value).map_err(|source| Error::Limit {
        what: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// A name of a file, and no path.
fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        let reason = "it is not the name of a control file".to_owned();
        return Err(Error::ControlFile { name: name.to_owned(), reason });
    }
    Ok(())
}

/// One value of a `key value` file that somebody else read.
pub(super) fn field(text: Option<String>, key: &str) -> Option<u64> {
    event(&text?, key)
}
