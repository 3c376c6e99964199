//! The store as a whole: what nothing names any more, what is damaged, and making it empty.

use std::collections::BTreeSet;

use store::gc::{self, GcOptions, GcReport};

use super::Engine;
use super::layers::mount_name;
use super::prune::PruneOptions;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Removes content that nothing names any more, as after `rmi`; gives why some of it stays, if it does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn collect(&self) -> Result<Vec<CommandError>> {
        let collected = self.collect_as(GcOptions::default())?;
        Ok(collected.failed.into_iter().map(CommandError::from).collect())
    }

    /// Collects; the shared mounts of layers that are to go are taken down first, those of all others stay, so that
    /// containers of one image go on sharing memory.
    pub(super) fn collect_as(&self, options: GcOptions<'_>) -> Result<GcReport> {
        let doomed = gc::collect(&self.store, &GcOptions { dry_run: true, ..options })?;
        if options.dry_run {
            return Ok(doomed);
        }
        if !doomed.layers.is_empty() {
            let names: BTreeSet<String> = doomed.layers.iter().map(mount_name).collect();
            // What was made for one chain of layers cannot be told from its name: such mounts are made again when needed.
            runner::layers::unmount_unused(&self.runroot, |id| id.starts_with("layer-") && !names.contains(id))?;
        }
        let in_use = |layer: &store::DiffId| self.layer_in_use(layer);
        let collected = gc::collect(&self.store, &GcOptions { in_use: &in_use, ..options })?;
        // Images that went may have been mounted.
        self.sweep_roots()?;
        Ok(collected)
    }

    /// Removes all containers, images, volumes, networks and the cache.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn reset(&self) -> Result<()> {
        for id in self.container_ids()? {
            self.remove_container(&id, true, true).with_context(|| format!("cannot remove container {id}"))?;
        }
        for id in self.store.volumes().ids()? {
            super::volumes::attach::remove(self.store.volumes(), &id)?;
        }
        let mut failed = self.prune_networks(&[], false)?.failed;
        failed.extend(self.prune(&PruneOptions { all: true, volumes: true, ..PruneOptions::default() })?.failed);
        runner::layers::unmount_all(&self.runroot)?;
        if let Some(error) = failed.into_iter().next() {
            return Err(error);
        }
        let left = self.store.layers().list()?.len();
        if left > 0 {
            return Err(CommandError::new(format!("{left} layers are still in use and stay"))
                .hint("is another img building or pulling? run it again when it is done"));
        }
        Ok(())
    }
}
