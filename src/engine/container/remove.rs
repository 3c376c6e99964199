//! Removing containers, and sweeping up after those whose monitor was killed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use store::Swept;

use super::claim::Claim;
use super::run::{Removal, remove_all, remove_claimed, tell_end};
use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::error::{CommandError, Kind, Result};

/// How many containers a start looks at for what dead monitors left.
const FEW: usize = 8;
/// Longest wait for a container that was killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long between two looks at one that is being started.
const PAUSE: Duration = Duration::from_millis(2);

/// What is done about a container that runs and is to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// It is killed.
    Kill,
    /// That is an error.
    Refuse,
    /// It stays.
    Leave,
}

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
        match self.remove_found(&id, name, if force { Running::Kill } else { Running::Refuse }, volumes) {
            // Whatever was missing of it: somebody else has removed it meanwhile.
            Err(_) if force && !self.store.containers().has(&id) => Ok(false),
            removed => removed,
        }
    }

    /// As [`Engine::remove_container`]; false if it runs and is left alone for that.
    pub(super) fn remove_found(&self, id: &str, name: &str, running: Running, volumes: bool) -> Result<bool> {
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            let record = self.container_record(id)?;
            // Never held while it is stopped: its own monitor may be about to remove it.
            let claim = Claim::take(&self.store.containers().path(id)?)?;
            if let Some(state) = self.state(id)?.filter(runner::State::is_up) {
                drop(claim);
                if running == Running::Leave {
                    return Ok(false);
                }
                self.stop_to_remove(&record, &state, name, running == Running::Kill)?;
                if Instant::now() > deadline {
                    return Err(CommandError::new(format!("container {name} is started again and again")));
                }
                continue;
            }
            if !volumes && !record.data.options.remove && !record.data.anonymous_volumes.is_empty() {
                // docker keeps anonymous volumes unless -v says otherwise: they lose their owner and are listed as such.
                self.store.containers().change(id, |data: &mut ContainerData| data.anonymous_volumes.clear())?;
            }
            match remove_claimed(&self.store, &self.states(), id, Removal::Whole, claim) {
                // Whoever started it was killed, and its monitor is on its way: without a claim nobody else begins.
                Err(_) if Instant::now() < deadline && self.is_begun(id)? => std::thread::sleep(PAUSE),
                removed => return removed.map(|()| true),
            }
        }
    }

    /// Whether a monitor is starting a container, or runs it.
    fn is_begun(&self, id: &str) -> Result<bool> {
        let state = self.state(id)?.filter(|state| state.status != runner::Status::Stopped);
        Ok(state.map(|state| state.is_monitored()).transpose()?.unwrap_or_default())
    }

    /// What came of reading a container's files. That it was removed meanwhile is said rather than which file is missing for
    /// that; also of a reading that went well, for nobody knows what it did not meet any more.
    ///
    /// # Errors
    /// Those of `read`, and that the container is gone.
    pub(in crate::engine) fn unless_removed<T>(&self, record: &ContainerRecord, read: Result<T>) -> Result<T> {
        if !self.store.containers().has(&record.id) {
            return Err(
                CommandError::new(format!("no such container: {}", record.name)).hint("it was removed just now")
            );
        }
        read
    }

    /// Kills a container that is to be removed, if that is allowed.
    fn stop_to_remove(&self, record: &ContainerRecord, state: &runner::State, name: &str, force: bool) -> Result<()> {
        if !force {
            let word = super::list::state_word(record, Some(state));
            return Err(CommandError::new(format!("container {} is {word}", record.name))
                .hint(format!("`img stop {name}` first, or use --force")));
        }
        // One started with --rm is removed by its own monitor as soon as it has ended.
        runner::stop(&self.state_dir(&record.id), Some(libc_sigkill()), Some(STOP_LIMIT)).map(drop).or_else(not_running)
    }

    /// Takes back what containers left whose monitor was killed; those that wanted to be removed are. Files in the store that
    /// cannot be removed stay: the prunes tell of them.
    ///
    /// # Errors
    /// A container that wanted to be removed cannot be.
    pub fn sweep(&self) -> Result<()> {
        self.sweep_counted().map(drop)
    }

    /// As [`Engine::sweep`]; gives what came of what killed commands left in the store.
    ///
    /// # Errors
    /// As [`Engine::sweep`].
    pub(super) fn sweep_counted(&self) -> Result<Swept> {
        let swept = match self.store.sweep() {
            // What only reads works on a full disk, and on one that cannot be written.
            Err(error) if error.is_no_room() || error.is_read_only() => Swept::default(),
            other => other?,
        };
        self.sweep_of(None)?;
        Ok(swept)
    }

    /// As [`Engine::sweep`], but looks at few containers, others each time: a start takes no longer where many run. Who lists
    /// or removes containers looks at all of them.
    ///
    /// # Errors
    /// As [`Engine::sweep`].
    pub fn sweep_some(&self) -> Result<()> {
        self.sweep_of(Some(FEW))
    }

    fn sweep_of(&self, most: Option<usize>) -> Result<()> {
        let swept = runner::sweep(&self.states(), most)?;
        for state_dir in swept.taken_back {
            let Some(id) = state_dir.file_name().and_then(|name| name.to_str()) else { continue };
            if id.starts_with(crate::engine::build::STEP_PREFIX) {
                runner::delete(&state_dir, false)?;
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
        self.sweep_stopped(swept.stopped)
    }

    /// Removes what has ended and nobody will remove: steps of builds, and containers with `--rm` whose restart was killed.
    fn sweep_stopped(&self, stopped: Vec<(PathBuf, runner::State)>) -> Result<()> {
        for (state_dir, state) in stopped {
            let name = state_dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if state.is_monitored()? {
                continue;
            }
            if name.starts_with(crate::engine::build::STEP_PREFIX) {
                runner::delete(&state_dir, false)?;
            } else if let Some(_held) = super::restarting::forsaken(&state_dir)?
                && self.container_record(name).is_ok_and(|record| record.data.options.remove)
            {
                remove_all(&self.store, &self.states(), name, Removal::Whole)?;
            }
        }
        Ok(())
    }

    /// Removes containers that nobody will: clones whose copying was cut short, and those with `--rm` whose monitor was killed
    /// before it could. It reads every record, so it is for commands that do so anyway: those of the others are returned.
    ///
    /// # Errors
    /// The store cannot be read; one cannot be removed.
    pub(super) fn sweep_records(&self) -> Result<Vec<ContainerRecord>> {
        let mut others = Vec::new();
        for record in self.store.containers().list::<ContainerData>()? {
            if self.is_to_be_swept(&record)? {
                self.remove_container(&record.id, true, true)?;
            } else {
                others.push(record);
            }
        }
        Ok(others)
    }

    /// Whether a container is one that nobody will remove who should have.
    pub(super) fn is_to_be_swept(&self, record: &ContainerRecord) -> Result<bool> {
        Ok(self.is_cut_short(record)? || record.data.options.remove && self.is_left(record)?)
    }

    /// Whether a container has ended, and neither its monitor nor somebody who restarts it is there to see to it.
    fn is_left(&self, record: &ContainerRecord) -> Result<bool> {
        let id = &record.id;
        match self.state(id)? {
            Some(state) if state.status == runner::Status::Stopped => {
                Ok(!state.is_monitored()? && !super::restarting::is_restarted(&self.state_dir(id), &state)?)
            }
            Some(_) => Ok(false),
            // Nobody began to run it, and who meant to is gone.
            None => Ok(record.data.options.run_by.map(|by| by.open()).transpose()?.is_some_and(|by| by.is_none())),
        }
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

/// A container that ended meanwhile is what was wanted.
fn not_running(error: runner::Error) -> Result<()> {
    match error {
        error if error.has_ended() => Ok(()),
        error => Err(CommandError::from(error).kind(Kind::Failed)),
    }
}
