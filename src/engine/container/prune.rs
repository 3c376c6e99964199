//! Removing all containers that do not run, or those of them that fit docker's filters.

use super::ContainerRecord;
use crate::engine::Engine;
use crate::engine::prune_filter::PruneFilter;
use crate::error::Result;

impl Engine {
    /// Removes the containers that do not run and fit, or with `dry_run` only looks for them; gives them and the bytes that they
    /// have written.
    ///
    /// # Errors
    /// One that cannot be removed.
    pub fn prune_containers(&self, options: &PruneFilter, dry_run: bool) -> Result<(Vec<ContainerRecord>, u64)> {
        self.sweep()?;
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for record in self.sweep_records()? {
            let idle = self.state(&record.id)?.is_none_or(|state| state.status == runner::Status::Stopped);
            if !idle || !options.fits(Some(record.created), &record.data.labels) {
                continue;
            }
            let size = self.store.containers().upper_size(&record.id)?;
            let gone = dry_run
                || match self.remove_container(&record.id, false, true) {
                    // Somebody has removed or started it meanwhile.
                    Err(_) if self.is_gone_or_up(&record.id)? => false,
                    removed => removed?,
                };
            if gone {
                bytes += size;
                removed.push(record);
            }
        }
        Ok((removed, bytes))
    }

    fn is_gone_or_up(&self, id: &str) -> Result<bool> {
        Ok(!self.store.containers().has(id) || self.state(id)?.is_some_and(|state| state.is_up()))
    }
}
