//! `img import`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::import::ImportOptions;
use crate::error::Result;
use crate::ui;

/// Make an image of one layer from a tar of a root file system
///
/// The tar may be plain, gzip or zstd. `-` reads standard input. Prints the id of the image.
#[derive(Args)]
pub struct Import {
    /// The tar, or - for standard input
    file: String,
    /// Name of the image: NAME[:TAG]
    reference: Option<String>,
    /// Apply an instruction to the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment kept in the history
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
}

impl Run for Import {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = ImportOptions {
            reference: self.reference,
            changes: self.change,
            message: self.message,
            platform: self.platform,
        };
        let id = context.engine()?.import(&self.file, &options)?;
        ui::outln(id)?;
        Ok(ExitCode::SUCCESS)
    }
}
