//! `img pull`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::registry::RegistryFlags;
use crate::config::Context;
use crate::engine::Engine;
use crate::engine::originals::KeepCompressed;
use crate::engine::pull::PullOptions;
use crate::engine::transport::Access;
use crate::error::{CommandError, Result};
use crate::ui::{self, progress::Bars};

/// Fetch images from a registry into the store
///
/// A name without a registry means docker.io, one without a tag or digest means `latest`; mirrors and other rules come
/// from the configuration file. Layers are fetched side by side, verified while they stream, and kept as the tars they
/// are: nothing is unpacked. A pull that was cut continues where it stopped.
#[derive(Args)]
pub struct Pull {
    /// Images: NAME[:TAG][@DIGEST]
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Take this platform of a multi-platform image, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Fetch all platforms of a multi-platform image and keep its index whole
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Fetch every tag of the repository
    #[arg(long, short)]
    all_tags: bool,
    /// Keep the compressed layers: always, never, or auto, which keeps what cannot be fetched again
    #[arg(long, value_name = "WHEN", value_parser = KeepCompressed::WORDS, hide_possible_values = true)]
    keep_compressed: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
    /// Print the image id only
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Pull {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let keep = self.keep_compressed.map(|word| word.parse::<KeepCompressed>()).transpose()?;
        let options = PullOptions {
            platform: self.platform,
            all_platforms: self.all_platforms,
            keep,
            access: self.registry.into(),
        };
        let images = if self.all_tags { all_tags(engine, &self.images, &options.access)? } else { self.images };
        for image in &images {
            let bars = Bars::new(self.quiet);
            let pulled = engine.pull(image, &options, &bars)?;
            drop(bars);
            if !self.quiet {
                ui::note(format_args!("Digest: {}", pulled.digest));
                let status = if pulled.fetched { "Downloaded newer image for" } else { "Image is up to date for" };
                ui::note(format_args!("Status: {status} {}", pulled.familiar));
            }
            ui::outln(if self.quiet { pulled.image.to_string() } else { pulled.name })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The names of all tags of these repositories.
fn all_tags(engine: &Engine, repositories: &[String], access: &Access) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for repository in repositories {
        let found = engine.list_remote_tags(repository, access)?.tags;
        if found.is_empty() {
            return Err(CommandError::new(format!("{repository} has no tags")));
        }
        names.extend(found.into_iter().map(|tag| format!("{repository}:{tag}")));
    }
    Ok(names)
}
