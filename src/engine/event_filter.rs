//! What of the journal somebody wants to see: docker's filters, and a pattern for names. Filters of one key add up, those
//! of different keys must all fit.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use store::journal::{Event, Subject};

use crate::error::{CommandError, Result};

/// The keys, for messages.
const KEYS: &str = "type, event, container, image, volume, network, label";

/// What is wanted; everything if nothing is said.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    wanted: BTreeMap<String, Vec<String>>,
    pattern: Option<GlobMatcher>,
}

impl EventFilter {
    /// From `KEY=VALUE` words and a pattern for names, as `web*`.
    ///
    /// # Errors
    /// A key that is not known, a pattern that is none.
    pub fn parse(words: &[String], pattern: Option<&str>) -> Result<Self> {
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in words {
            let (key, value) =
                word.split_once('=').ok_or_else(|| CommandError::usage(format!("filter {word:?} is not KEY=VALUE")))?;
            if !KEYS.split(", ").any(|known| known == key) {
                return Err(
                    CommandError::usage(format!("filter {key:?} is not known")).hint(format!("there are: {KEYS}"))
                );
            }
            wanted.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        let pattern = pattern
            .map(|text| Glob::new(text).map(|glob| glob.compile_matcher()))
            .transpose()
            .map_err(|error| CommandError::usage(format!("the pattern of names is none: {error}")))?;
        Ok(Self { wanted, pattern })
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn fits(&self, event: &Event) -> bool {
        let named = |pattern: &GlobMatcher| event.attributes.get("name").is_some_and(|name| pattern.is_match(name));
        self.wanted.iter().all(|(key, values)| values.iter().any(|value| fits(event, key, value)))
            && self.pattern.as_ref().is_none_or(named)
    }
}

fn fits(event: &Event, key: &str, value: &str) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    // A thing is meant by its name, its id or the beginning of that.
    let is = |subject: Subject| {
        event.subject == subject
            && (attribute("name") == Some(value) || !value.is_empty() && event.id.starts_with(value))
    };
    match key {
        "type" => event.subject.word() == value,
        // `exec_start: sh -c …` and `health_status: healthy` are meant by the word before the colon too.
        "event" => event.action == value || event.action.split(':').next() == Some(value),
        "container" => {
            is(Subject::Container) || event.subject != Subject::Container && attribute("container") == Some(value)
        }
        "image" => {
            let bare = |name: &str| name == value || name.strip_suffix(":latest") == Some(value);
            is(Subject::Image)
                || event.subject == Subject::Image
                    && (event.id.strip_prefix("sha256:").is_some_and(|id| id.starts_with(value))
                        || attribute("name").is_some_and(bare))
                || event.subject == Subject::Container && attribute("image").is_some_and(bare)
        }
        "volume" => is(Subject::Volume),
        "network" => is(Subject::Network),
        "label" => match value.split_once('=') {
            Some((key, value)) => attribute(key) == Some(value),
            None => attribute(value).is_some(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str], pattern: Option<&str>, event: &Event) -> bool {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        EventFilter::parse(&words, pattern).unwrap().fits(event)
    }

    #[test]
    fn one_key_adds_up_and_different_keys_must_all_fit() {
        let start = Event::now(Subject::Container, "start", "abc123")
            .with("name", "web1")
            .with("image", "busybox:latest")
            .with("tier", "front");
        for (words, expected) in [
            (&[][..], true),
            (&["type=image", "type=container"], true),
            (&["type=image"], false),
            (&["type=container", "event=die"], false),
            (&["event=die", "event=start"], true),
            (&["container=web1"], true),
            (&["container=abc"], true),
            (&["container=web"], false),
            (&["image=busybox"], true),
            (&["label=tier"], true),
            (&["label=tier=back"], false),
        ] {
            assert_eq!(shown(words, None, &start), expected, "{words:?}");
        }
        assert!(shown(&[], Some("web*"), &start) && !shown(&[], Some("db*"), &start));
        let exec = Event::now(Subject::Container, "exec_start: sh -c x", "abc");
        assert!(shown(&["event=exec_start"], None, &exec));
        assert!(EventFilter::parse(&["nope=1".to_owned()], None).is_err());
    }
}
