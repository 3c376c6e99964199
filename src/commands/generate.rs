//! `img completion` and `img man`: what `make install` installs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::table::Group;
use super::{COMMANDS, Run, root, tree};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// The options before the command, which img(1) explains and the pages of single commands need not.
const GLOBALS: [&str; 3] = ["root", "runroot", "config"];

/// What img(1) says for all commands.
const SECTIONS: &str = r#".SH EXIT STATUS
.TP
.B 0
It worked. \fBrun\fR, \fBstart \-a\fR and \fBexec\fR exit as the program did: with its code, or 128 and the signal's number.
.TP
.B 1
It did not, and standard error says why.
.TP
.B 125
The words make no sense, or the container could not be made or started.
.TP
.B 126
The program in the container cannot be executed.
.TP
.B 127
There is no such program in the container.
.SH ENVIRONMENT
.TP
.BR IMG_ROOT ", " IMG_RUNROOT ", " IMG_CONFIG
As \fB\-\-root\fR, \fB\-\-runroot\fR and \fB\-\-config\fR, which win.
.TP
.BR HTTP_PROXY ", " HTTPS_PROXY ", " NO_PROXY
The way to registries; also given to the \fBRUN\fR steps of a build.
.TP
.BR DOCKER_CONFIG ", " REGISTRY_AUTH_FILE
Where the credentials of docker and podman are.
.TP
.B SOURCE_DATE_EPOCH
The time that a build writes into the image.
.TP
.B NO_COLOR
No colours.
.SH FILES
.TP
.I /etc/img/config.toml
Registries, mirrors, the bridge network, the storage driver.
.TP
.I /var/lib/img
Images, layers, containers and volumes.
.TP
.I /run/img
What is running.
.TP
.I ~/.docker/config.json
Credentials of registries.
"#;

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
        let shown = |argument: clap::Arg| argument.hide(false);
        let all = GLOBALS.iter().fold(whole_tree(), |all, name| all.mut_arg(name, shown));
        clap_mangen::generate_to(all, &self.directory)?;
        let mut first = OpenOptions::new().append(true).open(self.directory.join("img.1"))?;
        first.write_all(SECTIONS.as_bytes())?;
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
