//! `img push`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use super::flags::registry::RegistryFlags;
use crate::config::Context;
use crate::engine::transport::Access;
use crate::error::{Context as _, Result};
use crate::ui::{self, progress::Bars};

/// Send an image to a registry
///
/// Layers the registry already has are not sent; others of the same registry are mounted from their repository where
/// it allows that, or come from where this image came from, so that an image that was pulled keeps its digest. A multi-platform image
/// that was pulled with all its platforms goes as the whole index. What was
/// never compressed is compressed now, in parallel, and what came out is remembered. The manifest is sent last.
#[derive(Args)]
pub struct Push {
    /// The image, as it is tagged here
    image: String,
    /// Where to push it, if not to the name it is tagged with
    destination: Option<String>,
    /// Push every tag that the repository has here
    #[arg(long, short, conflicts_with = "destination")]
    all_tags: bool,
    /// Push the image of this platform alone, of a multi-platform image that is kept whole
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Compress anew the layers whose original bytes are out of reach; the digest of the manifest changes
    #[arg(long)]
    recompress: bool,
    /// Write the digest of the pushed manifest to this file
    #[arg(long, value_name = "FILE", conflicts_with = "all_tags")]
    digestfile: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryFlags,
    /// Print nothing but the digest
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Push {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let images = if self.all_tags { engine.local_tags(&self.image)? } else { vec![self.image] };
        let platform = self.platform.as_deref().map(|text| engine.platform(Some(text))).transpose()?;
        let access = Access::from(self.registry);
        for image in &images {
            let bars = Bars::new(self.quiet);
            let pushed =
                engine.push(image, self.destination.as_deref(), self.recompress, platform.as_ref(), &access, &bars)?;
            drop(bars);
            if let Some(file) = &self.digestfile {
                std::fs::write(file, pushed.digest.to_string())
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            if !self.quiet {
                ui::note(format_args!("Pushed {}", pushed.name));
            }
            ui::outln(pushed.digest)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
