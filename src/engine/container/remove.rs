//! Removing containers, and sweeping up after those whose monitor was killed.

use super::ContainerData;
use super::run::{Removal, remove_all, tell_end};
use crate::engine::Engine;
use crate::error::{CommandError, Kind, Result};

impl Engine {
    /// Removes a container; says whether there was one.
    ///
    /// # Errors
    /// It runs and `force` is not given; without `force`, there is none.
    pub fn remove_container(&self, name: &str, force: bool, volumes: bool) -> Result<bool> {
        let id = match self.find_container(name) {
            Ok(id) => id,
            Err(_) if force => return Ok(false),
            Err(error) => return Err(error),
        };
        let record = self.container_record(&id)?;
        if let Some(state) = self.state(&id)?.filter(runner::State::is_up) {
            if !force {
                let word = super::list::state_word(&record, Some(&state));
                return Err(CommandError::new(format!("container {} is {word}", record.name))
                    .hint(format!("`img stop {name}` first, or use --force")));
            }
            // One started with --rm is removed by its own monitor as soon as it has ended.
            let limit = std::time::Duration::from_secs(30);
            runner::stop(&self.state_dir(&id), Some(libc_sigkill()), Some(limit)).map(drop).or_else(not_running)?;
        }
        if !volumes && !record.data.options.remove && !record.data.anonymous_volumes.is_empty() {
            // docker keeps anonymous volumes unless -v says otherwise: they lose their owner and are listed as such.
            self.store.containers().change(&id, |data: &mut ContainerData| data.anonymous_volumes.clear())?;
        }
        remove_all(&self.store, &self.states(), &id, Removal::Whole)?;
        Ok(true)
    }

    /// Takes back what containers left whose monitor was killed; those that wanted to be removed are.
    ///
    /// # Errors
    /// Something that is left cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        for state_dir in runner::sweep(&self.states())? {
            let Some(id) = state_dir.file_name().and_then(|name| name.to_str()) else { continue };
            if id.starts_with(crate::engine::build::STEP_PREFIX) {
                continue;
            }
            let remove = match self.container_record(id) {
                Ok(record) => {
                    // Nobody saw how it ended.
                    tell_end(&self.store, &record, &runner::Exit::unknown());
                    crate::engine::volumes::attach::released_by(&self.store, &self.states(), &record)?;
                    record.data.options.remove
                }
                // No record: the container was being removed when its remover was killed.
                Err(_) => true,
            };
            if remove {
                remove_all(&self.store, &self.states(), id, Removal::Whole)?;
            }
        }
        self.sweep_roots()?;
        self.sweep_build_steps()
    }

    /// Removes what is left of the steps of builds that were killed.
    fn sweep_build_steps(&self) -> Result<()> {
        for (state_dir, state) in runner::state::list(&self.states())? {
            let name = state_dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ended = state.is_ok_and(|state| state.status == runner::Status::Stopped);
            if name.starts_with(crate::engine::build::STEP_PREFIX) && ended {
                runner::delete(&state_dir, false)?;
            }
        }
        Ok(())
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

/// A container that ended meanwhile is what was wanted.
fn not_running(error: runner::Error) -> Result<()> {
    match error {
        runner::Error::NotRunning(_) | runner::Error::NotFound(_) => Ok(()),
        error => Err(CommandError::from(error).kind(Kind::Failed)),
    }
}
