//! `img volume clone`, `snapshot` and `restore`: copies of volumes, which share their bytes where the disk can do that.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Make a second volume with what a first one holds
///
/// It has the same options and labels. Containers that use the first one stand still meanwhile. On btrfs and XFS the copy
/// takes no room until one of the two changes. Prints the name.
#[derive(Args)]
pub struct Clone {
    /// The volume to copy
    volume: String,
    /// Name of the copy
    name: String,
}

impl Run for Clone {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.clone_volume(&self.volume, &self.name)?;
        ui::outln(ui::Escaped(&self.name))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Keep what a volume holds now
///
/// A snapshot is a volume that nobody can write: containers mount it read-only. `volume restore` brings back what it
/// holds, `volume rm` removes it, pruning does not. Prints the name.
#[derive(Args)]
pub struct Snapshot {
    /// The volume
    volume: String,
    /// Name of the snapshot; the volume's with the time behind it if none is given
    name: Option<String>,
}

impl Run for Snapshot {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let name = context.engine()?.snapshot_volume(&self.volume, self.name.as_deref())?;
        ui::outln(ui::Escaped(&name))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Make a volume hold again what a snapshot holds
///
/// What it held since is gone, in one step. No container may be running with it. The snapshot stays.
#[derive(Args)]
pub struct Restore {
    /// The volume
    volume: String,
    /// The snapshot, or another volume of the same kind
    snapshot: String,
}

impl Run for Restore {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.restore_volume(&self.volume, &self.snapshot)?;
        Ok(ExitCode::SUCCESS)
    }
}
