//! Which containers a verb is for: those that are named, all, the newest, or all that fit filters.

use clap::Args;

use crate::engine::Engine;
use crate::engine::container::filter::ContainerFilter;
use crate::error::Result;

/// Which containers `--all` means for a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that run.
    Running,
    /// Those that are frozen.
    Paused,
    /// Every one.
    Any,
}

/// Containers on the command line.
#[derive(Args)]
pub struct Targets {
    /// Containers, by name or id
    #[arg(required_unless_present_any = ["all", "latest", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// All there are for this
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    more: MoreTargets,
}

/// The ways to choose that take no letter another flag of the verb could want.
#[derive(Args)]
pub struct MoreTargets {
    /// The newest one
    #[arg(long, short, conflicts_with_all = ["containers", "all"])]
    latest: bool,
    /// All that fit, as `label=KEY=VALUE`; the filters of `ps`
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "containers")]
    filter: Vec<String>,
}

impl Targets {
    /// Their names or ids.
    ///
    /// # Errors
    /// A filter that is none, a store that cannot be read.
    pub fn names(self, engine: &Engine, scope: Scope) -> Result<Vec<String>> {
        self.more.names(engine, self.containers, self.all, scope)
    }
}

impl MoreTargets {
    /// As [`Targets::names`], for verbs with their own `--all`.
    ///
    /// # Errors
    /// A filter that is none, a store that cannot be read.
    pub fn names(&self, engine: &Engine, named: Vec<String>, all: bool, scope: Scope) -> Result<Vec<String>> {
        if !all && !self.latest && self.filter.is_empty() {
            return Ok(named);
        }
        let filters = self.filter.iter().map(|text| text.parse()).collect::<Result<Vec<ContainerFilter>>>()?;
        let mut found = engine.containers(true, &filters, false)?;
        found.retain(|container| match scope {
            Scope::Any => true,
            Scope::Running => ["running", "paused", "restarting"].contains(&container.state.as_str()),
            Scope::Paused => container.state == "paused",
        });
        if self.latest {
            found.truncate(1);
        }
        Ok(found.into_iter().map(|container| container.id).collect())
    }
}
