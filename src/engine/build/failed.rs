//! `--debug-on-error`: a shell in the file system of a RUN step that failed, with its mounts, environment, user and
//! network, on the terminal of whoever builds. The rest of the build waits meanwhile; what is done in the shell is thrown
//! away with the step.

use builder::RunStep;
use runner::{Container, run_with_terminal};

use super::BuildWatcher;
use crate::engine::progress::Event;
use crate::error::Result;

/// Opens the shell, if there is a terminal, and waits for its end. `make` makes the step's container anew with another program.
///
/// # Errors
/// The shell cannot be started, and no other is in the image.
pub fn open_shell(
    step: &RunStep<'_>,
    exit_code: i32,
    on_terminal: bool,
    watcher: &dyn BuildWatcher,
    make: &dyn Fn(&[String]) -> Result<Container>,
) -> Result<()> {
    if !on_terminal {
        let text =
            format!("{} failed; --debug-on-error opens a shell on a terminal only, and there is none", step.name);
        watcher.event(Event::Note(&text));
        return Ok(());
    }
    let mut result = Ok(());
    watcher.suspended(&mut || {
        let text = format!(
            "{} failed with code {exit_code}; this is a shell in it. The command was:\n  {}\nLeave it to end the build.",
            step.name,
            step.args.join(" ")
        );
        watcher.event(Event::Note(&text));
        // The shell of the instruction first: it is there, since it ran the command. Then the usual ones.
        let own = step.args.first().filter(|program| program.ends_with("sh")).cloned();
        let shells = own.into_iter().chain(["/bin/bash", "/bin/sh", "/bin/busybox"].map(str::to_owned));
        for shell in shells {
            let words = if shell.ends_with("busybox") { vec![shell, "sh".to_owned()] } else { vec![shell] };
            result = make(&words).and_then(|container| Ok(run_with_terminal(&container).map(drop)?));
            if result.is_ok() {
                return;
            }
        }
    });
    result
}
