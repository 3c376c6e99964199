//! Freezing, thawing, starting anew and renaming.

use std::time::Duration;

use runner::Status;

use super::ContainerData;
use super::restarting::Restarting;
use super::{ended, unless_ended};
use crate::engine::Engine;
use crate::engine::events::of_container;
use crate::error::{CommandError, Kind, Result};

impl Engine {
    /// Freezes all processes of a container, by the kernel's freezer: they notice nothing.
    ///
    /// # Errors
    /// No such container, one that does not run or is paused already.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.set_paused(name, true)
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// No such container, one that is not paused.
    pub fn unpause(&self, name: &str) -> Result<()> {
        self.set_paused(name, false)
    }

    fn set_paused(&self, name: &str, paused: bool) -> Result<()> {
        let record = self.container_named(name)?;
        let directory = self.state_dir(&record.id);
        let (change, action): (fn(&std::path::Path) -> runner::Result<()>, _) =
            if paused { (runner::pause, "pause") } else { (runner::unpause, "unpause") };
        let recorded = match self.state(&record.id)?.map(|state| state.status) {
            Some(Status::Paused) => true,
            Some(Status::Running) => false,
            _ => return Err(ended(name)),
        };
        // Record and kernel disagree where somebody was killed on the way: then there is something to do either way.
        if unless_ended(name, runner::is_frozen(&directory))? == paused && recorded == paused {
            let is = if paused { "is paused already" } else { "is not paused" };
            return Err(CommandError::new(format!("container {name} {is}")));
        }
        unless_ended(name, change(&directory))?;
        self.container_event(&record, action);
        Ok(())
    }

    /// Stops a container if it runs, and starts it in the background. One that is removed at its end is kept meanwhile, and
    /// removed if it cannot be started again.
    ///
    /// # Errors
    /// No such container; it cannot be stopped or started.
    pub fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let record = self.container_named(name)?;
        let removed = record.data.options.remove;
        let state = self.state(&record.id)?.filter(|state| removed && state.status != Status::Stopped);
        let held = state.map(|state| Restarting::hold(&self.state_dir(&record.id), &state, name)).transpose()?;
        let started = self.stop_whole(&record.id, signal, timeout).and_then(|()| {
            let startable = self.startable(&record.id)?;
            match startable.map(|mut startable| self.start_detached(&mut startable)).transpose()? {
                Some(true) => Ok(()),
                _ => Err(CommandError::new(format!("container {name} was started by somebody else meanwhile"))),
            }
        });
        drop(held);
        if let Err(error) = started {
            let ended = self.state(&record.id)?.is_some_and(|state| state.status == Status::Stopped);
            if removed && ended {
                // As if it had ended by itself.
                return Err(match self.remove_container(&record.id, true, true) {
                    Ok(_) => error,
                    Err(second) => error.hint(format!("and cleaning up failed: {}", second.text())),
                });
            }
            return Err(error);
        }
        self.event(&of_container(&record, "restart"));
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// No such container, a name that is taken or that no container may have.
    pub fn rename_container(&self, name: &str, new: &str) -> Result<()> {
        let old = self.container_named(name)?;
        // docker takes the name as inspect prints it, too.
        let new = new.strip_prefix('/').unwrap_or(new);
        if old.name == new {
            return Err(CommandError::new(format!("container {name} has that name already")));
        }
        let renamed = self.store.containers().rename(&old.id, new).map_err(|error| match error {
            store::Error::Conflict(_) => {
                CommandError::new(format!("cannot rename container {name}: the name {new} is already in use"))
                    .hint(format!("`img rm {new}` removes its owner, or choose another name"))
            }
            error => CommandError::from(error).prefixed(&format!("cannot rename container {name}")).kind(Kind::Failed),
        });
        let renamed = renamed.and_then(|()| {
            let named = |data: &mut ContainerData| data.options.name = Some(new.to_owned());
            let record = self.store.containers().change(&old.id, named)?;
            runner::rename(&self.state_dir(&old.id), &old.name, new)?;
            Ok(record)
        });
        let record = self.unless_removed(&old, renamed)?;
        self.event(&of_container(&record, "rename").with("oldName", &old.name));
        Ok(())
    }
}
