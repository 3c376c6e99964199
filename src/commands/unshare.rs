//! `img unshare` and `img nsenter`: programs of the host in namespaces of their own, or in a container's.

use std::process::ExitCode;

use clap::Args;
use runner::tool::Space;

use super::Run;
use super::run::container_failed;
use crate::config::{Context, require_root};
use crate::error::{CommandError, Kind, Result};

/// Kinds of namespaces.
#[derive(Args)]
struct Spaces {
    /// Mounts
    #[arg(long, short)]
    mount: bool,
    /// Host name
    #[arg(long, short)]
    uts: bool,
    /// Shared memory, semaphores, message queues
    #[arg(long, short)]
    ipc: bool,
    /// Interfaces, addresses, ports
    #[arg(long, short)]
    net: bool,
    /// Process ids
    #[arg(long, short)]
    pid: bool,
    /// User and group ids
    #[arg(long, short = 'U')]
    user: bool,
    /// The view of control groups
    #[arg(long, short = 'C')]
    cgroup: bool,
    /// Clocks
    #[arg(long, short = 'T')]
    time: bool,
}

impl Spaces {
    fn list(&self) -> Vec<Space> {
        let given = [self.mount, self.uts, self.ipc, self.net, self.pid, self.user, self.cgroup, self.time];
        Space::ALL.into_iter().zip(given).filter(|(_, given)| *given).map(|(space, _)| space).collect()
    }
}

/// Run a program of this machine in namespaces of its own
///
/// Everything that is not named is shared with the machine: no image, no limits, no other root. With --user the
/// program is root inside and nobody special outside; with --pid and --mount, /proc shows its own processes.
#[derive(Args)]
pub struct Unshare {
    #[command(flatten)]
    spaces: Spaces,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run for Unshare {
    fn run(self, _: &Context) -> Result<ExitCode> {
        require_root()?;
        runner::tool::unshare(&self.spaces.list(), &self.command).map_err(failed).map(code)
    }
}

/// Run a program of this machine in namespaces of a container
///
/// So a container can be looked at with tools its image does not have: `img nsenter --net web ss -lt`. Without a kind,
/// all but the container's mounts and user ids are entered: the program is found on this machine.
#[derive(Args)]
pub struct Nsenter {
    #[command(flatten)]
    spaces: Spaces,
    /// All kinds
    #[arg(long, short)]
    all: bool,
    /// The container, by name or id
    container: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run for Nsenter {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let given = self.spaces.list();
        let spaces = match (self.all, given.is_empty()) {
            (true, _) => Space::ALL.to_vec(),
            (false, true) => {
                Space::ALL.into_iter().filter(|space| !matches!(space, Space::Mount | Space::User)).collect()
            }
            (false, false) => given,
        };
        // A word that parts them, as in `nsenter C -- COMMAND`, is no program.
        let command = self.command.strip_prefix(&["--".to_owned()]).unwrap_or(&self.command);
        let engine = context.engine().map_err(container_failed)?;
        let directory = engine.running_directory(&self.container).map_err(container_failed)?;
        runner::tool::enter(&directory, &spaces, command).map_err(failed).map(code)
    }
}

fn failed(error: runner::Error) -> CommandError {
    let kind = Kind::of_start(&error);
    CommandError::from(error).kind(kind)
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(Kind::Container.code()))
}
