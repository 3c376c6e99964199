//! `img version` and `img info`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Run;
use super::inspect::Inspect;
use crate::config::Context;
use crate::error::Result;
use crate::ui::{self, format, human, template::Template};

/// Show the version of img and of the kernel it runs on
///
/// Needs neither root nor a store. There is no daemon, so there is no server's version to show.
#[derive(Args)]
pub struct Version {
    /// Print as `json`, or by a template such as '{{.Client.Version}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for Version {
    fn run(self, _: &Context) -> Result<ExitCode> {
        let system = rustix::system::uname();
        let architecture = registry_client::Platform::host().architecture;
        let value = json!({
            "Client": {
                "Version": env!("CARGO_PKG_VERSION"),
                "Os": std::env::consts::OS,
                "Arch": architecture,
                "KernelVersion": system.release().to_string_lossy(),
            }
        });
        match self.format.as_deref() {
            None => {
                ui::outln(format_args!("img version {}", env!("CARGO_PKG_VERSION")))?;
                ui::outln(format_args!("OS/Arch:    {}/{}", std::env::consts::OS, architecture))?;
                ui::outln(format_args!("Kernel:     {}", system.release().to_string_lossy()))?;
            }
            Some("json") => ui::outln(&value)?,
            Some(text) => ui::outln(Template::parse(text)?.render(&value)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Show what this machine's store and runner look like
///
/// Where the store is, which driver shows its layers and why, how many images and containers there are. `img doctor`
/// says what could be better.
#[derive(Args)]
pub struct Info {
    /// Print as `json`, or by a template such as '{{.Driver}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// The controllers of control groups, the version each is on, and where
    #[arg(long)]
    cgroups: bool,
    /// Show these containers, images, volumes or networks instead, as `img inspect`
    #[arg(value_name = "NAME", conflicts_with = "cgroups")]
    names: Vec<String>,
}

impl Run for Info {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if !self.names.is_empty() {
            return Inspect::of(self.names, self.format).run(context);
        }
        if self.cgroups {
            return controllers(self.format.as_deref(), context);
        }
        let info = context.engine()?.info()?;
        if self.format.is_some() {
            format::print_inspect(self.format.as_deref(), &[serde_json::to_value(&info)?])?;
            return Ok(ExitCode::SUCCESS);
        }
        for (name, value) in [
            ("Version", info.server_version.clone()),
            ("Storage driver", format!("{} ({})", info.driver, info.driver_reason)),
            ("Store", info.root.clone()),
            ("Run directory", info.run_root.clone()),
            ("Images", info.images.to_string()),
            ("Containers", format!("{} ({} running)", info.containers, info.containers_running)),
            ("Cgroups", info.cgroups.clone()),
            ("Kernel", info.kernel_version.clone()),
            ("Architecture", info.architecture.clone()),
            ("Processors", info.ncpu.to_string()),
            ("Memory", human::binary_size(info.mem_total)),
        ] {
            ui::outln(format_args!("{name:16} {value}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The controllers of this machine as a table.
fn controllers(format: Option<&str>, context: &Context) -> Result<ExitCode> {
    let rows: Vec<_> = context
        .engine()?
        .controllers()?
        .into_iter()
        .map(|one| json!({ "Controller": one.name, "Version": one.version, "Mount": one.mount }))
        .collect();
    let columns = [("CONTROLLER", "Controller"), ("VERSION", "Version"), ("MOUNT", "Mount")];
    format::print_list(format, &columns, &rows)?;
    Ok(ExitCode::SUCCESS)
}
