//! Places: every directory of a store is there, every file in one that knows it, and nobody but the owner may read or
//! change them. What users put into containers, volumes and cache mounts is theirs and not looked at.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Checker, REMOVED};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::{DIRECTORIES, files};

/// Names in the store's directory that are no directories of [`DIRECTORIES`], and directories that are made at first need.
const OTHERS: [&str; 6] = ["version", "journal", "journal.1", "boot-explained", "spare", "cache/logs"];
/// What may lie in a layer's directory.
const OF_LAYER: [&str; 7] = ["tar", "toc", "layer.json", "erofs", "side", "tree", "tree-user"];
/// What may lie in a chain's.
const OF_CHAIN: [&str; 5] = ["layers", "erofs", "side", "tree", "tree-user"];
/// Mode bits that nothing of ours has: writable by others, or with the rights of somebody else.
const TOO_MANY: u32 = 0o7022;

impl Checker<'_> {
    pub(super) fn places(&mut self) -> Result<()> {
        let root = self.store.root().to_path_buf();
        let about = fs::metadata(&root).map_err(Error::io("stat", &root))?;
        if about.permissions().mode() & 0o077 != 0 {
            let message = format!("others may enter it (mode {:o})", about.permissions().mode() & 0o7777);
            self.problem("the store's directory".to_owned(), message, Some("closed"), None);
            self.set_mode(&root, 0o700)?;
        }
        for name in DIRECTORIES {
            let path = root.join(name);
            let missing = || Ok((!fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir())).then_some(()));
            if missing()?.is_some() {
                let there = fs::symlink_metadata(&path).is_ok();
                let message = if there { "is no directory" } else { "is missing" };
                let done = (!there).then_some("made");
                self.problem(format!("the directory {name}"), message.to_owned(), done, None);
                if self.options.repair && !there {
                    files::create_dir(&path)?;
                }
            }
        }
        let top = |name: &str| {
            let known = |known: &str| known.split('/').next() == Some(name);
            DIRECTORIES.iter().chain(&OTHERS).any(|ours| known(ours)) || name.starts_with("version-")
        };
        let hex = |name: &str| Digest::from_hex(name).is_ok();
        self.strays(&root, top)?;
        self.strays(&root.join("blobs"), |name| name == "sha256")?;
        self.strays(&root.join("layers"), |name| name == "sha256")?;
        for place in ["blobs/sha256", "layers/sha256", "images", "chains", "refs", "ingest", "cache/steps"] {
            self.strays(&root.join(place), hex)?;
        }
        let cache = |name: &str| ["steps", "mounts", "files", "notes", "logs"].contains(&name);
        self.strays(&root.join("cache"), cache)?;
        for (place, known) in
            [("layers/sha256", &OF_LAYER[..]), ("chains", &OF_CHAIN[..]), ("images", &["record.json"][..])]
        {
            for name in files::names(&root.join(place))?.into_iter().filter(|name| hex(name)) {
                self.strays(&root.join(place).join(name), |name| known.contains(&name))?;
            }
        }
        self.modes(about.uid())
    }

    /// Whatever lies in a directory that has no business there.
    fn strays(&mut self, directory: &Path, known: impl Fn(&str) -> bool) -> Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return self.stray(directory.to_path_buf(), "is no directory");
            }
            entries => entries.map_err(Error::io("read the directory", directory))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("read the directory", directory))?;
            if !entry.file_name().to_str().is_some_and(&known) {
                self.stray(entry.path(), "does not belong here")?;
            }
        }
        Ok(())
    }

    fn stray(&mut self, path: PathBuf, message: &str) -> Result<()> {
        let there = || Ok(fs::symlink_metadata(&path).is_ok().then_some(()));
        if self.confirmed(there)?.is_some() {
            self.problem(format!("file {}", self.within(&path)), message.to_owned(), Some(REMOVED), None);
            self.remove(&path)?;
        }
        Ok(())
    }

    fn within(&self, path: &Path) -> String {
        path.strip_prefix(self.store.root()).unwrap_or(path).display().to_string()
    }

    /// Owner and mode of everything that is ours alone.
    fn modes(&mut self, owner: u32) -> Result<()> {
        let root = self.store.root().to_path_buf();
        let mut pending: Vec<PathBuf> = Vec::new();
        for name in files::names(&root)? {
            if !["tmp", "trash", "spare"].contains(&name.as_str()) {
                pending.push(root.join(name));
            }
        }
        while let Some(path) = pending.pop() {
            let Some(about) = files::optional(fs::symlink_metadata(&path).map_err(Error::io("stat", &path)))? else {
                continue;
            };
            // Names of records are links.
            if about.is_symlink() {
                continue;
            }
            if let Some(message) = wrong_mode(&about, owner) {
                let mode = if about.is_dir() { 0o700 } else { 0o600 };
                self.problem(format!("file {}", self.within(&path)), message, Some("set right"), None);
                self.set_mode(&path, mode)?;
                if self.options.repair && about.uid() != owner {
                    std::os::unix::fs::lchown(&path, Some(owner), None).map_err(Error::io("give back", &path))?;
                }
            }
            if about.is_dir() {
                pending.extend(self.ours_in(&path)?);
            }
        }
        Ok(())
    }

    /// What lies in a directory and is ours rather than a user's.
    fn ours_in(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let within = directory.strip_prefix(self.store.root()).unwrap_or(directory);
        let parts: Vec<&str> = within.iter().filter_map(|part| part.to_str()).collect();
        let names = files::names(directory)?;
        let ours = |name: &String| match parts.as_slice() {
            ["layers", "sha256", _] | ["chains", _] => !name.starts_with("tree"),
            // A volume that is a file system is one file, and ours; what is mounted or written is a user's.
            ["containers" | "volumes" | "networks", id] if *id != "names" => name == "record.json",
            ["cache", "mounts"] => name.contains('.'),
            _ => true,
        };
        Ok(names.into_iter().filter(ours).map(|name| directory.join(name)).collect())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        match self.options.repair {
            true => {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("set the mode of", path))
            }
            false => Ok(()),
        }
    }
}

/// What is wrong with owner and mode of a file of ours.
fn wrong_mode(about: &Metadata, owner: u32) -> Option<String> {
    let mode = about.permissions().mode() & 0o7777;
    let least = if about.is_dir() { 0o700 } else { 0o600 };
    if !about.is_dir() && !about.is_file() {
        return Some("is neither file nor directory".to_owned());
    }
    if about.uid() != owner {
        return Some(format!("belongs to user {} rather than {owner}", about.uid()));
    }
    (mode & TOO_MANY != 0 || mode & least != least).then(|| format!("has the mode {mode:o}"))
}
