//! `img blame`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::engine::blame::{Version, Writer};
use crate::error::{CommandError, Result};
use crate::ui::{self, Escaped, format, human};

/// Name the line of the Buildfile that wrote a path of an image
///
/// Line, stage and layer that wrote it last, and every older copy that lower layers still hold although nobody sees
/// it. With --waste, all such bytes of the image by the lines that wrote and hid them: they add up to the size of the
/// layers less that of the flattened image. For images built elsewhere the entry of their history stands in for the
/// line.
#[derive(Args)]
pub struct Blame {
    /// The image, by name or id
    image: String,
    /// The path in it
    #[arg(required_unless_present = "waste")]
    path: Option<String>,
    /// List the bytes that later layers replaced or deleted
    #[arg(long, conflicts_with = "path")]
    waste: bool,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Run for Blame {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.waste {
            return self.waste(engine);
        }
        let path = self.path.as_deref().ok_or_else(|| CommandError::usage("a path is missing"))?;
        let blame = engine.blame(&self.image, path)?;
        if self.format.is_some() {
            ui::outln_json(&blame, true)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut versions = blame.versions.iter();
        ui::outln(Escaped(&blame.path))?;
        if blame.present
            && let Some(shown) = versions.next()
        {
            show(shown, "written by")?;
        }
        for version in versions {
            let is_file = version.kind != Some("directory");
            let words = match (version.action, is_file) {
                ("deleted", _) => "deleted by",
                (_, true) => "hidden copy by",
                (_, false) => "also written by",
            };
            show(version, words)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(version: &Version, words: &str) -> Result<()> {
    let by = &version.by;
    ui::outln(Escaped(&format!("  {words} {}", place(by))))?;
    let mut facts = format!("    layer {} {}", by.layer, by.diff_id.short());
    if let (Some(kind), Some(mode), Some(owner)) = (version.kind, &version.mode, &version.owner) {
        let size = if kind == "file" { format!(", {}", human::size(version.size)) } else { String::new() };
        facts.push_str(&format!(", {kind}{size}, mode {mode}, owner {owner}"));
    }
    if let Some(through) = &version.through {
        facts.push_str(&format!(", with {through}"));
    }
    ui::outln(Escaped(&facts))?;
    for folded in version.kind.iter().flat_map(|_| &by.folded) {
        let text = folded.instruction.lines().next().unwrap_or_default();
        ui::outln(Escaped(&format!("    attributes also by line {} [{}] {text}", folded.line, folded.step)))?;
    }
    Ok(())
}

/// `Buildfile:4 [build 2/5] RUN make`, or what the history says.
fn place(by: &Writer) -> String {
    let source = by.source.as_deref().unwrap_or("an unknown source");
    let line = by.line.map_or_else(String::new, |line| format!(":{line}"));
    let step = by.step.as_deref().map_or_else(String::new, |step| format!(" [{step}]"));
    let instruction = by.instruction.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
    format!("{source}{line}{step} {instruction}")
}

impl Blame {
    fn waste(&self, engine: &crate::engine::Engine) -> Result<ExitCode> {
        let waste = engine.waste(&self.image)?;
        if self.format.is_some() {
            ui::outln_json(&waste, true)?;
            return Ok(ExitCode::SUCCESS);
        }
        let short = |by: &Writer| -> String {
            let mut text: String = place(by).chars().take(60).collect();
            if text.chars().count() == 60 {
                text.push('…');
            }
            text
        };
        let rows: Vec<_> = waste
            .hidden
            .iter()
            .map(|group| {
                json!({
                    "Bytes": group.bytes.to_string(),
                    "Files": group.files.to_string(),
                    "WrittenBy": short(&group.written_by),
                    "HiddenBy": short(&group.hidden_by),
                    "Largest": group.largest.first().map_or("", |(path, _)| path),
                })
            })
            .collect();
        let columns = [
            ("BYTES", "Bytes"),
            ("FILES", "Files"),
            ("WRITTEN BY", "WrittenBy"),
            ("HIDDEN BY", "HiddenBy"),
            ("LARGEST", "Largest"),
        ];
        format::print_list(None, &columns, &rows)?;
        ui::outln(format_args!(
            "{} bytes in layers - {} flattened = {} wasted ({})",
            waste.layer_bytes,
            waste.flat_bytes,
            waste.wasted_bytes,
            human::size(waste.wasted_bytes)
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
