//! Listing containers.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use runner::Status;
use runner::state::State;

use super::{ContainerData, ContainerRecord, time};
use crate::engine::Engine;
use crate::error::{CommandError, Result};
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

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerFilter {
    /// Part of the name.
    Name(String),
    /// Beginning of the id.
    Id(String),
    /// `label=KEY` or `label=KEY=VALUE`.
    Label(String, Option<String>),
    /// `status=running`
    Status(String),
    /// Made from this image.
    Ancestor(String),
    /// `exited=CODE`
    Exited(i32),
}

impl ContainerFilter {
    /// Whether it speaks of containers that do not run, so that `--all` is meant.
    pub fn names_a_status(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Exited(_))
    }
}

impl FromStr for ContainerFilter {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| CommandError::usage(format!("filter {text:?} is not KEY=VALUE")))?;
        let text = value.to_owned();
        Ok(match key {
            "name" => Self::Name(text),
            "id" => Self::Id(text),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.into(), Some(value.into())),
                None => Self::Label(text, None),
            },
            "status" => Self::Status(text),
            "ancestor" => Self::Ancestor(text),
            "exited" => {
                Self::Exited(value.parse().map_err(|_| CommandError::usage(format!("exited={value}: no exit code")))?)
            }
            _ => {
                return Err(CommandError::usage(format!("filter {key:?} is not known"))
                    .hint("there are: name, id, label, status, ancestor, exited"));
            }
        })
    }
}

impl Engine {
    /// The containers, newest first; only those that run unless `all`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn containers(&self, all: bool, filters: &[ContainerFilter], size: bool) -> Result<Vec<ContainerSummary>> {
        self.sweep()?;
        let mut list = Vec::new();
        for record in self.store.containers().list::<ContainerData>()? {
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
            if filters.iter().all(|filter| self.fits(&record, &summary, filter)) {
                list.push(summary);
            }
        }
        list.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(list)
    }

    fn fits(&self, record: &ContainerRecord, summary: &ContainerSummary, filter: &ContainerFilter) -> bool {
        match filter {
            ContainerFilter::Name(part) => summary.name.contains(part.trim_matches(['^', '$'])),
            ContainerFilter::Id(prefix) => summary.id.starts_with(prefix),
            ContainerFilter::Label(key, value) => match (summary.labels.get(key), value) {
                (Some(found), Some(wanted)) => found == wanted,
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            },
            ContainerFilter::Status(status) => summary.state == *status,
            ContainerFilter::Ancestor(image) => {
                record.data.options.image == *image
                    || self
                        .look_up_image(image)
                        .ok()
                        .flatten()
                        .is_some_and(|found| record.data.image == Some(found.image.id))
            }
            ContainerFilter::Exited(code) => summary.state == "exited" && summary.exit_code == Some(*code),
        }
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
        labels: labels(&options.labels),
        network: super::network::names(&options.network).join(","),
        pid: running.and_then(|state| state.process).map(|process| process.pid),
        exit_code: code,
        size: None,
    }
}

/// `KEY=VALUE` flags as a map.
pub(in crate::engine) fn labels(flags: &[String]) -> BTreeMap<String, String> {
    let pairs = flags.iter().map(|flag| flag.split_once('=').unwrap_or((flag, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
