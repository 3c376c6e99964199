//! `img top`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::Result;
use crate::ui::{out, table};

/// Show the processes of a container
///
/// Behind the name may stand options of ps (-ef, aux, -o pid,cmd): pids are then those of the host. Or names of podman's
/// columns: pid and user are then those inside, hpid and huser those of the host, and there are capeff, capprm, capbnd,
/// seccomp and label. Read from /proc; nothing is run in the container.
#[derive(Args)]
pub struct Top {
    /// The container, by name or id; then options of ps or names of columns
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CONTAINER [OPTIONS]")]
    words: Vec<String>,
}

impl Run for Top {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let table = context.engine()?.top(&self.words[0], &self.words[1..])?;
        let headings: Vec<&str> = table.headings.iter().map(String::as_str).collect();
        out(table::render(&headings, &table.rows))?;
        Ok(ExitCode::SUCCESS)
    }
}
