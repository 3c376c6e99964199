//! A container for one program on this process's terminal, for callers with threads: the shell in a build step that failed.
//!
//! A helper process, which is single-threaded whatever the caller is, starts a monitor and attaches to it as `run -it` does. The
//! rule: as with [`crate::run_in()`], nothing of the container is left when the call returns.

use crate::attach::{AttachOptions, Outcome, attach};
use crate::broker;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::monitor::{MonitorOptions, start_monitored};
use crate::verbs;

/// Runs the container, whose spec asks for a terminal, until its program ends; gives the exit code, or none if the user
/// detached, which ends it too.
///
/// # Errors
/// [`Error::Start`] if the program could not be started; the terminal or the connection fails.
pub fn run_with_terminal(container: &Container) -> Result<Option<i32>> {
    if !container.has_terminal() {
        return Err(Error::invalid("this container does not ask for a terminal"));
    }
    let result = broker::in_child(|| {
        let options = MonitorOptions { stdin: true, foreground: true };
        let (_, stream) = start_monitored(container.clone(), options, Box::new(|_| ()))?;
        let stream = stream.ok_or_else(|| Error::invalid("the container's monitor cannot be reached"))?;
        let options = AttachOptions { stdin: true, forward_signals: true, ..AttachOptions::default() };
        Ok(match attach(stream, options)? {
            Outcome::Exited(code) => Some(code),
            Outcome::Detached | Outcome::Interrupted(_) | Outcome::Lost => None,
        })
    });
    match (result, verbs::delete(&container.state_dir, true)) {
        (result, Ok(_) | Err(Error::NotFound(_))) => result,
        (Ok(_), Err(error)) => Err(error),
        // Why it failed matters more than what is left; that has a record, by which a sweep finds it.
        (Err(error), Err(_)) => Err(error),
    }
}
