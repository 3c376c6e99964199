//! `img run` and `img create`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::ContainerFlags;
use super::flags::attach::AttachFlags;
use super::flags::preserve::PreserveFlags;
use super::flags::timing::TimingFlag;
use crate::config::Context;
use crate::engine::container::clone::own_process;
use crate::engine::container::run::Attachment;
use crate::error::{CommandError, Kind, Result};
use crate::ui::{self, progress::Bars};

/// Run a program in a new container
///
/// The image's layers are stacked under a read-write layer of the container's own, and the program is started in
/// namespaces and cgroups of its own. A missing image is pulled first. img exits as the program did: its own code, or
/// 128 and the signal's number; 125 when the container could not be made, 126 when the program cannot be executed, 127
/// when there is no such program. Without -d the container ends when img is killed.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct RunCommand {
    /// Run in the background and print the container's id
    #[arg(long, short)]
    detach: bool,
    /// Write the container's id to this file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Pass signals that img receives to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    sig_proxy: bool,
    #[command(flatten)]
    attach: AttachFlags,
    #[command(flatten)]
    preserve: PreserveFlags,
    /// Say at the end who refused what the program was refused, and the flag that would allow it; slow
    #[arg(long)]
    explain_denied: bool,
    #[command(flatten)]
    timing: TimingFlag,
    #[command(flatten)]
    flags: ContainerFlags,
}

impl Run for RunCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        self.timing.clone().around(|| self.run_measured(context))
    }
}

impl RunCommand {
    fn run_measured(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine().map_err(container_failed)?;
        let bars = Bars::new(self.flags.quiet());
        let mut options = self.flags.options(context).map_err(container_failed)?;
        self.attach.check(self.detach)?;
        options.interactive |= self.attach.stdin();
        if !self.detach {
            wants_terminal(options.interactive && !options.system.system, options.tty)?;
        }
        if self.explain_denied && (self.detach || options.interactive || options.tty) {
            return Err(CommandError::usage(
                "--explain-denied wants a program in the foreground without -d, -i and -t",
            ));
        }
        let foreground = !(self.detach || options.interactive || options.tty);
        let passed_on = self.preserve.descriptors(foreground)?;
        if options.remove {
            options.run_by = own_process()?;
        }
        let mut container = engine.create(&options, self.cidfile.as_deref(), &bars).map_err(container_failed)?;
        drop(bars);
        if self.detach {
            engine.start_detached(&mut container).map_err(container_failed)?;
            ui::outln(&container.record.id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let attachment = Attachment { stdin: options.interactive, signals: self.sig_proxy, passed_on };
        let _dropped = self.attach.drop_others()?;
        if self.explain_denied {
            let (code, denials) = engine.run_explained(&mut container, &attachment).map_err(container_failed)?;
            ui::denied::show(&denials);
            return Ok(ExitCode::from(code));
        }
        engine.run_attached(&mut container, &attachment).map(ExitCode::from).map_err(container_failed)
    }
}

/// Make a container without starting it
///
/// `img start` starts it. Prints its id.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    /// Write the container's id to this file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Of docker, where it says what a later start connects; refused with the reason.
    #[arg(long, short, hide = true)]
    attach: Vec<String>,
    #[command(flatten)]
    preserve: PreserveFlags,
    #[command(flatten)]
    flags: ContainerFlags,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if !self.attach.is_empty() {
            return Err(CommandError::usage("--attach is not kept: nothing is connected before the container starts")
                .hint("`img start -a` connects it"));
        }
        if self.preserve.given() {
            return Err(CommandError::usage("no descriptors are kept open until the container starts")
                .hint("`img run` passes them on"));
        }
        let bars = Bars::new(self.flags.quiet());
        let options = self.flags.options(context).map_err(container_failed)?;
        let engine = context.engine().map_err(container_failed)?;
        let container = engine.create(&options, self.cidfile.as_deref(), &bars).map_err(container_failed)?;
        drop(bars);
        ui::outln(&container.record.id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// With both `-i` and `-t`, standard input must be a terminal: nothing else can be a terminal's keyboard.
pub fn wants_terminal(interactive: bool, tty: bool) -> Result<()> {
    if interactive && tty && !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("standard input is not a terminal")
            .hint("leave -t out to pass a file or pipe to the program"));
    }
    Ok(())
}

/// Whatever goes wrong before the program runs is exit code 125, unless it is known better.
pub fn container_failed(error: CommandError) -> CommandError {
    if error.kind == Kind::Failed { error.kind(Kind::Container) } else { error }
}
