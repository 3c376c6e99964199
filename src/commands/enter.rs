//! `img enter`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::run::container_failed;
use crate::config::Context;
use crate::engine::container::exec::ExecOptions;
use crate::error::Result;

/// Run a shell in a running container
///
/// As `img exec -it CONTAINER sh`, with a terminal where there is one. Behind the name, and `--` if it has options, may stand
/// another program.
#[derive(Args)]
pub struct Enter {
    /// User, and group, it runs as
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// The container, by name or id
    container: String,
    /// Another program than the shell, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run for Enter {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut command = self.command;
        if command.first().is_some_and(|word| word == "--") {
            command.remove(0);
        }
        if command.is_empty() {
            command.push("/bin/sh".to_owned());
        }
        let options = ExecOptions {
            passed_on: Vec::new(),
            detach_keys: None,
            detach: false,
            interactive: true,
            tty: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
            env: Vec::new(),
            user: self.user,
            workdir: None,
            privileged: false,
            command,
        };
        let engine = context.engine().map_err(container_failed)?;
        engine.exec(&self.container, &options).map(ExitCode::from)
    }
}
