//! Flags of `run` and `create` that say what a container's monitor does for it.

use clap::Args;

use crate::engine::container::options::SupervisionOptions;

/// Restarting.
#[derive(Args)]
pub struct SupervisionFlags {
    /// When to start it again after it has ended: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
}

impl SupervisionFlags {
    /// The flags as the engine takes them.
    pub fn options(self) -> SupervisionOptions {
        SupervisionOptions { restart: self.restart }
    }
}
