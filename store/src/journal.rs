//! The journal of what happened to containers, images, volumes and networks: one line of JSON each, appended by whoever
//! did it, for no daemon watches.
//!
//! An event is one `write` to a file opened for appending: no lock, no sync, nothing to wait for. It begins with a line
//! feed as well as ending in one, so that a line torn by a crash spoils itself alone. At [`FILE_MAX`] bytes the file
//! becomes `journal.1`, and the one before that is gone: the journal never takes more than twice as much.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{Error, Result};
use crate::files;

/// The size at which a new file is begun.
pub const FILE_MAX: u64 = 4 << 20;
/// The longest value of an attribute; labels may be of any length.
const VALUE_MAX: usize = 4096;
/// The longest line that is read.
const LINE_MAX: usize = 1 << 20;

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

    fn path(&self) -> PathBuf {
        self.store.root().join("journal")
    }

    /// Appends an event. What it tells of has happened already: a caller goes on when this fails, and says so.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&self, event: &Event) -> Result<()> {
        self.append_bounded(event, FILE_MAX)
    }

    fn append_bounded(&self, event: &Event, bound: u64) -> Result<()> {
        let path = self.path();
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, event)
            .map_err(|error| Error::Invalid { what: "event", reason: error.to_string() })?;
        line.push(b'\n');
        let mut file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open the journal", &path))?;
        // One call: the kernel keeps appends whole, whoever else appends.
        file.write_all(&line).map_err(Error::io("append to the journal", &path))?;
        let about = file.metadata().map_err(Error::io("look at the journal", &path))?;
        if about.len() >= bound { self.begin_new(about.ino()) } else { Ok(()) }
    }

    /// Puts the full file aside, unless somebody else does or has done so.
    fn begin_new(&self, full: u64) -> Result<()> {
        let (path, lock) = (self.path(), self.store.root().join("locks/journal"));
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

    /// A reader from the oldest event that is kept.
    ///
    /// # Errors
    /// [`Error::Io`] if the journal cannot be watched.
    pub fn reader(&self) -> Result<Reader> {
        let root = self.store.root();
        let failed = |errno: rustix::io::Errno| Error::io("watch the directory", root)(errno.into());
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, root, what).map_err(failed)?;
        Ok(Reader { path: self.path(), tails: Vec::new(), watch })
    }
}

/// Reads the journal from its beginning, and then what is added.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// The files, oldest first. A full one stays for a while: its last writer may be late.
    tails: Vec<Tail>,
    watch: rustix::fd::OwnedFd,
}

#[derive(Debug)]
struct Tail {
    file: File,
    inode: u64,
    /// A line whose end is not there yet.
    begun: Vec<u8>,
}

impl Reader {
    /// The events that were added since the last call, in the order in which they happened.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn events(&mut self) -> Result<Vec<Event>> {
        for path in [self.path.with_extension("1"), self.path.clone()] {
            let opened = File::open(&path).map_err(Error::io("open the journal", &path));
            let Some(file) = files::optional(opened)? else { continue };
            let inode = file.metadata().map_err(Error::io("look at the journal", &path))?.ino();
            if self.tails.iter().all(|tail| tail.inode != inode) {
                self.tails.push(Tail { file, inode, begun: Vec::new() });
            }
        }
        let mut events = Vec::new();
        for tail in &mut self.tails {
            tail.read(&mut events).map_err(Error::io("read the journal", &self.path))?;
        }
        let old = self.tails.len().saturating_sub(2);
        self.tails.drain(..old);
        events.sort_by_key(|event| event.time);
        Ok(events)
    }

    /// Waits until something was written, at most for this time.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn wait(&self, limit: Option<Duration>) -> Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let failed = |errno: rustix::io::Errno| Error::io("watch the journal", &self.path)(errno.into());
        match poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            result => result.map_err(failed)?,
        };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut seen = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            match seen.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

impl Tail {
    fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.file.read_to_end(&mut self.begun)?;
        let end = self.begun.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        // A line that cannot be read was torn by a crash, or is of a newer program.
        events.extend(self.begun[..end].split(|&byte| byte == b'\n').filter_map(|line| {
            if line.is_empty() || line.len() > LINE_MAX { None } else { serde_json::from_slice(line).ok() }
        }));
        self.begun.drain(..end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let path = store.journal().path();
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
