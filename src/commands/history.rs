//! `img history`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::engine::compare::{LayerLine, Shared};
use crate::error::{CommandError, Result};
use crate::ui::{self, format, human};

/// Show where every byte of an image came from
///
/// One line a step, newest first: the layer it made, how long ago, the instruction with its file and line where the
/// image was built here, and its size. Steps that only changed the configuration have no layer.
#[derive(Args)]
pub struct History {
    /// The image, by name or id; two of them with --shared
    #[arg(required = true, num_args = 1..=2, value_name = "IMAGE")]
    images: Vec<String>,
    /// Show which layers two images share, and what is kept once for both
    #[arg(long)]
    shared: bool,
    /// Print as `json`, or by a template such as '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates for people; `--human=false` prints bytes and RFC 3339 times
    #[arg(long, short = 'H', default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    human: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print layer ids only
    #[arg(long, short)]
    quiet: bool,
}

/// Longest instruction shown without `--no-trunc`, in characters.
const INSTRUCTION_MAX: usize = 60;

impl Run for History {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let steps = match self.images.as_slice() {
            [first, second] if self.shared => return self.print_shared(&engine.shared_layers(first, second)?),
            [image] if !self.shared => engine.history(image)?,
            _ => {
                return Err(CommandError::usage(
                    "the history of one image is shown, and with --shared those of two compared",
                ));
            }
        };
        if self.format.as_deref() == Some("json") {
            ui::outln(serde_json::to_string(&steps)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let shorten = |text: &str, max: usize| match text.char_indices().nth(max) {
            Some((end, _)) if !self.no_trunc => format!("{}…", &text[..end]),
            _ => text.to_owned(),
        };
        let rows: Vec<_> = steps
            .iter()
            .map(|step| {
                let id = if self.no_trunc { step.id.clone() } else { step.id.chars().take(19).skip(7).collect() };
                let id = if step.diff_id.is_none() { "-".to_owned() } else { id };
                json!({
                    "ID": id,
                    "CreatedSince": step.created.map_or_else(|| "N/A".into(), human::ago),
                    "CreatedAt": step.created.map_or_else(|| "N/A".into(), |time| time.to_string()),
                    "Created": match step.created {
                        None => "N/A".into(),
                        Some(time) if self.human => human::ago(time),
                        Some(time) => time.to_string(),
                    },
                    "CreatedBy": shorten(&step.created_by, INSTRUCTION_MAX),
                    "Size": if self.human { human::size(step.size) } else { step.size.to_string() },
                    "Source": step.source.clone().unwrap_or_default(),
                    "Comment": step.comment.clone().unwrap_or_default(),
                })
            })
            .collect();
        if self.quiet {
            rows.iter().try_for_each(|row| ui::outln(row["ID"].as_str().unwrap_or_default()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut columns = vec![("LAYER", "ID"), ("CREATED", "Created"), ("CREATED BY", "CreatedBy"), ("SIZE", "Size")];
        // Docker's columns, and one more where an image was built here: what was pulled came whole from one place.
        if steps.iter().any(|step| step.built_here) {
            columns.push(("SOURCE", "Source"));
        }
        columns.push(("COMMENT", "Comment"));
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl History {
    fn print_shared(&self, shared: &Shared) -> Result<ExitCode> {
        if self.format.as_deref() == Some("json") {
            ui::outln(serde_json::to_string(shared)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let size = |bytes: u64| if self.human { human::size(bytes) } else { bytes.to_string() };
        let [first, second] = self.images.as_slice() else { return Ok(ExitCode::SUCCESS) };
        let mut rows = Vec::new();
        let groups = [("both", &shared.shared_layers), (first, &shared.only_first), (second, &shared.only_second)];
        for (place, LayerLine { layer, size: bytes, created_by }) in
            groups.into_iter().flat_map(|(place, lines)| lines.iter().map(move |line| (place, line)))
        {
            let id = if self.no_trunc { layer.to_string() } else { layer.short() };
            let all = self.no_trunc || created_by.chars().count() <= INSTRUCTION_MAX;
            let cut: String = created_by.chars().take(INSTRUCTION_MAX).collect();
            let created_by = if all { created_by.clone() } else { format!("{cut}…") };
            rows.push(json!({ "ID": id, "Size": size(*bytes), "In": place, "CreatedBy": created_by }));
        }
        if self.quiet {
            shared.shared_layers.iter().try_for_each(|line| ui::outln(line.layer))?;
            return Ok(ExitCode::SUCCESS);
        }
        let columns = [("LAYER", "ID"), ("SIZE", "Size"), ("IN", "In"), ("CREATED BY", "CreatedBy")];
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        if self.format.is_none() {
            let count = shared.shared_layers.len();
            let noun = if count == 1 { "layer is" } else { "layers are" };
            ui::note(format_args!("{count} {noun} in both: {} are kept once", size(shared.shared_bytes)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
