//! `img healthcheck run`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Run a container's health check now
///
/// Exit code 0 when it went well; else 1, and the container's health is printed. The answer counts as those that its
/// monitor asks for.
#[derive(Args)]
pub struct HealthcheckRun {
    /// The container, by name or id
    container: String,
}

impl Run for HealthcheckRun {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (probe, health) = context.engine()?.run_health_check(&self.container)?;
        if probe.exit_code == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        ui::outln(health.status.word())?;
        Ok(ExitCode::FAILURE)
    }
}
