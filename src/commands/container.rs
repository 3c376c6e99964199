//! `img clone`, `img container prune`, `img container exists` and `img image exists`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::limits::LimitFlags;
use super::prune::{Asked, tell};
use crate::config::Context;
use crate::engine::container::clone::CloneOptions;
use crate::engine::prune::PruneReport;
use crate::engine::prune_filter::PruneFilter;
use crate::error::Result;
use crate::ui;
use crate::ui::progress::Bars;

/// Make a container like another one
///
/// With its flags and a copy of what it wrote; on file systems that can share bytes the copy takes no room. It is not
/// started. Limits given here take the place of the original's. With another image only the flags are taken.
#[derive(Args)]
pub struct Clone {
    /// The original, by name or id
    #[arg(required_unless_present = "original")]
    container: Option<String>,
    /// Name of the clone; the original's and `-clone` if none is given
    name: Option<String>,
    /// Another image
    image: Option<String>,
    /// The original, in LXC's way
    #[arg(long = "orig", short = 'o', id = "original", value_name = "CONTAINER", conflicts_with = "container")]
    original: Option<String>,
    /// Name of the clone
    #[arg(
        long = "name",
        visible_alias = "newname",
        short = 'n',
        id = "new_name",
        value_name = "NAME",
        conflicts_with = "name"
    )]
    new_name: Option<String>,
    /// Only the flags, nothing that was written
    #[arg(long)]
    config_only: bool,
    /// Start it
    #[arg(long)]
    run: bool,
    /// Remove the original afterwards
    #[arg(long)]
    destroy: bool,
    /// With --destroy: kill the original if it runs
    #[arg(long, short, requires = "destroy")]
    force: bool,
    #[command(flatten)]
    limits: LimitFlags,
}

impl Run for Clone {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let original = self.original.or(self.container).unwrap_or_default();
        let options = CloneOptions {
            name: self.new_name.or(self.name),
            image: self.image,
            limits: self.limits.limits(),
            config_only: self.config_only,
            invocation: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        };
        let old = engine.find_container(&original)?;
        let mut made = engine.clone_container(&old, &options, &Bars::new(false))?;
        if self.destroy {
            engine.remove_container(&old, self.force, false)?;
        }
        if self.run {
            engine.start_detached(&mut made)?;
        }
        ui::outln(&made.record.id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Remove all containers that do not run
///
/// With what they wrote and their anonymous volumes, so it asks first; without a terminal it wants --force. Prints the ids of
/// those removed and the room they took.
#[derive(Args)]
pub struct Prune {
    /// Only what fits: until=TIME (made before it, or longer ago), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    #[command(flatten)]
    asked: Asked,
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filter = PruneFilter::parse(&self.filter)?;
        let engine = context.engine()?;
        if !self.asked.goes_on("Remove all containers that do not run?")? {
            return Ok(ExitCode::SUCCESS);
        }
        let pruned = engine.prune_containers(&filter, self.asked.dry_run)?;
        let containers = pruned.containers.into_iter().map(|record| record.id).collect();
        let (bytes, failed) = (pruned.bytes, pruned.failed);
        let report = PruneReport { containers, bytes, failed, ..PruneReport::default() };
        tell(report, self.asked.dry_run)
    }
}

/// Say by the exit code whether there is such a container
///
/// 0 if there is, 1 if not; nothing is printed. For scripts: `img container exists web || img create --name web nginx`.
/// Running or not makes no difference; what `img ps --all` lists, exists.
#[derive(Args)]
pub struct Exists {
    /// The container, by name or id
    container: String,
}

impl Run for Exists {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        match engine.store().containers().find(&self.container) {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) if error.is_not_found() => Ok(ExitCode::FAILURE),
            Err(error) => Err(error.into()),
        }
    }
}

/// Say by the exit code whether there is such an image
///
/// 0 if there is, 1 if not; nothing is printed, nothing is fetched. For scripts: `img image exists debian:12 || img pull
/// debian:12`.
#[derive(Args)]
pub struct ImageExists {
    /// The image, by name or id
    image: String,
}

impl Run for ImageExists {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let found = context.engine()?.look_up_image(&self.image)?;
        Ok(ExitCode::from(u8::from(found.is_none())))
    }
}
