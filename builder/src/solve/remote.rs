//! Sources of ADD on the net. What they mean now is found out before the step is looked up: a file by its content, a
//! repository by its commit, which costs no download if the step is cached. A repository is checked out only when the
//! step runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use store::layer::{LayerPath, Time};

use super::Solver;
use super::run::Scratch;
use super::steps::CopyWork;
use crate::context::BuildContext;
use crate::files::{Content, Files, Node, NodeKind, RemoteFiles};
use crate::git::GitSource;
use crate::key::KeyBuilder;
use crate::op::OpError;
use crate::op::select::{self, Found, How, Selected};
use crate::plan::{CopyOp, Source};
use crate::ports::RemoteFile;

/// Mode of a file from the net without `--chmod` (Dockerfile reference, "ADD").
const FILE_MODE: u32 = 0o600;

/// What a source on the net means now.
pub(super) enum Resolved {
    /// A file.
    File(RemoteFile, String),
    /// A commit.
    Commit(String),
}

impl Solver<'_> {
    /// Finds out what the sources on the net mean, and adds to `key` what the selected files do not say.
    pub(super) fn resolve_remotes(
        &self,
        op: &CopyOp,
        work: &mut CopyWork<'_>,
        key: &mut KeyBuilder,
    ) -> Result<(), OpError> {
        for (number, source) in op.sources.iter().enumerate() {
            let resolved = match source {
                Source::Path(_) => continue,
                Source::Http { url, checksum } => {
                    let port = |source| OpError::Port { action: format!("fetch {}", without_password(url)), source };
                    let file = self.ports.remote.http(url, checksum.as_ref()).map_err(port)?;
                    let name = file_name(url, &file);
                    if name.is_empty() && op.destination.ends_with('/') {
                        return Err(OpError::Advised {
                            message: format!("{} names no file", without_password(url)),
                            hint: "give the destination a name that does not end in a slash".to_owned(),
                        });
                    }
                    Resolved::File(file, name)
                }
                Source::Git(source) => {
                    let commit = self.git_commit(source)?;
                    let how =
                        format!("{commit} {:?} {} {}", source.directory, source.keep_git_dir, source.no_submodules);
                    key.part(format!("git {number}"), how.as_bytes());
                    Resolved::Commit(commit)
                }
            };
            work.remotes.insert(number, resolved);
        }
        Ok(())
    }

    fn git_commit(&self, source: &GitSource) -> Result<String, OpError> {
        let port =
            |error| OpError::Port { action: format!("look at {}", without_password(&source.url)), source: error };
        let commit = self.ports.remote.git_commit(source).map_err(port)?;
        match &source.commit {
            Some(wanted) if !commit.starts_with(wanted.as_str()) => Err(OpError::Advised {
                message: format!("{} is at commit {commit}, not {wanted}", without_password(&source.url)),
                hint: "name the commit itself behind #, or mend the checksum".to_owned(),
            }),
            _ => Ok(commit),
        }
    }

    /// The files that source `number` stands for; none for a repository, whose commit is in the key.
    pub(super) fn select_remote(&self, work: &CopyWork<'_>, number: usize) -> Result<Vec<Selected>, OpError> {
        let Some(Resolved::File(file, name)) = work.remotes.get(&number) else { return Ok(Vec::new()) };
        let mtime = Time { seconds: file.modified.unwrap_or(0), nanoseconds: 0 };
        let kind = NodeKind::File(file.size);
        let node = Node { kind, mode: FILE_MODE, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link: None };
        let root = Found {
            path: LayerPath::root(),
            source: LayerPath::parse(b"file")?,
            node: node.clone(),
            content: Some(Content { digest: file.digest, xattrs: Vec::new() }),
            only_parent: false,
        };
        let files = Arc::new(RemoteFiles::new(self.store, file.digest, node));
        Ok(vec![Selected { files, name: name.as_bytes().to_vec(), root, inside: Vec::new(), parents: false }])
    }

    /// Checks out the repository of source `number`, and selects its files. They lie in a directory that goes into
    /// `held`, and have the time of the commit, so that one commit gives the same bytes each time.
    pub(super) fn check_out(
        &self,
        work: &CopyWork<'_>,
        number: usize,
        source: &GitSource,
        held: &mut Vec<Scratch>,
    ) -> Result<Vec<Selected>, OpError> {
        let Some(Resolved::Commit(commit)) = work.remotes.get(&number) else { return Ok(Vec::new()) };
        let scratch = Scratch(self.store.scratch()?);
        let at = scratch.0.join("files");
        fs::create_dir(&at)
            .and_then(|()| fs::set_permissions(&at, fs::Permissions::from_mode(0o755)))
            .map_err(|error| OpError::io(format!("create {}", at.display()), error))?;
        held.push(scratch);
        let port =
            |error| OpError::Port { action: format!("check out {}", without_password(&source.url)), source: error };
        let seconds = self.ports.remote.git_checkout(source, commit, &at).map_err(port)?;
        // No ignore file of the repository speaks here.
        let files = BuildContext::open(self.store, &at, "", Some(b""))?;
        let files: Arc<dyn Files> = Arc::new(files.called(&format!("the repository {}", source.name())));
        let how = How { exclude: &work.op.exclude, parents: false };
        let path = match source.directory.as_str() {
            "" => "/".to_owned(),
            directory => super::run::escape(directory),
        };
        let mut selected = select::select(&files, &path, how)?;
        for found in &mut selected {
            if !found.root.node.is_directory() {
                return Err(OpError::Message(format!("{} is no directory of {}", source.directory, files.name())));
            }
            let mtime = Time { seconds, nanoseconds: 0 };
            found.root.node.mtime = mtime;
            found.inside.iter_mut().for_each(|inner| inner.node.mtime = mtime);
        }
        select::hash(&mut selected, &self.cancel)?;
        Ok(selected)
    }
}

/// The name a file gets where it is copied into a directory: the server's, or the last one of the URL's path.
fn file_name(url: &str, file: &RemoteFile) -> String {
    let usable = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() < 256;
    if let Some(name) = file.name.as_deref().filter(usable) {
        return name.to_owned();
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, path)| path).rsplit('/').next().unwrap_or_default();
    Some(decode(name)).as_deref().filter(usable).unwrap_or_default().to_owned()
}

/// A name with `%41` and the like as the characters they stand for; as it is, if that is no text.
fn decode(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

/// An address as it is shown: without user and password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let file = |name: Option<&str>| RemoteFile {
            digest: store::Digest::of(b""),
            size: 0,
            name: name.map(str::to_owned),
            modified: None,
        };
        for (url, given, expected) in [
            ("http://h/a/b.tgz?x=/y#z", None, "b.tgz"),
            ("http://h/a%20b", None, "a b"),
            ("http://h/a%2fb", None, ""),
            ("http://h/%2e%2e", None, ""),
            ("http://h/", None, ""),
            ("http://h", None, ""),
            ("http://h/x", Some("server.txt"), "server.txt"),
            ("http://h/x", Some("../../etc/passwd"), "x"),
        ] {
            assert_eq!(file_name(url, &file(given)), expected, "{url}");
        }
        assert_eq!(without_password("https://u:p@h/x@y"), "https://h/x@y");
        assert_eq!(without_password("git@h:x"), "git@h:x");
    }
}
