//! Events: what is written into the journal when something was done, and how it is read. The words are docker's, so
//! that what was written for `docker events` goes on working.
//!
//! An event tells of what has happened already: that it cannot be written is a warning, never a failure of the deed.

use jiff::Timestamp;
use store::journal::{Event, Reader, Subject};
use store::{ImageId, Store};

use super::Engine;
use super::container::ContainerRecord;
use super::names::familiar;
use crate::error::Result;

/// Writes an event into the journal of `store`; for monitors, which have no engine.
pub(in crate::engine) fn tell(store: &Store, event: &Event) {
    if let Err(error) = store.journal().append(event) {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        crate::ui::warn(format_args!("the event {} is not recorded: {error}{cause}", event.action));
    }
}

/// An event of a container, with what its record says of it: name, image and labels.
pub(in crate::engine) fn of_container(record: &ContainerRecord, action: &str) -> Event {
    let options = &record.data.options;
    let labels = &record.data.labels;
    let event = Event::now(Subject::Container, action, &record.id);
    labels
        .iter()
        .fold(event, |event, (key, value)| event.with(key, value))
        .with("name", &record.name)
        .with("image", options.rootfs.as_deref().unwrap_or(&options.image))
}

impl Engine {
    /// Tells whoever watches that something was done.
    pub(in crate::engine) fn event(&self, event: &Event) {
        tell(&self.store, event);
    }

    /// Tells of a container: `start`, `pause`.
    pub(in crate::engine) fn container_event(&self, record: &ContainerRecord, action: &str) {
        self.event(&of_container(record, action));
    }

    /// Tells of an image: `pull`, `tag`, with its name if it has one.
    pub(in crate::engine) fn image_event(&self, action: &str, id: &ImageId, name: Option<&str>) {
        let event = Event::now(Subject::Image, action, &id.to_string());
        self.event(&match name {
            Some(name) => event.with("name", &familiar(name)),
            None => event,
        });
    }

    /// Tells of a volume, which docker calls by its name.
    pub(in crate::engine) fn volume_event(&self, action: &str, name: &str) {
        self.event(&Event::now(Subject::Volume, action, name).with("driver", "local"));
    }

    /// The journal, from the oldest event that is kept.
    ///
    /// # Errors
    /// It cannot be opened or watched.
    pub fn events(&self) -> Result<Events> {
        Ok(Events { reader: self.store.journal().reader()?, since: None, until: None })
    }
}

/// The journal as somebody reads it.
#[derive(Debug)]
pub struct Events {
    reader: Reader,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Events {
    /// Only what happened between two moments.
    #[must_use]
    pub fn between(mut self, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        (self.since, self.until) = (since, until);
        self
    }

    /// What was added since the last call.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn take(&mut self) -> Result<Vec<Event>> {
        let mut events = self.reader.events()?;
        events.retain(|event| {
            self.since.is_none_or(|since| event.time >= since) && self.until.is_none_or(|until| event.time <= until)
        });
        Ok(events)
    }

    /// Waits for more, at most for this time.
    ///
    /// # Errors
    /// The journal cannot be watched.
    pub fn wait_at_most(&self, limit: std::time::Duration) -> Result<()> {
        Ok(self.reader.wait(Some(limit))?)
    }

    /// Waits for more; false when there will be none, as `until` is over.
    ///
    /// # Errors
    /// The journal cannot be watched.
    pub fn wait(&self) -> Result<bool> {
        let left = match self.until {
            None => None,
            Some(until) => match std::time::Duration::try_from(until.duration_since(Timestamp::now())) {
                Ok(left) if !left.is_zero() => Some(left),
                _ => return Ok(false),
            },
        };
        self.reader.wait(left)?;
        Ok(true)
    }
}
