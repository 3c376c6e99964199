//! The names of records. `<class>/names/<name>` is a symbolic link whose text is the id in base64url (it is read, never followed):
//! symlink(2) makes it exclusively and whole in one call, and 43 characters lie in the link's inode, where the 64 digits of
//! hexadecimal would take ext4 a block, and a start 0.4 ms. A name is taken before its record can be seen and leaves after it, so
//! that one without a record is stale, or its record is being made: whoever takes it over is alone with the names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{FILE, Records, validate_id};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::lock::{self, LockFile, LockMode};

impl Records<'_> {
    pub(super) fn name_path(&self, home: &Path, name: &str) -> PathBuf {
        self.directory(home).join("names").join(name)
    }

    /// The id of the record named `name`; `None` if there is none.
    pub(super) fn named(&self, name: &str) -> Result<Option<String>> {
        for home in self.homes() {
            if let Some(id) = self.named_in(home, name)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    pub(super) fn named_in(&self, home: &Path, name: &str) -> Result<Option<String>> {
        let path = self.name_path(home, name);
        let Some(target) = files::optional(fs::read_link(&path).map_err(Error::io("read the link", &path)))? else {
            return Ok(None);
        };
        let id = target.to_str().and_then(id_of_link);
        let id = id.ok_or_else(|| Error::Damaged(format!("the name {} holds no id", path.display())))?;
        Ok(self.directory(home).join(&id).join(FILE).exists().then_some(id))
    }

    pub(super) fn names_lock(&self, home: &Path) -> PathBuf {
        home.join("locks").join(self.class.directory())
    }

    pub(super) fn lock_names(&self, home: &Path) -> Result<LockFile> {
        LockFile::acquire(&self.names_lock(home), LockMode::Exclusive, lock::SHORT)
    }

    pub(super) fn take_name(&self, home: &Path, name: &str, id: &str) -> Result<()> {
        self.not_elsewhere(home, name)?;
        let path = self.name_path(home, name);
        let link = || match std::os::unix::fs::symlink(link_of_id(id), &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("create the name", &path)(error)),
        };
        if !link()? && self.named_in(home, name)?.as_deref() != Some(id) {
            // Taken, or left by a removal that was cut short. Who takes a stale name away must be alone with it.
            let _lock = self.lock_names(home)?;
            let stale = self.named_in(home, name)?.is_none();
            if stale {
                files::remove_all(&path)?;
            }
            if !stale || !link()? {
                return Err(Error::Conflict(format!("the {} name {name} is taken", self.class.noun())));
            }
        }
        if self.durability == Durability::Synced { files::sync_parent(&path) } else { Ok(()) }
    }

    pub(super) fn free_name(&self, home: &Path, name: &str, id: &str) -> Result<()> {
        let path = self.name_path(home, name);
        let _lock = self.lock_names(home)?;
        let target = files::optional(fs::read_link(&path).map_err(Error::io("read the link", &path)))?;
        if target.is_some_and(|target| target.to_str().and_then(id_of_link).as_deref() == Some(id)) {
            files::remove_all(&path)
        } else {
            Ok(())
        }
    }

    /// Records whose name is not reserved for them, after a kill at the wrong moment; with `repair`, reserves it if
    /// it is free. Returns the ids.
    pub(crate) fn unreserved(&self, repair: bool) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for record in self.read_all::<serde_json::Value>()? {
            if self.named(&record.name)?.as_deref() != Some(&record.id) {
                if repair {
                    self.take_name(self.home_of(&record.id), &record.name, &record.id)?;
                }
                ids.push(record.id);
            }
        }
        Ok(ids)
    }

    /// The names that are reserved, rightly or not.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for home in self.homes() {
            names.extend(files::names(&self.directory(home).join("names"))?);
        }
        Ok(names)
    }

    /// What is wrong with a reserved name. One whose record is gone is not wrong: who wants the name takes it over.
    pub(crate) fn wrong_name(&self, name: &str) -> Result<Option<String>> {
        match self.named(name) {
            Err(Error::Damaged(message)) => Ok(Some(message)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
                Ok(Some("is no link".to_owned()))
            }
            other => other.map(|_| None),
        }
    }

    /// Frees a name that means nothing.
    pub(crate) fn forget_name(&self, name: &str) -> Result<()> {
        for home in self.homes() {
            let _lock = self.lock_names(home)?;
            if self.named_in(home, name).map_or(true, |id| id.is_none()) {
                files::remove_all(&self.name_path(home, name))?;
            }
        }
        Ok(())
    }
}

/// The text of a name's link: the id's 32 bytes in base64url (RFC 4648, section 5).
fn link_of_id(id: &str) -> String {
    let bytes: Vec<u8> =
        (0..id.len() / 2).filter_map(|at| u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()).collect();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The id that a name's link holds; `None` if it holds none. Links of the first form hold it as it is.
pub(super) fn id_of_link(text: &str) -> Option<String> {
    if validate_id(text).is_ok() {
        return Some(text.to_owned());
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
