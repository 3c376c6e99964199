//! `img system …`: how to check and empty the store, and what to do at a boot and a shutdown.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::Run;
use crate::config::Context;
use crate::error::{CommandError, Result};
use crate::ui;
use clap::Args;

/// Remove everything: containers, images, volumes and cache
///
/// Running containers are killed first. The store itself stays, empty; the configuration and credentials are not touched.
#[derive(Args)]
pub struct Reset {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

impl Run for Reset {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.force || confirm("Remove ALL containers, images, volumes and cache?")? {
            engine.reset()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Unmount the shared layer mounts that no container uses
///
/// img keeps the layers of images mounted between runs, in a mount namespace of its own that one mount point of the
/// host pins. This removes it; the next run makes it again.
#[derive(Args)]
pub struct Unmount {}

impl Run for Unmount {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.unmount_layers()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Start the containers that restart policies want to run, as after a boot
///
/// With always: all that were ever started. With unless-stopped and on-failure: those that ran when the machine, or
/// their monitor, was ended. What runs already is left alone. Prints the names of those started.
#[derive(Args)]
pub struct Start {}

impl Run for Start {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (mut report, mut code) = (Ok(()), ExitCode::SUCCESS);
        context.engine()?.start_by_policy(|name, result| tell(name, result, &mut report, &mut code))?;
        report.map(|()| code)
    }
}

/// Stop all containers, as at a shutdown
///
/// Restart policies are not told: `img system start` starts again what they want to run. Each has its own time between its stop signal
/// and SIGKILL. Prints the names.
#[derive(Args)]
pub struct Stop {}

impl Run for Stop {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (mut report, mut code) = (Ok(()), ExitCode::SUCCESS);
        context.engine()?.stop_for_shutdown(|name, result| tell(name, result, &mut report, &mut code))?;
        report.map(|()| code)
    }
}

/// Prints the name of a container with which something was done, or why it was not.
fn tell(name: &str, result: Result<()>, report: &mut Result<()>, code: &mut ExitCode) {
    match result {
        Ok(()) if report.is_ok() => *report = ui::outln(name),
        Ok(()) => {}
        Err(error) => {
            ui::error(&error);
            *code = error.into();
        }
    }
}

/// Asks on the terminal; without one, says that `--force` is needed.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("cannot ask without a terminal").hint("use --force"));
    }
    ui::note_part(format_args!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
