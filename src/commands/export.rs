//! `img export`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::{CommandError, Result};

/// Write the file system of a container to a tar
///
/// Its layers and its own changes as one tree; mounts are not part of it.
#[derive(Args)]
pub struct Export {
    /// The container, by name or id
    container: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Run for Export {
    fn run(self, context: &Context) -> Result<ExitCode> {
        tar_goes_to(self.output.as_deref())?;
        context.engine()?.export(&self.container, self.output.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses to write a tar to a terminal.
pub fn tar_goes_to(output: Option<&Path>) -> Result<()> {
    if output.is_none() && std::io::stdout().is_terminal() {
        return Err(CommandError::new("a tar is not for a terminal")
            .hint("use -o FILE, or send standard output to a file or pipe"));
    }
    Ok(())
}
