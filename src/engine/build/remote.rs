//! What a build fetches from the net beside images: files by their URL, kept as blobs of the store with what their
//! server said about them, and git repositories.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::Duration;

use builder::{GitSource, PortError, Remote, RemoteFile};
use registry_client::{FileFacts, Sink, Validators};
use serde::{Deserialize, Serialize};
use store::Digest;
use store::digest::Digester;

use super::git::Git;
use crate::engine::Engine;
use crate::error::{Cause, CommandError, Context as _, Result};

/// Largest file fetched, bytes.
const FILE_MAX: u64 = 16 << 30;
/// Largest record of what a server said, bytes.
const RECORD_MAX: u64 = 64 << 10;
/// How long to wait for another process that files the same bytes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fills the builder's port.
pub struct Remotes<'a> {
    /// Whose store, proxies and certificates are used.
    pub engine: &'a Engine,
    /// How repositories are fetched.
    pub git: Git,
}

/// What is known of a file that was fetched, kept for the next time.
#[derive(Serialize, Deserialize)]
struct Known {
    url: String,
    digest: String,
    size: u64,
    etag: Option<String>,
    last_modified: Option<String>,
    name: Option<String>,
    modified: Option<i64>,
}

impl Known {
    fn file(&self) -> Option<RemoteFile> {
        let (digest, name) = (self.digest.parse().ok()?, self.name.clone());
        Some(RemoteFile { digest, size: self.size, name, modified: self.modified })
    }
}

/// A nameless file that a download goes into, and the digest of what came.
pub struct Incoming {
    file: File,
    digester: Digester,
}

impl Sink for Incoming {
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.digester = Digester::new();
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digester.update(bytes);
        self.file.write_all(bytes)
    }
}

impl Engine {
    /// Fetches the file at `url` into a nameless file, at its beginning; none if it still is what `known` says.
    ///
    /// # Errors
    /// What the server or the network says, a file that is too large, a full disk.
    pub(super) fn fetch_file(&self, url: &str, known: &Validators) -> Result<Option<(File, Digest, u64, FileFacts)>> {
        let mut incoming = Incoming { file: self.store.scratch_file()?, digester: Digester::new() };
        // One client for each file: its threads are gone before anything forks.
        let client = self.client()?;
        let facts = client.download(url, known, FILE_MAX, &mut incoming);
        drop(client);
        let Some(facts) = facts? else { return Ok(None) };
        let Incoming { mut file, digester } = incoming;
        file.rewind()?;
        let size = digester.size();
        Ok(Some((file, digester.finish(), size, facts)))
    }
}

impl Remotes<'_> {
    fn file(&self, url: &str, checksum: Option<&Digest>) -> Result<RemoteFile> {
        let store = self.engine.store();
        let record = format!("file at {url}");
        let known: Option<Known> =
            store.cache().file(&record, RECORD_MAX)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let here = match known.as_ref().filter(|known| known.url == url).and_then(Known::file) {
            Some(file) => {
                store.protect(&[file.digest])?;
                Some(file)
                    .filter(|file| matches!(store.blobs().size(&file.digest), Ok(Some(size)) if size == file.size))
            }
            None => None,
        };
        if let Some(file) = here.as_ref().filter(|file| checksum == Some(&file.digest)) {
            return Ok(file.clone());
        }
        let validators = match (&here, &known) {
            (Some(_), Some(known)) => {
                Validators { etag: known.etag.clone(), last_modified: known.last_modified.clone() }
            }
            _ => Validators::default(),
        };
        let Some((mut file, digest, size, facts)) = self.engine.fetch_file(url, &validators)? else {
            let file = here.ok_or_else(|| CommandError::new("the server says that an unknown file has not changed"))?;
            return check(file, checksum);
        };
        let fetched = RemoteFile { digest, size, name: facts.name, modified: facts.modified };
        let fetched = check(fetched, checksum)?;
        store.protect(&[digest])?;
        if let Some(mut ingest) = store.blobs().ingest(&digest, size, PATIENCE)? {
            ingest.restart()?;
            io::copy(&mut file, &mut ingest).context("cannot keep what was fetched")?;
            ingest.commit()?;
        }
        let known = Known {
            url: url.to_owned(),
            digest: digest.to_string(),
            size,
            etag: facts.validators.etag,
            last_modified: facts.validators.last_modified,
            name: fetched.name.clone(),
            modified: fetched.modified,
        };
        store.cache().put_file(&record, &serde_json::to_vec(&known)?)?;
        Ok(fetched)
    }
}

fn check(file: RemoteFile, checksum: Option<&Digest>) -> Result<RemoteFile> {
    match checksum {
        Some(wanted) if *wanted != file.digest => {
            Err(CommandError::new(format!("its checksum is {}, not {wanted}", file.digest)))
        }
        _ => Ok(file),
    }
}

impl Remote for Remotes<'_> {
    fn http(&self, url: &str, checksum: Option<&Digest>) -> std::result::Result<RemoteFile, PortError> {
        self.file(url, checksum).map_err(|error| Box::new(Cause(error)) as PortError)
    }

    fn git_commit(&self, source: &GitSource) -> std::result::Result<String, PortError> {
        self.git.commit(source).map_err(|error| Box::new(Cause(error)) as PortError)
    }

    fn git_checkout(&self, source: &GitSource, commit: &str, into: &Path) -> std::result::Result<i64, PortError> {
        self.git.check_out(source, commit, into).map_err(|error| Box::new(Cause(error)) as PortError)
    }
}
