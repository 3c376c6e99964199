//! `img load`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::originals::KeepCompressed;
use crate::error::{CommandError, Result};
use crate::ui::{self, progress::Bars};

/// Read images from an archive
///
/// Takes what `img save`, `docker save` (of any age), `podman save` and `skopeo copy` write: OCI archives and docker
/// archives, compressed or not, and directories that are OCI layouts. Members of the archive are only read as streams, never followed as links.
#[derive(Args)]
pub struct Load {
    /// Read this file, or layout directory, instead of standard input
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Keep the compressed layers: always, never, or auto, which keeps what cannot be fetched from a registry
    #[arg(long, value_name = "WHEN", value_parser = KeepCompressed::WORDS, hide_possible_values = true)]
    keep_compressed: Option<String>,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Load {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.input.is_none() && std::io::stdin().is_terminal() {
            return Err(CommandError::new("an archive does not come from a terminal").hint("use -i FILE, or a pipe"));
        }
        let keep = self.keep_compressed.map(|word| word.parse::<KeepCompressed>()).transpose()?;
        let bars = Bars::new(self.quiet);
        let loaded = context.engine()?.load(self.input.as_deref(), keep, &bars)?;
        drop(bars);
        for image in loaded {
            let text = match (&image.name, self.quiet) {
                (Some(name), true) => name.clone(),
                (Some(name), false) => format!("Loaded image: {name}"),
                (None, true) => image.id.to_string(),
                (None, false) => format!("Loaded image ID: {}", image.id),
            };
            ui::outln(ui::Escaped(&text))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
