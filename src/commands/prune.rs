//! What all the prunes share: they ask before, unless told not to, and say after what went; or, with `--dry-run`, only what would
//! go and how much that would give back.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;

use super::system::confirm;
use crate::engine::prune::PruneReport;
use crate::error::{CommandError, Result};
use crate::ui::{self, human};

/// Whether it is asked for, and done.
#[derive(Args)]
pub(super) struct Asked {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Only say what would be removed, and what disk space that would give back
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Asked {
    /// Whether to go on, which is asked unless the flags say it.
    pub(super) fn goes_on(&self, question: &str) -> Result<bool> {
        Ok(self.force || self.dry_run || confirm(question)?)
    }
}

/// Says what went, or would go, kind by kind, and what could not: that decides the exit code.
pub(super) fn tell(report: PruneReport, dry_run: bool) -> Result<ExitCode> {
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
    Ok(failures(report.failed))
}

/// Says what could not be removed, each thing once; gives the exit code of that.
pub(super) fn failures(failed: Vec<CommandError>) -> ExitCode {
    let (mut code, mut told) = (ExitCode::SUCCESS, BTreeSet::new());
    for error in failed {
        if told.insert(error.text()) {
            ui::error(&error);
        }
        code = error.into();
    }
    code
}
