//! `img stop`, `img kill` and `img wait`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::targets::{MoreTargets, Scope, Targets};
use super::{Run, each};
use crate::config::Context;
use crate::engine::container::condition::{Condition, Reached};
use crate::error::{CommandError, Result};
use crate::ui;

/// Stop running containers
///
/// The stop signal first (the image's, SIGTERM unless it says otherwise), SIGKILL when the time is over.
#[derive(Args)]
pub struct Stop {
    #[command(flatten)]
    targets: Targets,
    /// Do not mind those that are not there
    #[arg(long, short)]
    ignore: bool,
    /// Send this signal first
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before SIGKILL; 10 unless the container says otherwise
    #[arg(long, short, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
}

impl Run for Stop {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut names = self.targets.names(engine, Scope::Running)?;
        if self.ignore {
            names.retain(|name| engine.find_container(name).is_ok());
        }
        Ok(each(&names, |name| {
            engine.stop(name, self.signal.as_deref(), self.time.map(Duration::from_secs))?;
            ui::outln(name)
        }))
    }
}

/// Send a signal to running containers
///
/// To the first process of each that is named; with --all to every process in it. --all without a name, --filter and
/// --latest mean the first processes of all running containers, of those that fit, of the newest.
#[derive(Args)]
pub struct Kill {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Every process of the named containers; without a name: all running containers
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    /// The signal, by name or number
    #[arg(long, short, default_value = "KILL", value_name = "SIGNAL")]
    signal: String,
}

impl Run for Kill {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let every = self.all && !self.containers.is_empty();
        let names = self.more.names(engine, self.containers, self.all && !every, Scope::Running)?;
        Ok(each(&names, |name| {
            engine.kill(name, &self.signal, every)?;
            ui::outln(name)
        }))
    }
}

/// Wait until containers have ended and print their exit codes
///
/// One line a container, in the order they were named. One that has ended already is answered at once. With --condition it
/// is another state that is waited for, and its name that is printed.
#[derive(Args)]
pub struct Wait {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    /// Wait for one of these: created, running, paused, stopped, next-exit, removed, restarting, healthy, unhealthy; or what a
    /// container only passes through: starting, stopping, aborting, freezing, thawed
    #[arg(long, short = 's', visible_alias = "state", value_name = "STATE", value_delimiter = ',')]
    condition: Vec<String>,
    /// Do not mind those that are not there: print -1
    #[arg(long)]
    ignore: bool,
    /// Give up after so many seconds
    #[arg(long, short, value_name = "SECONDS")]
    timeout: Option<f64>,
}

impl Run for Wait {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let conditions = self
            .condition
            .iter()
            .flat_map(|text| text.split('|'))
            .map(str::parse)
            .collect::<Result<Vec<Condition>>>()?;
        let limit = self
            .timeout
            .map(|seconds| {
                Duration::try_from_secs_f64(seconds).map_err(|_| CommandError::usage("that is no time to wait"))
            })
            .transpose()?;
        let names = self.more.names(engine, self.containers, self.all, Scope::Any)?;
        Ok(each(&names, |name| {
            let gone = engine.find_container(name).is_err();
            if self.ignore && gone {
                return ui::outln(-1);
            }
            if conditions.is_empty() && limit.is_none() {
                return ui::outln(engine.wait(name)?);
            }
            let conditions = if conditions.is_empty() { &[Condition::Stopped] } else { conditions.as_slice() };
            match engine.wait_for(name, conditions, limit)? {
                Reached::State(word) => ui::outln(word),
                Reached::Exit(Some(code)) => ui::outln(code),
                // Never started, or gone before anybody could see.
                Reached::Exit(None) => ui::outln(if gone { -1 } else { 0 }),
            }
        }))
    }
}
