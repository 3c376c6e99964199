//! Images: the raw config bytes, kept as a blob whose digest is the image's id, and a record of what else is known:
//! where each layer came from and in which compressed forms it exists in registries.
//!
//! `images/<id>/record.json` makes an image exist, and is written after its config and all its layers are here. Tags
//! point to images; an image without a tag stays until it is collected.

pub mod config;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::digest::{ChainId, DiffId, Digest, ImageId};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::layer::tree::Tree;
use crate::lock::{self, LockFile, LockMode};

pub use config::{CONFIG_MAX, Healthcheck, History, ImageConfig, RootFs, RunConfig};

const RECORD: &str = "record.json";
const RECORD_MAX: u64 = 16 << 20;

/// Annotations by key.
pub type Annotations = BTreeMap<String, String>;

/// What is known of an image beside its config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// When it came into this store; set by [`Images::put`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Timestamp>,
    /// Where the layers came from: one for each layer, or none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provenance: Vec<Provenance>,
    /// Compressed forms of the layers: one list for each layer, or none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compressed: Vec<Vec<CompressedLayer>>,
    /// Manifests (and indexes) that lead to this image; their bytes are blobs and live as long as it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Digest>,
    /// Annotations that its build wants on the manifest, and on the manifest's descriptor.
    #[serde(default, skip_serializing_if = "no_annotations")]
    pub annotations: (Annotations, Annotations),
}

fn no_annotations((manifest, descriptor): &(Annotations, Annotations)) -> bool {
    manifest.is_empty() && descriptor.is_empty()
}

/// Where a layer came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The build file, relative to its context; or the reference it was pulled as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Line in the build file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The instruction as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The step, like `build 3/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How long it took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Later steps of the same build whose changes of owner, mode and time are in this layer too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<Folded>,
}

/// A step whose changes of attributes went into the layer that has the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// Line in the build file, from 1.
    pub line: u32,
    /// The instruction as written.
    pub instruction: String,
    /// The step, like `build 3/7`.
    pub step: String,
}

/// A compressed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressedLayer {
    /// Media type.
    pub media_type: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Registry and repository that have it, like `docker.io/library/ubuntu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The level at which this program compressed it: compressing at this level again gives the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
}

impl CompressedLayer {
    /// A form of which nothing more is known.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, origin: None, level: None }
    }
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its id: the digest of `raw`.
    pub id: ImageId,
    /// The bytes of its config.
    pub raw: Vec<u8>,
    /// The config, parsed.
    pub config: ImageConfig,
    /// What else is known.
    pub record: ImageRecord,
}

impl Image {
    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    /// The steps it was made by, oldest first, each with the layer it made.
    pub fn history(&self) -> impl Iterator<Item = (&History, Option<DiffId>)> {
        let mut layers = self.layers().iter().copied();
        self.config.history.iter().map(move |step| (step, if step.empty_layer { None } else { layers.next() }))
    }
}

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    pub(crate) fn directory(&self, id: &ImageId) -> PathBuf {
        self.store.root().join("images").join(id.hex())
    }

    /// Directories without a record, left by somebody who was killed before he wrote it.
    pub(crate) fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let images = self.store.root().join("images");
        let mut found: Vec<PathBuf> = files::names(&images)?.iter().map(|name| images.join(name)).collect();
        found.retain(|directory| !directory.join(RECORD).exists());
        Ok(found)
    }

    fn record_path(&self, id: &ImageId) -> PathBuf {
        self.directory(id).join(RECORD)
    }

    /// Whether the image is here.
    #[must_use]
    pub fn has(&self, id: &ImageId) -> bool {
        self.record_path(id).exists()
    }

    /// Makes an image of `config`, whose layers and whose record's manifests must be here. If the image is here
    /// already, what `record` adds is added.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Limit`] for a bad config, [`Error::NotFound`] for a layer or manifest that is
    /// not here, [`Error::Io`].
    pub fn put(&self, config: &[u8], record: &ImageRecord) -> Result<ImageId> {
        let parsed = ImageConfig::parse(config)?;
        let layers = &parsed.rootfs.diff_ids;
        let mut named: Vec<Digest> = layers.iter().map(|layer| layer.0).collect();
        named.extend(&record.manifests);
        self.store.protect(&named)?;
        if let Some(absent) = layers.iter().find(|layer| !self.store.layers().has(layer)) {
            return Err(Error::NotFound { kind: "layer", name: absent.to_string() });
        }
        if let Some(absent) = record.manifests.iter().find(|manifest| !self.store.blobs().has(manifest)) {
            return Err(Error::NotFound { kind: "manifest", name: absent.to_string() });
        }
        for (list, what) in [(record.provenance.len(), "provenance"), (record.compressed.len(), "compressed layers")] {
            if list != 0 && list != layers.len() {
                let reason = format!("{list} {what} for {} layers", layers.len());
                return Err(Error::Invalid { what: "image record", reason });
            }
        }
        self.check_links(layers)?;
        let id = ImageId(self.store.blobs().put(config)?);
        self.update(&id, |before| before.merge(record))?;
        // One that was here already came once more.
        self.note_use(&id)?;
        Ok(id)
    }

    /// Refuses hard links whose file no layer has: such an image would be here and could never be used. Only layers
    /// with links to files below are looked at, and what lies below them.
    fn check_links(&self, layers: &[DiffId]) -> Result<()> {
        let mut checked = 0;
        for (index, layer) in layers.iter().enumerate() {
            if self.store.layers().info(layer)?.foreign_links > 0 {
                checked = index + 1;
            }
        }
        let mut tree = Tree::new();
        layers[..checked].iter().try_for_each(|layer| self.store.layers().merge_into(&mut tree, layer))
    }

    /// Forgets a manifest whose blob is lost.
    pub(crate) fn forget_manifest(&self, id: &ImageId, manifest: &Digest) -> Result<()> {
        self.update(id, |before| before.manifests.retain(|known| known != manifest))
    }

    /// Changes the record of an image under its lock; makes it if it is not there.
    fn update(&self, id: &ImageId, change: impl FnOnce(&mut ImageRecord)) -> Result<()> {
        let lock = self.store.root().join("locks").join(format!("image-{}", id.hex()));
        let _lock = LockFile::acquire(&lock, LockMode::Exclusive, lock::SHORT)?.removed_on_release();
        let mut record = files::optional(self.record(id))?.unwrap_or_default();
        let before = record.clone();
        change(&mut record);
        if record == before && self.has(id) {
            return Ok(());
        }
        record.stored.get_or_insert_with(Timestamp::now);
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::Invalid { what: "image record", reason: error.to_string() })?;
        let (directory, temporary) = (self.directory(id), self.store.lease()?.temporary("image"));
        if directory.exists() {
            return files::replace_file(&self.record_path(id), &temporary, &bytes, Durability::Synced);
        }
        // The directory appears with the record in it, never without.
        files::create_dir(&temporary)?;
        let record = temporary.join(RECORD);
        files::replace_file(&record, &record.with_extension("new"), &bytes, Durability::Synced)?;
        if files::commit_dir(&temporary, &directory)? {
            return Ok(());
        }
        files::replace_file(&self.record_path(id), &temporary, &bytes, Durability::Synced)
    }

    /// Adds compressed forms and manifests to an image that is here, as after a push.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn add_record(&self, id: &ImageId, record: &ImageRecord) -> Result<()> {
        let mut named = vec![id.0];
        named.extend(&record.manifests);
        self.store.protect(&named)?;
        self.record(id)?;
        self.update(id, |before| before.merge(record))
    }

    /// Sets the annotations of an image that is here, in place of those it had.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn annotate(&self, id: &ImageId, manifest: &Annotations, descriptor: &Annotations) -> Result<()> {
        self.store.protect(&[id.0])?;
        self.record(id)?;
        self.update(id, |before| before.annotations = (manifest.clone(), descriptor.clone()))
    }

    /// Keeps an image with its layers from being collected while the store's handle lives, even if somebody removes the image
    /// itself, and notes its use; `None` if it is not here, whole.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`], [`Error::LockTimeout`].
    pub fn protect(&self, id: &ImageId) -> Result<Option<Image>> {
        self.store.protect(&[id.0])?;
        let Some(image) = files::optional(self.get(id))? else { return Ok(None) };
        let parts = image.layers().iter().map(|layer| layer.0).chain(image.record.manifests.iter().copied());
        let kept = image.record.compressed.iter().flatten().map(|form| form.digest);
        self.store.protect(&parts.chain(kept).collect::<Vec<_>>())?;
        self.note_use(id)?;
        // Who removes an image asks no lease: between the two it may have been collected.
        Ok((self.has(id) && image.layers().iter().all(|layer| self.store.layers().has(layer))).then_some(image))
    }

    /// What is known of the image beside its config.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn record(&self, id: &ImageId) -> Result<ImageRecord> {
        let path = self.record_path(id);
        let missing = || Error::NotFound { kind: "image", name: id.to_string() };
        let bytes = files::optional(files::read_limited(&path, RECORD_MAX))?.ok_or_else(missing)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged(format!("{}: {error}", path.display())))
    }

    /// The image, its config verified.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Io`].
    pub fn get(&self, id: &ImageId) -> Result<Image> {
        let record = self.record(id)?;
        let raw = self.store.blobs().get(&id.0, CONFIG_MAX)?;
        let config = ImageConfig::parse(&raw)?;
        Ok(Image { id: *id, raw, config, record })
    }

    /// The ids of all images, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<ImageId>> {
        let names = files::names(&self.store.root().join("images"))?;
        let ids = names.iter().filter_map(|name| Digest::from_hex(name).ok()).map(ImageId);
        Ok(ids.filter(|id| self.has(id)).collect())
    }

    /// The one image whose id begins with the hex digits `prefix` (`sha256:` may come first).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] if several begin so, [`Error::Io`].
    pub fn find(&self, prefix: &str) -> Result<ImageId> {
        let missing = || Error::NotFound { kind: "image", name: prefix.chars().take(200).collect() };
        let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if hex.is_empty() || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(missing());
        }
        let mut fitting = self.list()?.into_iter().filter(|id| id.hex().starts_with(hex));
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(missing()),
            (Some(id), None) => Ok(id),
            _ => Err(Error::Conflict(format!("several image ids begin with {prefix}"))),
        }
    }

    /// Notes that the image was of use just now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note_use(&self, id: &ImageId) -> Result<()> {
        files::note_use(&self.record_path(id))
    }

    /// When the image was last of use, by what noted it, or came here; `None` if it is not here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_used(&self, id: &ImageId) -> Result<Option<SystemTime>> {
        let path = self.record_path(id);
        files::optional(fs::metadata(&path).and_then(|about| about.modified()).map_err(Error::io("stat", &path)))
    }

    /// Bytes of the image's layers, uncompressed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a layer that is not here, [`Error::Io`].
    pub fn size(&self, image: &Image) -> Result<u64> {
        image.layers().iter().try_fold(0, |sum: u64, layer| Ok(sum + self.store.layers().info(layer)?.file_bytes))
    }

    /// Removes the record, and with it the image; config and layers stay until collected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] while a tag, a container or a living worker's lease names it, [`Error::Io`].
    pub fn remove(&self, id: &ImageId) -> Result<()> {
        let _alone = crate::gc::collector_lock(self.store)?;
        self.record(id)?;
        if let Some(tag) = self.store.refs().list()?.iter().find(|tag| tag.images().any(|image| image == *id)) {
            let how = if tag.image == *id { "is tagged" } else { "is one of the platforms of" };
            return Err(Error::Conflict(format!("image {} {how} {}", id.short(), tag.name)));
        }
        for record in self.store.containers().list::<serde::de::IgnoredAny>()? {
            if record.uses.contains(&id.0) {
                return Err(Error::Conflict(format!("image {} is used by the container {}", id.short(), record.name)));
            }
        }
        // Somebody has just made it and is about to name it, or builds on it.
        let own = self.store.own_lease();
        if crate::lease::leased_by_others(self.store.root(), own.as_deref())?.contains(&id.0) {
            return Err(Error::Conflict(format!("image {} is being used by another command", id.short())));
        }
        let directory = self.directory(id);
        let aside = files::move_aside(self.store.root(), &directory)?;
        let synced = files::sync_parent(&directory);
        aside.map_or(Ok(()), |aside| files::remove_all(&aside))?;
        synced
    }

    /// The chain id of the image's layers; `None` for an image without layers.
    #[must_use]
    pub fn chain_id(image: &Image) -> Option<ChainId> {
        ChainId::of(image.layers())
    }
}

impl ImageRecord {
    fn merge(&mut self, other: &Self) {
        if self.stored.is_none() {
            self.stored = other.stored;
        }
        // A build knows lines, and a later build of the same image knows where they are now.
        let knows_lines = other.provenance.iter().any(|from| from.line.is_some());
        if self.provenance.is_empty() || knows_lines {
            self.provenance.clone_from(&other.provenance);
        }
        if self.compressed.is_empty() {
            self.compressed.clone_from(&other.compressed);
        } else {
            for (ours, theirs) in self.compressed.iter_mut().zip(&other.compressed) {
                for form in theirs {
                    if !ours.contains(form) {
                        ours.push(form.clone());
                    }
                }
            }
        }
        for manifest in &other.manifests {
            if !self.manifests.contains(manifest) {
                self.manifests.push(*manifest);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing;

    /// Puts an image without layers whose author is `author`.
    pub(crate) fn put_empty_image(store: &Store, author: &str) -> ImageId {
        let config =
            format!(r#"{{"author":"{author}","os":"linux","architecture":"amd64","rootfs":{{"type":"layers"}}}}"#);
        store.images().put(config.as_bytes(), &ImageRecord::default()).unwrap()
    }

    #[test]
    fn puts_merges_finds_and_removes() {
        let (_dir, store) = testing::store();
        let images = store.images();
        let id = put_empty_image(&store, "me");
        let manifest = store.blobs().put(b"{}").unwrap();
        let record = ImageRecord { manifests: vec![manifest], ..ImageRecord::default() };
        images.add_record(&id, &record).unwrap();
        images.add_record(&id, &record).unwrap();
        let image = images.get(&id).unwrap();
        assert_eq!(image.record.manifests, [manifest]);
        assert_eq!(image.config.author.as_deref(), Some("me"));
        assert_eq!(Digest::of(&image.raw), id.0);
        assert_eq!(images.find(&id.hex()[..8]).unwrap(), id);
        assert_eq!(images.find(&id.to_string()).unwrap(), id);
        assert!(images.find("zz").unwrap_err().is_not_found());
        store.refs().set("t", &id, None, crate::refs::Expect::Any).unwrap();
        assert!(matches!(images.remove(&id), Err(Error::Conflict(_))));
        store.refs().remove("t", crate::refs::Expect::Any).unwrap();
        images.remove(&id).unwrap();
        assert!(images.list().unwrap().is_empty());
    }

    #[test]
    fn an_image_needs_its_layers() {
        let (_dir, store) = testing::store();
        let layer = DiffId(Digest::of(b"layer"));
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#);
        let error = store.images().put(config.as_bytes(), &ImageRecord::default()).unwrap_err();
        assert!(matches!(error, Error::NotFound { kind: "layer", .. }), "{error}");
    }
}
