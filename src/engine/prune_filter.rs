//! `--filter` of what removes many things at once, by docker's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::container::logs::point_in_time;
use crate::error::{CommandError, Result};

/// What may go: made before a time, with and without labels.
#[derive(Clone, Debug, Default)]
pub struct PruneFilter {
    until: Option<Timestamp>,
    /// Key, value, and whether the label must be there rather than must not.
    labels: Vec<(String, Option<String>, bool)>,
}

impl PruneFilter {
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

    /// Whether something that was made then and has these labels may go.
    pub fn fits(&self, created: Option<Timestamp>, own: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created.is_none_or(|created| created < until))
            && self.labels.iter().all(|(key, value, wanted)| {
                let there = own.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| own == value));
                there == *wanted
            })
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.until.is_none() && self.labels.is_empty()
    }

    /// Whether it asks for labels.
    pub fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// How long ago something must have been made.
    pub fn age(&self) -> Option<Duration> {
        let age = self.until.map(|until| Timestamp::now().duration_since(until));
        age.map(|age| Duration::try_from(age).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_refused() {
        let words = |text: &str| vec![text.to_owned()];
        assert!(PruneFilter::parse(&words("until=24h")).unwrap().until.is_some());
        assert_eq!(PruneFilter::parse(&words("label!=a=b")).unwrap().labels, [("a".into(), Some("b".into()), false)]);
        for bad in ["until=never", "x=y", "label"] {
            assert!(PruneFilter::parse(&words(bad)).is_err(), "{bad}");
        }
    }
}
