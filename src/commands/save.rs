//! `img save`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::archive::ArchiveFormat;
use crate::error::{CommandError, Result};

/// Write images to an archive
///
/// The archive is an OCI layout that docker, podman and skopeo load too (it carries docker's manifest.json beside
/// index.json). Layers are written as the tars they are, uncompressed. `--format docker-archive` is for tools that know
/// nothing of OCI layouts.
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
        context.engine()?.save(&self.images, format, self.output.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}
