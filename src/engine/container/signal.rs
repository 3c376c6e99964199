//! Stopping, killing, freezing and waiting.

use std::time::Duration;

use runner::spec::parse;

use super::supervise::Standing;
use super::unless_ended;
use crate::engine::Engine;
use crate::engine::events::of_container;
use crate::error::{CommandError, Result};

/// How long a container gets to stop, as docker has it.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Engine {
    /// Asks a container to stop, and kills it when the time is over. One that does not run is stopped already.
    ///
    /// # Errors
    /// No such container, a signal that is none.
    pub fn stop(&self, name: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let record = self.container_named(name)?;
        let signal = signal.map(parse::signal).transpose()?;
        let own = record.data.options.stop_timeout.map(Duration::from_secs);
        let timeout = timeout.or(own).unwrap_or(STOP_TIMEOUT);
        let state = self.state(&record.id)?.filter(|state| state.status != runner::Status::Stopped);
        let ran = state.is_some();
        if let Some(state) = state.filter(runner::State::is_running) {
            // As docker tells it: what ends it, its end, and that it was stopped.
            let signal = signal.unwrap_or(state.stop_signal).to_string();
            self.event(&of_container(&record, "kill").with("signal", &signal));
        }
        match runner::stop(&self.state_dir(&record.id), signal, Some(timeout)) {
            Ok(_) => {}
            Err(error) if error.has_ended() => {}
            Err(error) => return Err(error.into()),
        }
        if ran {
            self.container_event(&record, "stop");
        } else if record.data.standing == Standing::Up {
            // It ended with another boot, and is not started again after all.
            self.set_standing(&record, Standing::Stopped)?;
        }
        Ok(())
    }

    /// Sends a signal to a container's first process, or to `all` of them.
    ///
    /// # Errors
    /// No such container, one that does not run, a signal that is none.
    pub fn kill(&self, name: &str, signal: &str, all: bool) -> Result<()> {
        let record = self.container_named(name)?;
        let signal = parse::signal(signal)?;
        unless_ended(name, runner::kill(&self.state_dir(&record.id), signal, all))?;
        self.event(&of_container(&record, "kill").with("signal", &signal.to_string()));
        Ok(())
    }

    /// Waits for a container's end and gives its exit code.
    ///
    /// # Errors
    /// No such container; one whose exit code nobody knows.
    pub fn wait(&self, name: &str) -> Result<i32> {
        let id = self.find_container(name)?;
        let exit = match runner::wait(&self.state_dir(&id), None) {
            Ok(exit) => exit.code,
            Err(runner::Error::NotFound(_)) => match self.container_record(&id) {
                // Never started, or started before the machine was: what is recorded is what there is.
                Ok(record) => record.data.last.map_or(Some(0), |last| last.code),
                // Removed at its end; the journal knows.
                Err(_) => self.told_exit_code(&id)?,
            },
            Err(error) => return Err(error.into()),
        };
        exit.ok_or_else(|| {
            CommandError::new(format!("nobody knows how container {name} ended: its monitor was killed"))
        })
    }

    /// Freezes a running container until the guard is dropped; nothing for one that does not run.
    pub(in crate::engine) fn freeze(&self, id: &str) -> Result<Option<Frozen>> {
        let directory = self.state_dir(id);
        match self.state(id)? {
            Some(state) if state.status == runner::Status::Running => {
                match runner::Standstill::of(&directory) {
                    // It ended just now, which stands still too.
                    Err(error) if error.has_ended() => Ok(None),
                    Err(_) if !self.state(id)?.is_some_and(|state| state.is_running()) => Ok(None),
                    frozen => Ok(Some(Frozen(Some(frozen?)))),
                }
            }
            _ => Ok(None),
        }
    }
}

/// Thaws a container when dropped, and when this process ends in any other way.
pub(in crate::engine) struct Frozen(Option<runner::Standstill>);

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(runner::Standstill::end) {
            crate::ui::warn(format_args!("the container stays paused: {error}"));
        }
    }
}
