//! What a container's monitor is to do for it, and what that means beyond a boot.
//!
//! A container with a restart policy has a *standing* in its record: what was last wanted of it. The runner's state is gone after a
//! boot, the standing is not, and [`Engine::start_by_policy`] starts again what would still run if there had been no boot.

use std::io::ErrorKind;
use std::time::Duration;

use runner::Supervision;
use runner::spec::parse::{self, RestartPolicy};
use serde::{Deserialize, Serialize};

use super::create::usage;
use super::options::Options;
use super::signal::STOP_TIMEOUT;
use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// The file in the store's root that says that starting after a boot was explained.
const EXPLAINED: &str = "boot-explained";

/// How long a monitor may take to note that its container has stopped.
const MONITOR_LIMIT: Duration = Duration::from_secs(5);

/// What was last wanted of a container with a restart policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was never started, or has no policy.
    #[default]
    Unknown,
    /// It was started, and nobody has seen it end for good.
    Up,
    /// It was stopped by somebody.
    Stopped,
    /// It ended, and its policy let it rest.
    Ended,
}

impl Standing {
    /// Whether a container of this standing is started after a boot.
    pub fn starts_after_boot(self, policy: RestartPolicy) -> bool {
        match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always => self != Self::Unknown,
            // Its end at the shutdown was nobody's wish, and counts as a failure.
            RestartPolicy::OnFailure(_) | RestartPolicy::UnlessStopped => self == Self::Up,
        }
    }
}

/// The restart policy that the flags ask for.
///
/// # Errors
/// One that is none, or that contradicts `--rm`.
pub(super) fn restart_policy(asked: &Options) -> Result<RestartPolicy> {
    let policy = parse::restart(asked.supervision.restart.as_deref().unwrap_or("no")).map_err(usage)?;
    if asked.remove && policy != RestartPolicy::No {
        return Err(CommandError::usage("--restart and --rm contradict each other")
            .hint("a container that is removed when it has ended cannot be started again"));
    }
    Ok(policy)
}

/// What the flags ask of the monitor.
///
/// # Errors
/// Words that make no sense.
pub(super) fn supervision(asked: &Options, args: &[String]) -> Result<Supervision> {
    Ok(Supervision {
        restart: restart_policy(asked)?,
        timeout: asked.system.timeout.map(Duration::from_secs),
        system: super::boot::is_asked(asked, args),
        ttys: asked.system.tty_count(),
        stop_timeout: asked.stop_timeout.map_or(STOP_TIMEOUT, Duration::from_secs),
        // What is asked and logged depends on more than these words.
        ..Supervision::default()
    })
}

impl Engine {
    /// Notes what is wanted of a container now; nothing for one without a restart policy.
    pub(super) fn set_standing(&self, record: &ContainerRecord, standing: Standing) -> Result<()> {
        if restart_policy(&record.data.options)? == RestartPolicy::No {
            return Ok(());
        }
        if self.container_record(&record.id)?.data.standing != standing {
            self.store.containers().change(&record.id, |data: &mut ContainerData| data.standing = standing)?;
        }
        Ok(())
    }

    /// Starts every container that its policy wants to run and that does not, as after a boot. Each is told to `done` by its name,
    /// with what became of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start_by_policy(&self, mut done: impl FnMut(&str, Result<()>)) -> Result<()> {
        self.sweep()?;
        for id in self.container_ids()? {
            let record = self.container_record(&id)?;
            let wanted =
                restart_policy(&record.data.options).map(|policy| record.data.standing.starts_after_boot(policy));
            match wanted {
                Ok(false) => {}
                Ok(true) => {
                    let started = self.startable(&id).and_then(|found| match found {
                        Some(mut container) => self.start_detached(&mut container),
                        None => Ok(false),
                    });
                    match started {
                        Ok(false) => {}
                        result => done(&record.name, result.map(drop)),
                    }
                }
                Err(error) => done(&record.name, Err(error)),
            }
        }
        Ok(())
    }

    /// Stops every container that is up, as at a shutdown: what its policy wants to run is started by
    /// [`Engine::start_by_policy`] again. Each is told to `done`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stop_for_shutdown(&self, mut done: impl FnMut(&str, Result<()>)) -> Result<()> {
        for id in self.running()? {
            let record = self.container_record(&id)?;
            let stopped = self.stop_whole(&id, None, None).and_then(|()| {
                // One with --rm is gone now.
                if record.data.options.remove { Ok(()) } else { self.set_standing(&record, record.data.standing) }
            });
            done(&record.name, stopped);
        }
        Ok(())
    }

    /// Stops a container and waits until its monitor, which writes last that it has ended, is gone too.
    pub(super) fn stop_whole(&self, id: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let monitor = self.state(id)?.and_then(|state| state.monitor);
        self.stop(id, signal, timeout)?;
        monitor.map(|monitor| monitor.wait(MONITOR_LIMIT)).transpose()?;
        Ok(())
    }

    /// Says once, when a policy that speaks of boots is first used, how to have it after a boot.
    pub(super) fn explain_boot(&self, asked: &Options) -> Result<()> {
        if !matches!(restart_policy(asked)?, RestartPolicy::Always | RestartPolicy::UnlessStopped) {
            return Ok(());
        }
        let marker = self.store.root().join(EXPLAINED);
        match std::fs::File::create_new(marker) {
            Ok(_) => {
                crate::ui::note(
                    "note: nothing of img stays resident: the container is started again by its own monitor, and after a boot by \
                     `img system start`.\n      `img generate systemd > /etc/systemd/system/img.service && systemctl enable img` \
                     does that at every boot (said once)",
                );
                Ok(())
            }
            // On a disk that cannot be written a container is made in memory, and gone after a boot.
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::ReadOnlyFilesystem) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_after_a_boot() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        use Standing::{Ended, Stopped, Unknown, Up};
        for (policy, wanted) in [
            (No, [false, false, false, false]),
            (Always, [false, true, true, true]),
            (UnlessStopped, [false, true, false, false]),
            (OnFailure(None), [false, true, false, false]),
        ] {
            let found = [Unknown, Up, Stopped, Ended].map(|standing| standing.starts_after_boot(policy));
            assert_eq!(found, wanted, "{policy:?}");
        }
    }

    #[test]
    fn a_policy_and_removal_contradict_each_other() {
        let mut asked = Options { remove: true, ..Options::default() };
        assert_eq!(restart_policy(&asked).unwrap(), RestartPolicy::No);
        asked.supervision.restart = Some("no".into());
        assert!(restart_policy(&asked).is_ok());
        asked.supervision.restart = Some("always".into());
        assert!(restart_policy(&asked).unwrap_err().text().contains("--rm"));
    }
}
