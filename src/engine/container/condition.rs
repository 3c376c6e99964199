//! Waiting until a container is in a state. What happens is told by the journal, so nothing is asked over and over; a
//! look twice a second catches what a killed monitor never told.

use std::str::FromStr;
use std::time::{Duration, Instant};

use runner::Status;
use runner::state::State;

use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// How long a change may go unnoticed that nobody told of.
const LOOK: Duration = Duration::from_millis(500);

/// The same for states that do not last, and that nobody tells of when they begin.
const GLANCE: Duration = Duration::from_millis(20);

/// A state that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Made and not started, in podman's words `configured`.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It does not run.
    Stopped,
    /// It ends, if it has already ended: the next time.
    NextExit,
    /// It is gone.
    Removed,
    /// It is between two runs.
    Restarting,
    /// Its health check says so.
    Health(&'static str),
    /// It is on its way, in LXC's words.
    Passing(Passing),
}

/// A state that a container only passes through: it is reached too if it was passed since the wait began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// It is being started.
    Starting,
    /// It was asked to end.
    Stopping,
    /// Its start has failed.
    Aborting,
    /// It is being frozen.
    Freezing,
    /// It goes on after it was frozen.
    Thawed,
}

impl Passing {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Aborting => "aborting",
            Self::Freezing => "freezing",
            Self::Thawed => "thawed",
        }
    }

    /// Whether this is what happens on the way to what an event tells of.
    fn leads_to(self, action: &str) -> bool {
        match self {
            Self::Starting => matches!(action, "start" | "abort"),
            Self::Stopping => matches!(action, "die" | "abort"),
            Self::Aborting => action == "abort",
            Self::Freezing => action == "pause",
            Self::Thawed => action == "unpause",
        }
    }
}

impl FromStr for Condition {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "created" | "configured" | "initialized" => Self::Created,
            "running" => Self::Running,
            "paused" | "frozen" => Self::Paused,
            "stopped" | "exited" | "not-running" => Self::Stopped,
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            "restarting" => Self::Restarting,
            "healthy" => Self::Health("healthy"),
            "unhealthy" => Self::Health("unhealthy"),
            "starting" => Self::Passing(Passing::Starting),
            "stopping" => Self::Passing(Passing::Stopping),
            "aborting" => Self::Passing(Passing::Aborting),
            "freezing" => Self::Passing(Passing::Freezing),
            "thawed" => Self::Passing(Passing::Thawed),
            _ => {
                return Err(CommandError::usage(format!("there is no condition {text:?} to wait for")).hint(
                    "there are: created, running, paused, stopped, next-exit, removed, restarting, healthy, unhealthy; \
                     starting, stopping, aborting, freezing, thawed",
                ));
            }
        })
    }
}

/// What was waited for and has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It has ended or is gone, with this exit code if that is known.
    Exit(Option<i32>),
    /// Another state, in docker's word.
    State(&'static str),
}

impl Engine {
    /// Waits until one of `conditions` holds; at once if one does.
    ///
    /// # Errors
    /// No such container, one that is removed while something else is waited for, `limit` is over.
    pub fn wait_for(&self, name: &str, conditions: &[Condition], limit: Option<Duration>) -> Result<Reached> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut events = self.events()?;
        // What was before is no news; what comes from now on is.
        events.take()?;
        let id = match self.find_container(name) {
            Ok(id) => id,
            Err(_) if conditions.contains(&Condition::Removed) => return Ok(Reached::Exit(None)),
            Err(error) => return Err(error),
        };
        let mut ended: Option<Option<i32>> = None;
        let mut health = self.health(&id)?;
        let mut passed = Vec::new();
        let pause = if conditions.iter().any(|one| matches!(one, Condition::Passing(_))) { GLANCE } else { LOOK };
        loop {
            let state = self.state(&id)?;
            let record = self.container_record(&id);
            // Looked at after the state: whoever removes a container tells of its end first.
            for event in events.take()?.iter().filter(|event| event.id == id) {
                passed.push(event.action.clone());
                if event.action == "die" {
                    ended = Some(event.attributes.get("exitCode").and_then(|code| code.parse().ok()));
                } else if let Some(word) = event.action.strip_prefix("health_status: ") {
                    health = Some(word.to_owned());
                }
            }
            let gone = record.is_err() && self.find_container(&id).is_err();
            let code = ended.unwrap_or_else(|| {
                let exit = state.as_ref().and_then(|state| state.exit.as_ref());
                let last = record.as_ref().ok().and_then(|record| record.data.last.as_ref());
                exit.map_or(last.and_then(|last| last.code), |exit| exit.code)
            });
            for condition in conditions {
                let holds = match condition {
                    Condition::Removed => gone,
                    Condition::NextExit => ended.is_some(),
                    Condition::Health(word) => health.as_deref() == Some(word),
                    Condition::Passing(passing) => {
                        passed.iter().any(|action| passing.leads_to(action))
                            || state.as_ref().is_some_and(|state| self.is_passing(&id, state, *passing))
                    }
                    condition => {
                        !gone
                            && holds(
                                *condition,
                                state.as_ref(),
                                record.as_ref().is_ok_and(|record| record.data.last.is_some()),
                            )
                    }
                };
                match condition {
                    _ if !holds => {}
                    Condition::Stopped | Condition::NextExit | Condition::Removed => return Ok(Reached::Exit(code)),
                    Condition::Created => return Ok(Reached::State("created")),
                    Condition::Running => return Ok(Reached::State("running")),
                    Condition::Paused => return Ok(Reached::State("paused")),
                    Condition::Restarting => return Ok(Reached::State("restarting")),
                    Condition::Health(word) => return Ok(Reached::State(word)),
                    Condition::Passing(passing) => return Ok(Reached::State(passing.word())),
                }
            }
            if gone {
                // One that ran with --rm has stopped, and nothing else will become of it.
                if ended.is_some() && conditions.contains(&Condition::Stopped) {
                    return Ok(Reached::Exit(code));
                }
                return Err(CommandError::new(format!("container {name} was removed while it was waited for")));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(CommandError::new(format!("container {name} did not get there in time")));
            }
            events.wait_at_most(left.map_or(pause, |left| left.min(pause)))?;
        }
    }

    /// Whether a container is just passing through a state.
    fn is_passing(&self, id: &str, state: &State, passing: Passing) -> bool {
        let directory = self.state_dir(id);
        match passing {
            Passing::Starting => state.status == Status::Created,
            Passing::Stopping => state.is_running() && runner::stop_was_requested(&directory),
            Passing::Freezing => state.status == Status::Paused && runner::is_frozen(&directory).is_ok_and(|is| !is),
            Passing::Aborting | Passing::Thawed => false,
        }
    }

    /// What the last health check that is told of said.
    pub(super) fn health(&self, id: &str) -> Result<Option<String>> {
        let running = self.state(id)?.is_some_and(|state| state.is_running());
        let health = if running { self.health_of(id, true)? } else { None };
        Ok(health.map(|health| health.status.word().to_owned()))
    }

    /// The exit code that the journal has of a container that is gone.
    pub(super) fn told_exit_code(&self, id: &str) -> Result<Option<i32>> {
        let events = self.events()?.take()?;
        let last = events.iter().rfind(|event| event.id == id && event.action == "die");
        Ok(last.and_then(|event| event.attributes.get("exitCode")?.parse().ok()))
    }
}

/// Whether a state that the runner knows holds; `ran`: whether the record says that it ran before.
fn holds(condition: Condition, state: Option<&State>, ran: bool) -> bool {
    match (condition, state.map(|state| state.status)) {
        (Condition::Running, Some(Status::Running)) => true,
        (Condition::Paused, Some(Status::Paused)) => true,
        (Condition::Restarting, Some(Status::Restarting)) => true,
        (Condition::Created, Some(Status::Created)) => !ran,
        (Condition::Created, None) => !ran,
        (Condition::Stopped, Some(Status::Stopped)) => true,
        (Condition::Stopped, None) => true,
        _ => false,
    }
}
