//! `img system prune` and `img image prune`: what goes, asked before and told after.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::system::confirm;
use crate::config::Context;
use crate::engine::prune::{PruneOptions, PruneReport};
use crate::engine::prune_filter::PruneFilter;
use crate::error::Result;
use crate::ui::{self, human};

/// What is pruned, and whether it is asked for.
#[derive(Args)]
struct Asked {
    /// Only what fits: until= a time or an age, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Asked {
    /// Whether to go on, which is asked unless the flags say it.
    fn goes_on(&self, question: &str) -> Result<bool> {
        Ok(self.force || self.dry_run || confirm(question)?)
    }
}

/// Remove what nothing needs: ended containers, networks, images without a tag, unused build cache, unfinished downloads
#[derive(Args)]
pub struct Prune {
    /// Also all images that no container was made from
    #[arg(long, short)]
    all: bool,
    /// Also volumes that no container uses
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    asked: Asked,
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
        let filters = match self.asked.filter.as_slice() {
            [] => String::new(),
            filters => format!("\nItems to be pruned will be filtered with:\n  - {}\n", filters.join("\n  - ")),
        };
        let lines: Vec<String> = lines.iter().map(|line| format!("  - {line}\n")).collect();
        format!("WARNING! This will remove:\n{}{filters}\nAre you sure you want to continue?", lines.concat())
    }
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filter = PruneFilter::parse(&self.asked.filter)?;
        let engine = context.engine()?;
        if !self.asked.goes_on(&self.warning())? {
            return Ok(ExitCode::SUCCESS);
        }
        let options = PruneOptions { all: self.all, volumes: self.volumes, dry_run: self.asked.dry_run, filter };
        tell(&engine.prune(&options)?, self.asked.dry_run)
    }
}

/// Remove images that have no tag
///
/// Images that a container was made from stay, and so do layers that another image or the build cache needs.
#[derive(Args)]
pub struct PruneImages {
    /// All images that no container was made from, tags and all
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Run for PruneImages {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filter = PruneFilter::parse(&self.asked.filter)?;
        let engine = context.engine()?;
        let what =
            if self.all { "Remove all images that no container uses?" } else { "Remove all images without a tag?" };
        if !self.asked.goes_on(what)? {
            return Ok(ExitCode::SUCCESS);
        }
        tell(&engine.prune_images(self.all, &filter, self.asked.dry_run)?, self.asked.dry_run)
    }
}

/// Says what went, or would go, kind by kind.
fn tell(report: &PruneReport, dry_run: bool) -> Result<ExitCode> {
    let kinds = [
        ("Containers", &report.containers),
        ("Networks", &report.networks),
        ("Volumes", &report.volumes),
        ("Images", &report.images),
        ("build cache objects", &report.cache),
    ];
    let verb = if dry_run { "Would delete" } else { "Deleted" };
    for (kind, lines) in kinds.iter().filter(|(_, lines)| !lines.is_empty()) {
        ui::outln(format_args!("{verb} {kind}:"))?;
        for line in *lines {
            ui::outln(ui::Escaped(line))?;
        }
        ui::outln("")?;
    }
    if report.partial > 0 {
        ui::outln(format_args!("{verb} unfinished downloads: {}\n", report.partial))?;
    }
    let verb = if dry_run { "Would reclaim" } else { "Total reclaimed space" };
    ui::outln(format_args!("{verb}: {}", human::size(report.bytes)))?;
    Ok(ExitCode::SUCCESS)
}
