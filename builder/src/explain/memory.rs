//! Where inputs of earlier steps are kept: notes beside the build cache, by the step's key; two short lists of keys, by
//! the step's place and by its text, lead to those it is compared with. A list holds the last few; what falls off a
//! place's list is removed, so that a Buildfile built a thousand times has notes of its last few builds. Notes outlive
//! the steps they are of: that is how "removed from the cache" is known.

use std::time::SystemTime;

use jiff::Timestamp;
use store::{Digest, Store};

use super::Report;
use super::compare::distance;
use super::inputs::Inputs;
use crate::error::BuildError;
use crate::op::OpError;

/// Earlier steps remembered for one place or one text.
const REMEMBERED: usize = 8;
/// Largest note, bytes.
const NOTE_MAX: u64 = 16 << 20;

/// Where a step stands.
pub(crate) struct Place<'a> {
    /// The Buildfile and its context.
    pub(crate) project: &'a str,
    /// Name of its stage.
    pub(crate) stage: &'a str,
    /// Its place in it.
    pub(crate) index: usize,
}

impl Place<'_> {
    fn name(&self) -> Digest {
        Digest::of(format!("place\0{}\0{}\0{}", self.project, self.stage, self.index).as_bytes())
    }
}

fn text_name(instruction: &str) -> Digest {
    Digest::of(format!("text\0{instruction}").as_bytes())
}

/// The note of the very step with this key and when it was last touched; none if the step was never built.
pub(crate) fn noted(store: &Store, key: &Digest) -> Result<Option<(Inputs, SystemTime)>, OpError> {
    let Some(time) = store.cache().noted(key)? else { return Ok(None) };
    Ok(read(store, key)?.map(|inputs| (inputs, time)))
}

/// The earlier step that is most like `now`, if there is any that it could be compared with. `known` are the
/// instructions of the stage as it is: a step that is still there, only elsewhere, did not become this one.
pub(crate) fn nearest(
    store: &Store,
    place: &Place<'_>,
    now: &Inputs,
    known: &[String],
) -> Result<Option<Inputs>, OpError> {
    let mut keys = list(store, &place.name())?;
    keys.extend(list(store, &text_name(&now.instruction))?);
    let mut best: Option<((bool, bool, usize), Inputs)> = None;
    for key in keys {
        let Some(then) = read(store, &key)? else { continue };
        let moved = then.instruction != now.instruction && known.contains(&then.instruction);
        if then.kind != now.kind || moved {
            continue;
        }
        let distance = distance(now, &then);
        // The latest comes first, and stays if another one is no nearer.
        if best.as_ref().is_none_or(|(nearest, _)| distance < *nearest) {
            best = Some((distance, then));
        }
    }
    Ok(best.map(|(_, inputs)| inputs))
}

/// Keeps the inputs of a step that ran under `keys`.
pub(crate) fn remember(store: &Store, place: &Place<'_>, keys: &[Digest], inputs: &Inputs) -> Result<(), OpError> {
    let Some(first) = keys.first() else { return Ok(()) };
    let bytes = serde_json::to_vec(inputs).map_err(|error| OpError::Message(format!("cannot note a step: {error}")))?;
    if bytes.len() as u64 > NOTE_MAX {
        return Ok(());
    }
    for key in keys {
        store.cache().put_note(key, &bytes)?;
    }
    for (name, owns) in [(place.name(), true), (text_name(&inputs.instruction), false)] {
        let mut list = list(store, &name)?;
        list.retain(|key| key != first);
        list.insert(0, *first);
        if owns {
            for key in list.drain(REMEMBERED.min(list.len())..) {
                store.cache().remove_note(&key)?;
            }
        }
        list.truncate(REMEMBERED);
        let text: Vec<String> = list.iter().map(Digest::hex).collect();
        store.cache().put_note(&name, text.join("\n").as_bytes())?;
    }
    Ok(())
}

/// A note that cannot be read (an older form, a torn write: they are not synced) is no note.
fn read(store: &Store, key: &Digest) -> Result<Option<Inputs>, OpError> {
    let bytes = store.cache().note(key, NOTE_MAX)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn list(store: &Store, name: &Digest) -> Result<Vec<Digest>, OpError> {
    let bytes = store.cache().note(name, NOTE_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| Digest::from_hex(line).ok()).collect())
}

fn last_name() -> Digest {
    Digest::of(b"last build")
}

/// Keeps what is to be said about the build that just ended.
pub(crate) fn put_last(store: &Store, report: &Report) -> Result<(), OpError> {
    let bytes =
        serde_json::to_vec(report).map_err(|error| OpError::Message(format!("cannot note the build: {error}")))?;
    Ok(store.cache().put_note(&last_name(), &bytes)?)
}

/// What there is to say about the last build in this store, with the time at which it ended; none if there was none.
///
/// # Errors
/// [`BuildError`] if the note cannot be read.
pub fn last(store: &Store) -> Result<Option<(Report, Option<Timestamp>)>, BuildError> {
    let Some(bytes) = store.cache().note(&last_name(), NOTE_MAX)? else { return Ok(None) };
    let Ok(report) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let when = store.cache().noted(&last_name())?.and_then(|time| Timestamp::try_from(time).ok());
    Ok(Some((report, when)))
}
