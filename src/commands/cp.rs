//! `img cp`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::copy::CopyOptions;
use crate::error::Result;

/// Copy files between a container and the host
///
/// CONTAINER:PATH names the container's side; `-` is a tar on standard input or output. As with cp -a, a directory
/// that exists takes the source into it, and SOURCE/. copies what is in it. Works on running and stopped containers,
/// volumes and bind mounts included; every path of the container is resolved inside its root.
#[derive(Args)]
pub struct Cp {
    /// CONTAINER:PATH, PATH or -
    source: String,
    /// CONTAINER:PATH, PATH or -
    destination: String,
    /// Keep owner, group and extended attributes
    #[arg(long, short)]
    archive: bool,
    /// Follow a symbolic link named as the source
    #[arg(long, short = 'L')]
    follow_link: bool,
}

impl Run for Cp {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = CopyOptions { archive: self.archive, follow_link: self.follow_link };
        context.engine()?.copy(&self.source, &self.destination, &options)?;
        Ok(ExitCode::SUCCESS)
    }
}
