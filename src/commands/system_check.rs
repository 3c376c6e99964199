//! `img system check`: what is damaged, who needs it, and how to get it back.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use store::check::{CheckOptions, Report};

use super::Run;
use crate::config::Context;
use crate::engine::check::Damage;
use crate::error::Result;
use crate::ui::{self, format, human};

/// Verify that everything in the store is what its name says
///
/// Reads every blob and layer and compares digests, follows every name, and looks for files that do not belong there and for
/// permissions that are too wide. Others may work meanwhile. Exit code 1 when something is damaged and was not repaired.
#[derive(Args)]
pub struct Check {
    /// Remove what is damaged, and only that; what follows from sound bytes is made again
    #[arg(long, short)]
    repair: bool,
    /// Read no contents: only names, records, sizes and permissions
    #[arg(long, short)]
    quick: bool,
    /// Print as `json`, or by a template such as '{{range .Problems}}{{.Subject}} {{end}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for Check {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = CheckOptions { repair: self.repair, quick: self.quick };
        let (report, damages) = context.engine()?.check(options)?;
        let left = damages.iter().filter(|damage| damage.problem.repair.is_none()).count();
        let code = if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if let Some(format) = &self.format {
            format::print_inspect(Some(format), &[document(&report, &damages)])?;
            return Ok(code);
        }
        for damage in &damages {
            tell(damage)?;
        }
        let read = match self.quick {
            true => "without reading them".to_owned(),
            false => format!("{} read", human::size(report.bytes)),
        };
        let checked =
            format!("{} images, {} layers and {} blobs checked, {read}", report.images, report.layers, report.blobs);
        match (damages.len(), left) {
            (0, _) => ui::outln(format_args!("{checked}: nothing is damaged"))?,
            (found, 0) => ui::outln(format_args!("{checked}: {found} problems, all repaired"))?,
            (found, _) if self.repair => ui::outln(format_args!("{checked}: {found} problems, {left} of them left"))?,
            (found, _) => ui::outln(format_args!("{checked}: {found} problems"))?,
        }
        if left > 0 && !self.repair {
            ui::note("hint: `img system check --repair` removes what is damaged, and says how to get it back");
        }
        Ok(code)
    }
}

/// One problem, with who is affected and the way out below it.
fn tell(damage: &Damage) -> Result<()> {
    let problem = &damage.problem;
    let done = problem.repair.map(|done| format!(" ({done})")).unwrap_or_default();
    ui::outln(ui::Escaped(&format!("{}: {}{done}", problem.subject, problem.message)))?;
    for (what, names) in [("images", &damage.images), ("containers", &damage.containers)] {
        if !names.is_empty() {
            ui::outln(ui::Escaped(&format!("  needed by the {what} {}", names.join(", "))))?;
        }
    }
    if let Some(remedy) = &damage.remedy {
        ui::outln(ui::Escaped(&format!("  to get it back: {remedy}")))?;
    }
    Ok(())
}

fn document(report: &Report, damages: &[Damage]) -> Value {
    let problems = damages.iter().map(|damage| {
        json!({
            "Subject": damage.problem.subject,
            "Message": damage.problem.message,
            "Repair": damage.problem.repair,
            "Images": damage.images,
            "Containers": damage.containers,
            "Remedy": damage.remedy,
        })
    });
    json!({
        "Images": report.images,
        "Layers": report.layers,
        "Blobs": report.blobs,
        "Bytes": report.bytes,
        "Problems": problems.collect::<Vec<_>>(),
    })
}
