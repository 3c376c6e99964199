//! `img why`. A command of its own, since `img build why` builds the directory `why`.

use std::process::ExitCode;

use builder::explain::Explained;
use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::error::{CommandError, Result};
use crate::ui::{self, Escaped, human};

/// Say why steps of the last build ran
///
/// Each step that was not cached is compared with the nearest earlier one: which files changed and how, which ARG or
/// ENV, which base image moved from where to where, which step before it was the first to change, or that its result
/// was removed from the cache and when. The build prints the same in short, and `img build --explain json` in full.
#[derive(Args)]
pub struct Why {
    /// The steps to speak of: a number as the build shows it, or words of the instruction or the stage; all if absent
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Run for Why {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let Some((mut report, when)) = context.engine()?.last_build()? else {
            return Err(CommandError::new("nothing was built in this store yet")
                .hint("`img build` builds the Buildfile of a directory"));
        };
        if let Some(wanted) = &self.step {
            let all = report.steps.len();
            report.steps.retain(|step| means(wanted, step));
            if report.steps.is_empty() {
                return Err(CommandError::new(format!("no step of the last build is meant by {wanted:?}"))
                    .hint(format!("it had {all}; `img why` lists them")));
            }
        }
        if self.format.is_some() {
            ui::outln_json(&json!({ "ended": when, "build": report }), true)?;
            return Ok(ExitCode::SUCCESS);
        }
        let place = report.context.as_deref().map_or_else(String::new, |context| format!(" for {context}"));
        let when = when.map_or_else(String::new, |when| format!(", {}", human::ago(when).to_lowercase()));
        let end = if report.image.is_some() { "" } else { ", which failed" };
        ui::note(Escaped(&format!("build of {}{place}{when}{end}", report.buildfile)));
        ui::explain::print_whole(&report.steps)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether `wanted` means a step.
fn means(wanted: &str, step: &Explained) -> bool {
    match wanted.trim_start_matches('#').parse::<usize>() {
        Ok(number) => step.number == number,
        Err(_) => {
            let text = format!("{} {}/{} {}", step.stage, step.index, step.count, step.instruction);
            text.to_lowercase().contains(&wanted.to_lowercase())
        }
    }
}
