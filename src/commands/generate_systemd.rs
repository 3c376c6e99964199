//! `img generate systemd`: unit files for systemd, as text; nothing of systemd is asked or changed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::container::units::{Invocation, UnitFile};
use crate::error::Result;
use crate::ui;

/// Print systemd units that start containers at boot
///
/// Without a name, one unit for all: it starts what restart policies want to run, and stops containers at shutdown.
/// With names, a unit for each of these containers, which then runs in the foreground of its unit.
#[derive(Args)]
pub struct GenerateSystemd {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Write files into this directory and print their paths
    #[arg(long, short, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", require_equals = true)]
    files: Option<PathBuf>,
}

impl Run for GenerateSystemd {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let invocation = Invocation { program: std::env::current_exe()?, arguments: context.own_arguments() };
        let units = if self.containers.is_empty() {
            vec![UnitFile::for_boot(&invocation)]
        } else {
            let engine = context.engine()?;
            self.containers.iter().map(|name| engine.unit(name, &invocation)).collect::<Result<_>>()?
        };
        for unit in units {
            match &self.files {
                Some(folder) => {
                    let path = folder.join(&unit.name);
                    std::fs::write(&path, &unit.text)?;
                    ui::outln(path.display())?;
                }
                None => ui::out(&unit.text)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
