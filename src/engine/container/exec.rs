//! Running another program in a running container.

use std::os::fd::RawFd;

use oci_spec::runtime::Spec;
use runner::attach::{AttachOptions, Outcome, attach};
use runner::exec::{Exec, exec_detached, exec_foreground, exec_monitored};
use runner::{ExecRecord, Foreground};

use store::Store;
use store::journal::Event;

use super::ended;
use super::run::{detach_keys, explain_end};
use crate::engine::Engine;
use crate::engine::events::{of_container, tell};
use crate::error::{CommandError, Kind, Result};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// In the background.
    pub detach: bool,
    /// Standard input is passed on.
    pub interactive: bool,
    /// With a terminal.
    pub tty: bool,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// What detaches from its terminal.
    pub detach_keys: Option<String>,
    /// Descriptors of ours that the program keeps, in the foreground without a terminal.
    pub passed_on: Vec<RawFd>,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Engine {
    /// Runs a program in a container; gives the exit code for ourselves.
    ///
    /// # Errors
    /// The container does not run, the program cannot be started.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<u8> {
        let id = self.find_container(name)?;
        let record = self.container_record(&id)?;
        let state = self.state(&id)?;
        if state.as_ref().is_some_and(|state| state.status == runner::Status::Paused) {
            return Err(CommandError::new(format!("container {name} is paused"))
                .hint(format!("`img unpause {name}` lets it go on")));
        }
        if !state.is_some_and(|state| state.is_running()) {
            return Err(ended(name));
        }
        let mut spec = self.exec_spec(&record, options)?;
        let mut exec = Exec::like(&spec)?;
        exec.process.set_terminal(Some(options.tty)).set_args(Some(options.command.clone()));
        let session = self.store.containers().new_id()?;
        exec.id = Some(session.clone());
        let directory = self.state_dir(&id);
        let failed = |error: runner::Error| match error {
            error if error.has_ended() => ended(name),
            error => {
                let kind = Kind::of_start(&error);
                CommandError::from(error).kind(kind)
            }
        };
        let event = |action: &str| of_container(&record, action).with("execID", &session);
        let words = options.command.join(" ");
        self.event(&event(&format!("exec_create: {words}")));
        self.event(&event(&format!("exec_start: {words}")));
        // Monitors keep no descriptor of ours: the journal is opened when the program has ended.
        let (places, died) = (self.store.places().clone(), event("exec_die"));
        let told = move |code: i32| {
            if let Ok(store) = Store::open_at(places) {
                let died = Event { time: jiff::Timestamp::now(), ..died };
                tell(&store, &died.with("exitCode", &code.to_string()));
            }
        };
        if options.detach {
            exec_detached(&directory, &exec, told).map_err(failed)?;
            return Ok(0);
        }
        let code = if options.tty {
            let (_, stream) = exec_monitored(&directory, &exec, options.interactive, told).map_err(failed)?;
            let client = AttachOptions {
                stdin: options.interactive,
                forward_signals: true,
                detach_keys: detach_keys(options.detach_keys.as_deref())?,
            };
            match attach(stream, client)? {
                Outcome::Exited(code) => code,
                Outcome::Detached => {
                    self.event(&event("exec_detach"));
                    return Ok(0);
                }
                Outcome::Interrupted(signal) => 128 + signal,
                Outcome::Lost => return Err(CommandError::new("the program's monitor is gone").kind(Kind::Container)),
            }
        } else {
            let how = Foreground { stdin: options.interactive, forward_signals: true };
            exec.passed_on.clone_from(&options.passed_on);
            let code = exec_foreground(&directory, &exec, how).map_err(failed)?;
            told(code);
            code
        };
        if code == 127 && self.state(&id)?.is_some_and(|state| state.is_running()) {
            spec.set_process(Some(exec.process));
            explain_end(runner::diagnosis::after_exec(&directory, &spec));
        }
        Ok(u8::try_from(code & 0xff).unwrap_or(Kind::Container.code()))
    }

    /// The programs that were executed in a container and run now.
    ///
    /// # Errors
    /// There is none of that name, or its records cannot be read.
    pub fn execs(&self, name: &str) -> Result<Vec<ExecRecord>> {
        Ok(runner::execs(&self.state_dir(&self.find_container(name)?))?)
    }

    /// Whether a container has a terminal and takes input.
    ///
    /// # Errors
    /// There is none.
    pub fn has_console(&self, name: &str) -> Result<bool> {
        let options = self.container_named(name)?.data.options;
        Ok(options.tty && options.interactive)
    }

    /// The state directory of a container that runs.
    ///
    /// # Errors
    /// It does not, or there is none.
    pub fn running_directory(&self, name: &str) -> Result<std::path::PathBuf> {
        let id = self.find_container(name)?;
        match self.state(&id)?.is_some_and(|state| state.is_running()) {
            true => Ok(self.state_dir(&id)),
            false => Err(ended(name)),
        }
    }

    /// The spec of the container with the words of `exec` in place of its own.
    fn exec_spec(&self, record: &super::ContainerRecord, options: &ExecOptions) -> Result<Spec> {
        let mut data = record.data.clone();
        data.options.entrypoint = Some(String::new());
        data.options.command.clone_from(&options.command);
        data.options.env.extend(options.env.iter().cloned());
        data.options.tty = options.tty;
        data.options.privileged |= options.privileged;
        if options.user.is_some() {
            data.options.user.clone_from(&options.user);
        }
        if options.workdir.is_some() {
            data.options.workdir.clone_from(&options.workdir);
        }
        self.spec_of(&record.id, &data)
    }
}
