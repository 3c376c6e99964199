//! `img image prune`: images that nothing needs, or as many of them as a budget asks for.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::budget::BudgetFlags;
use super::prune::{Asked, tell};
use crate::config::Context;
use crate::engine::image_prune::{ImagePruneOptions, Missed};
use crate::engine::prune_filter::PruneFilter;
use crate::error::{CommandError, Result};
use crate::ui::{self, human};

/// Remove images that have no tag
///
/// Images that a container was made from stay, and so do layers that another image or the build cache needs. With --all images
/// that have a tag go too. With --keep or a size only some of them go, those first that were not used for the longest time: an
/// image is used when it is pulled, loaded or built, when something is built on it, when it is pushed or saved, and when a
/// container is made from it or removed. What images take is what `img system df` says.
#[derive(Args)]
pub struct Prune {
    /// All images that no container was made from, tags and all
    #[arg(long, short)]
    all: bool,
    /// Only what fits: until= a time or an age, label=KEY[=VALUE], label!=KEY[=VALUE], dangling=true, or =false for --all
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Leave as many images, of those that are meant, that were used last; those in use count
    #[arg(long, value_name = "NUMBER")]
    keep: Option<usize>,
    #[command(flatten)]
    budget: BudgetFlags,
    #[command(flatten)]
    asked: Asked,
}

impl Prune {
    fn options(&self) -> Result<ImagePruneOptions> {
        let mut all = self.all;
        let mut filter = Vec::new();
        for word in &self.filter {
            match word.strip_prefix("dangling=") {
                None => filter.push(word.clone()),
                Some("true" | "1") => all = false,
                Some("false" | "0") => all = true,
                Some(other) => {
                    return Err(CommandError::usage(format!("the filter dangling is true or false, not {other:?}")));
                }
            }
        }
        Ok(ImagePruneOptions {
            all,
            filter: PruneFilter::parse(&filter).map_err(|error| error.hint("images have dangling= too"))?,
            keep: self.keep,
            budget: self.budget.budget()?,
            dry_run: self.asked.dry_run,
        })
    }
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = self.options()?;
        let engine = context.engine()?;
        let which = if options.all { "images that no container uses" } else { "images without a tag" };
        let limited = options.keep.is_some() || options.budget.is_set();
        let how = if limited { "the least recently used" } else { "all" };
        if !self.asked.goes_on(&format!("Remove {how} {which}?"))? {
            return Ok(ExitCode::SUCCESS);
        }
        let (report, missed) = engine.prune_images(&options)?;
        let code = tell(report, options.dry_run)?;
        if let Some(missed) = missed {
            ui::warn(unmet(missed, options.all));
        }
        Ok(code)
    }
}

fn unmet(missed: Missed, all: bool) -> String {
    let (taken, free) = (human::size(missed.taken), human::size(missed.free));
    let tags = if all { "" } else { "has a tag (--all takes it too), " };
    format!(
        "images take {taken} still, and {free} of the file system are free: what is left {tags}is in use or was not to go; \
         `img builder prune --all` lets go of layers that the build cache knows"
    )
}
