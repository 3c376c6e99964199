//! `img console` and `img shutdown`: a system in a container, as its user and as its machine's owner see it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::engine::container::run::Attachment;
use crate::error::{CommandError, Result};
use crate::ui;

/// How long a system has to shut down.
const SHUTDOWN: u64 = 60;

/// Connect this terminal to the console of a system
///
/// Ctrl-a q leaves it, and the system goes on.
#[derive(Args)]
pub struct Console {
    /// The container, by name or id
    container: String,
    /// Number of the terminal: 0 is the console, 1 and on those of --tty-count, each for one at a time
    #[arg(long, short, default_value_t = 0, value_name = "NUMBER")]
    tty: u8,
    /// Keys that leave it
    #[arg(long, short = 'e', default_value = "ctrl-a,q", value_name = "KEYS")]
    escape: String,
}

impl Run for Console {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let keys = self.escape.replace(',', " ");
        if self.tty > 0 {
            let connected = || ui::note(format_args!("terminal {} of {}; {keys} leaves it", self.tty, self.container));
            return engine.attach_tty(&self.container, self.tty, &self.escape, connected).map(ExitCode::from);
        }
        if !engine.has_console(&self.container)? {
            return Err(CommandError::new(format!("container {} has no console", self.container))
                .hint("start it with --system, or with -i and -t"));
        }
        ui::note(format_args!("console of {}; {keys} leaves it", self.container));
        let attachment = Attachment { stdin: true, signals: false, passed_on: Vec::new() };
        engine.attach(&self.container, &attachment, Some(&self.escape)).map(ExitCode::from)
    }
}

/// Shut systems down
///
/// As by their power button: the stop signal, and SIGKILL only when the time is over.
#[derive(Args)]
pub struct Shutdown {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Start them again
    #[arg(long, short)]
    reboot: bool,
    /// Seconds until SIGKILL
    #[arg(long, short = 't', visible_alias = "time", default_value_t = SHUTDOWN, value_name = "SECONDS")]
    timeout: u64,
}

impl Run for Shutdown {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let timeout = Some(Duration::from_secs(self.timeout));
        Ok(each(&self.containers, |name| {
            match self.reboot {
                true => engine.restart(name, None, timeout)?,
                false => engine.stop(name, None, timeout)?,
            }
            ui::outln(name)
        }))
    }
}
