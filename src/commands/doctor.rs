//! `img doctor`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::doctor::{self, Verdict};
use crate::error::Result;
use crate::ui;

/// Say what this machine can and cannot do for img, and how to mend it
///
/// Exit code 1 when something that img needs is missing.
#[derive(Args)]
pub struct Doctor {
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Run for Doctor {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let findings = doctor::examine(context);
        let broken = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
        if self.format.is_some() {
            ui::outln(serde_json::to_string(&findings)?)?;
        } else {
            for finding in &findings {
                let word = match finding.verdict {
                    Verdict::Good => "ok",
                    Verdict::Limited => "limited",
                    Verdict::Missing => "MISSING",
                };
                ui::outln(format_args!("{word:8} {:20} {}", finding.what, ui::Escaped(&finding.found)))?;
                if let Some(remedy) = &finding.remedy {
                    ui::outln(format_args!("{:29} {remedy}", ""))?;
                }
            }
        }
        Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
