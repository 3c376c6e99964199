//! A folder that an image is read from or written to, whoever made it. What lies in it is opened only if it is a regular
//! file: no link is followed, nobody waits at a pipe, and a document is read to its limit. A file that is written appears
//! when it is whole, in the place of whatever had its name; nothing is written through a link.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::engine::archive::open_plain;
use crate::error::{CommandError, Context as _, Result};

/// The folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// One that is there.
    pub fn open(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// One that is there afterwards, and whether something was in it.
    pub fn create(path: &Path) -> Result<(Self, bool)> {
        let doing = || format!("cannot write {}", path.display());
        fs::create_dir_all(path).with_context(doing)?;
        let taken = fs::read_dir(path).with_context(doing)?.next().is_some();
        Ok((Self::open(path), taken))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A regular file in it, and its size.
    pub fn file(&self, name: &str) -> Result<(File, u64)> {
        open_plain(&self.0.join(name))
    }

    /// The bytes of a small file in it.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let path = self.0.join(name);
        let mut bytes = Vec::new();
        let (file, _) = open_plain(&path)?;
        file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.len() as u64 > limit {
            return Err(CommandError::new(format!("{} is larger than {limit} bytes", path.display())));
        }
        Ok(bytes)
    }

    /// Whether there is an entry of this name, even a link that leads nowhere.
    pub fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.0.join(name)).is_ok()
    }

    /// Whether there is a regular file of this name and size.
    pub fn has_file(&self, name: &str, size: u64) -> bool {
        fs::symlink_metadata(self.0.join(name)).is_ok_and(|about| about.is_file() && about.len() == size)
    }

    /// Makes a folder in it unless it is there; a link to one is none.
    pub fn folder(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        let doing = || format!("cannot write {}", path.display());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(&path).with_context(doing)?.is_dir() {
                    return Ok(());
                }
                Err(CommandError::new(format!("{} is no directory", path.display())))
            }
            made => made.with_context(doing),
        }
    }

    /// Writes a file that appears when it is whole.
    pub fn write(&self, name: &str, bytes: &mut dyn Read) -> Result<()> {
        let path = self.0.join(name);
        let doing = || format!("cannot write {}", path.display());
        let plain = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{plain}.{}.part", std::process::id()));
        // Never what lies there already: it could be a link.
        let mut file = File::create_new(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
        let written = io::copy(bytes, &mut file).and_then(|_| fs::rename(&partial, &path)).with_context(doing);
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&partial);
        }
        written
    }
}
