//! `img save`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::archive::ArchiveFormat;
use crate::engine::form::Keep;
use crate::error::{CommandError, Context as _, Result};
use crate::ui::progress::Bars;

/// Write images to an archive
///
/// The archive is an OCI layout that docker, podman and skopeo load too (it carries docker's manifest.json beside
/// index.json). An image that was pulled or pushed leaves with its manifest, so that its digest stays: its compressed layers
/// come from where it came from unless they were kept here. Other layers are written as the tars they are, as are all with
/// `--format docker-archive`, which is for tools that know nothing of OCI layouts and has no digests.
#[derive(Args)]
pub struct Save {
    /// Images by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// oci-archive, docker-archive, or oci-dir for a directory
    #[arg(long, default_value = "oci-archive", value_name = "FORMAT")]
    format: String,
    /// Save the image of this platform alone, of a multi-platform image that is kept whole
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Write all layers as the tars they are, under a new manifest; nobody is asked for the compressed ones
    #[arg(long)]
    uncompressed: bool,
    /// Compress anew the layers whose original bytes are out of reach; the digest of the manifest changes
    #[arg(long, conflicts_with = "uncompressed")]
    recompress: bool,
}

impl Run for Save {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let format = match self.format.as_str() {
            "oci-archive" => ArchiveFormat::Oci,
            "docker-archive" => ArchiveFormat::Docker,
            "oci-dir" => ArchiveFormat::OciDirectory,
            other => {
                return Err(CommandError::usage(format!("{other:?} is no archive format"))
                    .hint("--format takes oci-archive, docker-archive or oci-dir"));
            }
        };
        if self.output.is_none() && format != ArchiveFormat::OciDirectory && std::io::stdout().is_terminal() {
            return Err(CommandError::new("an archive is not for a terminal")
                .hint("use -o FILE, or send standard output to a file or pipe"));
        }
        let keep = match (self.uncompressed, self.recompress) {
            (true, _) => Keep::Free,
            (_, true) => Keep::Try,
            _ => Keep::Must,
        };
        let engine = context.engine()?;
        let platform = self.platform.as_deref().map(|text| engine.platform(Some(text))).transpose()?;
        let bars = Bars::new(false);
        let saved = engine.save(&self.images, format, keep, platform.as_ref(), self.output.as_deref(), &bars);
        drop(bars);
        saved.with_context(|| {
            let to = self.output.as_deref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
            format!("cannot save to {to}")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
