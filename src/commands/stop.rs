//! `img stop`, `img kill` and `img wait`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Stop running containers
///
/// The stop signal first (the image's, SIGTERM unless it says otherwise), SIGKILL when the time is over.
#[derive(Args)]
pub struct Stop {
    /// Containers, by name or id
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All running containers
    #[arg(long, short)]
    all: bool,
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
        let names = if self.all { engine.running()? } else { self.containers };
        Ok(each(&names, |name| {
            engine.stop(name, self.signal.as_deref(), self.time.map(Duration::from_secs))?;
            ui::outln(name)
        }))
    }
}

/// Send a signal to running containers
#[derive(Args)]
pub struct Kill {
    /// Containers, by name or id
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All running containers
    #[arg(long, short)]
    all: bool,
    /// The signal, by name or number
    #[arg(long, short, default_value = "KILL", value_name = "SIGNAL")]
    signal: String,
}

impl Run for Kill {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = if self.all { engine.running()? } else { self.containers };
        Ok(each(&names, |name| {
            engine.kill(name, &self.signal)?;
            ui::outln(name)
        }))
    }
}

/// Wait until containers have ended and print their exit codes
///
/// One line a container, in the order they were named. One that has ended already is answered at once.
#[derive(Args)]
pub struct Wait {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Run for Wait {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.containers, |name| ui::outln(engine.wait(name)?)))
    }
}
