//! `img monitor`: the states that containers go through, in the words of LXC.

use std::process::ExitCode;

use clap::Args;
use store::journal::{Event, Subject};

use super::Run;
use super::events::Events;
use crate::config::Context;
use crate::error::Result;

/// Show the states that containers go through, as lxc-monitor does
///
/// A line for each: `'web' changed state to [RUNNING]`, `'web' exited with status [0]`. What is to come, until Ctrl-C; with
/// --since or --until, what was. With --format it is `img events` for containers.
#[derive(Args)]
pub struct Monitor {
    #[command(flatten)]
    events: Events,
    /// Only containers whose name fits, as the argument says
    #[arg(long, short = 'n', value_name = "PATTERN", conflicts_with = "pattern")]
    name: Option<String>,
}

impl Run for Monitor {
    fn run(mut self, context: &Context) -> Result<ExitCode> {
        self.events.pattern = self.events.pattern.or(self.name);
        self.events.filter.push("type=container".to_owned());
        self.events.show(context, lines)
    }
}

/// The states that an event tells of: nothing for what changes none.
fn lines(event: &Event) -> Vec<String> {
    let Some(name) = event.attributes.get("name").filter(|_| event.subject == Subject::Container) else {
        return Vec::new();
    };
    let states: &[&str] = match event.action.as_str() {
        "start" => &["STARTING", "RUNNING"],
        "abort" => &["STARTING", "ABORTING", "STOPPING", "STOPPED"],
        "die" => &["STOPPING", "STOPPED"],
        "pause" => &["FREEZING", "FROZEN"],
        "unpause" => &["THAWED", "RUNNING"],
        _ => &[],
    };
    let status = event.attributes.get("exitCode").filter(|_| event.action == "die");
    let exited = status.map(|code| format!("'{name}' exited with status [{code}]"));
    let changes = states.iter().map(|state| format!("'{name}' changed state to [{state}]"));
    exited.into_iter().chain(changes).collect()
}
