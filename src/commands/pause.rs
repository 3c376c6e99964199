//! `img pause`, `img unpause`, `img restart` and `img rename`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::targets::{MoreTargets, Scope, Targets};
use super::{Run, each};
use crate::config::Context;
use crate::error::{Kind, Result};
use crate::ui;

/// Freeze all processes of containers
///
/// The kernel stops them where they are and they do not notice; no signal is sent that a program could see or refuse.
/// They keep their memory, ports and files until `img unpause`.
#[derive(Args)]
pub struct Pause {
    #[command(flatten)]
    targets: Targets,
}

impl Run for Pause {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut names = self.targets.names(engine, Scope::Running)?;
        if names.len() > 1 {
            names.dedup();
        }
        Ok(each(&names, |name| {
            engine.pause(name)?;
            ui::outln(name)
        }))
    }
}

/// Let the processes of paused containers go on
///
/// They go on where they were, with clocks that went on meanwhile. Prints each name; one that is not paused is an error, and
/// the others still get their turn.
#[derive(Args)]
pub struct Unpause {
    #[command(flatten)]
    targets: Targets,
}

impl Run for Unpause {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.targets.names(engine, Scope::Paused)?, |name| {
            engine.unpause(name)?;
            ui::outln(name)
        }))
    }
}

/// Stop containers and start them again
///
/// What they wrote stays. One that does not run is started; with --running it is left alone. A container made with --rm is
/// kept this time, and removed when it ends again.
#[derive(Args)]
pub struct Restart {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter", "running"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    /// All that run
    #[arg(long, conflicts_with_all = ["containers", "all"])]
    running: bool,
    /// Send this signal first
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before SIGKILL; 10 unless the container says otherwise
    #[arg(long, short, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
}

impl Run for Restart {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        engine.sweep()?;
        let scope = if self.running { Scope::Running } else { Scope::Any };
        let names = self.more.names(engine, self.containers, self.all || self.running, scope)?;
        Ok(each(&names, |name| {
            // Also for what cannot be started again: the codes of programs are those of `run` and `start`.
            engine
                .restart(name, self.signal.as_deref(), self.time.map(Duration::from_secs))
                .map_err(|error| error.kind(Kind::Failed))?;
            ui::outln(name)
        }))
    }
}

/// Give a container another name
///
/// Running or not; its id stays, and with it everything that was made of it. A name is letters, digits, `_`, `.` and `-`,
/// and one container's at a time.
#[derive(Args)]
pub struct Rename {
    /// The container, by name or id
    container: String,
    /// Its new name
    name: String,
}

impl Run for Rename {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.rename_container(&self.container, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}
