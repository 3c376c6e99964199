//! Starting containers, attached or in the background, and what is done when one has ended.
//!
//! A plain foreground run is its own monitor; with a terminal, standard input or `-d` a monitor is forked first
//! (docs/runner-dialogue.md). Everything here wants a process with one thread: clients of registries are gone by now.

use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use runner::Container;
use runner::attach::{AttachOptions, Outcome, attach, connect};
use runner::denied::Denial;
use runner::spec::parse;
use runner::timing::{self, Mark};
use runner::{
    DetachKeys, Exit, Foreground, Happening, MonitorOptions, Observer, run_explained, run_foreground, start_monitored,
};
use store::Store;
use store::image::RunConfig;
use store::journal::{Event, Subject};

use super::claim::{Claim, running_already};
use super::create::usage;
use super::supervise::Standing;
use super::{ContainerData, ContainerRecord, LastExit, time};
use crate::engine::Engine;
use crate::engine::events::{of_container, tell};
use crate::error::{CommandError, Context as _, Kind, Result};

/// How often, and how far apart, a monitor tries to record how its container ended.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(200);

/// A container that may be started: its record, and what its image says of running it.
#[derive(Debug)]
pub struct Startable {
    /// Its record.
    pub record: ContainerRecord,
    /// Held since it was made, so that nobody prunes what is about to run.
    pub(super) claim: Option<Claim>,
    /// The image's defaults; `None` with `--rootfs`.
    pub image: Option<RunConfig>,
}

/// How a client is connected.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Standard input is passed on.
    pub stdin: bool,
    /// Signals are passed on.
    pub signals: bool,
    /// Descriptors of ours that the program keeps; none of them if it has a terminal or takes input.
    pub passed_on: Vec<RawFd>,
}

impl Engine {
    /// Starts a container in the background; false if somebody else started it meanwhile.
    ///
    /// # Errors
    /// It cannot be started; the error's kind says why, as docker's exit codes do.
    pub fn start_detached(&self, startable: &mut Startable) -> Result<bool> {
        let Some(claim) = self.claim_start(startable)? else { return Ok(false) };
        let record = &startable.record;
        let container = match self.prepare(&startable.record, startable.image.as_ref()) {
            Ok(container) => container,
            Err(error) => return Err(self.unprepared(record, claim, error)),
        };
        timing::mark(Mark::Specified);
        let options = MonitorOptions { stdin: record.data.options.interactive, foreground: false };
        self.set_standing(record, Standing::Up)?;
        match start_monitored(container, options, self.observer(record)) {
            Ok((state, _)) => {
                drop(claim);
                self.has_started(record, &state);
                Ok(true)
            }
            // By a monitor whose client was killed before it had started.
            Err(error) if error.is_running() => {
                self.let_go();
                Ok(false)
            }
            Err(error) => Err(self.start_failed(record, claim, error)),
        }
    }

    /// Starts a container and stays connected until it ends or the user detaches; gives the exit code for ourselves.
    ///
    /// # Errors
    /// As [`Engine::start_detached`].
    pub fn run_attached(&self, startable: &mut Startable, attachment: &Attachment) -> Result<u8> {
        let claim = self.claim_to_attach(startable)?;
        let record = &startable.record;
        let asked = &record.data.options;
        let mut container = match self.prepare(&startable.record, startable.image.as_ref()) {
            Ok(container) => container,
            Err(error) => return Err(self.unprepared(record, claim, error)),
        };
        timing::mark(Mark::Specified);
        if container.supervision.passthrough || !asked.tty && !asked.interactive {
            container.passed_on.clone_from(&attachment.passed_on);
            return self.foreground(record, claim, &container, attachment, false).map(|(code, _)| code);
        }
        let keys = detach_keys(asked.detach_keys.as_deref())?;
        let options = MonitorOptions { stdin: asked.interactive, foreground: true };
        self.set_standing(record, Standing::Up)?;
        let (state, stream) = match start_monitored(container, options, self.observer(record)) {
            Ok(started) => started,
            Err(error) => return Err(self.start_failed(record, claim, error)),
        };
        drop(claim);
        self.has_started(record, &state);
        let stream = stream.ok_or_else(|| CommandError::new("the container's monitor cannot be reached"))?;
        let options = AttachOptions {
            stdin: attachment.stdin && asked.interactive,
            forward_signals: attachment.signals,
            detach_keys: keys,
        };
        self.outcome(record, attach(stream, options)?)
    }

    /// As [`Engine::run_attached`] without a terminal and standard input, and every refusal that the program met.
    ///
    /// # Errors
    /// As [`Engine::start_detached`].
    pub fn run_explained(&self, startable: &mut Startable, attachment: &Attachment) -> Result<(u8, Vec<Denial>)> {
        let claim = self.claim_to_attach(startable)?;
        let record = &startable.record;
        let mut container = match self.prepare(&startable.record, startable.image.as_ref()) {
            Ok(container) => container,
            Err(error) => return Err(self.unprepared(record, claim, error)),
        };
        container.passed_on.clone_from(&attachment.passed_on);
        self.foreground(record, claim, &container, attachment, true)
    }

    /// What is done when a monitor of its own has started a container.
    fn has_started(&self, record: &ContainerRecord, state: &runner::State) {
        self.show_notices(state.network.as_ref());
        self.started_with_root(&record.id);
        self.let_go();
        self.sweep_late(record);
    }

    /// What [`Engine::create`] has put off: nobody waits for it now.
    fn sweep_late(&self, record: &ContainerRecord) {
        if record.data.options.takes_nothing() {
            warn_of("sweep up beside", record, self.sweep_some());
        }
    }

    /// Runs a container as its own monitor.
    fn foreground(
        &self,
        record: &ContainerRecord,
        claim: Claim,
        container: &Container,
        attachment: &Attachment,
        explain: bool,
    ) -> Result<(u8, Vec<Denial>)> {
        let options = Foreground { stdin: false, forward_signals: attachment.signals };
        self.set_standing(record, Standing::Up)?;
        let mut claim = Some(claim);
        let mut observer = |happening: &Happening<'_>| {
            if let Happening::Started(_) = happening {
                claim = None;
            }
            tell_happening(&self.store, record, happening);
            match happening {
                Happening::Starting => {
                    // What earlier runs left to be done while somebody waits anyway; the collector finds what cannot be.
                    let _ = self.store.containers().clear_retired();
                    let _ = runner::clear_retired(&self.state_dir(&record.id));
                    self.sweep_late(record);
                }
                Happening::Started(state) => {
                    self.show_notices(state.network.as_ref());
                    self.started_with_root(&record.id);
                    self.let_go();
                }
                _ => {}
            }
        };
        let result = if explain {
            run_explained(container, options, &mut observer)
        } else {
            run_foreground(container, options, &mut observer).map(|exit| (exit, Vec::new()))
        };
        let (exit, denials) = match (result, claim) {
            (Ok(ended), _) => ended,
            (Err(error), Some(claim)) => return Err(self.start_failed(record, claim, error)),
            // It did run. Somebody may have removed it.
            (Err(error), None) => match Claim::take(&self.store.containers().path(&record.id)?)? {
                Some(claim) => return Err(self.start_failed(record, claim, error)),
                None => return Err(error.into()),
            },
        };
        if let Some(error) = &exit.error {
            let error = crate::ui::Escaped(error);
            crate::ui::warn(format_args!("cannot start container {} again: {error}", record.name));
        } else if exit.code == Some(127) {
            explain_end(runner::diagnosis::after_run(container));
        }
        let removal = record.data.options.remove.then_some(Removal::Retire);
        ended(&self.store, &self.states(), &record.id, &exit, removal).context("the container has ended, but")?;
        Ok((self.exit_code(record, exit.code, exit.oom), denials))
    }

    /// Connects to a running container.
    ///
    /// # Errors
    /// It does not run, or is its own monitor.
    pub fn attach(&self, name: &str, attachment: &Attachment, keys: Option<&str>) -> Result<u8> {
        let record = self.container_named(name)?;
        if self.logging(&record.data.options)?.passes_through() {
            return Err(CommandError::new(format!(
                "container {name} cannot be attached to: its log driver is passthrough"
            ))
            .hint("its output goes where that of the command went which started it"));
        }
        let options = AttachOptions {
            stdin: attachment.stdin && record.data.options.interactive,
            forward_signals: attachment.signals,
            detach_keys: detach_keys(keys.or(record.data.options.detach_keys.as_deref()))?,
        };
        let running = self.state(&record.id)?.is_some_and(|state| state.is_running());
        let stream = match connect(&self.state_dir(&record.id)) {
            Ok(stream) => stream,
            Err(error) if error.has_ended() && running => {
                return Err(CommandError::new(format!(
                    "container {name} belongs to the img that runs it in the foreground"
                ))
                .hint("`img logs -f` follows its output; start it with -d, -i or -t to attach later"));
            }
            Err(error) if error.has_ended() => {
                return Err(CommandError::new(format!("container {name} is not running"))
                    .hint(format!("`img start -a {name}` starts it and attaches")));
            }
            Err(error) => return Err(error.into()),
        };
        self.container_event(&record, "attach");
        self.outcome(&record, attach(stream, options)?)
    }

    /// Connects to a terminal of a system beside its console; `connected` is called before anything is relayed.
    ///
    /// # Errors
    /// It does not run, has no such terminal, or somebody else is on that.
    pub fn attach_tty(&self, name: &str, number: u8, keys: &str, connected: impl FnOnce()) -> Result<u8> {
        let record = self.container_named(name)?;
        let most = record.data.options.system.tty_count();
        if number > most {
            return Err(CommandError::new(format!("container {name} has no terminal {number}")).hint(match most {
                0 => "with --system it has some; `img exec -it` opens as many as you like".to_owned(),
                most => format!("it has {most}: --tty-count says how many when it is made"),
            }));
        }
        let stream = runner::connect_tty(&self.state_dir(&record.id), number).map_err(|error| match error {
            error if error.has_ended() => super::ended(name),
            error => CommandError::from(error).prefixed(&format!("cannot connect to container {name}")),
        })?;
        let options = AttachOptions { stdin: true, forward_signals: false, detach_keys: detach_keys(Some(keys))? };
        connected();
        self.outcome(&record, attach(stream, options)?)
    }

    /// A container as it is started; `None` if it runs already.
    ///
    /// # Errors
    /// No such container, a damaged record, an image that is gone.
    pub fn startable(&self, id: &str) -> Result<Option<Startable>> {
        let record = self.container_record(id)?;
        if record.data.options.incomplete.is_some() {
            return Err(CommandError::new(format!("container {} is a clone that is not copied whole", record.name))
                .hint(format!("wait for who clones it, or if that was killed: `img rm {}`", record.name)));
        }
        if self.state(id)?.is_some_and(|state| state.is_up()) {
            return Ok(None);
        }
        let image = self.run_config(&record.data)?;
        Ok(Some(Startable { record, claim: None, image }))
    }

    /// What is done when the monitor tells what happens. It holds paths only: descriptors are closed in the monitor.
    fn observer(&self, record: &ContainerRecord) -> Observer {
        let (places, states) = (self.store.places().clone(), self.states());
        let (id, removal) = (record.id.clone(), record.data.options.remove.then_some(Removal::Whole));
        Box::new(move |happening| {
            // Nobody listens to a monitor: what it cannot do here, the next command's sweep does.
            let Ok(store) = Store::open_at(places.clone()) else { return };
            if let Ok(record) = store.containers().read(&id) {
                tell_happening(&store, &record, happening);
            }
            if let Happening::Ended { exit, again: false } | Happening::Rests(exit) = happening {
                // Nobody would try it again: what is in the way may go.
                for attempt in 1.. {
                    match ended(&store, &states, &id, exit, removal) {
                        Err(error) if attempt == RECORD_TRIES => {
                            let event = Event::now(Subject::Container, "error", &id);
                            tell(&store, &event.with("error", &error.text()));
                            break;
                        }
                        Err(_) => std::thread::sleep(RECORD_PAUSE),
                        Ok(()) => break,
                    }
                }
            }
        })
    }

    /// A container that could not even be prepared: with `--rm` as if it had never been.
    fn unprepared(&self, record: &ContainerRecord, claim: Claim, error: CommandError) -> CommandError {
        self.let_go();
        warn_of("release the volumes of", record, self.released(record));
        if !record.data.options.remove {
            return error;
        }
        match remove_claimed(&self.store, &self.states(), &record.id, Removal::Whole, Some(claim)) {
            Ok(()) => error,
            Err(second) => error.hint(format!("and cleaning up failed: {}", second.text())),
        }
    }

    fn released(&self, record: &ContainerRecord) -> Result<()> {
        crate::engine::volumes::attach::released_by(&self.store, &self.states(), record)
    }

    /// A start that failed: recorded, or with `--rm` as if it had never been.
    fn start_failed(&self, record: &ContainerRecord, claim: Claim, error: runner::Error) -> CommandError {
        if error.is_running() {
            self.let_go();
            return running_already(&record.name);
        }
        let kind = Kind::of_start(&error);
        let error = CommandError::from(error).kind(kind);
        self.let_go();
        self.event(&of_container(record, "abort").with("error", &error.text()));
        let cleaned = if record.data.options.remove {
            remove_claimed(&self.store, &self.states(), &record.id, Removal::Whole, Some(claim))
        } else {
            let last = LastExit {
                code: Some(i32::from(kind.code())),
                oom: false,
                started: None,
                finished: jiff::Timestamp::now(),
                error: Some(error.text()),
            };
            let deleted = runner::delete(&self.state_dir(&record.id), false).map_err(Into::into);
            warn_of("remove the state of", record, deleted);
            warn_of("release the volumes of", record, self.released(record));
            let ended = |data: &mut ContainerData| data.last = Some(last);
            let told = self.store.containers().change(&record.id, ended).map(drop).map_err(Into::into);
            drop(claim);
            told
        };
        let error = error.prefixed(&format!("cannot start container {}", record.name));
        match cleaned {
            Ok(()) => error,
            Err(second) => error.hint(format!("and cleaning up failed: {}", second.text())),
        }
    }

    /// The exit code for ourselves, told why if memory ran out.
    fn exit_code(&self, record: &ContainerRecord, code: Option<i32>, oom: bool) -> u8 {
        if oom {
            let limit = record.data.options.limits.memory.as_deref().unwrap_or("the machine's memory");
            crate::ui::warn(format_args!("container {} ran out of memory (limit {limit})", record.name));
        }
        code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(Kind::Container.code())
    }

    fn outcome(&self, record: &ContainerRecord, outcome: Outcome) -> Result<u8> {
        match outcome {
            Outcome::Exited(code) => {
                let oom = self.store.containers().read::<ContainerData>(&record.id).ok();
                let oom = oom.and_then(|record| record.data.last).is_some_and(|last| last.oom);
                Ok(self.exit_code(record, Some(code), oom))
            }
            Outcome::Detached => {
                self.container_event(record, "detach");
                Ok(0)
            }
            Outcome::Interrupted(signal) => Ok(u8::try_from(128 + signal).unwrap_or(Kind::Container.code())),
            Outcome::Lost => Err(CommandError::new(format!("the monitor of container {} is gone", record.name))
                .kind(Kind::Container)
                .hint("it was killed, and the container with it")),
        }
    }

    /// Where the root was mounted on the host, it is that of the container which runs now.
    fn started_with_root(&self, id: &str) {
        if let Err(error) = self.renew_mounted_root(id) {
            crate::ui::warn(crate::ui::Escaped(&error.prefixed("cannot mount the root again").text()));
        }
    }

    /// What the network had to change on the host, told once.
    fn show_notices(&self, network: Option<&runner::network::State>) {
        for notice in network.iter().flat_map(|network| &network.notices) {
            crate::ui::note(notice);
        }
    }
}

/// What could not be cleaned up after a start that failed is said beside its error.
fn warn_of(what: &str, record: &ContainerRecord, cleaned: Result<()>) {
    if let Err(error) = cleaned {
        let error = error.prefixed(&format!("cannot {what} container {}", record.name));
        crate::ui::warn(crate::ui::Escaped(&error.text()));
    }
}

/// Tells what a program that ended with 127 lacked, if it was that.
pub(super) fn explain_end(found: runner::Result<Option<String>>) {
    match found {
        Ok(Some(text)) => crate::ui::warn(crate::ui::Escaped(&text)),
        Ok(None) => {}
        Err(error) => crate::ui::warn(format_args!(
            "cannot find out what the program lacked: {}",
            crate::ui::Escaped(&CommandError::from(error).text())
        )),
    }
}

/// The keys that detach; docker's unless others were chosen.
pub(super) fn detach_keys(text: Option<&str>) -> Result<DetachKeys> {
    let Some(text) = text else { return Ok(DetachKeys::default()) };
    Ok(DetachKeys::new(parse::detach_keys(text).map_err(usage)?))
}

/// Records how a container ended, or removes it.
fn ended(store: &Store, states: &Path, id: &str, exit: &Exit, removal: Option<Removal>) -> Result<()> {
    let directory = states.join(id);
    let state = runner::state::load(&directory).ok();
    if let Some(removal) = removal {
        let again = state.as_ref().map(|state| super::restarting::is_restarted(&directory, state)).transpose()?;
        if again != Some(true) {
            return remove_all(store, states, id, removal);
        }
    }
    let last = LastExit {
        code: exit.code,
        oom: exit.oom,
        started: state.and_then(|state| state.started_at).map(time),
        finished: time(exit.at),
        error: exit.error.clone(),
    };
    let changed = store.containers().change(id, |data: &mut ContainerData| {
        if data.standing == Standing::Up {
            data.standing = if exit.requested { Standing::Stopped } else { Standing::Ended };
        }
        data.last = Some(last);
    });
    let record = match changed {
        // Its events have said that nothing is recorded.
        Err(error) if error.is_read_only() => store.containers().read(id)?,
        changed => changed?,
    };
    // Its state says by now that it has ended.
    crate::engine::volumes::attach::released_by(store, states, &record)
}

/// Puts what happens to a container into the journal.
fn tell_happening(store: &Store, record: &ContainerRecord, happening: &Happening<'_>) {
    match happening {
        Happening::Started(_) => tell(store, &of_container(record, "start")),
        Happening::Ended { exit, .. } => tell_end(store, record, exit),
        Happening::Health(status) => tell(store, &of_container(record, &format!("health_status: {}", status.word()))),
        _ => {}
    }
}

/// Tells how a container ended: `die` with its exit code, before that `oom` if memory had run out.
pub(super) fn tell_end(store: &Store, record: &ContainerRecord, exit: &Exit) {
    if exit.oom {
        tell(store, &of_container(record, "oom"));
    }
    let event = of_container(record, "die");
    tell(
        store,
        &match exit.code {
            Some(code) => event.with("exitCode", &code.to_string()),
            None => event,
        },
    );
}

/// How thoroughly a container is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// With all it wrote, at once.
    Whole,
    /// One that wrote nothing is only moved out of sight: the user waits for us.
    Retire,
}

/// Removes a container that has ended: its state, its anonymous volumes, its record.
pub(super) fn remove_all(store: &Store, states: &Path, id: &str, removal: Removal) -> Result<()> {
    let claim = Claim::take(&store.containers().path(id)?)?;
    remove_claimed(store, states, id, removal, claim)
}

/// As [`remove_all`], for who has claimed it already.
pub(super) fn remove_claimed(
    store: &Store,
    states: &Path,
    id: &str,
    removal: Removal,
    _claim: Option<Claim>,
) -> Result<()> {
    let record: Option<ContainerRecord> = match store.containers().read(id) {
        Ok(record) => Some(record),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    match removal {
        Removal::Whole => runner::delete(&states.join(id), false)?,
        Removal::Retire => runner::retire(&states.join(id))?,
    }
    if let Some(record) = &record {
        if let Some(runroot) = states.parent() {
            crate::engine::roots::unmount_of(runroot, id)?;
        }
        super::limit::unmount(store, id)?;
        super::volumes::remove_anonymous(store, record)?;
        crate::engine::volumes::attach::released_by(store, states, record)?;
        // It was of use until now.
        record.data.image.map_or(Ok(()), |image| store.images().note_use(&image))?;
        let removed = match removal {
            Removal::Whole => store.containers().remove_read(record),
            Removal::Retire => store.containers().retire(record),
        };
        match removed {
            // Somebody else removed it meanwhile.
            Err(error) if !error.is_not_found() => return Err(error.into()),
            Err(_) => {}
            Ok(()) => tell(store, &of_container(record, "destroy")),
        }
    }
    Ok(())
}
