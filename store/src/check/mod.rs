//! The check of a whole store: every blob and tar is hashed again, every table of contents and metadata image compared
//! with its tar, every name followed, every file in its place and nobody else's. With `repair`, what is damaged is removed, or
//! rebuilt where the bytes it is made of are sound; nothing else is touched.
//!
//! Others may work on the store meanwhile. What looks wrong is looked at again while the collector is held off and, as a
//! writer may be between two steps, a few times; only what stays wrong is a problem.

mod content;
mod names;
mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use serde::de::IgnoredAny;

use crate::Store;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::files;

/// How often what looks wrong is looked at again, and how far apart.
const LOOKS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(40);

/// How thorough a check is, and what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Remove or rebuild what is damaged.
    pub repair: bool,
    /// Read no contents: names, records, sizes and permissions alone.
    pub quick: bool,
}

/// Who needs something: named in a problem, so that whoever reads it knows what is affected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needer {
    /// The image of this tag; whether it came from a registry, which then has it still.
    Tag(String, bool),
    /// The container of this name.
    Container(String),
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns: `blob sha256:…`, `tag …`.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What was done about it; `None` if nothing.
    pub repair: Option<&'static str>,
    /// Images and containers that need it.
    pub needed_by: Vec<Needer>,
}

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many layers were looked at.
    pub layers: usize,
    /// How many blobs.
    pub blobs: usize,
    /// How many images.
    pub images: usize,
    /// Bytes that were read and hashed.
    pub bytes: u64,
    /// What is not as it must be.
    pub problems: Vec<Problem>,
}

/// Checks the store. No problems means that all is well. What vanishes while it is looked at is none.
///
/// # Errors
/// [`Error::Io`] if the store cannot be read or a repair cannot be made.
pub fn check(store: &Store, options: CheckOptions) -> Result<Report> {
    let needs = needs(store)?;
    let mut checker = Checker { store, options, needs, report: Report::default() };
    checker.places()?;
    for digest in store.blobs().list()? {
        checker.blob(&digest)?;
    }
    for layer in store.layers().list()? {
        checker.layer(&layer)?;
    }
    checker.chains()?;
    checker.images()?;
    checker.tags()?;
    checker.cache()?;
    checker.records()?;
    Ok(checker.report)
}

struct Checker<'a> {
    store: &'a Store,
    options: CheckOptions,
    needs: HashMap<Digest, BTreeSet<Needer>>,
    report: Report,
}

const REMOVED: &str = "removed";
const REBUILT: &str = "rebuilt";

impl Checker<'_> {
    /// Notes a problem; `done` is what a repair does about it.
    fn problem(&mut self, subject: String, message: String, done: Option<&'static str>, needed: Option<&Digest>) {
        let needed_by = needed.and_then(|digest| self.needs.get(digest)).into_iter().flatten().cloned().collect();
        let repair = done.filter(|_| self.options.repair);
        self.report.problems.push(Problem { subject, message, repair, needed_by });
    }

    /// What `look` finds wrong, if it goes on finding it.
    fn confirmed<T>(&self, look: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
        let mut found = look()?;
        for _ in 0..LOOKS {
            if found.is_none() {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
            let _collector = self.store.hold_collector()?;
            found = look()?;
        }
        Ok(found)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        if !self.options.repair {
            return Ok(());
        }
        if let Some(aside) = files::move_aside(self.store.root(), path)? {
            files::sync_parent(path)?;
            files::remove_all(&aside)?;
        }
        Ok(())
    }
}

/// Which tags and containers need each blob, layer and image.
fn needs(store: &Store) -> Result<HashMap<Digest, BTreeSet<Needer>>> {
    let mut direct: HashMap<Digest, BTreeSet<Needer>> = HashMap::new();
    let refs = store.root().join("refs");
    for name in files::names(&refs)? {
        // One that cannot be read is told of later.
        if let Ok(Some(tag)) = store.refs().read(&refs.join(name)) {
            let needer = Needer::Tag(tag.name.clone(), tag.manifest.is_some());
            for digest in tag.images().map(|id| id.0).chain(tag.attached.iter().copied()) {
                direct.entry(digest).or_default().insert(needer.clone());
            }
        }
    }
    let containers = store.containers();
    for id in containers.ids()? {
        if let Ok(record) = containers.read::<IgnoredAny>(&id) {
            for digest in record.uses {
                direct.entry(digest).or_default().insert(Needer::Container(record.name.clone()));
            }
        }
    }
    let mut needs = direct.clone();
    for (digest, who) in &direct {
        if let Ok(image) = store.images().get(&ImageId(*digest)) {
            let layers = image.layers().iter().map(|layer| layer.0);
            for part in layers.chain(image.record.manifests.iter().copied()) {
                needs.entry(part).or_default().extend(who.iter().cloned());
            }
        }
    }
    Ok(needs)
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
