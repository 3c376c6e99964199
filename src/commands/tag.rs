//! `img tag`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::Result;

/// Give an image another name
///
/// A name costs nothing: it is one small file. If another image had it, that image loses it. `img rmi` takes a name away
/// again.
#[derive(Args)]
pub struct Tag {
    /// The image, by name or id
    source: String,
    /// The new name: NAME[:TAG]
    target: String,
}

impl Run for Tag {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.tag(&self.source, &self.target)?;
        Ok(ExitCode::SUCCESS)
    }
}
