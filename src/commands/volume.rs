//! `img volume …`: the directories that outlive containers.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::export::tar_goes_to;
use super::prune::{Asked, tell};
use super::{Run, each, inspect_each};
use crate::config::Context;
use crate::engine::volumes::Volume;
use crate::engine::volumes::driver::DriverOptions;
use crate::engine::volumes::filter::VolumeFilter;
use crate::error::{CommandError, Result};
use crate::ui::{self, format};

/// List volumes
#[derive(Args)]
pub struct List {
    /// Only what fits: dangling=, anonymous=, driver=, name=, label=KEY[=VALUE]
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Print as `json`, or by a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for List {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = filters(&self.filter)?;
        let mut volumes = context.engine()?.volumes()?;
        volumes.retain(|volume| VolumeFilter::all_fit(&filters, volume));
        if self.quiet {
            for volume in volumes {
                ui::outln(ui::Escaped(&volume.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Value> = volumes
            .iter()
            .map(|volume| {
                let mut row = describe(volume);
                row["Users"] = volume.used_by.join(", ").into();
                row
            })
            .collect();
        let columns = [("DRIVER", "Driver"), ("VOLUME NAME", "Name"), ("USED BY", "Users")];
        format::print_list(self.format.as_deref(), &columns, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn filters(texts: &[String]) -> Result<Vec<VolumeFilter>> {
    texts.iter().map(|text| text.parse()).collect()
}

/// Make a volume
///
/// Containers mount it with -v NAME:/path, which also makes one that is missing. Without a name it gets a long random
/// one. Prints the name. With -o size=1G it holds no more than that; -o type=tmpfs keeps it in memory while it is used;
/// -o type=none -o o=bind -o device=/dir gives a directory of the host a name. docs/volumes.md has all of them.
#[derive(Args)]
pub struct Create {
    /// Its name
    name: Option<String>,
    /// The driver: local
    #[arg(long, short, value_name = "DRIVER", default_value = "local", hide_default_value = true)]
    driver: String,
    /// An option of the driver: size=, inodes=, uid=, gid=, mode=, type=, device=, o=
    #[arg(long, short, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Attach a label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Do not mind one that is there with other options
    #[arg(long)]
    ignore: bool,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.driver != "local" {
            return Err(CommandError::usage(format!("there is no volume driver {:?}", self.driver))
                .hint("only local volumes are supported"));
        }
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let engine = context.engine()?;
        if let Some(name) = self.name.as_deref().filter(|_| self.ignore)
            && engine.volume(name).is_ok()
        {
            ui::outln(name)?;
            return Ok(ExitCode::SUCCESS);
        }
        let labels = self.label.iter().map(pair).collect();
        let mut options = DriverOptions::new();
        for (key, value) in self.opt.iter().map(pair) {
            // `o` may come several times, as lists of mount options do.
            match options.get_mut(&key) {
                Some(list) if key == "o" => *list = format!("{list},{value}"),
                _ => drop(options.insert(key, value)),
            }
        }
        ui::outln(engine.create_volume(self.name.as_deref(), labels, options)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Show all that is known of volumes, as JSON
///
/// A list with one entry for each: where its files lie on this machine, when it was made, its labels and options, and
/// the containers that mount it.
#[derive(Args)]
pub struct Inspect {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
    /// Print as `json`, or by a template such as '{{.Mountpoint}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        inspect_each(&self.volumes, self.format.as_deref(), |name| Ok(describe(&engine.volume(name)?)))
    }
}

/// Remove volumes and all that is in them
///
/// A volume that a container uses, running or not, stays until the container is removed. What a volume only shows, a
/// directory of the host or a device, stays as it is. Prints the name of each volume removed.
#[derive(Args)]
pub struct Remove {
    /// Volumes, by name
    #[arg(required_unless_present = "all", value_name = "VOLUME")]
    volumes: Vec<String>,
    /// All of them
    #[arg(long, short, conflicts_with = "volumes")]
    all: bool,
    /// Do not mind those that are not there
    #[arg(long, short)]
    force: bool,
}

impl Run for Remove {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = match self.all {
            true => engine.volumes()?.into_iter().map(|volume| volume.name).collect(),
            false => self.volumes,
        };
        Ok(each(&names, |name| if engine.remove_volume(name, self.force)? { ui::outln(name) } else { Ok(()) }))
    }
}

/// Remove anonymous volumes that no container uses
///
/// With --all those that have a name go too. What is in them is gone for good, so it asks first; without a terminal it
/// wants --force. Says which went, and the room they took.
#[derive(Args)]
pub struct Prune {
    /// Also those that have a name
    #[arg(long, short)]
    all: bool,
    /// Only what fits: label=KEY[=VALUE], label!=…, name=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    #[command(flatten)]
    asked: Asked,
}

impl Run for Prune {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, filters) = (context.engine()?, filters(&self.filter)?);
        if !self.asked.goes_on("Remove the volumes that no container uses?")? {
            return Ok(ExitCode::SUCCESS);
        }
        tell(engine.prune_volumes(self.all, &filters, self.asked.dry_run)?, self.asked.dry_run)
    }
}

/// Say by the exit code whether there is a volume of this name
///
/// 0 if there is, 1 if not; nothing is printed. For scripts: `img volume exists data || img volume create data`. Used or not makes no
/// difference; what `img volume ls` lists, exists.
#[derive(Args)]
pub struct Exists {
    /// The volume, by name
    volume: String,
}

impl Run for Exists {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let there = context.engine()?.volumes()?.iter().any(|volume| volume.name == self.volume);
        Ok(if there { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Write what is in a volume to a tar
#[derive(Args)]
pub struct Export {
    /// The volume, by name
    volume: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Run for Export {
    fn run(self, context: &Context) -> Result<ExitCode> {
        tar_goes_to(self.output.as_deref())?;
        context.engine()?.export_volume(&self.volume, self.output.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Put the files of a tar into a volume
///
/// The volume must be there; files of the same names are replaced, all others stay.
#[derive(Args)]
pub struct Import {
    /// The volume, by name
    volume: String,
    /// The tar; `-`, or nothing, is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Run for Import {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let file = self.file.filter(|file| file.as_os_str() != "-");
        if file.is_none() && std::io::stdin().is_terminal() {
            return Err(CommandError::usage("a tar does not come from a terminal").hint("name a file, or use a pipe"));
        }
        context.engine()?.import_volume(&self.volume, file.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Mount volumes on the host, and print where their files are
///
/// Most volumes are directories, which are always there. Those of a limited size, in memory or on a device are mounted
/// until `volume unmount`, or while a container uses them.
#[derive(Args)]
pub struct Mount {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl Run for Mount {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.volumes, |name| ui::outln(engine.mount_volume_on_host(name)?.display())))
    }
}

/// Unmount volumes that `volume mount` has mounted
///
/// One that a container uses stays mounted until that has ended. Prints the names.
#[derive(Args)]
pub struct Unmount {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl Run for Unmount {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        Ok(each(&self.volumes, |name| {
            engine.unmount_volume(name)?;
            ui::outln(name)
        }))
    }
}

/// A volume in docker's form.
pub fn describe(volume: &Volume) -> Value {
    let labels: serde_json::Map<String, Value> =
        volume.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "CreatedAt": volume.created.to_string(),
        "Driver": "local",
        "Labels": labels,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": (!volume.options.is_empty()).then_some(&volume.options),
        "Scope": "local",
        "Anonymous": volume.anonymous,
        "SnapshotOf": volume.snapshot_of,
        "UsedBy": volume.used_by,
    })
}
