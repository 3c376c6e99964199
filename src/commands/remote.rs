//! `img list-tags`, `img referrers` and `img delete`: what a registry has, and taking it away there.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use super::flags::registry::RegistryFlags;
use crate::config::Context;
use crate::engine::remote::Deletion;
use crate::engine::transport::Access;
use crate::error::{CommandError, Result};
use crate::ui::{self, format, human};

/// List the tags of a repository at its registry
///
/// One a line, in the registry's order; `--format json` prints what skopeo prints. Nothing is pulled.
#[derive(Args)]
pub struct ListTags {
    /// The repository, without tag and digest
    repository: String,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for ListTags {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let json = match self.format.as_deref() {
            None => false,
            Some("json") => true,
            Some(other) => return Err(CommandError::usage(format!("tags have no format {other:?}, only json"))),
        };
        let found = context.engine()?.list_remote_tags(&self.repository, &Access::from(self.registry))?;
        if json {
            ui::outln_json(&found, true)?;
        } else {
            found.tags.iter().try_for_each(ui::outln)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// List what refers to an image at its registry: signatures, SBOMs, attestations
///
/// The registry is asked by the referrers API; one that does not know it keeps the list under a tag made of the digest, which
/// is looked at then. `--format json` prints the descriptors with their annotations.
#[derive(Args)]
pub struct Referrers {
    /// The image at its registry
    image: String,
    /// Only those of this type
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Print as `json`, or by a template such as '{{.Digest}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for Referrers {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let access = Access::from(self.registry);
        let found = context.engine()?.referrers(&self.image, self.artifact_type.as_deref(), &access)?;
        if self.format.as_deref() == Some("json") {
            ui::outln_json(&found, true)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<_> = found
            .iter()
            .map(|entry| {
                json!({
                    "Digest": entry.digest.to_string(),
                    "ArtifactType": entry.artifact_type.as_deref().unwrap_or(entry.media_type.as_str()),
                    "Size": human::size(entry.size),
                })
            })
            .collect();
        let columns = [("DIGEST", "Digest"), ("ARTIFACT TYPE", "ArtifactType"), ("SIZE", "Size")];
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Delete images at their registry
///
/// The manifest goes, with all tags that it has, and its digest is printed; layers that nothing else needs go when the
/// registry next collects them. This store is not touched: see `img rmi`. Many registries allow no deletion.
#[derive(Args)]
pub struct Delete {
    /// Images, with their tag or digest
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove the tag alone and leave the manifest; not every registry can
    #[arg(long)]
    tag_only: bool,
    /// Delete this blob of the repository in place of a manifest
    #[arg(long, value_name = "DIGEST", conflicts_with = "tag_only")]
    blob: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for Delete {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, access) = (context.engine()?, Access::from(self.registry));
        let what = if self.tag_only { Deletion::Tag } else { Deletion::Manifest };
        for image in &self.images {
            match &self.blob {
                Some(digest) => {
                    engine.delete_remote_blob(image, digest, &access)?;
                    ui::outln(digest)?;
                }
                None => match engine.delete_remote(image, what, &access)? {
                    Some(digest) => ui::outln(digest)?,
                    None => ui::outln(image)?,
                },
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
