//! The check of a whole store: every blob and tar is hashed again, every table of contents compared with its tar, every
//! name followed. With `repair`, what is damaged is removed, or rebuilt where the bytes it is made of are sound;
//! nothing else is touched.

use std::fs;
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::Store;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::layer::ingest;
use crate::layer::{LayerInfo, Toc};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns: `blob sha256:…`, `tag …`.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What was done about it; `None` if nothing.
    pub repair: Option<&'static str>,
}

/// Checks the store. An empty list means that all is well. What vanishes while it is looked at is no problem.
///
/// # Errors
/// [`Error::Io`] if the store cannot be read or a repair cannot be made.
pub fn check(store: &Store, repair: bool) -> Result<Vec<Problem>> {
    let mut checker = Checker { store, repair, problems: Vec::new() };
    checker.permissions()?;
    for digest in store.blobs().list()? {
        checker.blob(&digest)?;
    }
    for layer in store.layers().list()? {
        checker.layer(&layer)?;
    }
    checker.images()?;
    checker.tags()?;
    checker.cache()?;
    checker.records()?;
    Ok(checker.problems)
}

struct Checker<'a> {
    store: &'a Store,
    repair: bool,
    problems: Vec<Problem>,
}

const REMOVED: &str = "removed";

impl Checker<'_> {
    fn problem(&mut self, subject: String, message: impl Into<String>, done: &'static str) {
        let repair = self.repair.then_some(done);
        self.problems.push(Problem { subject, message: message.into(), repair });
    }

    fn remove(&self, path: &Path) -> Result<()> {
        if !self.repair {
            return Ok(());
        }
        let aside = files::move_aside(self.store.root(), path)?;
        files::sync_parent(path)?;
        aside.map_or(Ok(()), |aside| files::remove_all(&aside))
    }

    fn permissions(&mut self) -> Result<()> {
        let root = self.store.root();
        let mode = fs::metadata(root).map_err(Error::io("stat", root))?.permissions().mode();
        if mode & 0o077 != 0 {
            let message = format!("others may enter it (mode {:o})", mode & 0o7777);
            self.problem("the store's directory".to_owned(), message, "closed");
            if self.repair {
                fs::set_permissions(root, fs::Permissions::from_mode(0o700))
                    .map_err(Error::io("set the mode of", root))?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, digest: &Digest) -> Result<()> {
        let Some(mut reader) = files::optional(self.store.blobs().reader(digest))? else { return Ok(()) };
        if let Some(message) = read_through(&mut reader, &self.store.blobs().path(digest))? {
            self.problem(format!("blob {digest}"), message, REMOVED);
            self.remove(&self.store.blobs().path(digest))?;
        }
        Ok(())
    }

    fn layer(&mut self, layer: &DiffId) -> Result<()> {
        let path = self.store.layers().path(layer);
        let tar_path = path.join("tar");
        let verified = match fs::File::open(&tar_path) {
            Ok(file) => {
                let size = file.metadata().map_err(Error::io("stat", &tar_path))?.len();
                let mut reader = crate::digest::VerifiedReader::new(file, "its tar", layer.0, size);
                read_through(&mut reader, &tar_path)?.map_or(Ok(size), Err)
            }
            Err(_) if !path.exists() => return Ok(()),
            Err(error) => Err(format!("its tar cannot be opened: {error}")),
        };
        let size = match verified {
            Ok(size) => size,
            Err(message) => {
                self.problem(format!("layer {layer}"), message, REMOVED);
                return self.remove(&path);
            }
        };
        let file = fs::File::open(&tar_path).map_err(Error::io("open", &tar_path))?;
        let (toc, notes) = match ingest::contents(BufReader::with_capacity(1 << 18, file)) {
            Ok(contents) => contents,
            Err(error) => {
                self.problem(format!("layer {layer}"), chain(&error), REMOVED);
                return self.remove(&path);
            }
        };
        self.layer_tables(layer, &path, &toc, notes, size)
    }

    /// Compares what is on disk beside a sound tar with what follows from it.
    fn layer_tables(&mut self, layer: &DiffId, path: &Path, toc: &Toc, notes: Vec<String>, size: u64) -> Result<()> {
        let facts = LayerInfo::of(*layer, size, toc, notes);
        let same_toc = self.store.layers().toc(layer).is_ok_and(|ours| ours == *toc);
        let same_facts = self.store.layers().info(layer).is_ok_and(|ours| ours == facts);
        for (name, same, bytes) in [("toc", same_toc, toc.encode()), ("layer.json", same_facts, facts.encode()?)] {
            if same {
                continue;
            }
            self.problem(format!("layer {layer}"), format!("its {name} does not describe its tar"), "rebuilt");
            if self.repair {
                let temporary = self.store.lease()?.temporary("repair");
                files::replace_file(&path.join(name), &temporary, &bytes, Durability::Synced)?;
            }
        }
        if !crate::snapshot::check_layer(self.store, layer, toc, self.repair)? {
            self.problem(format!("layer {layer}"), "its metadata image does not describe its tar", "rebuilt");
        }
        Ok(())
    }

    fn images(&mut self) -> Result<()> {
        for id in self.store.images().list()? {
            let message = match self.store.images().get(&id) {
                Ok(image) => match image.layers().iter().find(|layer| !self.store.layers().has(layer)) {
                    None => continue,
                    Some(layer) => format!("its layer {layer} is missing"),
                },
                Err(error) => chain(&error),
            };
            if self.store.images().has(&id) {
                self.problem(format!("image {id}"), message, REMOVED);
                self.remove(&self.store.images().directory(&id))?;
            }
        }
        Ok(())
    }

    fn tags(&mut self) -> Result<()> {
        let refs = self.store.root().join("refs");
        for name in files::names(&refs)? {
            let path = refs.join(&name);
            let (subject, message) = match self.store.refs().read(&path) {
                Ok(None) => continue,
                Ok(Some(tag)) if self.store.images().has(&tag.image) => continue,
                Ok(Some(tag)) => (format!("tag {}", tag.name), format!("its image {} is missing", tag.image)),
                Err(error) => (format!("tag file {name}"), chain(&error)),
            };
            self.problem(subject, message, REMOVED);
            self.remove(&path)?;
        }
        Ok(())
    }

    fn cache(&mut self) -> Result<()> {
        for key in self.store.cache().list()? {
            if let Err(error) = self.store.cache().read(&key) {
                self.problem(format!("build cache step {key}"), chain(&error), REMOVED);
                if self.repair {
                    self.store.cache().remove(&key)?;
                }
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<()> {
        for records in [self.store.containers(), self.store.volumes(), self.store.networks()] {
            let mut sound = true;
            for id in records.ids()? {
                if let Err(error) = records.read::<serde::de::IgnoredAny>(&id)
                    && !error.is_not_found()
                {
                    sound = false;
                    // Its directory holds a user's data: nothing is removed here.
                    let subject = format!("{} {id}", records.class().noun());
                    self.problems.push(Problem { subject, message: chain(&error), repair: None });
                }
            }
            for id in if sound { records.unreserved(self.repair)? } else { Vec::new() } {
                self.problem(format!("{} {id}", records.class().noun()), "its name is not reserved", "reserved");
            }
        }
        Ok(())
    }
}

/// Reads to the verified end; what is wrong with the bytes, if anything is.
fn read_through(reader: &mut dyn io::Read, path: &Path) -> Result<Option<String>> {
    match io::copy(&mut BufReader::with_capacity(1 << 18, reader), &mut io::sink()) {
        Ok(_) => Ok(None),
        // A disk that cannot read these bytes back has lost them.
        Err(error) if error.kind() == io::ErrorKind::InvalidData || error.raw_os_error() == Some(libc::EIO) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::tests::{image, layer};
    use crate::refs::Expect;
    use crate::testing;

    #[test]
    fn a_sound_store_has_no_problems_and_damage_is_found_and_repaired() {
        let (_dir, store) = testing::store();
        let (one, two) = (layer(&store, "one", 5000), layer(&store, "two", 5000));
        let (good, bad) = (image(&store, &[one.diff_id]), image(&store, &[one.diff_id, two.diff_id]));
        store.refs().set("good", &good, None, Expect::Any).unwrap();
        store.refs().set("bad", &bad, None, Expect::Any).unwrap();
        let blob = store.blobs().put(b"blob").unwrap();
        assert_eq!(check(&store, false).unwrap(), []);

        fs::write(store.blobs().path(&blob), b"bolb").unwrap();
        fs::write(store.layers().path(&one.diff_id).join("toc"), b"x").unwrap();
        let tar = store.layers().path(&two.diff_id).join("tar");
        let mut bytes = fs::read(&tar).unwrap();
        bytes[1000] ^= 1;
        fs::write(&tar, bytes).unwrap();
        fs::write(store.root().join("refs").join(Digest::of(b"z").hex()), b"{").unwrap();
        fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();

        let found = check(&store, false).unwrap();
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found.iter().all(|problem| problem.repair.is_none()));
        let repaired = check(&store, true).unwrap();
        // Without its layer the bad image goes too, and then its tag.
        assert_eq!(repaired.len(), 7, "{repaired:#?}");
        assert_eq!(check(&store, false).unwrap(), []);
        assert!(!store.layers().has(&two.diff_id) && !store.images().has(&bad));
        assert!(store.images().has(&good) && store.refs().get("good").unwrap().is_some());
        assert_eq!(store.layers().toc(&one.diff_id).unwrap().entries().len(), 2);
    }
}
