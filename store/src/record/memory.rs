//! Records that lie in memory, because the store's disk is read-only.
//!
//! A container that is made then has its record, its log and its own layer below the place in memory of [`crate::Places`], laid out as
//! in the store, and so have the volumes without a name that it needs. Both places are looked at for each record; a name is taken in
//! one of them only. What is in memory is gone after the next boot, as is the state of all that ran.

use std::path::Path;

use super::{Class, Records};
use crate::error::{Error, Result};
use crate::files;

impl<'a> Records<'a> {
    /// The same, for records that may lie in memory when the disk is read-only. Those of containers may in any case.
    #[must_use]
    pub fn or_in_memory(self) -> Self {
        Self { or_in_memory: true, ..self }
    }

    /// Whether the record `id` lies in memory, and is gone after the next boot.
    #[must_use]
    pub fn is_in_memory(&self, id: &str) -> bool {
        self.home_of(id) != self.store.root()
    }

    /// The store's root, and the place in memory if there is one.
    pub(super) fn homes(&self) -> impl Iterator<Item = &'a Path> + use<'a> {
        let memory = (self.class != Class::Network).then(|| self.store.memory(true)).flatten();
        std::iter::once(self.store.root()).chain(memory)
    }

    /// Where the record `id` lies, or is to lie if it is not there.
    pub(super) fn home_of(&self, id: &str) -> &'a Path {
        let memory = self.store.memory(false).filter(|_| self.class != Class::Network);
        memory.filter(|memory| self.directory(memory).join(id).exists()).unwrap_or_else(|| self.store.root())
    }

    /// Makes sure that no record of the other place has the name.
    pub(super) fn not_elsewhere(&self, home: &Path, name: &str) -> Result<()> {
        for other in self.homes().filter(|other| *other != home) {
            if self.named_in(other, name)?.is_some() {
                return Err(Error::Conflict(format!("the {} name {name} is taken", self.class.noun())));
            }
        }
        Ok(())
    }

    /// Bytes on disk of all records of this class that lie in the store itself, with all that belongs to them.
    pub(crate) fn space(&self) -> Result<u64> {
        files::disk_usage(&self.directory(self.store.root()))
    }

    /// The full ids of those.
    pub(crate) fn ids_on_disk(&self) -> Result<Vec<String>> {
        Ok(self.ids()?.into_iter().filter(|id| !self.is_in_memory(id)).collect())
    }
}
