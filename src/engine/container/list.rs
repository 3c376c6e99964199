//! Listing containers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use runner::Status;
use runner::state::State;

use super::filter::ContainerFilter;
use super::{ContainerRecord, time};
use crate::engine::Engine;
use crate::error::Result;
use crate::ui::human;

/// One line of `img ps`.
#[derive(Clone, Debug)]
pub struct ContainerSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image's name as it was given, or the directory.
    pub image: String,
    /// Program and arguments.
    pub command: String,
    /// When it was made.
    pub created: Timestamp,
    /// `created`, `running`, `paused`, `exited`.
    pub state: String,
    /// The state in words.
    pub status: String,
    /// Published ports.
    pub ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its network.
    pub network: String,
    /// Its first process.
    pub pid: Option<i32>,
    /// How it ended last.
    pub exit_code: Option<i32>,
    /// Bytes it has written, if asked for.
    pub size: Option<u64>,
}

impl Engine {
    /// The containers, newest first; only those that run unless `all`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn containers(&self, all: bool, filters: &[ContainerFilter], size: bool) -> Result<Vec<ContainerSummary>> {
        self.sweep()?;
        let mut list = Vec::new();
        let sieve = self.sieve(filters)?;
        for record in self.sweep_records()? {
            let state = self.state(&record.id)?;
            if !all && !state.as_ref().is_some_and(State::is_up) {
                continue;
            }
            let mut summary = summarise(&record, state.as_ref());
            if let Some(health) =
                state.as_ref().filter(|state| state.is_running()).map(|_| self.health_of(&record.id, true))
            {
                summary.status.push_str(health?.map_or("", |health| super::health::suffix(health.status)));
            }
            if size {
                summary.size = Some(self.store.containers().upper_size(&record.id)?);
            }
            if sieve.lets(self, &record, &summary)? {
                list.push(summary);
            }
        }
        list.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(list)
    }
}

/// What docker calls the state of a container.
pub(super) fn state_word(record: &ContainerRecord, state: Option<&State>) -> &'static str {
    match state.map(|state| state.status) {
        Some(Status::Running) => "running",
        Some(Status::Paused) => "paused",
        Some(Status::Restarting) => "restarting",
        Some(Status::Stopped) => "exited",
        Some(Status::Created) | None if record.data.last.is_some() => "exited",
        Some(Status::Created) | None => "created",
    }
}

/// The last exit code: the runner knows the newest, the record what was before the machine was started.
pub(super) fn exit_code(record: &ContainerRecord, state: Option<&State>) -> Option<i32> {
    match state.and_then(|state| state.exit.as_ref()) {
        Some(exit) => exit.code,
        None => record.data.last.as_ref().and_then(|last| last.code),
    }
}

fn summarise(record: &ContainerRecord, state: Option<&State>) -> ContainerSummary {
    let word = state_word(record, state);
    let code = exit_code(record, state);
    let seconds = |then: Timestamp| (Timestamp::now().as_second() - then.as_second()).max(0).unsigned_abs();
    let status = match word {
        "created" => "Created".to_owned(),
        "exited" => {
            let finished = state.and_then(|state| state.exit.as_ref()).map(|exit| time(exit.at)).or(record
                .data
                .last
                .as_ref()
                .map(|last| last.finished));
            let code = code.map_or_else(|| "?".to_owned(), |code| code.to_string());
            format!("Exited ({code}) {}", finished.map_or_else(|| "some time ago".into(), human::ago))
        }
        "restarting" => {
            let exit = state.and_then(|state| state.exit.as_ref());
            let code = exit.and_then(|exit| exit.code).map_or_else(|| "?".to_owned(), |code| code.to_string());
            format!("Restarting ({code}) {}", human::ago(exit.map_or(record.created, |exit| time(exit.at))))
        }
        word => {
            let started = state.and_then(|state| state.started_at).map_or(record.created, time);
            let paused = if word == "paused" { " (Paused)" } else { "" };
            format!("Up {}{paused}", human::duration(seconds(started)))
        }
    };
    let running = state.filter(|state| state.is_running());
    let options = &record.data.options;
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        image: options.rootfs.clone().unwrap_or_else(|| options.image.clone()),
        command: record.data.command_line(),
        created: record.created,
        state: word.to_owned(),
        status,
        ports: super::ports::lines(running),
        labels: record.data.labels.clone(),
        network: super::network::names(&options.network).join(","),
        pid: running.and_then(|state| state.process).map(|process| process.pid),
        exit_code: code,
        size: None,
    }
}
