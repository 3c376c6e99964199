//! `img commit`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::commit::CommitOptions;
use crate::error::Result;
use crate::ui;

/// Make an image of a container's changes
///
/// The container is paused meanwhile, unless `--pause=false`. What is in mounts is not part of the image. Places of -v without a
/// source are volumes of the image.
#[derive(Args)]
pub struct Commit {
    /// The container, by name or id
    container: String,
    /// Name of the image: NAME[:TAG]
    reference: Option<String>,
    /// Who made it
    #[arg(long, short, value_name = "TEXT")]
    author: Option<String>,
    /// Apply an instruction to the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// All places of -v and --mount become volumes of the image; what is in them does not come along
    #[arg(long)]
    include_volumes: bool,
    /// Comment kept in the history
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Pause the container meanwhile
    #[arg(long, short, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pause: bool,
    /// Print nothing but the id
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Commit {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = CommitOptions {
            reference: self.reference,
            author: self.author,
            changes: self.change,
            include_volumes: self.include_volumes,
            message: self.message,
            pause: self.pause,
        };
        ui::outln(context.engine()?.commit(&self.container, &options)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
