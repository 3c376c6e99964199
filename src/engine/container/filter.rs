//! Choosing containers by docker's filters: several of one key add up, those of different keys must all fit, and so must
//! every label.

use std::str::FromStr;

use jiff::Timestamp;
use runner::spec::parse::{self, MountKind};

use super::ContainerRecord;
use super::list::ContainerSummary;
use super::logs::point_in_time;
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// The keys, for messages.
const KEYS: [&str; 15] = [
    "name", "id", "label", "label!", "status", "ancestor", "exited", "volume", "network", "health", "before", "since",
    "until", "expose", "publish",
];
/// The states that `status=` can name.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFilter {
    key: &'static str,
    value: String,
}

impl ContainerFilter {
    /// Whether it speaks of containers that do not run, so that `--all` is meant.
    pub fn names_a_status(&self) -> bool {
        matches!(self.key, "status" | "exited")
    }
}

impl FromStr for ContainerFilter {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| CommandError::usage(format!("filter {text:?} is not KEY=VALUE")))?;
        let key = KEYS.into_iter().find(|known| *known == key).ok_or_else(|| {
            CommandError::usage(format!("filter {key:?} is not known")).hint(format!("there are: {}", KEYS.join(", ")))
        })?;
        let bad = |what: &str| Err(CommandError::usage(format!("{key}={value}: {what}")));
        // podman's words for docker's.
        let value = match (key, value) {
            ("status", "stopped") => "exited",
            ("status", "configured" | "initialized") => "created",
            _ => value,
        };
        match key {
            "status" if !STATES.contains(&value) => bad("there is no such state"),
            "exited" if value.parse::<i32>().is_err() => bad("no exit code"),
            "health" if !["starting", "healthy", "unhealthy", "none"].contains(&value) => {
                bad("there is no such health")
            }
            "until" if point_in_time(value).is_err() => bad("no time"),
            _ => Ok(Self { key, value: value.to_owned() }),
        }
    }
}

/// Filters with what they speak of looked up.
pub(super) struct Sieve<'a> {
    filters: &'a [ContainerFilter],
    /// When the containers of `before=` and `since=` were made, by the filter's value.
    made: Vec<(String, Timestamp)>,
    /// The images of `ancestor=`, with their layers.
    ancestors: Vec<(String, Vec<store::DiffId>, store::ImageId)>,
}

impl Engine {
    /// The filters, ready for use.
    pub(super) fn sieve<'a>(&self, filters: &'a [ContainerFilter]) -> Result<Sieve<'a>> {
        let mut sieve = Sieve { filters, made: Vec::new(), ancestors: Vec::new() };
        for filter in filters {
            match filter.key {
                "before" | "since" => {
                    let made = self.container_named(&filter.value)?.created;
                    sieve.made.push((filter.value.clone(), made));
                }
                "ancestor" => {
                    if let Some(found) = self.look_up_image(&filter.value)? {
                        let layers = found.image.layers().to_vec();
                        sieve.ancestors.push((filter.value.clone(), layers, found.image.id));
                    }
                }
                _ => {}
            }
        }
        Ok(sieve)
    }
}

impl Sieve<'_> {
    /// Whether a container fits.
    pub(super) fn lets(&self, engine: &Engine, record: &ContainerRecord, summary: &ContainerSummary) -> Result<bool> {
        let mut keys: Vec<&str> = self.filters.iter().map(|filter| filter.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let mut values = self.filters.iter().filter(|filter| filter.key == key).map(|filter| filter.value.as_str());
            // Labels must all be there; of all else one is enough.
            let fits = if key.starts_with("label") {
                values.try_fold(true, |all, value| {
                    Ok::<_, CommandError>(all && self.fits(engine, record, summary, key, value)?)
                })?
            } else {
                values.try_fold(false, |any, value| {
                    Ok::<_, CommandError>(any || self.fits(engine, record, summary, key, value)?)
                })?
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fits(
        &self,
        engine: &Engine,
        record: &ContainerRecord,
        summary: &ContainerSummary,
        key: &str,
        value: &str,
    ) -> Result<bool> {
        let options = &record.data.options;
        let label = || match value.split_once('=') {
            Some((key, value)) => summary.labels.get(key).is_some_and(|own| own == value),
            None => summary.labels.contains_key(value),
        };
        Ok(match key {
            "name" => named(&summary.name, value),
            "id" => summary.id.starts_with(value),
            "label" => label(),
            "label!" => !label(),
            "status" => summary.state == value,
            "exited" => summary.state == "exited" && summary.exit_code.is_some_and(|code| code.to_string() == value),
            "ancestor" => {
                // docker's: the image itself, or one that was built on it.
                let below = |layers: &Vec<store::DiffId>| !layers.is_empty() && record.data.layers.starts_with(layers);
                options.image == value
                    || self
                        .ancestors
                        .iter()
                        .any(|(name, layers, id)| name == value && (record.data.image == Some(*id) || below(layers)))
            }
            "volume" => record.data.mounts()?.iter().any(|mount| {
                let source = mount.source.as_deref().unwrap_or_default();
                mount.target.trim_end_matches('/') == value.trim_end_matches('/')
                    || source == value && matches!(mount.kind, MountKind::Volume | MountKind::Bind)
            }),
            "network" => summary.network.split(',').any(|network| network == value),
            "health" => engine.health(&record.id)?.as_deref().unwrap_or("none") == value,
            "before" => self.made.iter().any(|(name, made)| name == value && record.created < *made),
            "since" => self.made.iter().any(|(name, made)| name == value && record.created > *made),
            "until" => record.created.as_nanosecond() < i128::from(point_in_time(value)?),
            "publish" => self.ports(engine, record, value, false)?,
            "expose" => self.ports(engine, record, value, true)?,
            _ => false,
        })
    }

    /// Whether a port of a container is published, or exposed by the image or the user: `80`, `80/udp`, `8000-8010`.
    fn ports(&self, engine: &Engine, record: &ContainerRecord, value: &str, exposed: bool) -> Result<bool> {
        let (range, protocol) = value.split_once('/').unwrap_or((value, ""));
        let number = |text: &str| text.parse::<u16>().map_err(|_| CommandError::usage(format!("{value:?} is no port")));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        let fits = |port: u16, of: &str| (first..=last).contains(&port) && (protocol.is_empty() || of == protocol);
        let network = &record.data.options.network;
        let published = network.publish.iter().flat_map(|text| parse::port(text).unwrap_or_default());
        if published.into_iter().any(|port| fits(port.container, protocol_name(port.protocol))) {
            return Ok(true);
        }
        if !exposed {
            return Ok(false);
        }
        let image = engine.run_config(&record.data)?;
        let of_image = image.iter().flat_map(|image| image.exposed_ports.keys());
        Ok(of_image.chain(&network.expose).any(|text| {
            let (range, of) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) => (first..=last).any(|port| fits(port, of)),
                _ => false,
            }
        }))
    }
}

fn protocol_name(protocol: parse::Protocol) -> &'static str {
    match protocol {
        parse::Protocol::Tcp => "tcp",
        parse::Protocol::Udp => "udp",
        parse::Protocol::Sctp => "sctp",
    }
}

/// Whether a name fits: a part of it, or with `^` and `$` its beginning, its end, or the whole.
fn named(name: &str, wanted: &str) -> bool {
    let bare = wanted.trim_start_matches('^').trim_end_matches('$').trim_start_matches('/');
    match (wanted.starts_with('^'), wanted.ends_with('$')) {
        (true, true) => name == bare,
        (true, false) => name.starts_with(bare),
        (false, true) => name.ends_with(bare),
        (false, false) => name.contains(bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_in_parts() {
        for (wanted, expected) in
            [("e", true), ("^w", true), ("^e", false), ("b$", true), ("^web$", true), ("/web", true), ("x", false)]
        {
            assert_eq!(named("web", wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["name", "x=y", "status=nonsense", "exited=x", "health=fine", "until=never", "is-task=true"] {
            assert!(bad.parse::<ContainerFilter>().is_err(), "{bad}");
        }
        assert_eq!("status=stopped".parse::<ContainerFilter>().unwrap().value, "exited");
    }
}
