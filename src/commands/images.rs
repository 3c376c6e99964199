//! `img images`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::engine::images::{ImageFilter, ImageSummary};
use crate::error::Result;
use crate::ui::{self, format, human};

/// List the images in the store
///
/// SIZE is what the image's layers hold; layers that several images share are counted for each, as docker does.
/// `img system df` shows what they really take.
#[derive(Args)]
pub struct Images {
    /// Only images of this repository, or repository and tag; `*` stands for any text
    reference: Option<String>,
    /// Also images that no tag names, and below an index that is kept whole its other platforms
    #[arg(long, short)]
    all: bool,
    /// Only what fits: dangling=true|false, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print as `json`, or by a template such as '{{.Repository}}:{{.Tag}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Images {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut filters = self.filter.iter().map(|text| text.parse()).collect::<Result<Vec<ImageFilter>>>()?;
        filters.extend(self.reference.map(ImageFilter::Reference));
        let images = context.engine()?.images(self.all, &filters)?;
        let id = |image: &ImageSummary| if self.no_trunc { image.id.to_string() } else { image.id.short() };
        if self.quiet {
            // A line for each tag, as docker does: what is counted here is counted the same there.
            images.iter().map(id).try_for_each(ui::outln)?;
            return Ok(ExitCode::SUCCESS);
        }
        let table = self.format.as_deref().is_none_or(|format| format == "table");
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                let (mut repository, mut tag) = (image.repository.clone(), image.tag.clone());
                let platform = image.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                if table && image.beside.is_some() {
                    repository = Some(format!("  {platform}"));
                    tag = Some(String::new());
                }
                json!({
                    "Repository": repository.as_deref().unwrap_or("<none>"),
                    "Tag": tag.as_deref().unwrap_or("<none>"),
                    "Platform": platform,
                    "Digest": image.digest.map_or_else(|| "<none>".into(), |digest| digest.to_string()),
                    "ID": id(image),
                    "CreatedSince": image.created.map_or_else(|| "N/A".into(), human::ago),
                    "CreatedAt": image.created.map_or_else(|| "N/A".into(), |time| time.to_string()),
                    "Size": human::size(image.size),
                    "VirtualSize": human::size(image.size),
                    "Bytes": image.size,
                    "Labels": image.labels,
                    "Containers": image.containers,
                })
            })
            .collect();
        let mut columns = vec![("REPOSITORY", "Repository"), ("TAG", "Tag")];
        if self.digests {
            columns.push(("DIGEST", "Digest"));
        }
        columns.extend([("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")]);
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}
