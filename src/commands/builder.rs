//! `img builder …`: what builds leave behind, their logs and their cache.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::error::{CommandError, Context as _, Result};
use crate::ui::{self, format, human};

/// Show the whole log of a build
///
/// Each build that runs a step keeps all that its steps wrote, whatever --progress showed of it; the newest hundred logs
/// are kept. Each line begins with the seconds since the build began; | stands before standard output, ! before standard
/// error.
#[derive(Args)]
pub struct Log {
    /// The build, by the beginning of its id (--metadata-file has it as buildx.build.ref); the last one if left out
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// List the logs that are there
    #[arg(long, short)]
    list: bool,
    /// Print the list as `json`, or by a template such as '{{.ID}}'
    #[arg(long, value_name = "FORMAT", requires = "list")]
    format: Option<String>,
}

impl Run for Log {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let logs = context.engine()?.store().build_logs();
        if self.list {
            let rows: Vec<_> = logs
                .list()?
                .iter()
                .map(|log| {
                    let written = Timestamp::try_from(log.written).map(|time| time.to_string()).unwrap_or_default();
                    json!({
                        "ID": log.id, "Size": human::size(log.size), "Bytes": log.size, "Written": written,
                        "Path": log.path,
                    })
                })
                .collect();
            let columns = [("BUILD", "ID"), ("WRITTEN", "Written"), ("SIZE", "Size"), ("LOG", "Path")];
            format::print_list(self.format.as_deref(), &columns, &rows)?;
            return Ok(ExitCode::SUCCESS);
        }
        let found = match &self.reference {
            Some(reference) => logs.find(reference)?,
            None => logs.list()?.into_iter().next().ok_or_else(|| {
                CommandError::new("there is no log of any build").hint("a build in which all is cached leaves none")
            })?,
        };
        let what = || format!("cannot read {}", found.path.display());
        let mut lines = BufReader::new(std::fs::File::open(&found.path).with_context(what)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).with_context(what)? > 0 {
            // What a program wrote may hold what a terminal would obey.
            ui::out(ui::Escaped(&String::from_utf8_lossy(&line)))?;
            line.clear();
        }
        Ok(ExitCode::SUCCESS)
    }
}
