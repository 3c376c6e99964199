//! `img system df`: what uses the disk, by kinds or thing by thing.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use store::usage::PartialDownload;

use super::{Run, builder_cache};
use crate::config::Context;
use crate::engine::disk_usage::{DiskUsage, Things};
use crate::error::Result;
use crate::ui::format::Column;
use crate::ui::{self, format, human};

/// Show what uses the disk
///
/// Sizes are what the store's files take on disk, in blocks, as `du` counts; what images share is counted once, so the lines add
/// up to the whole store. RECLAIMABLE is what would come back if what nothing uses went: images that have no container, containers
/// that do not run, volumes without a container, the build cache. With -v each thing has a line, and what of a kind belongs to
/// none is told below: with UNIQUE SIZE and the shared layers the lines of a kind add up to its total, to the byte in JSON.
#[derive(Args)]
pub struct Df {
    /// Each image, container, volume and part of the build cache by itself
    #[arg(long, short)]
    verbose: bool,
    /// Print as `json`, or by a template such as '{{.Type}}', with -v such as '{{range .Images}}{{.ID}} {{end}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// The kinds of things that are told one by one: the key in JSON, docker's heading, and the columns.
const KINDS: [(&str, &str, &[Column]); 6] = [
    (
        "Images",
        "Images space usage:",
        &[
            ("REPOSITORY", "Repository"),
            ("TAG", "Tag"),
            ("IMAGE ID", "ID"),
            ("CREATED", "CreatedSince"),
            ("SIZE", "Size"),
            ("SHARED SIZE", "SharedSize"),
            ("UNIQUE SIZE", "UniqueSize"),
            ("CONTAINERS", "Containers"),
        ],
    ),
    (
        "Containers",
        "Containers space usage:",
        &[
            ("CONTAINER ID", "ID"),
            ("IMAGE", "Image"),
            ("COMMAND", "Command"),
            ("LOCAL VOLUMES", "LocalVolumes"),
            ("SIZE", "Size"),
            ("CREATED", "RunningFor"),
            ("STATUS", "Status"),
            ("NAMES", "Names"),
        ],
    ),
    ("Volumes", "Local Volumes space usage:", &[("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")]),
    (
        "BuildCache",
        "Build cache usage:",
        &[
            ("CACHE ID", "ID"),
            ("CACHE TYPE", "Type"),
            ("SIZE", "Size"),
            ("LAST USED", "LastUsedSince"),
            ("SHARED", "Shared"),
            ("DESCRIPTION", "Description"),
        ],
    ),
    (
        "PartialDownloads",
        "Partial downloads space usage:",
        &[("DIGEST", "Digest"), ("SIZE", "Size"), ("IN USE", "InUse")],
    ),
    ("Other", "Other space usage:", &[("NAME", "Name"), ("SIZE", "Size")]),
];

impl Run for Df {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.verbose {
            let (things, kinds) = engine.disk_usage_of_each()?;
            return one_by_one(&things, &kinds, self.format.as_deref());
        }
        let rows: Vec<_> = engine.disk_usage()?.iter().map(row).collect();
        let columns = [
            ("TYPE", "Type"),
            ("TOTAL", "TotalCount"),
            ("ACTIVE", "Active"),
            ("SIZE", "Size"),
            ("RECLAIMABLE", "Reclaimable"),
        ];
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(kind: &DiskUsage) -> Value {
    json!({
        "Type": kind.kind,
        "TotalCount": kind.count,
        "Active": kind.active,
        "Size": human::size(kind.size),
        "Bytes": kind.size,
        "Reclaimable": match kind.size {
            0 => human::size(kind.reclaimable),
            size => format!("{} ({}%)", human::size(kind.reclaimable), kind.reclaimable * 100 / size),
        },
        "ReclaimableBytes": kind.reclaimable,
    })
}

fn one_by_one(things: &Things, kinds: &[DiskUsage], format: Option<&str>) -> Result<ExitCode> {
    let mut all = rows(things);
    for ((key, _, _), rest) in KINDS.iter().zip(things.rest) {
        all["RestBytes"][key] = rest.into();
    }
    all["SharedLayersBytes"] = things.shared_layers.into();
    let total = kinds.iter().map(|kind| kind.size).sum();
    all["Totals"] = kinds.iter().map(row).collect();
    all["TotalBytes"] = Value::from(total);
    if format.is_some_and(|format| format != "table") {
        format::print_inspect(format, &[all])?;
        return Ok(ExitCode::SUCCESS);
    }
    for (((key, heading, columns), rest), kind) in KINDS.iter().zip(things.rest).zip(kinds) {
        ui::outln(format_args!("{heading}\n"))?;
        format::print_list(None, columns, all[key].as_array().map_or(&[], Vec::as_slice))?;
        let rest = match *key {
            "Images" => format!(
                " (with {} shared layers, {} names and records)",
                human::size(things.shared_layers),
                human::size(rest)
            ),
            "Other" => String::new(),
            _ => format!(" (with {} names and records)", human::size(rest)),
        };
        ui::outln(format_args!("\nTotal: {}{rest}\n", human::size(kind.size)))?;
    }
    ui::outln(format_args!("Total of the store: {} ({total} bytes)", human::size(total)))?;
    Ok(ExitCode::SUCCESS)
}

/// The things as they are printed, with the keys of [`KINDS`].
fn rows(things: &Things) -> Value {
    let short = |id: &str| id.chars().take(12).collect::<String>();
    let images = things.images.iter().map(|(image, shared, unique)| {
        json!({
            "Repository": image.repository.as_deref().unwrap_or("<none>"),
            "Tag": image.tag.as_deref().unwrap_or("<none>"),
            "ID": image.id.short(),
            "CreatedSince": image.created.map_or_else(|| "N/A".into(), human::ago),
            "Size": human::size(shared + unique),
            "SharedSize": human::size(*shared),
            "SharedBytes": shared,
            "UniqueSize": human::size(*unique),
            "UniqueBytes": unique,
            "Containers": image.containers,
        })
    });
    let containers = things.containers.iter().map(|(container, volumes, bytes)| {
        json!({
            "ID": short(&container.id),
            "Image": container.image,
            "Command": format!("\"{}\"", container.command.chars().take(20).collect::<String>()),
            "LocalVolumes": volumes,
            "Size": human::size(*bytes),
            "Bytes": bytes,
            "RunningFor": human::ago(container.created),
            "Status": container.status,
            "Names": container.name,
        })
    });
    let volumes = things.volumes.iter().map(|(volume, bytes)| {
        json!({ "Name": volume.name, "Links": volume.used_by.len(), "Size": human::size(*bytes), "Bytes": bytes })
    });
    let downloads = things.downloads.iter().map(|download| {
        let PartialDownload { name, bytes, in_use } = download;
        json!({ "Digest": format!("sha256:{name}"), "Size": human::size(*bytes), "Bytes": bytes, "InUse": in_use })
    });
    let others =
        things.others.iter().map(|(name, bytes)| json!({ "Name": name, "Size": human::size(*bytes), "Bytes": bytes }));
    json!({
        "Images": images.collect::<Vec<_>>(),
        "Containers": containers.collect::<Vec<_>>(),
        "Volumes": volumes.collect::<Vec<_>>(),
        "BuildCache": things.cache.iter().map(builder_cache::row).collect::<Vec<_>>(),
        "PartialDownloads": downloads.collect::<Vec<_>>(),
        "Other": others.collect::<Vec<_>>(),
    })
}
