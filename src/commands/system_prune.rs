//! `img system prune`: all that nothing needs, kind by kind.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::prune::{Asked, tell};
use crate::config::Context;
use crate::engine::prune::PruneOptions;
use crate::engine::prune_filter::PruneFilter;
use crate::error::{CommandError, Result};

/// Remove what nothing needs: ended containers, networks, images without a tag, unused build cache, unfinished downloads
#[derive(Args)]
pub struct Prune {
    /// Also all images that no container was made from
    #[arg(long, short)]
    all: bool,
    /// Also volumes that no container uses
    #[arg(long)]
    volumes: bool,
    /// Only what fits: until= a time or an age, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// Flags of `image prune` and `builder prune`, which a user may look for here.
#[derive(Args)]
struct Elsewhere {
    #[arg(long, hide = true, value_name = "NUMBER")]
    keep: Option<String>,
    #[arg(long, hide = true, aliases = ["max-size", "keep-storage"], value_name = "SIZE")]
    max_used_space: Option<String>,
    #[arg(long, hide = true, alias = "min-free", value_name = "SIZE")]
    min_free_space: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    reserved_space: Option<String>,
}

impl Elsewhere {
    /// Refuses what was given.
    fn refuse(&self) -> Result<()> {
        let flags = [
            ("--keep", &self.keep),
            ("--max-used-space", &self.max_used_space),
            ("--min-free-space", &self.min_free_space),
            ("--reserved-space", &self.reserved_space),
        ];
        let Some((flag, _)) = flags.iter().find(|(_, value)| value.is_some()) else { return Ok(()) };
        Err(CommandError::usage(format!(
            "`system prune` cannot take {flag}: images and the build cache have budgets of their own"
        ))
        .hint("`img image prune --all` and `img builder prune` take it"))
    }
}

impl Prune {
    /// What is going to happen, as docker says it.
    fn warning(&self) -> String {
        let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
        lines.extend(self.volumes.then_some("all volumes not used by at least one container"));
        lines.push(match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        });
        lines.extend(["all build cache", "all unfinished downloads"]);
        let filters = match self.filter.as_slice() {
            [] => String::new(),
            filters => format!("\nItems to be pruned will be filtered with:\n  - {}\n", filters.join("\n  - ")),
        };
        let lines: Vec<String> = lines.iter().map(|line| format!("  - {line}\n")).collect();
        format!("WARNING! This will remove:\n{}{filters}\nAre you sure you want to continue?", lines.concat())
    }
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filter = PruneFilter::parse(&self.filter)?;
        self.elsewhere.refuse()?;
        let engine = context.engine()?;
        if !self.asked.goes_on(&self.warning())? {
            return Ok(ExitCode::SUCCESS);
        }
        let options = PruneOptions { all: self.all, volumes: self.volumes, dry_run: self.asked.dry_run, filter };
        tell(engine.prune(&options)?, self.asked.dry_run)
    }
}
