//! `img mount`, `img unmount`, `img image mount`, `img image unmount`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Run, each};
use crate::config::Context;
use crate::engine::Engine;
use crate::engine::roots::Whose;
use crate::error::{CommandError, Result};
use crate::ui::{self, format};

/// Mount the roots of containers on the host, and print where; without a name, list those that are mounted
///
/// What is written there is the container's. Volumes are not shown: `img volume mount` prints where they are. It stays
/// mounted until `img unmount`, `img rm` or `img system unmount`, also while the container starts and ends.
#[derive(Args)]
pub struct Mount {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All containers
    #[arg(long, short, conflicts_with = "containers")]
    all: bool,
    /// Print the list as `json`, or by a template such as '{{.Mountpoint}}'
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["containers", "all"])]
    format: Option<String>,
}

impl Run for Mount {
    fn run(mut self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.all {
            self.containers = engine.container_ids()?;
        } else if self.containers.is_empty() {
            return list(engine, Whose::Container, self.format.as_deref());
        }
        Ok(each(&self.containers, |name| ui::outln(engine.mount_root(name)?.display())))
    }
}

/// Unmount the roots of containers that `img mount` has mounted
///
/// Prints the names. Programs that are inside keep what they have open.
#[derive(Args)]
pub struct Unmount {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All that are mounted
    #[arg(long, short, conflicts_with = "containers")]
    all: bool,
}

impl Run for Unmount {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = named(engine, Whose::Container, self.containers, self.all)?;
        Ok(each(&names, |name| {
            engine.unmount_root(name)?;
            ui::outln(name)
        }))
    }
}

/// Mount the merged layers of images on the host, read-only, and print where; without a name, list those that are mounted
///
/// It stays mounted until `img image unmount`, until the image is removed, or `img system unmount`.
#[derive(Args)]
pub struct MountImage {
    /// Images, by name or id
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Print the list as `json`, or by a template such as '{{.Mountpoint}}'
    #[arg(long, value_name = "FORMAT", conflicts_with = "images")]
    format: Option<String>,
}

impl Run for MountImage {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.images.is_empty() {
            return list(engine, Whose::Image, self.format.as_deref());
        }
        Ok(each(&self.images, |name| ui::outln(engine.mount_image(name)?.display())))
    }
}

/// Unmount images that `img image mount` has mounted
///
/// Prints the names.
#[derive(Args)]
pub struct UnmountImage {
    /// Images, by name or id
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// All that are mounted
    #[arg(long, short, conflicts_with = "images")]
    all: bool,
}

impl Run for UnmountImage {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = named(engine, Whose::Image, self.images, self.all)?;
        Ok(each(&names, |name| {
            engine.unmount_image(name)?;
            ui::outln(name)
        }))
    }
}

fn named(engine: &Engine, whose: Whose, names: Vec<String>, all: bool) -> Result<Vec<String>> {
    if all {
        return Ok(engine.mounted_roots(whose)?.into_iter().map(|root| root.id).collect());
    }
    if names.is_empty() {
        return Err(CommandError::usage("nothing is named").hint("--all unmounts all that are mounted"));
    }
    Ok(names)
}

fn list(engine: &Engine, whose: Whose, form: Option<&str>) -> Result<ExitCode> {
    let rows: Vec<_> = engine
        .mounted_roots(whose)?
        .iter()
        .map(|root| {
            json!({
                "ID": root.id.get(..12).unwrap_or(&root.id),
                "Names": root.names.join(", "),
                "Mountpoint": root.path.display().to_string(),
            })
        })
        .collect();
    let columns = [("ID", "ID"), ("NAMES", "Names"), ("MOUNTPOINT", "Mountpoint")];
    format::print_list(form, &columns, &rows)?;
    Ok(ExitCode::SUCCESS)
}
