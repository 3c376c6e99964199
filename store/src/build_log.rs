//! The full logs of builds: one text file each below `cache/logs`, named by an id that begins with the time, so that names
//! in order are logs in order. A log is locked while its build writes it; old ones go when there are too many or they are
//! too large.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Store;
use crate::error::{Error, Result};
use crate::files;
use crate::lock::{LockMode, try_lock};

/// Largest log, bytes. What a build says beyond that is counted, not kept.
const LOG_MAX: u64 = 256 << 20;

/// The logs of a store.
#[derive(Clone, Copy, Debug)]
pub struct BuildLogs<'a> {
    store: &'a Store,
}

/// A log that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildLogEntry {
    /// Its id: 18 hexadecimal digits.
    pub id: String,
    /// Its file.
    pub path: PathBuf,
    /// Its size, bytes.
    pub size: u64,
    /// When something was last written to it.
    pub written: SystemTime,
}

/// A log that is being written.
#[derive(Debug)]
pub struct BuildLog {
    id: String,
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    dropped: u64,
}

impl<'a> BuildLogs<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("cache/logs")
    }

    /// A new log.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(&self) -> Result<BuildLog> {
        let directory = self.directory();
        files::create_dir(&directory)?;
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let id = format!("{micros:014x}{}", crate::random_hex(2)?);
        let path = directory.join(&id);
        let file = files::create_file(&path)?;
        try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))?;
        Ok(BuildLog { id, path, file: BufWriter::new(file), size: 0, dropped: 0 })
    }

    /// All logs, newest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<BuildLogEntry>> {
        let directory = self.directory();
        let mut found = Vec::new();
        for id in files::names(&directory)? {
            let path = directory.join(&id);
            let about = fs::metadata(&path).and_then(|about| Ok((about.len(), about.modified()?)));
            // One that a build trims away meanwhile is not listed.
            if let Some((size, written)) = files::optional(about.map_err(Error::io("stat", &path)))? {
                found.push(BuildLogEntry { id, path, size, written });
            }
        }
        found.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(found)
    }

    /// The log whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] if several do, [`Error::Io`].
    pub fn find(&self, prefix: &str) -> Result<BuildLogEntry> {
        let mut found: Vec<_> = self.list()?.into_iter().filter(|log| log.id.starts_with(prefix)).collect();
        match (found.pop(), found.len()) {
            (Some(log), 0) => Ok(log),
            (Some(_), more) => Err(Error::Conflict(format!("{} build logs begin with {prefix}", more + 1))),
            (None, _) => Err(Error::NotFound { kind: "build log", name: prefix.to_owned() }),
        }
    }

    /// Removes the oldest logs until at most `count` of at most `bytes` in all are left. Those that are being written
    /// stay, and so does the newest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn trim(&self, count: usize, bytes: u64) -> Result<()> {
        let mut sum = 0;
        for (number, log) in self.list()?.iter().enumerate() {
            sum += log.size;
            if number == 0 || number < count && sum <= bytes {
                continue;
            }
            let file = File::open(&log.path).map_err(Error::io("open", &log.path));
            let Some(file) = files::optional(file)? else { continue };
            if try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &log.path))? {
                files::remove_all(&log.path)?;
                sum -= log.size;
            }
        }
        Ok(())
    }
}

impl BuildLog {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn line(&mut self, line: &[u8]) -> Result<()> {
        let size = line.len() as u64 + 1;
        if self.size + size > LOG_MAX {
            self.dropped += size;
            return Ok(());
        }
        self.size += size;
        let written = self.file.write_all(line).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(Error::io("write", &self.path))
    }

    /// Makes all lines so far readable for others.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }

    /// The end of the log; says in it how much of it is missing, if any is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        if self.dropped > 0 {
            let note = format!("(the log is cut: {} bytes more than {LOG_MAX})\n", self.dropped);
            self.file.write_all(note.as_bytes()).map_err(Error::io("write", &self.path))?;
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn logs_are_found_listed_and_trimmed() {
        let (_dir, store) = testing::store();
        let logs = store.build_logs();
        assert!(logs.list().unwrap().is_empty());
        let mut ids = Vec::new();
        for number in 0..4 {
            let mut log = logs.create().unwrap();
            log.line(format!("line of {number}").as_bytes()).unwrap();
            ids.push(log.id().to_owned());
            log.finish().unwrap();
        }
        let found = logs.find(&ids[1]).unwrap();
        assert_eq!(fs::read_to_string(&found.path).unwrap(), "line of 1\n");
        assert!(logs.find("zz").unwrap_err().is_not_found());
        assert!(matches!(logs.find(""), Err(Error::Conflict(_))));
        let held = logs.create().unwrap();
        logs.trim(2, 1 << 20).unwrap();
        let left = logs.list().unwrap();
        assert_eq!(left.len(), 2);
        assert!(left.iter().any(|log| log.id == held.id()), "one that is being written stays");
        logs.trim(10, 1).unwrap();
        assert!(logs.list().unwrap().len() <= 2);
    }
}
