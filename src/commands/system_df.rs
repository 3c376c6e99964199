//! `img system df`: what uses the disk.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::error::Result;
use crate::ui::{format, human};

/// Show what uses the disk
///
/// Sizes are what the store's files take on disk; layers that images share are counted once, so the lines add up to the
/// whole store. RECLAIMABLE is what `img system prune --all` would give back.
#[derive(Args)]
pub struct Df {
    /// Print as `json`, or by a template such as '{{.Type}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for Df {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let rows: Vec<_> = context
            .engine()?
            .disk_usage()?
            .iter()
            .map(|row| {
                json!({
                    "Type": row.kind,
                    "TotalCount": row.count,
                    "Active": row.active,
                    "Size": human::size(row.size),
                    "Bytes": row.size,
                    "Reclaimable": match row.size {
                        0 => human::size(row.reclaimable),
                        size => format!("{} ({}%)", human::size(row.reclaimable), row.reclaimable * 100 / size),
                    },
                    "ReclaimableBytes": row.reclaimable,
                })
            })
            .collect();
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
