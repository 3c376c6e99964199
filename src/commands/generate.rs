//! `img completion` and `img man`: what `make install` installs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::table::Group;
use super::{COMMANDS, Run, root, tree};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Print a completion script
#[derive(Args)]
pub struct Completion {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

impl Run for Completion {
    fn run(self, _: &Context) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut whole_tree(), "img", &mut script);
        ui::out_bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write man pages into a directory
#[derive(Args)]
pub struct Man {
    /// The directory
    directory: PathBuf,
}

impl Run for Man {
    fn run(self, _: &Context) -> Result<ExitCode> {
        std::fs::create_dir_all(&self.directory)?;
        clap_mangen::generate_to(whole_tree(), &self.directory)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All commands in one tree; only what is made at build time pays for it.
fn whole_tree() -> clap::Command {
    let mut all = root().about("Build, pull, store and run container images");
    for command in COMMANDS.iter().filter(|command| command.group != Group::Hidden) {
        let Some(branch) = tree(command).get_subcommands().next().cloned() else { continue };
        all = match all.find_subcommand(branch.get_name()).cloned() {
            None => all.subcommand(branch),
            Some(_) => all.mut_subcommand(branch.get_name(), |there| {
                branch.get_subcommands().cloned().fold(there, clap::Command::subcommand)
            }),
        };
    }
    all
}
