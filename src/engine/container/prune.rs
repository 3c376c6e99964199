//! Removing all containers that do not run, or those of them that fit docker's filters.

use super::ContainerRecord;
use super::remove::Running;
use super::volumes::go_along;
use crate::engine::Engine;
use crate::engine::prune_filter::PruneFilter;
use crate::error::{CommandError, Result};

/// Containers that went, or would go.
#[derive(Debug, Default)]
pub struct PrunedContainers {
    /// The containers.
    pub containers: Vec<ContainerRecord>,
    /// Ids of the volumes without a name that went with them.
    pub volumes: Vec<String>,
    /// What all of them took on disk, bytes.
    pub bytes: u64,
    /// Why others did not go.
    pub failed: Vec<CommandError>,
}

impl Engine {
    /// Removes the containers that do not run and fit, or with `dry_run` only looks for them. One that cannot be removed stays, and
    /// the others go.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn prune_containers(&self, filter: &PruneFilter, dry_run: bool) -> Result<PrunedContainers> {
        let mut pruned = PrunedContainers::default();
        if !dry_run {
            let swept = self.sweep_counted()?;
            (pruned.bytes, pruned.failed) = (swept.bytes, swept.failed.into_iter().map(CommandError::from).collect());
        }
        for record in self.store.containers().list()? {
            match self.prune_container(&record, filter, dry_run) {
                Ok(None) => {}
                Ok(Some((volumes, bytes))) => {
                    pruned.bytes += bytes;
                    pruned.volumes.extend(volumes);
                    pruned.containers.push(record);
                }
                Err(error) => pruned.failed.push(error.prefixed(&format!("cannot remove container {}", record.name))),
            }
        }
        Ok(pruned)
    }

    /// Removes one of them if it does not run and fits; gives the volumes that went with it, and the bytes of all that.
    fn prune_container(
        &self,
        record: &ContainerRecord,
        filter: &PruneFilter,
        dry_run: bool,
    ) -> Result<Option<(Vec<String>, u64)>> {
        let left = self.is_to_be_swept(record)?;
        let idle = left || self.state(&record.id)?.is_none_or(|state| state.status == runner::Status::Stopped);
        if !idle || !left && !filter.fits(Some(record.created), &record.data.labels) {
            return Ok(None);
        }
        let volumes = go_along(&self.store, record)?;
        let mut bytes = self.store.containers().disk_usage(&record.id)?;
        for volume in &volumes {
            bytes += self.store.volumes().disk_usage(volume)?;
        }
        let running = if left { Running::Kill } else { Running::Leave };
        let gone = dry_run
            || match self.remove_found(&record.id, &record.name, running, true) {
                // Somebody has removed or started it meanwhile.
                Err(_) if self.is_gone_or_up(&record.id)? => false,
                removed => removed?,
            };
        Ok(gone.then_some((volumes, bytes)))
    }

    fn is_gone_or_up(&self, id: &str) -> Result<bool> {
        Ok(!self.store.containers().has(id) || self.state(id)?.is_some_and(|state| state.is_up()))
    }
}
