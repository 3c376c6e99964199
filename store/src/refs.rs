//! Tags: names of images, one small file each, `refs/<sha256 of the name>` with the name inside (so that `a` and
//! `a/b` never clash and no name is ever a path).
//!
//! A tag changes by compare and swap under its own lock, synced, and is written after what it names. Names are
//! canonical references made elsewhere; here they are opaque.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::lock::{self, LockFile, LockMode};

/// The longest file of a tag. An index as long as this fits that lists images alone, for each takes more room there than its digest here.
const TAG_MAX: u64 = 4 << 20;
const NAME_MAX: usize = 512;

/// A name and the image it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The canonical reference, like `docker.io/library/ubuntu:latest`.
    pub name: String,
    /// The image.
    pub image: ImageId,
    /// The manifest or index the name was pulled as or pushed as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Of an index that is kept whole, the images of the other platforms. They stay and go with the tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<ImageId>,
    /// Of such an index, the blobs of what it lists that is no image, as attestations, and its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<Digest>,
    /// When the tag was last set.
    pub updated: Timestamp,
}

impl Tag {
    /// Whether it stands for an index that is kept whole: with its other platforms, and the document itself among what is
    /// attached.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.platforms.is_empty() || !self.attached.is_empty()
    }

    /// Its image and those of the other platforms.
    pub fn images(&self) -> impl Iterator<Item = ImageId> {
        std::iter::once(self.image).chain(self.platforms.iter().copied())
    }
}

/// What a name is to stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The image.
    pub image: ImageId,
    /// The manifest or index the name was pulled as or pushed as.
    pub manifest: Option<Digest>,
    /// The images of the other platforms, where the index is kept whole.
    pub platforms: Vec<ImageId>,
    /// The blobs of what else that index lists.
    pub attached: Vec<Digest>,
}

impl Target {
    /// An index that is kept whole: of its images the first is what the name stands for. None if there is no image.
    #[must_use]
    pub fn of_index(index: Digest, images: &[ImageId], attached: Vec<Digest>) -> Option<Self> {
        let (image, others) = images.split_first()?;
        let mut platforms = Vec::new();
        for other in others {
            if other != image && !platforms.contains(other) {
                platforms.push(*other);
            }
        }
        Some(Self { image: *image, manifest: Some(index), platforms, attached })
    }
}

impl From<&Tag> for Target {
    fn from(tag: &Tag) -> Self {
        let (platforms, attached) = (tag.platforms.clone(), tag.attached.clone());
        Self { image: tag.image, manifest: tag.manifest, platforms, attached }
    }
}

/// What a tag must be for [`Refs::set`] to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Not there.
    Absent,
    /// This image's.
    Image(ImageId),
    /// For this manifest or index.
    Manifest(Digest),
}

/// The tags of a store.
#[derive(Clone, Copy, Debug)]
pub struct Refs<'a> {
    store: &'a Store,
}

impl<'a> Refs<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.root().join("refs").join(Digest::of(name.as_bytes()).hex())
    }

    fn lock(&self, name: &str) -> Result<LockFile> {
        let path = self.store.root().join("locks").join(format!("ref-{}", Digest::of(name.as_bytes()).hex()));
        Ok(LockFile::acquire(&path, LockMode::Exclusive, lock::SHORT)?.removed_on_release())
    }

    /// Lets `name` stand for `image`, if it is now what `expect` says. Returns the image it stood for before.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the image is not in the store, [`Error::Conflict`] if the tag is not as expected,
    /// [`Error::Invalid`] for a bad name, [`Error::Io`], [`Error::LockTimeout`].
    pub fn set(
        &self,
        name: &str,
        image: &ImageId,
        manifest: Option<Digest>,
        expect: Expect,
    ) -> Result<Option<ImageId>> {
        let (platforms, attached) = (Vec::new(), Vec::new());
        self.point(name, &Target { image: *image, manifest, platforms, attached }, expect)
    }

    /// As [`Refs::set`], also for an index that is kept whole.
    ///
    /// # Errors
    /// As [`Refs::set`]; [`Error::Invalid`] for an index that lists more than a tag can name.
    pub fn point(&self, name: &str, target: &Target, expect: Expect) -> Result<Option<ImageId>> {
        validate(name)?;
        let Target { image, manifest, platforms, attached } = target.clone();
        let tag = Tag { name: name.to_owned(), image, manifest, platforms, attached, updated: Timestamp::now() };
        let bytes = serde_json::to_vec(&tag).map_err(|e| Error::Invalid { what: "tag", reason: e.to_string() })?;
        if bytes.len() as u64 > TAG_MAX {
            let listed = tag.platforms.len() + tag.attached.len();
            let reason = format!(
                "{name} would name {listed} images and blobs in {} bytes, and {TAG_MAX} is the most",
                bytes.len()
            );
            return Err(Error::Invalid { what: "tag", reason });
        }
        let Tag { platforms, attached, .. } = &tag;
        let lease = self.store.lease()?;
        let named: Vec<Digest> = platforms.iter().map(|id| id.0).chain(attached.iter().copied()).collect();
        lease.protect(&[&[image.0], &named[..]].concat())?;
        let _lock = self.lock(name)?;
        // From here to the end nobody removes the image.
        let _collector = self.store.hold_collector()?;
        if let Some(absent) = std::iter::once(&image).chain(platforms).find(|id| !self.store.images().has(id)) {
            return Err(Error::NotFound { kind: "image", name: absent.to_string() });
        }
        if let Some(absent) = attached.iter().find(|blob| !self.store.blobs().has(blob)) {
            return Err(Error::NotFound { kind: "blob", name: absent.to_string() });
        }
        let now = self.get(name)?;
        let before = now.as_ref().map(|tag| tag.image);
        let fits = match expect {
            Expect::Any => true,
            Expect::Absent => before.is_none(),
            Expect::Image(id) => before == Some(id),
            Expect::Manifest(digest) => now.is_some_and(|tag| tag.manifest == Some(digest)),
        };
        if !fits {
            let now = before.map_or_else(|| "is not there".to_owned(), |id| format!("is image {}", id.short()));
            return Err(Error::Conflict(format!("the tag {name} was changed meanwhile: it {now}")));
        }
        let temporary = lease.temporary("ref");
        files::replace_file(&self.path(name), &temporary, &bytes, Durability::Synced)?;
        Ok(before)
    }

    /// The tag `name`, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn get(&self, name: &str) -> Result<Option<Tag>> {
        self.read(&self.path(name))
    }

    /// Removes the tag `name` if it is now what `expect` says, and returns it. Its image stays until collected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`], [`Error::Io`], [`Error::LockTimeout`].
    pub fn remove(&self, name: &str, expect: Expect) -> Result<Tag> {
        let _lock = self.lock(name)?;
        let missing = || Error::NotFound { kind: "tag", name: name.to_owned() };
        let tag = self.get(name)?.ok_or_else(missing)?;
        let other = match expect {
            Expect::Any => false,
            Expect::Absent => true,
            Expect::Image(id) => id != tag.image,
            Expect::Manifest(digest) => tag.manifest != Some(digest),
        };
        if other {
            return Err(Error::Conflict(format!(
                "the tag {name} was changed meanwhile: it is image {}",
                tag.image.short()
            )));
        }
        let path = self.path(name);
        files::remove_all(&path)?;
        files::sync_parent(&path)?;
        Ok(tag)
    }

    /// All tags, sorted by name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn list(&self) -> Result<Vec<Tag>> {
        let directory = self.store.root().join("refs");
        let mut tags = Vec::new();
        for name in files::names(&directory)? {
            tags.extend(self.read(&directory.join(name))?);
        }
        tags.sort_by(|a: &Tag, b| a.name.cmp(&b.name));
        Ok(tags)
    }

    /// Reads the tag in the file `path`.
    pub(crate) fn read(&self, path: &std::path::Path) -> Result<Option<Tag>> {
        let Some(bytes) = files::optional(files::read_limited(path, TAG_MAX))? else { return Ok(None) };
        let damaged = |reason: String| Error::Damaged(format!("tag {}: {reason}", path.display()));
        let tag: Tag = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if self.path(&tag.name) != path {
            return Err(damaged(format!("holds the name {:?}, which belongs elsewhere", tag.name)));
        }
        Ok(Some(tag))
    }
}

fn validate(name: &str) -> Result<()> {
    let reason = match name {
        "" => "is empty",
        _ if name.len() > NAME_MAX => "is longer than 512 bytes",
        _ if name.chars().any(char::is_control) => "contains a control character",
        _ => return Ok(()),
    };
    Err(Error::Invalid {
        what: "tag name",
        reason: format!("{:?} {reason}", name.chars().take(80).collect::<String>()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::put_empty_image;
    use crate::testing;

    #[test]
    fn compares_and_swaps() {
        let (_dir, store) = testing::store();
        let (one, two) = (put_empty_image(&store, "one"), put_empty_image(&store, "two"));
        let refs = store.refs();
        assert_eq!(refs.set("a", &one, None, Expect::Absent).unwrap(), None);
        assert!(matches!(refs.set("a", &two, None, Expect::Absent), Err(Error::Conflict(_))));
        assert!(matches!(refs.set("a", &two, None, Expect::Image(two)), Err(Error::Conflict(_))));
        assert_eq!(refs.set("a", &two, Some(Digest::of(b"m")), Expect::Image(one)).unwrap(), Some(one));
        refs.set("a/b", &one, None, Expect::Any).unwrap();
        let names: Vec<_> = refs.list().unwrap().into_iter().map(|tag| tag.name).collect();
        assert_eq!(names, ["a", "a/b"]);
        assert_eq!(refs.get("a").unwrap().unwrap().manifest, Some(Digest::of(b"m")));
        let other = Expect::Manifest(Digest::of(b"other"));
        assert!(matches!(refs.set("a", &two, None, other), Err(Error::Conflict(_))));
        assert!(matches!(refs.remove("a", other), Err(Error::Conflict(_))));
        refs.set("a", &two, Some(Digest::of(b"m")), Expect::Manifest(Digest::of(b"m"))).unwrap();
        assert!(matches!(refs.remove("a", Expect::Image(one)), Err(Error::Conflict(_))));
        refs.remove("a", Expect::Any).unwrap();
        assert_eq!(refs.get("a").unwrap(), None);
        assert!(refs.remove("a", Expect::Any).unwrap_err().is_not_found());
        assert!(files::names(&store.root().join("locks")).unwrap().iter().all(|name| !name.starts_with("ref-")));
    }

    #[test]
    fn names_as_much_as_an_index_may_list_and_no_more() {
        let (_dir, store) = testing::store();
        let one = put_empty_image(&store, "one");
        let blob = store.blobs().put(b"blob").unwrap();
        let naming = |count: usize| {
            let (image, manifest, platforms) = (one, Some(blob), Vec::new());
            store.refs().point("a", &Target { image, manifest, platforms, attached: vec![blob; count] }, Expect::Any)
        };
        // An entry of an index has at least 140 bytes.
        naming(TAG_MAX as usize / 140).unwrap();
        assert_eq!(store.refs().list().unwrap()[0].attached.len(), TAG_MAX as usize / 140);
        let before = store.refs().get("a").unwrap();
        let error = naming(TAG_MAX as usize / 74).unwrap_err().to_string();
        assert!(error.contains("56679 images and blobs") && error.contains("4194304 is the most"), "{error}");
        assert_eq!(store.refs().get("a").unwrap(), before);
    }

    #[test]
    fn refuses_bad_names_and_images_that_are_not_here() {
        let (_dir, store) = testing::store();
        let one = put_empty_image(&store, "one");
        for bad in ["", "a\nb", "\u{1b}[2J", &"x".repeat(513)] {
            assert!(matches!(store.refs().set(bad, &one, None, Expect::Any), Err(Error::Invalid { .. })));
        }
        let absent = ImageId(Digest::of(b"absent"));
        assert!(store.refs().set("a", &absent, None, Expect::Any).unwrap_err().is_not_found());
    }
}
