//! `img builder du`, `prune`, `export` and `import`: the build cache.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::cache_prune::{CachePart, PartKind};

use super::Run;
use super::export::tar_goes_to;
use super::flags::budget::BudgetFlags;
use super::prune::failures;
use super::system::confirm;
use crate::config::Context;
use crate::engine::build::keep::{PruneWishes, part_id};
use crate::error::{CommandError, Result};
use crate::ui::{self, format, human};

/// Show the build cache, part by part
///
/// A part is a step that was cached (or several that made the same layer), or a cache mount. What was not used for the
/// longest time comes first: it goes first. SIZE is what goes with the part; a layer that an image has too takes nothing.
#[derive(Args)]
pub struct Du {
    /// Only parts that fit: type=step, type=mount, id=ID, until=DURATION (not used for so long, as 24h)
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as `json`, or by a template such as '{{.ID}} {{.Size}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Remove parts of the build cache
///
/// Removes cached steps whose layer no image has, and cache mounts; what a build that runs uses stays. With a size only as much
/// goes as must, what was not used for the longest time first.
#[derive(Args)]
pub struct Prune {
    /// Also steps whose layer an image has: they run again then, and nothing is gained
    #[arg(long, short)]
    all: bool,
    /// Only parts that fit: type=step, type=mount, id=ID, until=DURATION (not used for so long, as 24h)
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    budget: BudgetFlags,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Write a cache mount to a tar
///
/// The mount is named by its id, which is the target's path unless the instruction says id=. With `img builder import` it
/// comes to another machine, so that a first build there has its packages and objects.
#[derive(Args)]
pub struct Export {
    /// The cache mount
    id: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Fill a cache mount from a tar
///
/// What is in the mount already stays, but for files of the same name. A mount that is not there yet is made. A tar that
/// leads out of it is refused.
#[derive(Args)]
pub struct Import {
    /// The cache mount
    id: String,
    /// Read this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// The wishes in `--filter`.
fn wishes(filters: &[String]) -> Result<PruneWishes> {
    let mut wishes = PruneWishes::default();
    for filter in filters {
        let wrong = || {
            CommandError::usage(format!("there is no filter {filter:?}"))
                .hint("there are type=step, type=mount, id=ID and until=DURATION")
        };
        match filter.split_once('=').ok_or_else(wrong)? {
            ("type", "step" | "regular") => wishes.kind = Some("step".to_owned()),
            ("type", "mount" | "exec.cachemount") => wishes.kind = Some("mount".to_owned()),
            ("id", id) => wishes.id = Some(id.to_owned()),
            ("until" | "unused-for", text) => {
                wishes.unused_for = Some(runner::spec::parse::duration("filter until", text)?.as_secs());
            }
            _ => return Err(wrong()),
        }
    }
    Ok(wishes)
}

/// A part as it is printed.
pub(super) fn row(part: &CachePart) -> Value {
    let used = Timestamp::try_from(part.last_used).map(|time| time.to_string()).unwrap_or_default();
    let (kind, description) = match &part.kind {
        PartKind::Mount(_) => ("mount", "cache mount".to_owned()),
        PartKind::Steps { value, .. } => {
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            let instruction = text("instruction").lines().next().unwrap_or_default();
            // Without an instruction it is the memory of when an image was made.
            let line = if instruction.is_empty() { "time of an image".to_owned() } else { instruction.to_owned() };
            ("step", line.chars().take(60).collect())
        }
    };
    let ago = part.last_used.elapsed().map_or(0, |age| age.as_secs());
    json!({
        "ID": part_id(part), "Type": kind, "Size": human::size(part.size), "Bytes": part.size,
        "LastUsed": used, "LastUsedSince": format!("{} ago", human::duration(ago)), "InUse": part.in_use,
        "Shared": part.shared, "Description": description,
    })
}

impl Run for Du {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let wishes = PruneWishes { all: true, ..wishes(&self.filter)? };
        let parts: Vec<CachePart> = engine.cache_parts()?.into_iter().filter(|part| wishes.fit(part)).collect();
        let columns = [
            ("ID", "ID"),
            ("TYPE", "Type"),
            ("SIZE", "Size"),
            ("LAST USED", "LastUsedSince"),
            ("DESCRIPTION", "Description"),
        ];
        let rows: Vec<Value> = parts.iter().map(row).collect();
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        if self.format.is_none() {
            ui::outln(format_args!("Total: {}", human::size(parts.iter().map(|part| part.size).sum())))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let budget = self.budget.budget()?;
        let wishes = PruneWishes { all: self.all, budget, dry_run: self.dry_run, ..wishes(&self.filter)? };
        if !self.force && !self.dry_run && !confirm("Remove unused parts of the build cache?")? {
            return Ok(ExitCode::SUCCESS);
        }
        let pruned = engine.prune_cache(&wishes)?;
        for part in &pruned.parts {
            let id = part_id(part);
            ui::outln(format_args!("{}\t{}", ui::Escaped(&id), human::size(part.size)))?;
        }
        let verb = if self.dry_run { "Would reclaim" } else { "Total reclaimed space" };
        ui::outln(format_args!("{verb}: {}", human::size(pruned.bytes)))?;
        Ok(failures(pruned.failed))
    }
}

impl Run for Export {
    fn run(self, context: &Context) -> Result<ExitCode> {
        tar_goes_to(self.output.as_deref())?;
        context.engine()?.export_mount(&self.id, self.output.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Run for Import {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.input.is_none() && std::io::stdin().is_terminal() {
            return Err(CommandError::new("a tar does not come from a terminal")
                .hint("use -i FILE, or send one to standard input"));
        }
        context.engine()?.import_mount(&self.id, self.input.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}
