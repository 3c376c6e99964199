//! Which programs were executed in a container and still run: a file for each in its state directory.
//!
//! Whoever waits for the program writes the file when it runs and removes it when it has ended, before anybody is told. The
//! rule: a file is believed only as long as its process is the one that it names, since whoever wrote it may have been killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::state::{self, ProcessId};

/// The folder of these files in a state directory.
pub(crate) const FOLDER: &str = "execs";

/// A program that was executed in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRecord {
    /// Its id.
    pub id: String,
    /// Its process, as the host numbers it.
    pub process: ProcessId,
    /// Program and arguments.
    pub args: Vec<String>,
}

/// The programs that were executed in a container and run now, by id.
///
/// # Errors
/// The state directory cannot be read.
pub fn execs(dir: &Path) -> Result<Vec<ExecRecord>> {
    let folder = dir.join(FOLDER);
    let doing = || format!("read {}", folder.display());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(doing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.doing(doing)?.path();
        let bytes = match fs::read(&path) {
            // It has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes.doing(|| format!("read {}", path.display()))?,
        };
        // Half a file is one that is being written.
        let Ok(record) = serde_json::from_slice::<ExecRecord>(&bytes) else { continue };
        match record.process.open()? {
            Some(_) => found.push(record),
            None => remove(&path)?,
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Recorded {
    path: PathBuf,
}

impl Recorded {
    pub fn write(dir: &Path, record: &ExecRecord) -> Result<Self> {
        crate::create::check_id(&record.id)?;
        let folder = dir.join(FOLDER);
        state::make_dir(&folder)?;
        let path = folder.join(&record.id);
        state::replace(&path, record)?;
        Ok(Self { path })
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // One that stays is not believed.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_is_listed() {
        let dir = std::env::temp_dir().join(format!("execs-{}", std::process::id()));
        assert_eq!(execs(&dir).unwrap(), []);
        let process = ProcessId::of(std::process::id() as i32).unwrap().unwrap();
        let record = |id: &str, process| ExecRecord { id: id.into(), process, args: vec!["sh".into()] };
        let runs = Recorded::write(&dir, &record("b", process)).unwrap();
        let older = ProcessId { start_time: process.start_time - 1, ..process };
        let gone = Recorded::write(&dir, &record("a", older)).unwrap();
        assert_eq!(execs(&dir).unwrap(), [record("b", process)]);
        assert!(!gone.path.exists(), "a file of a process that is gone goes");
        drop(runs);
        assert_eq!(execs(&dir).unwrap(), []);
        fs::remove_dir_all(dir).unwrap();
    }
}
