//! `img start`.

use std::process::ExitCode;

use clap::Args;

use super::flags::timing::TimingFlag;
use super::targets::{MoreTargets, Scope};
use super::{Run, each};
use crate::config::Context;
use crate::engine::container::claim::running_already;
use crate::engine::container::run::Attachment;
use crate::error::{CommandError, Result};
use crate::ui;

/// Start containers that were made or have ended
#[derive(Args)]
pub struct Start {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers that do not run
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    /// Show the program's output and pass signals to it
    #[arg(long, short)]
    attach: bool,
    /// Pass signals that img receives to the program, with -a or -i
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    sig_proxy: bool,
    /// Send it standard input
    #[arg(long, short)]
    interactive: bool,
    #[command(flatten)]
    timing: TimingFlag,
}

impl Run for Start {
    fn run(self, context: &Context) -> Result<ExitCode> {
        self.timing.clone().around(|| self.run_measured(context))
    }
}

impl Start {
    fn run_measured(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        engine.sweep_some()?;
        let names = self.more.names(engine, self.containers, self.all, Scope::Any)?;
        if !self.attach && !self.interactive {
            return Ok(each(&names, |name| {
                // One that runs already is left alone, as docker has it.
                if let Some(mut container) = engine.startable(&engine.find_container(name)?)? {
                    engine.start_detached(&mut container)?;
                }
                ui::outln(name)
            }));
        }
        let [name] = names.as_slice() else {
            return Err(CommandError::usage("only one container can be attached to at a time"));
        };
        let attachment = Attachment { stdin: self.interactive, signals: self.sig_proxy, passed_on: Vec::new() };
        let Some(mut container) = engine.startable(&engine.find_container(name)?)? else {
            return Err(running_already(name));
        };
        engine.run_attached(&mut container, &attachment).map(ExitCode::from)
    }
}
