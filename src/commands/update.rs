//! `img update`.

use std::process::ExitCode;

use clap::Args;

use super::flags::limits::LimitFlags;
use super::targets::{MoreTargets, Scope};
use super::{Run, each};
use crate::config::Context;
use crate::engine::container::update::Changes;
use crate::error::{CommandError, Result};
use crate::ui;

/// Change limits, restart policy and mounts of containers, running or not
///
/// A running one feels it at once, and the next start does the same. What is not named stays as it is. A mount is put in and
/// taken out without a restart; programs that have files open in it keep them.
#[derive(Args)]
pub struct Update {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
    #[command(flatten)]
    limits: LimitFlags,
    /// Start it again when it ends: no, on-failure[:MAX], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Mount this, in the words of -v or --mount: HOST:PATH[:ro], VOLUME:PATH, type=tmpfs,target=PATH
    #[arg(long, value_name = "SPEC")]
    mount_add: Vec<String>,
    /// Unmount what is mounted at this path
    #[arg(long, visible_alias = "mount-remove", value_name = "PATH")]
    mount_rm: Vec<String>,
}

impl Run for Update {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let changes = Changes {
            limits: self.limits.limits(),
            restart: self.restart,
            mount_add: self.mount_add,
            mount_remove: self.mount_rm,
        };
        if changes == Changes::default() {
            return Err(CommandError::usage("nothing to change was given")
                .hint("as --memory 1g, --cpus 2, --pids-limit 100, --restart always or --mount-add /data:/data"));
        }
        let names = self.more.names(engine, self.containers, self.all, Scope::Any)?;
        Ok(each(&names, |name| {
            engine.update(name, &changes)?;
            ui::outln(name)
        }))
    }
}
