//! `img volume …`: the directories that outlive containers.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Run, each};
use crate::config::Context;
use crate::engine::volumes::Volume;
use crate::error::Result;
use crate::ui::{self, format};

/// List volumes
#[derive(Args)]
pub struct List {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Print as `json`, or by a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for List {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let volumes = context.engine()?.volumes()?;
        if self.quiet {
            for volume in volumes {
                ui::outln(ui::Escaped(&volume.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Value> = volumes.iter().map(describe).collect();
        format::print_list(self.format.as_deref(), &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")], &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Make a volume
///
/// Containers mount it with -v NAME:/path, which also makes one that is missing. Without a name it gets a long random
/// one. Prints the name.
#[derive(Args)]
pub struct Create {
    /// Its name
    name: Option<String>,
    /// Attach a label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let labels = self.label.iter().map(pair).collect();
        ui::outln(context.engine()?.create_volume(self.name.as_deref(), labels)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Show all that is known of volumes, as JSON
///
/// A list with one entry for each: where its files lie on this machine, when it was made, its labels, and for an
/// anonymous one the container it belongs to.
#[derive(Args)]
pub struct Inspect {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut found = Vec::new();
        let code = each(&self.volumes, |name| {
            found.push(describe(&engine.volume(name)?));
            Ok(())
        });
        ui::outln(serde_json::to_string_pretty(&found)?)?;
        Ok(code)
    }
}

/// Remove volumes and all that is in them
///
/// A volume that a container uses, running or not, stays until the container is removed. Prints the name of each
/// volume removed.
#[derive(Args)]
pub struct Remove {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
    /// Do not mind those that are not there
    #[arg(long, short)]
    force: bool,
}

impl Run for Remove {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.volumes, |name| if engine.remove_volume(name, self.force)? { ui::outln(name) } else { Ok(()) }))
    }
}

/// Remove anonymous volumes that no container uses
///
/// With --all those that have a name go too. What is in them is gone for good, so it asks first; without a terminal it
/// wants --force. Prints the name of each volume removed.
#[derive(Args)]
pub struct Prune {
    /// Also those that have a name
    #[arg(long, short)]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.force || super::system::confirm("Remove the volumes that no container uses?")? {
            for name in engine.remove_unused_volumes(self.all)? {
                ui::outln(ui::Escaped(&name))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A volume in docker's form.
fn describe(volume: &Volume) -> Value {
    let labels: serde_json::Map<String, Value> =
        volume.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "CreatedAt": volume.created.to_string(),
        "Driver": "local",
        "Labels": labels,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
        "UsedBy": volume.used_by,
    })
}
