//! Freezing, thawing, starting anew and renaming.

use std::time::Duration;

use runner::Status;

use super::ContainerData;
use crate::engine::Engine;
use crate::engine::events::of_container;
use crate::error::{CommandError, Context as _, Kind, Result};

/// The file in a state directory that says: the container is about to be started anew, so `--rm` waits.
pub(super) const RESTARTING: &str = "restarting";

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
        let record = self.container_record(&self.find_container(name)?)?;
        let directory = self.state_dir(&record.id);
        let (change, action): (fn(&std::path::Path) -> runner::Result<()>, _) =
            if paused { (runner::pause, "pause") } else { (runner::unpause, "unpause") };
        let recorded = match self.state(&record.id)?.map(|state| state.status) {
            Some(Status::Paused) => true,
            Some(Status::Running) => false,
            _ => return Err(CommandError::new(format!("container {name} is not running"))),
        };
        // Record and kernel disagree where somebody was killed on the way: then there is something to do either way.
        if runner::is_frozen(&directory)? == paused && recorded == paused {
            let is = if paused { "is paused already" } else { "is not paused" };
            return Err(CommandError::new(format!("container {name} {is}")));
        }
        change(&directory).map_err(CommandError::from).with_context(|| format!("cannot {action} container {name}"))?;
        self.container_event(&record, action);
        Ok(())
    }

    /// Stops a container if it runs, and starts it in the background. One that was to be removed at its end is kept.
    ///
    /// # Errors
    /// No such container; it cannot be stopped or started.
    pub fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let id = self.find_container(name)?;
        let marker = self.state_dir(&id).join(RESTARTING);
        let running = self.state(&id)?.is_some_and(|state| state.status != Status::Stopped);
        if running {
            std::fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;
        }
        let started = self.stop_whole(&id, signal, timeout).and_then(|()| match self.startable(&id)? {
            Some(startable) => self.start_detached(&startable),
            None => Err(CommandError::new(format!("container {name} was started by somebody else meanwhile"))),
        });
        match std::fs::remove_file(&marker) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", marker.display()));
            }
            _ => {}
        }
        started?;
        self.container_event(&self.container_record(&id)?, "restart");
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// No such container, a name that is taken or that no container may have.
    pub fn rename_container(&self, name: &str, new: &str) -> Result<()> {
        let old = self.container_record(&self.find_container(name)?)?;
        // docker takes the name as inspect prints it, too.
        let new = new.strip_prefix('/').unwrap_or(new);
        if old.name == new {
            return Err(CommandError::new(format!("container {name} has that name already")));
        }
        self.store.containers().rename(&old.id, new).map_err(|error| match error {
            store::Error::Conflict(_) => {
                CommandError::new(format!("cannot rename container {name}: the name {new} is already in use"))
                    .hint(format!("`img rm {new}` removes its owner, or choose another name"))
            }
            error => CommandError::from(error).prefixed(&format!("cannot rename container {name}")).kind(Kind::Failed),
        })?;
        let named = |data: &mut ContainerData| data.options.name = Some(new.to_owned());
        let record = self.store.containers().change(&old.id, named)?;
        runner::rename(&self.state_dir(&old.id), &old.name, new)?;
        self.event(&of_container(&record, "rename").with("oldName", &old.name));
        Ok(())
    }
}
