//! `img diff`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// List what a container has added (A), changed (C) or deleted (D) in its file system
#[derive(Args)]
pub struct Diff {
    /// The container, by name or id
    container: String,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Run for Diff {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let changes = context.engine()?.diff(&self.container)?;
        if self.format.is_some() {
            ui::outln(serde_json::to_string(&changes)?)?;
        } else {
            for change in changes {
                ui::outln(format_args!("{} {}", change.kind, ui::Escaped(&change.path)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
