//! `img rm`.

use std::process::ExitCode;

use clap::Args;

use super::targets::{MoreTargets, Scope};
use super::{Run, each};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Remove containers and their read-write layers
#[derive(Args)]
pub struct Rm {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    /// Kill those that run; do not mind those that are not there
    #[arg(long, short)]
    force: bool,
    /// Also remove their anonymous volumes
    #[arg(long, short)]
    volumes: bool,
}

impl Run for Rm {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = self.more.names(engine, self.containers, self.all, Scope::Any)?;
        Ok(each(&names, |name| {
            if engine.remove_container(name, self.force, self.volumes)? { ui::outln(name) } else { Ok(()) }
        }))
    }
}
