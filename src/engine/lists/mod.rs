//! Lists of images that are made here (`img manifest`): indexes that are kept whole, under a name, whose entries a user chooses.
//!
//! A list that changes is written anew and its name pointed there by compare and swap, so that two who add to it lose nothing.
//! What an entry names has its final digest from the beginning: an image that never left this store is compressed once to
//! learn it, as a push does, and compressed to the same bytes when the list is pushed.

mod entry;
mod target;

use std::collections::BTreeMap;

use registry_client::Descriptor;
use serde_json::Value;
use store::image::Image;
use store::refs::{Expect, Tag};
use store::{Digest, ImageId};

pub use entry::EntryOptions;

use entry::{annotate, empty_index, entries, put};

use super::Engine;
use super::archive::MANIFEST_MAX;
use super::names::Found;
use super::progress::Progress;
use super::pull::to_store;
use super::transport::Access;
use crate::error::{CommandError, Context as _, Result};

/// How often a list is changed anew that somebody else has changed meanwhile.
const TRIES: u32 = 50;

impl Engine {
    /// Makes a list with these images, or with `amend` adds them to the one there is. Gives its digest.
    ///
    /// # Errors
    /// The name is in use, an image that is nowhere.
    pub fn create_list(
        &self,
        name: &str,
        members: &[String],
        (amend, all): (bool, bool),
        annotations: &BTreeMap<String, String>,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let canonical = self.tag_reference(name)?;
        let there = self.store.refs().get(&canonical)?;
        match &there {
            None => {
                let target = self.list_target(&serde_json::to_vec(&empty_index())?, &[])?;
                self.store.refs().point(&canonical, &target, Expect::Absent)?;
            }
            Some(tag) if amend => drop(self.list_of(tag.clone(), name)?),
            Some(_) => {
                return Err(CommandError::new(format!("cannot make the list {name}: the name is in use"))
                    .hint("--amend adds to a list that there is"));
            }
        }
        let made = members
            .iter()
            .map(|member| self.gather(name, member, &EntryOptions::default(), all, access, progress))
            .collect::<Result<Vec<Gathered>>>()
            .and_then(|gathered| {
                self.change_list(name, |index, images| {
                    annotate(index, annotations);
                    gathered.iter().try_for_each(|one| one.put_into(index, images))
                })
            });
        if made.is_err() && there.is_none() {
            // What could not be made as it was asked for is not left half made.
            self.remove_image(name, true)?;
        }
        made
    }

    /// Lets each of `names` stand for a list of exactly these images, whatever it stood for. Gives its digest.
    ///
    /// # Errors
    /// No name, a full disk.
    pub fn name_list(&self, names: &[String], images: &[ImageId]) -> Result<Digest> {
        let names = names.iter().map(|name| self.tag_reference(name)).collect::<Result<Vec<_>>>()?;
        let mut index = empty_index();
        for id in images {
            let image = self.store.images().get(id)?;
            put(&mut index, self.manifest_of(&image, None)?.descriptor(Some(&image), &BTreeMap::new()))?;
        }
        let bytes = serde_json::to_vec(&index)?;
        let target = self.list_target(&bytes, images)?;
        for name in &names {
            self.store.refs().point(name, &target, Expect::Any)?;
            self.image_event("tag", &target.image, Some(name));
        }
        Ok(Digest::of(&bytes))
    }

    /// Adds an image to a list, or with `all` everything that it lists if it is an index. Gives the list's digest.
    ///
    /// # Errors
    /// No such list, an image that is nowhere.
    pub fn add_to_list(
        &self,
        list: &str,
        member: &str,
        options: &EntryOptions,
        all: bool,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        self.list(list)?;
        let gathered = self.gather(list, member, options, all, access, progress)?;
        self.change_list(list, |index, images| gathered.put_into(index, images))
    }

    /// What is to be added to a list: its images are here then, and stay while this process needs them.
    fn gather(
        &self,
        list: &str,
        member: &str,
        options: &EntryOptions,
        all: bool,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Gathered> {
        let members = self
            .members(member, all, options.platform().as_ref(), access, progress)
            .with_context(|| format!("cannot add {member} to {list}"))?;
        let mut added = Vec::new();
        match &members.index {
            Some(document) => {
                let mut index: Value = serde_json::from_slice(&document.bytes)?;
                added.append(entries(&mut index)?);
            }
            None => {
                for id in &members.images {
                    let image = self.store.images().get(id)?;
                    let manifest = self.manifest_of(&image, members.named.as_ref())?;
                    added.push(manifest.descriptor(Some(&image), &BTreeMap::new()));
                }
            }
        }
        added.iter_mut().for_each(|entry| options.apply(entry));
        Ok(Gathered { images: members.images, entries: added })
    }

    /// Says something else of an entry of a list, which is named by its digest or by its image, or of the list itself. Gives
    /// the list's digest.
    ///
    /// # Errors
    /// No such list or entry.
    pub fn annotate_list(&self, list: &str, member: Option<&str>, options: &EntryOptions) -> Result<Digest> {
        let Some(member) = member else {
            return self.change_list(list, |index, _| {
                annotate(index, &options.annotations);
                Ok(())
            });
        };
        let digests = self.digests_of(member)?;
        self.change_list(list, |index, _| {
            let entry = entries(index)?.iter_mut().find(|entry| is_one_of(entry, &digests));
            options.apply(entry.ok_or_else(|| not_listed(list, member))?);
            Ok(())
        })
    }

    /// Takes an entry out of a list. Gives the list's digest.
    ///
    /// # Errors
    /// No such list or entry.
    pub fn remove_from_list(&self, list: &str, member: &str) -> Result<Digest> {
        let digests = self.digests_of(member)?;
        self.change_list(list, |index, _| {
            let entries = entries(index)?;
            let before = entries.len();
            entries.retain(|entry| !is_one_of(entry, &digests));
            if entries.len() == before { Err(not_listed(list, member)) } else { Ok(()) }
        })
    }

    /// Removes lists, and those of their images that have no other name; says what went, as `rmi` does.
    ///
    /// # Errors
    /// No such list; an image is none.
    pub fn remove_list(&self, name: &str, ignore: bool) -> Result<Vec<String>> {
        if ignore && self.look_up_image(name)?.is_none() {
            return Ok(Vec::new());
        }
        self.list(name)?;
        self.remove_image(name, false)
    }

    /// Whether a name is that of a list.
    ///
    /// # Errors
    /// A damaged store.
    pub fn is_list(&self, name: &str) -> Result<bool> {
        let Some(tag) = self.look_up_image(name)?.and_then(|found| found.tag) else { return Ok(false) };
        Ok(self.as_list(tag)?.is_some())
    }

    /// The list of a name: its tag, and the index.
    fn list(&self, name: &str) -> Result<(Tag, Digest, Value)> {
        let found = self.look_up_image(name)?;
        let found = found.ok_or_else(|| {
            CommandError::new(format!("no such list: {name}")).hint("`img manifest create` makes one")
        })?;
        let no = || CommandError::new(format!("{name} is an id, and a list has a name"));
        self.list_of(found.tag.ok_or_else(no)?, name)
    }

    fn list_of(&self, tag: Tag, name: &str) -> Result<(Tag, Digest, Value)> {
        let no = || {
            CommandError::new(format!("{name} is an image, not a list of images that is kept whole"))
                .hint("`img manifest create` makes a list, `img pull --all-platforms` keeps one")
        };
        self.as_list(tag)?.ok_or_else(no)
    }

    /// What was found, unless it is a list that has no image yet: an image is wanted.
    ///
    /// # Errors
    /// It is such a list.
    pub(super) fn not_empty(&self, found: Found, name: &str) -> Result<Found> {
        // The second saves the reading of most indexes.
        let Some(tag) = found.tag.as_ref().filter(|tag| tag.is_whole() && found.image.layers().is_empty()) else {
            return Ok(found);
        };
        if !lists_none_of(&self.entries(tag)?, tag, &found.image) {
            return Ok(found);
        }
        Err(CommandError::new(format!("the list {name} has no image yet"))
            .hint(format!("`img manifest add {name} IMAGE` adds one")))
    }

    fn as_list(&self, tag: Tag) -> Result<Option<(Tag, Digest, Value)>> {
        let Some(digest) = tag.manifest.filter(|_| tag.is_whole()) else { return Ok(None) };
        let bytes = self.store.blobs().get(&digest, MANIFEST_MAX)?;
        let index = serde_json::from_slice::<Value>(&bytes)?;
        Ok(index.get("manifests").is_some().then_some((tag, digest, index)))
    }

    /// Changes a list by `work`, which gets the index and the images that it may list.
    fn change_list(
        &self,
        name: &str,
        mut work: impl FnMut(&mut Value, &mut Vec<ImageId>) -> Result<()>,
    ) -> Result<Digest> {
        for _ in 0..TRIES {
            let (tag, before, mut index) = self.list(name)?;
            let mut images: Vec<ImageId> = tag.images().collect();
            self.store
                .protect(&images.iter().map(|id| id.0).chain(tag.attached.iter().copied()).collect::<Vec<_>>())?;
            work(&mut index, &mut images)?;
            let bytes = serde_json::to_vec(&index)?;
            let digest = Digest::of(&bytes);
            if digest == before {
                return Ok(digest);
            }
            let target = self.list_target(&bytes, &images)?;
            match self.store.refs().point(&tag.name, &target, Expect::Manifest(before)) {
                Err(store::Error::Conflict(_)) => continue,
                pointed => drop(pointed?),
            }
            self.image_event("tag", &target.image, Some(&tag.name));
            if target.image != tag.image && self.store.images().get(&tag.image)?.layers().is_empty() {
                // What stood for the list while it listed nothing.
                self.forget_images(&[tag.image])?;
            }
            return Ok(digest);
        }
        Err(CommandError::new(format!("the list {name} is changed by others again and again")))
    }

    /// The digests by which a list may name `member`: itself, or the manifests of the image that it names.
    fn digests_of(&self, member: &str) -> Result<Vec<String>> {
        if member.starts_with("sha256:") {
            return Ok(vec![member.to_owned()]);
        }
        if let Some((_, digest)) = member.split_once('@') {
            return Ok(vec![digest.to_owned()]);
        }
        let found = self.find_image(member)?;
        Ok(found.image.record.manifests.iter().map(Digest::to_string).collect())
    }
}

/// Images that are here, and how a list names them.
struct Gathered {
    images: Vec<ImageId>,
    entries: Vec<Value>,
}

impl Gathered {
    fn put_into(&self, index: &mut Value, images: &mut Vec<ImageId>) -> Result<()> {
        images.extend(&self.images);
        self.entries.iter().try_for_each(|entry| put(index, entry.clone()))
    }
}

/// Whether a tag stands for a list whose entries do not name its image: one without files stands in for those to come.
pub(super) fn lists_none_of(entries: &[Descriptor], tag: &Tag, image: &Image) -> bool {
    let named = |entry: &Descriptor| image.record.manifests.contains(&to_store(&entry.digest));
    tag.is_whole() && image.layers().is_empty() && !entries.iter().any(named)
}

fn is_one_of(entry: &Value, digests: &[String]) -> bool {
    entry.get("digest").and_then(Value::as_str).is_some_and(|own| digests.iter().any(|digest| digest == own))
}

fn not_listed(list: &str, member: &str) -> CommandError {
    CommandError::new(format!("{list} does not list {member}"))
        .hint(format!("`img manifest inspect {list}` shows the digests"))
}
