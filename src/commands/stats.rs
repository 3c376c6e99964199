//! `img stats`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::Run;
use crate::config::Context;
use crate::engine::Engine;
use crate::engine::container::stats::Usage;
use crate::error::{CommandError, Result};
use crate::ui::format::{self, Column};
use crate::ui::human::{binary_size, size};
use crate::ui::{self};

/// Show what containers use: processors, memory, network, block devices, processes
///
/// Of all that run, or of those named; once a second until Ctrl-C. CPU % is of one processor, between two looks. Memory is
/// without the page cache that nobody used lately; LIMIT HITS counts how often the kernel had to reclaim at the limit.
#[derive(Args)]
pub struct Stats {
    /// Containers, by name or id; without any, all that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Also those that do not run
    #[arg(long, short)]
    all: bool,
    /// Look once, for half a second
    #[arg(long)]
    no_stream: bool,
    /// Print one table below the other, also on a terminal
    #[arg(long)]
    no_reset: bool,
    /// Seconds between looks
    #[arg(long, short, default_value_t = 1.0, value_name = "SECONDS")]
    interval: f64,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print as `json`, or by a template such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// The columns, as docker has them; then what it hides.
const COLUMNS: [Column; 10] = [
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
    ("MEM PEAK", "MemPeak"),
    ("LIMIT HITS", "MemLimitHits"),
];

impl Run for Stats {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let pause = Duration::try_from_secs_f64(self.interval)
            .ok()
            .filter(|pause| !pause.is_zero())
            .ok_or_else(|| CommandError::usage(format!("{} is no time between looks", self.interval)))?;
        let mut before = self.look(engine)?;
        std::thread::sleep(if self.no_stream { Duration::from_millis(500) } else { pause.min(Duration::from_secs(1)) });
        let redraw = std::io::stdout().is_terminal() && !self.no_reset && !self.no_stream;
        loop {
            let now = self.look(engine)?;
            let rows: Vec<Value> =
                now.iter().map(|usage| self.row(usage, before.iter().find(|old| old.id == usage.id))).collect();
            if redraw {
                ui::out("\x1b[H\x1b[2J")?;
            }
            format::print_list(self.format.as_deref(), &COLUMNS, &rows)?;
            if self.no_stream || !ui::is_read() {
                return Ok(ExitCode::SUCCESS);
            }
            before = now;
            std::thread::sleep(pause);
        }
    }
}

impl Stats {
    fn look(&self, engine: &Engine) -> Result<Vec<Usage>> {
        let named = !self.containers.is_empty();
        let names = match (named, self.all) {
            (true, _) => self.containers.clone(),
            (false, true) => engine.container_ids()?,
            (false, false) => engine.running()?,
        };
        let looked = names.iter().map(|name| engine.usage(name));
        // One of all may have gone meanwhile; one that was named must be there.
        let mut all = if named { looked.collect::<Result<Vec<_>>>()? } else { looked.filter_map(Result::ok).collect() };
        let mut seen = HashMap::new();
        all.retain(|usage| seen.insert(usage.id.clone(), ()).is_none());
        Ok(all)
    }

    fn row(&self, usage: &Usage, before: Option<&Usage>) -> Value {
        let id = if self.no_trunc { usage.id.as_str() } else { &usage.id[..12] };
        let cpu = before.map_or(0.0, |before| usage.cpu_since(before));
        let (memory, limit) = (usage.memory(), usage.memory_limit());
        let (read, written) = usage.block();
        let counters = usage.stats.memory.as_ref();
        let pids = usage.stats.pids.as_ref().map_or(usage.stats.processes, |pids| pids.current);
        let throttled = usage.stats.cpu.as_ref();
        json!({
            "ID": id,
            "Container": id,
            "Name": usage.name,
            "CPUPerc": format!("{:.2}%", cpu * 100.0),
            "MemUsage": format!("{} / {}", binary_size(memory), binary_size(limit)),
            "MemPerc": format!("{:.2}%", memory as f64 * 100.0 / limit.max(1) as f64),
            "NetIO": match usage.network {
                Some((input, output)) => format!("{} / {}", size(input), size(output)),
                None => "-- / --".to_owned(),
            },
            "BlockIO": format!("{} / {}", size(read), size(written)),
            "PIDs": pids.to_string(),
            "MemPeak": counters.and_then(|memory| memory.peak).map_or_else(|| "--".to_owned(), binary_size),
            "MemLimitHits": counters.filter(|memory| memory.limit.is_some()).map(|memory| memory.limit_hits),
            "OOMKills": counters.map(|memory| memory.oom_kills),
            "MemEstimated": counters.is_some_and(|memory| memory.estimated),
            "ThrottledPeriods": throttled.map(|cpu| cpu.throttled_periods),
            "CPUSeconds": throttled.map(|cpu| cpu.usage.as_secs_f64()),
        })
    }
}
