//! Removing images down to a budget: all but the last few, or so many that the rest is small enough or enough of the disk is
//! free. What was not used for the longest time goes first.
//!
//! How much an image gives back depends on what else goes, for images share layers. So the collector itself is asked, without
//! removing anything, how much the oldest so many of them would free; the fewest that are enough then go.

use std::collections::BTreeSet;
use std::time::SystemTime;

use store::ImageId;
use store::budget::{Budget, free_space};
use store::gc::{self, GcOptions, GcReport, ImageScope};
use store::usage::{cache_only_layers, content_space};

use super::Engine;
use super::prune::PruneReport;
use super::prune_filter::PruneFilter;
use crate::error::Result;

/// What `img image prune` removes.
#[derive(Clone, Debug, Default)]
pub struct ImagePruneOptions {
    /// Also images with a tag.
    pub all: bool,
    /// Only what fits.
    pub filter: PruneFilter,
    /// So many of them stay, those that were used last.
    pub keep: Option<usize>,
    /// No more go than it asks for.
    pub budget: Budget,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What images take and what is free, if that is not what was asked for though all went that may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What images take, bytes.
    pub taken: u64,
    /// What is free, bytes.
    pub free: u64,
}

impl Engine {
    /// Removes images without a tag, or all that no container was made from, as far as they fit, the budget asks for
    /// it and they can be removed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn prune_images(&self, options: &ImagePruneOptions) -> Result<(PruneReport, Option<Missed>)> {
        let scope = if options.all { ImageScope::Unused } else { ImageScope::Dangling };
        let mut going = self.oldest_images(options)?;
        let (count, missed) = match options.budget.is_set() {
            true => self.fewest_images(scope, &options.budget, &going)?,
            false => (going.len(), None),
        };
        going.truncate(count);
        let going: BTreeSet<ImageId> = going.into_iter().collect();
        let keep = |id: &ImageId| !going.contains(id);
        let dry_run = options.dry_run;
        let mut report = PruneReport::default();
        report.take(self.collect_as(GcOptions { images: scope, dry_run, keep: &keep, ..GcOptions::default() })?);
        Ok((report, missed))
    }

    /// The images that may go, used longest ago first: without those that were used last of all that are meant, in use or not.
    fn oldest_images(&self, options: &ImagePruneOptions) -> Result<Vec<ImageId>> {
        let images = self.store.images();
        let tagged: BTreeSet<ImageId> =
            self.store.refs().list()?.into_iter().flat_map(|tag| tag.images().collect::<Vec<_>>()).collect();
        let mut meant: Vec<(SystemTime, ImageId)> = Vec::new();
        for id in images.list()? {
            if (options.all || !tagged.contains(&id)) && self.image_fits(&id, &options.filter) {
                meant.extend(images.last_used(&id)?.map(|used| (used, id)));
            }
        }
        meant.sort_unstable();
        meant.truncate(meant.len().saturating_sub(options.keep.unwrap_or(0)));
        Ok(meant.into_iter().map(|(_, id)| id).collect())
    }

    /// How many images must go, the first of these; and how far all of them miss the budget, if they do.
    fn fewest_images(&self, scope: ImageScope, budget: &Budget, oldest: &[ImageId]) -> Result<(usize, Option<Missed>)> {
        let (all, content, free) = (self.store.images().list()?, content_space(&self.store)?, free_space(&self.store)?);
        let without = |count: usize| -> Result<Missed> {
            let gone = self.would_free(scope, &oldest[..count])?;
            let left: Vec<ImageId> = all.iter().filter(|id| !gone.images.contains(id)).copied().collect();
            // What only the build cache needs from now on is no image's any more.
            let taken = content - cache_only_layers(&self.store, &left)?.min(content);
            Ok(Missed { taken: taken.saturating_sub(gone.content_bytes), free: free + gone.bytes })
        };
        let kept = |then: Missed| budget.is_kept(then.taken, then.free);
        let (mut fewest, mut enough) = (0, oldest.len());
        let last = without(enough)?;
        if !kept(last) {
            return Ok((enough, Some(last)));
        }
        while fewest < enough {
            let middle = fewest.midpoint(enough);
            match kept(without(middle)?) {
                true => enough = middle,
                false => fewest = middle + 1,
            }
        }
        Ok((enough, None))
    }

    fn would_free(&self, images: ImageScope, going: &[ImageId]) -> Result<GcReport> {
        let going: BTreeSet<&ImageId> = going.iter().collect();
        let keep = |id: &ImageId| !going.contains(id);
        Ok(gc::collect(&self.store, &GcOptions { images, dry_run: true, keep: &keep, ..GcOptions::default() })?)
    }
}
