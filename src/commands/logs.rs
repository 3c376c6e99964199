//! `img logs` and `img attach`.

use std::process::ExitCode;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::engine::container::logs::LogOptions;
use crate::engine::container::run::Attachment;
use crate::error::{CommandError, Result};

/// Show what a container has written
///
/// Its standard output goes to standard output, its standard error to standard error.
#[derive(Args)]
pub struct Logs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Show the labels and variables chosen by --log-opt labels=NAME,... and env=NAME,... before each line
    #[arg(long)]
    details: bool,
    /// Show the container's name before each line
    #[arg(long)]
    names: bool,
    /// Go on until the container ends
    #[arg(long, short)]
    follow: bool,
    /// Only since a time (RFC 3339) or so long ago, as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only until a time or so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only so many lines of the end
    #[arg(long, short = 'n', default_value = "all", value_name = "LINES")]
    tail: String,
    /// Show the time of each line
    #[arg(long, short)]
    timestamps: bool,
}

impl Run for Logs {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = LogOptions {
            follow: self.follow,
            since: self.since,
            until: self.until,
            tail: self.tail,
            timestamps: self.timestamps,
            details: self.details,
            names: self.names,
        };
        if self.follow && self.containers.len() > 1 {
            return Err(CommandError::usage("only one container can be followed at a time"));
        }
        let engine = context.engine()?;
        Ok(each(&self.containers, |name| engine.logs(name, &options)))
    }
}

/// Connect this terminal to a running container
///
/// The detach keys (ctrl-p,ctrl-q unless said otherwise) leave it running.
#[derive(Args)]
pub struct Attach {
    /// The container, by name or id
    container: String,
    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals that img receives to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    sig_proxy: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
}

impl Run for Attach {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let attachment = Attachment { stdin: !self.no_stdin, signals: self.sig_proxy, passed_on: Vec::new() };
        let engine = context.engine()?;
        engine.attach(&self.container, &attachment, self.detach_keys.as_deref()).map(ExitCode::from)
    }
}
