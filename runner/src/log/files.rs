//! The files of a log: which there are, which is written, and how the writer comes to the next one.
//!
//! A log begins as one plain file. When that is full it is given the number of its first line as an ending, and so is each that comes
//! after it; the plain name is a link to the last one from then on. Names never move to another file, so a reader needs no
//! lock: the next file is the one with the next greater number, and the numbers say what is missing in between.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::LogConfig;

/// What the name of a compressed file ends with.
pub(super) const PACKED: &str = ".gz";

/// What the name of one that is being compressed ends with beside that.
pub(super) const UNFINISHED: &str = ".part";

/// How often a list is made anew because the writer changed it meanwhile.
const TRIES: u32 = 100;

/// A file of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    /// How many lines there were before it.
    pub first: u64,
    /// It is compressed. Sorts behind the one that it was made of.
    pub packed: bool,
    pub path: PathBuf,
}

impl LogFile {
    /// Opens it for reading; `None` if it is not there under this name any more.
    pub fn open(&self) -> io::Result<Option<Box<dyn BufRead>>> {
        let mut options = File::options();
        match options.read(true).custom_flags(libc::O_NOFOLLOW).open(&self.path) {
            Ok(file) if self.packed => Ok(Some(Box::new(BufReader::new(GzDecoder::new(BufReader::new(file)))))),
            Ok(file) => Ok(Some(Box::new(BufReader::new(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // The plain name became a link.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A path with something appended to its name.
pub(super) fn appended(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(ending);
    name.into()
}

impl LogConfig {
    /// The file whose first line has this number.
    pub(super) fn numbered(&self, first: u64) -> PathBuf {
        appended(&self.path, &format!(".{first}"))
    }

    /// The files from old to new; one that is there in both forms is listed as it was written.
    pub(super) fn files(&self) -> io::Result<Vec<LogFile>> {
        for _ in 0..TRIES {
            let mut found = self.numbered_files()?;
            if !found.is_empty() {
                found.dedup_by_key(|file| file.first);
                return Ok(found);
            }
            match self.path.symlink_metadata() {
                Ok(facts) if facts.is_file() => {
                    return Ok(vec![LogFile { first: 0, packed: false, path: self.path.clone() }]);
                }
                // It was given its number just now.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    /// The files with numbers, in both forms.
    pub(super) fn numbered_files(&self) -> io::Result<Vec<LogFile>> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name().and_then(|name| name.to_str())) else {
            return Ok(Vec::new());
        };
        let entries = match dir.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let own = entry.file_name();
            let Some(ending) = own.to_str().and_then(|own| own.strip_prefix(name)?.strip_prefix('.')) else { continue };
            let (number, packed) = ending.strip_suffix(PACKED).map_or((ending, false), |number| (number, true));
            if let Ok(first) = number.parse() {
                found.push(LogFile { first, packed, path: entry.path() });
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct Open {
    pub file: File,
    pub path: PathBuf,
    pub size: u64,
    /// The number of its first line.
    pub first: u64,
    /// How many lines it has; `None`: to be counted.
    pub lines: Option<u64>,
    /// It ends amidst a line, which somebody could not finish.
    pub torn: bool,
}

impl Open {
    /// The last file there is, or the first one. The plain name is there from the first line on, so without it there is nothing.
    pub fn last(config: &LogConfig) -> io::Result<Self> {
        match options().create_new(true).open(&config.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Self::of(file?, config.path.clone(), 0),
        }
        let linked = match std::fs::read_link(&config.path) {
            Ok(name) => Some(name),
            // It is no link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
            Err(error) => return Err(error),
        };
        let number = |name: &Path| name.to_str()?.rsplit_once('.')?.1.parse().ok();
        match linked.as_deref().and_then(number) {
            Some(first) => Self::at(config.numbered(first), first),
            None => Self::at(config.path.clone(), 0),
        }
    }

    fn at(path: PathBuf, first: u64) -> io::Result<Self> {
        Self::of(options().create(true).open(&path)?, path, first)
    }

    fn of(file: File, path: PathBuf, first: u64) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        Ok(Self { file, path, size, first, lines: (size == 0).then_some(0), torn: last != [b'\n'] })
    }

    /// The file after this one. What is too old is deleted.
    pub fn next(self, config: &LogConfig) -> io::Result<Self> {
        let lines = match self.lines {
            Some(lines) => lines,
            None => count_lines(&self.path)?,
        };
        if self.path == config.path {
            // By a second name: the first one is never missing.
            match std::fs::hard_link(&self.path, config.numbered(self.first)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // One of its own even if the one before has no whole line.
        let first = self.first + lines.max(1);
        let next = Self::at(config.numbered(first), first)?;
        if let Some(name) = next.path.file_name() {
            let link = appended(&config.path, UNFINISHED);
            match std::fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => symlink(name, &link)?,
            }
            std::fs::rename(&link, &config.path)?;
        }
        let files = config.numbered_files()?;
        let mut numbers: Vec<u64> = files.iter().map(|file| file.first).collect();
        numbers.dedup();
        let oldest = numbers.get(numbers.len().saturating_sub(config.max_files as usize)).copied().unwrap_or(0);
        for file in files.iter().filter(|file| file.first < oldest) {
            match std::fs::remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(next)
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut file = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut lines = 0;
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(lines);
        }
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = piece.len();
        file.consume(length);
    }
}
