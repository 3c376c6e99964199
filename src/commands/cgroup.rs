//! `img cgroup get`, `set` and `dump`, LXC's `img cgroup -n NAME KEY [VALUE]`, and `img priority`.

use std::process::ExitCode;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Show control files of a running container
///
/// By name, as memory.max or cpu.weight. Names of cgroup v1 are translated on v2 and the other way, with their values: 1024
/// shares are a weight of 100, `max` is -1. What has no counterpart is refused with the reason.
#[derive(Args)]
pub struct Get {
    /// The container, by name or id
    container: String,
    /// Control files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

impl Run for Get {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.files, |file| ui::outln(engine.control_file(&self.container, file)?)))
    }
}

/// Write a control file of a running container
///
/// By name, as memory.high or cpu.weight; names of the other version of control groups are translated. It holds until the
/// container ends. `img update` changes limits for the next start as well.
#[derive(Args)]
pub struct Set {
    /// The container, by name or id
    container: String,
    /// The control file
    file: String,
    /// What to write
    #[arg(allow_hyphen_values = true)]
    value: String,
}

impl Run for Set {
    fn run(self, context: &Context) -> Result<ExitCode> {
        context.engine()?.set_control_file(&self.container, &self.file, &self.value)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Show all control files of a running container
///
/// Every file that can be read, with its path on this machine before it: its limits, what it uses, and what the kernel has
/// counted. A value of one line stands behind the path, others below it.
#[derive(Args)]
pub struct Dump {
    /// The container, by name or id
    container: String,
}

impl Run for Dump {
    fn run(self, context: &Context) -> Result<ExitCode> {
        for (path, text) in context.engine()?.control_files(&self.container)? {
            let text = text.trim_end();
            match text.contains('\n') {
                true => ui::outln(format_args!("{}:\n  {}", path.display(), text.replace('\n', "\n  ")))?,
                false => ui::outln(format_args!("{}: {text}", path.display()))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Show or write a control file, in LXC's way; there are also cgroup get, set and dump
///
/// Without a value it is shown, with one it is written, as by `img cgroup get` and `img cgroup set`, which take many files
/// and translate names between cgroup v1 and v2 alike.
#[derive(Args)]
pub struct Cgroup {
    /// The container, by name or id
    #[arg(long, short, value_name = "CONTAINER")]
    name: String,
    /// The control file
    file: String,
    /// What to write
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

impl Run for Cgroup {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        match &self.value {
            Some(value) => engine.set_control_file(&self.name, &self.file, value)?,
            None => ui::outln(engine.control_file(&self.name, &self.file)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Show or change the priority of running containers
///
/// The niceness of all their processes together against other groups: -20 gets the most processor time under contention, 19
/// the least, 0 is usual. It is the weight of the control group, so a program inside cannot change it.
#[derive(Args)]
pub struct Priority {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// The new priority, -20 to 19
    #[arg(long, short, allow_hyphen_values = true, value_name = "NUMBER")]
    priority: Option<i32>,
}

impl Run for Priority {
    fn run(self, context: &Context) -> Result<ExitCode> {
        const FILE: &str = "cpu.weight.nice";
        let engine = context.engine()?;
        Ok(each(&self.containers, |name| match self.priority {
            Some(priority) => engine.set_control_file(name, FILE, &priority.to_string()),
            None => {
                let usual = || engine.control_files(name).map(|_| "0".to_owned());
                // On version 1 there is no group for processor time until something is said of it.
                ui::outln(engine.control_file(name, FILE).or_else(|_| usual())?)
            }
        }))
    }
}
