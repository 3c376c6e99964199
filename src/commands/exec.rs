//! `img exec`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::environment::environment;
use super::flags::preserve::PreserveFlags;
use super::flags::timing::TimingFlag;
use super::run::{container_failed, wants_terminal};
use crate::config::Context;
use crate::engine::container::exec::ExecOptions;
use crate::error::Result;
use crate::ui::table;

/// Run another program in a running container
///
/// It gets the container's namespaces, cgroup, capabilities and seccomp filter. Exit codes are as for `img run`. It
/// ends when img is killed, unless detached.
#[derive(Args)]
pub struct Exec {
    /// Run in the background
    #[arg(long, short)]
    detach: bool,
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give the program a terminal
    #[arg(long, short)]
    tty: bool,
    /// Set a variable; without a value, take it from here
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, a line each
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// User, and group, the program runs as
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Directory the program starts in
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,
    #[command(flatten)]
    preserve: PreserveFlags,
    #[command(flatten)]
    timing: TimingFlag,
    /// Keys that detach from its terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// List what was executed and still runs: id, pid on the host, command
    #[arg(long, conflicts_with_all = ["detach", "interactive", "tty", "command"])]
    list: bool,
    /// The container, by name or id
    container: String,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "list",
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

impl Run for Exec {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.list {
            return list(context, &self.container);
        }
        if !self.detach {
            wants_terminal(self.interactive, self.tty)?;
        }
        let options = ExecOptions {
            detach: self.detach,
            interactive: self.interactive,
            tty: self.tty,
            env: environment(context, &self.env_file, &self.env)?,
            user: self.user,
            workdir: self.workdir,
            privileged: self.privileged,
            passed_on: self.preserve.descriptors(!(self.detach || self.tty))?,
            detach_keys: self.detach_keys,
            command: self.command,
        };
        self.timing.around(|| {
            let engine = context.engine().map_err(container_failed)?;
            engine.exec(&self.container, &options).map(ExitCode::from)
        })
    }
}

/// Lists what was executed in a container.
fn list(context: &Context, container: &str) -> Result<ExitCode> {
    let execs = context.engine()?.execs(container)?;
    let row =
        |exec: runner::ExecRecord| vec![exec.id[..12].to_owned(), exec.process.pid.to_string(), exec.args.join(" ")];
    table::print(&["EXEC ID", "PID", "COMMAND"], &execs.into_iter().map(row).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}
