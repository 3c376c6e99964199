//! `img logs` and `img attach`.

use std::process::ExitCode;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::engine::container::logs::LogOptions;
use crate::engine::container::run::Attachment;
use crate::error::{CommandError, Result};
use crate::ui;

/// Show what a container has written
///
/// Its standard output goes to standard output, its standard error to standard error. Several containers come one after the
/// other, or with -f as their lines come.
#[derive(Args)]
pub struct Logs {
    /// Containers, by name or id
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
    /// The newest one
    #[arg(long, short, conflicts_with = "containers")]
    latest: bool,
    /// Each container's lines in a colour of its own
    #[arg(long)]
    color: bool,
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
            colour: None,
        };
        let engine = context.engine()?;
        let names = match self.latest {
            true => engine.containers(true, &[], false)?.into_iter().take(1).map(|newest| newest.id).collect(),
            false => self.containers,
        };
        let show = |(number, name): (usize, &String)| {
            let colour = self.color.then(|| COLOURS[number % COLOURS.len()]);
            engine.logs(name, &LogOptions { colour, ..options.clone() })
        };
        if !self.follow {
            let mut numbers = 0..;
            return Ok(each(&names, |name| show((numbers.next().unwrap_or_default(), &name.to_owned()))));
        }
        // Each waits for its own container.
        std::thread::scope(|scope| {
            let followers: Vec<_> = names.iter().enumerate().map(|one| scope.spawn(move || show(one))).collect();
            let mut code = ExitCode::SUCCESS;
            for follower in followers {
                let ended = follower.join().unwrap_or_else(|_| Err(CommandError::new("a follower has failed")));
                if let Err(error) = ended {
                    ui::error(&error);
                    code = error.into();
                }
            }
            Ok(code)
        })
    }
}

/// Foreground colours of ANSI terminals that can be read on dark and bright ones.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

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
