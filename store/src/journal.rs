//! The journal of what happened to containers, images, volumes and networks: one line of JSON each, appended by whoever
//! did it, for no daemon watches.
//!
//! An event is one `write` to a file opened for appending: no lock, no sync, nothing to wait for. It begins with a line
//! feed as well as ending in one, so that a line torn by a crash spoils itself alone. At [`FILE_MAX`] bytes the file
//! becomes `journal.1`, and the one before that is gone: the journal never takes more than twice as much. While the store's disk is
//! read-only there is a second one in memory, and who reads gets both.

mod reader;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use reader::Reader;

use crate::Store;
use crate::error::{Error, Result};
use crate::files;

/// The size at which a new file is begun.
pub const FILE_MAX: u64 = 4 << 20;
/// The longest value of an attribute; labels may be of any length.
const VALUE_MAX: usize = 4096;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// A build.
    Builder,
}

impl Subject {
    /// Its word, as `type=` filters have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Builder => "builder",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what kind of thing.
    #[serde(rename = "type")]
    pub subject: Subject,
    /// What, in docker's words: `start`, `die`, `pull`.
    pub action: String,
    /// To which one: an id, or the name of what has none.
    pub id: String,
    /// What else is worth knowing: `name`, `image`, `exitCode`, labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of this moment.
    #[must_use]
    pub fn now(subject: Subject, action: &str, id: &str) -> Self {
        Self { time: Timestamp::now(), subject, action: action.into(), id: id.into(), attributes: BTreeMap::new() }
    }

    /// With one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        let mut end = value.len().min(VALUE_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.attributes.insert(key.to_owned(), value[..end].to_owned());
        self
    }
}

/// The journal of a store.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a> {
    store: &'a Store,
}

impl<'a> Journal<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Appends an event. What it tells of has happened already: a caller goes on when this fails, and says so.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&self, event: &Event) -> Result<()> {
        self.append_bounded(event, FILE_MAX)
    }

    fn append_bounded(&self, event: &Event, bound: u64) -> Result<()> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, event)
            .map_err(|error| Error::Invalid { what: "event", reason: error.to_string() })?;
        line.push(b'\n');
        match append_line(self.store.root(), &line, bound) {
            Err(error) if error.is_read_only() => match self.store.memory_made()? {
                Some(memory) => append_line(memory, &line, bound),
                None => Err(error),
            },
            appended => appended,
        }
    }

    /// A reader from the oldest event that is kept.
    ///
    /// # Errors
    /// [`Error::Io`] if the journal cannot be watched.
    pub fn reader(&self) -> Result<Reader> {
        let places = self.store.places();
        Reader::of(&places.root, places.memory.as_deref())
    }
}

/// The journal in a store's root or the place in memory.
fn journal_of(home: &Path) -> PathBuf {
    home.join("journal")
}

/// Appends a line to the journal in `home`.
fn append_line(home: &Path, line: &[u8], bound: u64) -> Result<()> {
    let path = journal_of(home);
    let mut file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open the journal", &path))?;
    // One call: the kernel keeps appends whole, whoever else appends.
    file.write_all(line).map_err(Error::io("append to the journal", &path))?;
    let about = file.metadata().map_err(Error::io("look at the journal", &path))?;
    if about.len() >= bound { begin_new(home, about.ino()) } else { Ok(()) }
}

/// Puts the full file aside, unless somebody else does or has done so.
fn begin_new(home: &Path, full: u64) -> Result<()> {
    let (path, lock) = (journal_of(home), home.join("locks/journal"));
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .map_err(Error::io("open the lock", &lock))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let now = files::optional(fs::metadata(&path).map_err(Error::io("look at the journal", &path)))?;
    if now.is_some_and(|about| about.ino() == full) {
        fs::rename(&path, path.with_extension("1")).map_err(Error::io("rename the journal", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::store;

    fn event(number: usize) -> Event {
        Event::now(Subject::Container, "start", &number.to_string()).with("name", "box")
    }

    fn ids(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.id.as_str()).collect()
    }

    #[test]
    fn what_is_appended_is_read_once() {
        let (_dir, store) = store();
        let mut reader = store.journal().reader().unwrap();
        assert!(reader.events().unwrap().is_empty());
        store.journal().append(&event(1)).unwrap();
        let first = reader.events().unwrap();
        assert_eq!((first[0].id.as_str(), first[0].attributes["name"].as_str()), ("1", "box"));
        store.journal().append(&event(2)).unwrap();
        reader.wait(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(ids(&reader.events().unwrap()), ["2"]);
        assert_eq!(ids(&store.journal().reader().unwrap().events().unwrap()), ["1", "2"]);
    }

    #[test]
    fn a_torn_line_spoils_itself_alone() {
        let (_dir, store) = store();
        store.journal().append(&event(1)).unwrap();
        let path = journal_of(store.root());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        store.journal().append(&event(2)).unwrap();
        assert_eq!(ids(&store.journal().reader().unwrap().events().unwrap()), ["2"]);
    }

    #[test]
    fn it_stays_bounded_and_a_reader_loses_nothing() {
        let (_dir, store) = store();
        let mut reader = store.journal().reader().unwrap();
        let mut seen = Vec::new();
        for number in 0..200 {
            store.journal().append_bounded(&event(number), 1024).unwrap();
            seen.extend(reader.events().unwrap());
        }
        assert_eq!(seen.len(), 200);
        let size: u64 =
            ["journal", "journal.1"].map(|name| fs::metadata(store.root().join(name)).unwrap().len()).iter().sum();
        assert!(size < 3 * 1024, "{size}");
    }

    #[test]
    fn what_is_in_memory_is_read_with_the_rest_in_order_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let memory = dir.path().join("run/memory");
        let places = crate::Places { root: dir.path().join("root"), memory: Some(memory.clone()) };
        let store = Store::open_at(places).unwrap();
        let mut reader = store.journal().reader().unwrap();
        let (first, second, third) = (event(1), event(2), event(3));
        store.journal().append(&first).unwrap();
        store.journal().append(&third).unwrap();
        assert_eq!(ids(&reader.events().unwrap()), ["1", "3"]);
        // Both of its directories are made while it is watched for.
        for missing in [dir.path().join("run"), memory.clone()] {
            reader.wait(Some(Duration::ZERO)).unwrap();
            fs::create_dir(missing).unwrap();
            let began = std::time::Instant::now();
            reader.wait(Some(Duration::from_secs(10))).unwrap();
            assert!(began.elapsed() < Duration::from_secs(5));
            assert!(reader.events().unwrap().is_empty());
        }
        let mut line = serde_json::to_vec(&second).unwrap();
        line.push(b'\n');
        append_line(&memory, &line, FILE_MAX).unwrap();
        reader.wait(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(ids(&reader.events().unwrap()), ["2"]);
        assert_eq!(ids(&store.journal().reader().unwrap().events().unwrap()), ["1", "2", "3"]);
    }

    #[test]
    fn many_writers_at_once_tear_nothing() {
        let (_dir, store) = store();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || (0..250).for_each(|n| store.journal().append(&event(writer * 1000 + n)).unwrap()));
            }
        });
        assert_eq!(store.journal().reader().unwrap().events().unwrap().len(), 1000);
    }

    #[test]
    fn long_values_are_shortened() {
        assert_eq!(event(1).with("label", &"ü".repeat(9999)).attributes["label"].len(), VALUE_MAX);
    }
}
