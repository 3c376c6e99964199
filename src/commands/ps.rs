//! `img ps`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use crate::config::Context;
use crate::engine::container::filter::ContainerFilter;
use crate::engine::container::list::ContainerSummary;
use crate::error::{CommandError, Result};
use crate::ui::{self, format, human};

/// List containers
#[derive(Args)]
pub struct Ps {
    /// Also those that do not run
    #[arg(long, short)]
    all: bool,
    /// Only what fits: name=, id=, label=KEY[=VALUE], status=, ancestor=IMAGE, exited=CODE, volume=, network=, health=,
    /// before=, since=, until=, expose=, publish=
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print as `json`, or by a template such as '{{.Names}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The newest one only
    #[arg(long, short)]
    latest: bool,
    /// The newest ones only
    #[arg(long, short = 'n', value_name = "NUMBER")]
    last: Option<usize>,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
    /// One line for each process of all running containers
    #[arg(long, conflicts_with_all = ["all", "filter", "latest", "last", "quiet", "size"])]
    processes: bool,
    /// Look again every so many seconds, until Ctrl-C
    #[arg(long, short, value_name = "SECONDS")]
    watch: Option<f64>,
    /// Show how much each has written
    #[arg(long, short)]
    size: bool,
}

/// Longest command shown without `--no-trunc`, in characters.
const COMMAND_MAX: usize = 20;

impl Run for Ps {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let Some(seconds) = self.watch else { return self.list(context) };
        let pause = std::time::Duration::try_from_secs_f64(seconds)
            .map_err(|_| CommandError::usage(format!("{seconds} is no time to look again after")))?;
        loop {
            if std::io::stdout().is_terminal() {
                ui::out("\x1b[H\x1b[2J")?;
            }
            self.list(context)?;
            if !ui::is_read() {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(pause);
        }
    }
}

impl Ps {
    fn list(&self, context: &Context) -> Result<ExitCode> {
        if self.processes {
            return processes(self.format.as_deref(), self.no_trunc, context);
        }
        let filters = self.filter.iter().map(|text| text.parse()).collect::<Result<Vec<ContainerFilter>>>()?;
        let last = if self.latest { Some(1) } else { self.last };
        let all = self.all || last.is_some() || filters.iter().any(ContainerFilter::names_a_status);
        let mut containers = context.engine()?.containers(all, &filters, self.size)?;
        containers.truncate(last.unwrap_or(usize::MAX));
        let id = |container: &ContainerSummary| {
            let length = if self.no_trunc { container.id.len() } else { 12 };
            container.id.chars().take(length).collect::<String>()
        };
        if self.quiet {
            containers.iter().try_for_each(|container| ui::outln(id(container)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<_> = containers
            .iter()
            .map(|container| {
                let command = if self.no_trunc || container.command.chars().count() <= COMMAND_MAX {
                    container.command.clone()
                } else {
                    format!("{}…", container.command.chars().take(COMMAND_MAX - 1).collect::<String>())
                };
                json!({
                    "ID": id(container),
                    "Image": container.image,
                    "Command": format!("\"{command}\""),
                    "CreatedAt": container.created.to_string(),
                    "RunningFor": human::ago(container.created),
                    "State": container.state,
                    "Status": container.status,
                    "Ports": container.ports.join(", "),
                    "Names": container.name,
                    "Labels": container.labels,
                    "Networks": container.network,
                    "Pid": container.pid,
                    "ExitCode": container.exit_code,
                    "Size": container.size.map(human::size),
                })
            })
            .collect();
        let mut columns = vec![
            ("CONTAINER ID", "ID"),
            ("IMAGE", "Image"),
            ("COMMAND", "Command"),
            ("CREATED", "RunningFor"),
            ("STATUS", "Status"),
            ("PORTS", "Ports"),
            ("NAMES", "Names"),
        ];
        if self.size {
            columns.push(("SIZE", "Size"));
        }
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The processes of all running containers in one table.
fn processes(format: Option<&str>, whole: bool, context: &Context) -> Result<ExitCode> {
    let rows: Vec<_> = context
        .engine()?
        .all_processes()?
        .into_iter()
        .map(|member| {
            let length = if whole { member.container.len() } else { 12 };
            json!({
                "Name": member.name,
                "ID": member.container[..length],
                "Pid": member.process.pid,
                "InnerPid": member.process.pids.last(),
                "PPid": member.process.parent,
                "User": member.user,
                "State": member.process.state.to_string(),
                "Rss": human::binary_size(member.process.resident),
                "Time": member.process.cpu_seconds(),
                "Cgroup": member.process.cgroup,
                "Command": member.process.command,
            })
        })
        .collect();
    let columns = [
        ("CONTAINER", "Name"),
        ("PID", "Pid"),
        ("INNER PID", "InnerPid"),
        ("USER", "User"),
        ("STATE", "State"),
        ("MEMORY", "Rss"),
        ("COMMAND", "Command"),
    ];
    format::print_list(format, &columns, &rows)?;
    Ok(ExitCode::SUCCESS)
}
