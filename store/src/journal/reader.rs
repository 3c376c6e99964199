//! Reading the journal, and waiting for what is added.
//!
//! There may be two, the store's and one in memory, whose directory is made when it is first needed: until then the nearest
//! directory above it is watched. Events come in the order in which they happened, wherever they were written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Event, journal_of};
use crate::error::{Error, Result};
use crate::files;

/// The longest line that is read.
const LINE_MAX: usize = 1 << 20;

/// Reads the journal from its beginning, and then what is added.
#[derive(Debug)]
pub struct Reader {
    places: Vec<Place>,
    watch: OwnedFd,
}

/// A journal in one of the places.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// Whether the directory itself is watched.
    watched: bool,
    /// The files, oldest first. A full one stays for a while: its last writer may be late.
    tails: Vec<Tail>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    inode: u64,
    /// A line whose end is not there yet.
    begun: Vec<u8>,
}

impl Reader {
    /// A reader of the journal in a store's root, and of that in memory, whose directory need not be there yet.
    pub(super) fn of(root: &Path, memory: Option<&Path>) -> Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| Error::io("watch the directory", root)(errno.into()))?;
        let mut places = Vec::new();
        for directory in std::iter::once(root).chain(memory) {
            let watched = add_watch(&watch, directory)?;
            places.push(Place { directory: directory.to_owned(), watched, tails: Vec::new() });
        }
        Ok(Self { places, watch })
    }

    /// The events that were added since the last call, in the order in which they happened.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for place in &mut self.places {
            // Before it is read: what is written after that is waited for.
            place.watched = place.watched || add_watch(&self.watch, &place.directory)?;
            place.read(&mut events)?;
        }
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
        let failed = |errno: Errno| Error::io("watch the journal", &self.places[0].directory)(errno.into());
        match poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], limit.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            result => result.map_err(failed)?,
        };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut seen = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            match seen.next() {
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

impl Place {
    fn read(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let journal = journal_of(&self.directory);
        for path in [journal.with_extension("1"), journal.clone()] {
            let opened = File::open(&path).map_err(Error::io("open the journal", &path));
            let Some(file) = files::optional(opened)? else { continue };
            let inode = file.metadata().map_err(Error::io("look at the journal", &path))?.ino();
            if self.tails.iter().all(|tail| tail.inode != inode) {
                self.tails.push(Tail { file, inode, begun: Vec::new() });
            }
        }
        for tail in &mut self.tails {
            tail.read(events).map_err(Error::io("read the journal", &journal))?;
        }
        let old = self.tails.len().saturating_sub(2);
        self.tails.drain(..old);
        Ok(())
    }
}

/// Watches a directory, or the nearest above it as long as it is not there: false then.
fn add_watch(watch: &OwnedFd, directory: &Path) -> Result<bool> {
    let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    loop {
        let mut missing = None;
        for at in directory.ancestors() {
            match inotify::add_watch(watch, at, what) {
                Ok(_) => break,
                Err(Errno::NOENT) => missing = Some(at),
                Err(errno) => return Err(Error::io("watch the directory", at)(errno.into())),
            }
        }
        match missing {
            None => return Ok(true),
            // Else it was made in between, unseen.
            Some(next) if !next.exists() => return Ok(false),
            Some(_) => {}
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
