//! `--timing`: where the milliseconds of a start went. Without it nothing is measured.

use std::process::ExitCode;

use clap::Args;
use runner::timing::{self, Mark};

use crate::error::{Context as _, Result};
use crate::ui;

/// The flag, for every command that starts a program.
#[derive(Clone, Args)]
pub struct TimingFlag {
    /// Say at the end where the time went, on standard error; table or json
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "table",
          value_parser = ["table", "json"], hide_possible_values = true)]
    timing: Option<String>,
}

impl TimingFlag {
    /// Does `work`, measured if so wished; what was measured is shown whether it works or not.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn around(&self, work: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
        let Some(form) = &self.timing else { return work() };
        timing::enable().context("cannot measure time")?;
        timing::mark(Mark::Loaded);
        let result = work();
        timing::mark(Mark::Finished);
        ui::timing::show(&timing::phases(), form == "json");
        result
    }
}
