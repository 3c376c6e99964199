//! Removing all containers that do not run, or those of them that fit docker's filters.

use jiff::Timestamp;

use super::logs::point_in_time;
use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// Which containers may go.
#[derive(Clone, Debug, Default)]
pub struct ContainerPrune {
    until: Option<Timestamp>,
    /// Key, value, and whether the label must be there rather than must not.
    labels: Vec<(String, Option<String>, bool)>,
}

impl ContainerPrune {
    /// From `KEY=VALUE` words.
    ///
    /// # Errors
    /// A key that is not known, a time that is none.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut prune = Self::default();
        for word in words {
            let (key, value) =
                word.split_once('=').ok_or_else(|| CommandError::usage(format!("filter {word:?} is not KEY=VALUE")))?;
            match key {
                "until" => prune.until = Timestamp::from_nanosecond(point_in_time(value)?.into()).ok(),
                "label" | "label!" => {
                    let (name, text) = match value.split_once('=') {
                        Some((name, text)) => (name, Some(text.to_owned())),
                        None => (value, None),
                    };
                    prune.labels.push((name.to_owned(), text, key == "label"));
                }
                _ => {
                    return Err(CommandError::usage(format!("filter {key:?} is not known"))
                        .hint("there are: until, label, label!"));
                }
            }
        }
        Ok(prune)
    }

    fn fits(&self, record: &ContainerRecord) -> bool {
        let own = &record.data.labels;
        self.until.is_none_or(|until| record.created < until)
            && self.labels.iter().all(|(key, value, wanted)| {
                let there = own.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| own == value));
                there == *wanted
            })
    }
}

impl Engine {
    /// Removes the containers that do not run and fit, or with `dry_run` only looks for them; gives them and the bytes that they
    /// have written.
    ///
    /// # Errors
    /// One that cannot be removed.
    pub fn prune_containers(&self, options: &ContainerPrune, dry_run: bool) -> Result<(Vec<ContainerRecord>, u64)> {
        self.sweep()?;
        self.sweep_records()?;
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for record in self.store.containers().list::<ContainerData>()? {
            let idle = self.state(&record.id)?.is_none_or(|state| state.status == runner::Status::Stopped);
            if !idle || !options.fits(&record) {
                continue;
            }
            bytes += self.store.containers().upper_size(&record.id)?;
            if dry_run || self.remove_container(&record.id, false, true)? {
                removed.push(record);
            }
        }
        Ok((removed, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_refused() {
        let words = |text: &str| vec![text.to_owned()];
        assert!(ContainerPrune::parse(&words("until=24h")).unwrap().until.is_some());
        assert_eq!(
            ContainerPrune::parse(&words("label!=a=b")).unwrap().labels,
            [("a".into(), Some("b".into()), false)]
        );
        for bad in ["until=never", "x=y", "label"] {
            assert!(ContainerPrune::parse(&words(bad)).is_err(), "{bad}");
        }
    }
}
