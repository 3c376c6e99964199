//! `copy`: from any place to any other. Bytes of registries, layouts and directories go from one to the other as they are;
//! the store takes part only where it is one of the two, or where docker's archive is: that one has no digests to keep.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::store::Digest;
use ::store::refs::Tag;
use registry_client::{Descriptor, Platform};

use super::convert::{self, Family};
use super::directory::Directory;
use super::here::one_platform;
use super::layout::{Layout, LayoutArchive, LayoutDirectory};
use super::listing::MANIFESTS_MAX;
use super::registry::{Access, Registry};
use super::store::{StoreImage, StoreIndex};
use super::{Document, INDEX_DEPTH, Place, Source, Target, is_image};
use crate::engine::Engine;
use crate::engine::archive::{MANIFEST_MAX, write_file};
use crate::engine::form::Keep;
use crate::engine::indexes::Which;
use crate::engine::names::Found;
use crate::engine::progress::{Event, Progress, Silent};
use crate::error::{CommandError, Context as _, Result};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// All images of an index, and the index itself.
    pub all: bool,
    /// Which one otherwise; this machine's unless it is said.
    pub platform: Option<String>,
    /// `oci` or `v2s2`.
    pub format: Option<String>,
    /// A digest that would change is an error.
    pub preserve_digests: bool,
    /// Compress anew what of this store is out of reach.
    pub recompress: bool,
    /// How the source is spoken to.
    pub source: Access,
    /// How the target is.
    pub target: Access,
}

/// One copy.
struct Job<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    platform: Platform,
    all: bool,
    family: Option<Family>,
    preserve: bool,
    progress: &'a dyn Progress,
}

impl Engine {
    /// Copies an image; gives the digest that it has at the target.
    ///
    /// # Errors
    /// A place that cannot be read or written, content that is not what it was announced as.
    pub fn copy_image(
        &self,
        from: &Place,
        to: &Place,
        options: &CopyOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Digest>> {
        let family = family(options.format.as_deref())?;
        if options.all && options.platform.is_some() {
            return Err(CommandError::usage("--all and --platform contradict each other"));
        }
        let platform = self.platform(options.platform.as_deref())?;
        match (from, to) {
            (Place::DockerArchive { .. }, _) | (_, Place::DockerArchive { .. }) if options.preserve_digests => {
                return Err(CommandError::new("docker archives have no digests that could stay")
                    .hint("oci-archive: keeps them"));
            }
            (Place::DockerArchive { path, name }, _) => {
                let image = self.take_docker(path, name.as_deref(), progress)?;
                let copied = match to {
                    Place::Store(name) => self.tag(&image.to_string(), name).map(|()| None),
                    to => self.copy_image(&Place::Store(image.to_string()), to, options, progress),
                };
                self.forget_images(&[image])?;
                return copied;
            }
            (Place::Store(name), Place::DockerArchive { path, name: called }) => {
                let found = self.find_image(name)?;
                if options.all && found.tag.as_ref().is_some_and(Tag::is_whole) {
                    return Err(one_platform());
                }
                return self.write_docker(&self.one_of(found, name, options)?, path, called.as_deref()).map(|()| None);
            }
            (Place::Store(from), Place::Store(to)) => return self.tag_again(from, to, options).map(|()| None),
            (Place::Store(name), Place::Registry(to)) if family.is_none() => {
                let which = match (options.all, &options.platform) {
                    (true, _) => Which::All,
                    (false, Some(_)) => Which::Platform(&platform),
                    (false, None) => Which::Own,
                };
                let keep = if options.recompress { Keep::Try } else { Keep::Must };
                let client = self.client_for(&options.target, &self.reference(to)?, None)?;
                return self.push_by(client, name, Some(to), keep, which, progress).map(|pushed| Some(pushed.digest));
            }
            _ => {}
        }
        let source = self.open_source(from, options, progress)?;
        let copied = |target: &dyn Target| {
            let (all, preserve) = (options.all, options.preserve_digests);
            let job = Job { source: &*source, target, platform: platform.clone(), all, family, preserve, progress };
            job.run().map(|root| Some(root.digest()))
        };
        match to {
            Place::Registry(name) => {
                let reference = self.reference(name)?;
                copied(&Registry { client: self.client_for(&options.target, &reference, None)?, reference })
            }
            Place::Directory(path) => copied(&Directory::create(path)?),
            Place::Layout { path, name, archive: false } => copied(&LayoutDirectory::create(path, name.clone())?),
            Place::Layout { path, name, archive: true } => {
                let mut digest = None;
                write_file(path, |file: &mut File| {
                    let archive = LayoutArchive::create(file.try_clone()?, name.clone())?;
                    digest = copied(&archive)?;
                    archive.finish()
                })?;
                Ok(digest)
            }
            Place::Store(name) if options.all => self.take_whole(&*source, name, progress).map(Some),
            Place::Store(name) => self.take_in(&*source, &platform, Some(name), progress).map(|taken| Some(taken.1)),
            Place::DockerArchive { path, name } => {
                if options.all && source.root()?.is_index() {
                    return Err(one_platform());
                }
                let (image, _) = self.take_in(&*source, &platform, None, progress)?;
                let image = self.find_image(&image.to_string())?;
                let written = self.write_docker(&image, path, name.as_deref());
                let image = image.image.id;
                self.forget_images(&[image])?;
                written.map(|()| None)
            }
        }
    }

    /// The bytes of the manifest or index that a place has under its name. What is not in this store is asked for at the
    /// registry of its name.
    ///
    /// # Errors
    /// It is nowhere, or cannot be read.
    pub fn manifest_at(&self, place: &Place, access: &Access) -> Result<Vec<u8>> {
        let options = CopyOptions { source: access.clone(), ..CopyOptions::default() };
        let Place::Store(name) = place else { return Ok(self.open_source(place, &options, &Silent)?.root()?.bytes) };
        let Some(found) = self.look_up_image(name)? else {
            return Ok(self.open_source(&Place::Registry(name.clone()), &options, &Silent)?.root()?.bytes);
        };
        let newest = found.image.record.manifests.last().copied();
        let Some(digest) = found.tag.and_then(|tag| tag.manifest).or(newest) else {
            return Err(CommandError::new(format!("{name} was made here and has no manifest yet"))
                .hint("`img push` and `img save` make one"));
        };
        Ok(self.store.blobs().get(&digest, MANIFEST_MAX)?)
    }

    pub(super) fn open_source(
        &self,
        place: &Place,
        options: &CopyOptions,
        progress: &dyn Progress,
    ) -> Result<Box<dyn Source + '_>> {
        Ok(match place {
            Place::Registry(name) => {
                let reference = self.reference(name)?;
                Box::new(Registry { client: self.client_for(&options.source, &reference, None)?, reference })
            }
            Place::Layout { path, name, .. } => Box::new(Layout::open(self, path, name.as_deref())?),
            Place::Directory(path) => Box::new(Directory::open(path)),
            Place::Store(name) => {
                let found = self.find_image(name)?;
                if let (true, Some(tag)) = (options.all, &found.tag)
                    && let Some(whole) = self.whole_index(tag, true, progress)?
                {
                    return Ok(Box::new(StoreIndex::open(self, whole)?));
                }
                let Found { image, tag } = self.one_of(found, name, options)?;
                Box::new(StoreImage::open(self, image, tag.and_then(|tag| tag.manifest), options.recompress)?)
            }
            Place::DockerArchive { path, .. } => {
                return Err(CommandError::new(format!("{} cannot be read blob by blob", path.display())));
            }
        })
    }
}

fn family(text: Option<&str>) -> Result<Option<Family>> {
    match text {
        None => Ok(None),
        Some("oci") => Ok(Some(Family::Oci)),
        Some("v2s2") => Ok(Some(Family::Docker)),
        Some("v2s1") => Err(CommandError::usage("manifests of schema 1 are not written")
            .hint("registries and runtimes have dropped them: --format v2s2 or oci")),
        Some(other) => Err(CommandError::usage(format!("--format is oci or v2s2, not {other:?}"))),
    }
}

/// The entry of an index for a platform.
pub(super) fn choose(document: &Document, platform: &Platform) -> Result<Descriptor> {
    let images = document.index()?.manifests.into_iter().filter(is_image);
    let ranked = images.filter_map(|entry| match &entry.platform {
        Some(offered) => Some((platform.rank(offered)?, entry)),
        None => Some((0, entry)),
    });
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    best.ok_or_else(|| {
        CommandError::new(format!("the index has no image for {platform}")).hint("--all copies all that it has")
    })
}

impl Job<'_> {
    /// Copies what the source stands for; gives the document that the target's name stands for now.
    fn run(&self) -> Result<Document> {
        let mut root = self.source.root()?;
        let mut depth = INDEX_DEPTH;
        while root.is_index() && !self.all {
            depth = depth.checked_sub(1).ok_or_else(|| CommandError::new("the indexes lie too deep in one another"))?;
            root = self.source.manifest(&choose(&root, &self.platform)?)?;
        }
        let left = AtomicUsize::new(MANIFESTS_MAX);
        self.document(&root, true, INDEX_DEPTH, &left)
    }

    /// Copies a document after all that it names.
    fn document(&self, document: &Document, root: bool, depth: usize, left: &AtomicUsize) -> Result<Document> {
        if depth == 0 {
            return Err(CommandError::new("the indexes lie too deep in one another"));
        }
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(CommandError::new(format!("there are more than {MANIFESTS_MAX} manifests")));
        }
        let mut now = document.clone();
        if document.is_index() {
            let mut entries = Vec::new();
            for entry in &document.index()?.manifests {
                entries.push(self.document(&self.source.manifest(entry)?, false, depth - 1, left)?);
            }
            if let Some(family) = self.family {
                now = convert::index(document, family, &entries)?;
            }
        } else {
            let manifest = document.manifest()?;
            let mut blobs: Vec<&Descriptor> = Vec::new();
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if !blobs.iter().any(|other| other.digest == blob.digest) {
                    blobs.push(blob);
                }
            }
            self.blobs(&blobs)?;
            if let Some(family) = self.family {
                now = convert::manifest(document, family)?;
            }
        }
        if self.preserve && now.digest() != document.digest() {
            return Err(CommandError::new(format!("the digest {} would change by --format", document.digest()))
                .hint("leave --format or --preserve-digests out"));
        }
        self.target.document(&now, root)?;
        Ok(now)
    }

    /// Copies blobs, as many side by side as the target takes.
    fn blobs(&self, blobs: &[&Descriptor]) -> Result<()> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..self.target.streams().min(blobs.len()) {
                scope.spawn(|| {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let id: String = blob.digest.hex().chars().take(12).collect();
                        self.progress.event(Event::Started(&id, blob.size));
                        match self.target.blob(self.source, blob).with_context(|| format!("blob {id}")) {
                            Ok(how) => self.progress.event(Event::Done(&id, how)),
                            Err(error) => {
                                // One failure ends the copy: no further blob is begun.
                                next.store(blobs.len(), Ordering::Relaxed);
                                if let Ok(mut failure) = failure.lock() {
                                    failure.get_or_insert(error);
                                }
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(CommandError::new("a worker of the copy ended unexpectedly")),
        }
    }
}
