//! The control groups of a running container by the names of their files, and its priority.

use std::path::PathBuf;

use runner::cgroup::Cgroup;

use super::ContainerRecord;
use crate::engine::Engine;
use crate::engine::events::of_container;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// What a control file of a container says; a name of the other version of control groups is translated.
    ///
    /// # Errors
    /// It does not run, a file that no version has.
    pub fn control_file(&self, name: &str, file: &str) -> Result<String> {
        let (_, group) = self.groups(name)?;
        let value = group.get(file).map_err(runner::Error::from).map_err(CommandError::from);
        value.with_context(|| format!("cannot read {file} of container {name}"))
    }

    /// Writes a control file of a container. It holds until the container ends; `update` is for good.
    ///
    /// # Errors
    /// As [`Engine::control_file`], a value that the kernel refuses.
    pub fn set_control_file(&self, name: &str, file: &str, value: &str) -> Result<()> {
        // The freezer is more than its file: it is known to every command that the container stands still.
        match (file, value) {
            ("freezer.state", "FROZEN") | ("cgroup.freeze", "1") => return self.pause(name),
            ("freezer.state", "THAWED") | ("cgroup.freeze", "0") => return self.unpause(name),
            _ => {}
        }
        let (record, mut group) = self.groups(name)?;
        let set = group.set(file, value).map_err(runner::Error::from).map_err(CommandError::from);
        set.with_context(|| format!("cannot write {file} of container {name}"))?;
        self.event(&of_container(&record, "update").with("file", file).with("value", value));
        Ok(())
    }

    /// All control files of a container that can be read, and what they say.
    ///
    /// # Errors
    /// It does not run.
    pub fn control_files(&self, name: &str) -> Result<Vec<(PathBuf, String)>> {
        let (_, group) = self.groups(name)?;
        Ok(group.dump().map_err(runner::Error::from)?)
    }

    fn groups(&self, name: &str) -> Result<(ContainerRecord, Cgroup)> {
        let record = self.container_named(name)?;
        let state = self.state(&record.id)?.filter(runner::State::is_running);
        let state = state.ok_or_else(|| {
            CommandError::new(format!("container {name} is not running"))
                .hint("its control groups are there while it runs; `img update` changes limits of the next start too")
        })?;
        Ok((record, Cgroup::open(&state.cgroup).map_err(runner::Error::from)?))
    }
}
