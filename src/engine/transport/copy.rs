//! `copy`: from any place to any other. Bytes of registries, layouts and directories go from one to the other as they are;
//! the store takes part only where it is one of the two, or where docker's archive is: that one has no digests to keep.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::store::Digest;
use registry_client::{Descriptor, Platform};

use super::convert::{self, Family};
use super::directory::Directory;
use super::layout::{Layout, LayoutArchive, LayoutDirectory};
use super::registry::{Access, Registry};
use super::store::StoreImage;
use super::{Document, Place, Source, Target};
use crate::engine::Engine;
use crate::engine::archive::{ArchiveFormat, Member, write_file};
use crate::engine::form::{Form, Keep};
use crate::engine::indexes::Which;
use crate::engine::progress::{Event, Progress};
use crate::error::{CommandError, Context as _, Result};

/// How deep indexes may lie in one another.
const DEPTH: usize = 4;
/// Most manifests of one copy.
const MANIFESTS_MAX: usize = 1000;

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
                return self.write_docker(name, path, called.as_deref()).map(|()| None);
            }
            (Place::Store(from), Place::Store(to)) => return self.tag(from, to).map(|()| None),
            (Place::Store(name), Place::Registry(to)) if family.is_none() && !options.all => {
                let keep = if options.recompress { Keep::Try } else { Keep::Must };
                let client = self.client_for(&options.target, &self.reference(to)?, None)?;
                return self
                    .push_by(client, name, Some(to), keep, Which::Own, progress)
                    .map(|pushed| Some(pushed.digest));
            }
            _ => {}
        }
        let source = self.open_source(from, options)?;
        let platform = self.platform(options.platform.as_deref())?;
        let copied = |target: &dyn Target| {
            let (all, preserve) = (options.all, options.preserve_digests);
            let job = Job { source: &*source, target, platform: platform.clone(), all, family, preserve, progress };
            job.run(options.platform.is_some()).map(|root| Some(root.digest()))
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
            Place::Store(name) => self.take_in(&*source, &platform, Some(name), progress).map(|taken| Some(taken.1)),
            Place::DockerArchive { path, name } => {
                let (image, _) = self.take_in(&*source, &platform, None, progress)?;
                let written = self.write_docker(&image.to_string(), path, name.as_deref());
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
        let Place::Store(name) = place else { return Ok(self.open_source(place, &options)?.root()?.bytes) };
        let Some(found) = self.look_up_image(name)? else {
            return Ok(self.open_source(&Place::Registry(name.clone()), &options)?.root()?.bytes);
        };
        let newest = found.image.record.manifests.last().copied();
        let Some(digest) = found.tag.and_then(|tag| tag.manifest).or(newest) else {
            return Err(CommandError::new(format!("{name} was made here and has no manifest yet"))
                .hint("`img push` and `img save` make one"));
        };
        Ok(self.store.blobs().get(&digest, 4 << 20)?)
    }

    fn open_source(&self, place: &Place, options: &CopyOptions) -> Result<Box<dyn Source + '_>> {
        Ok(match place {
            Place::Registry(name) => {
                let reference = self.reference(name)?;
                Box::new(Registry { client: self.client_for(&options.source, &reference, None)?, reference })
            }
            Place::Layout { path, name, .. } => Box::new(Layout::open(self, path, name.as_deref())?),
            Place::Directory(path) => Box::new(Directory::open(path)),
            Place::Store(name) => Box::new(StoreImage::open(self, name, options.recompress)?),
            Place::DockerArchive { path, .. } => {
                return Err(CommandError::new(format!("{} cannot be read blob by blob", path.display())));
            }
        })
    }

    /// An image of this store as docker's archive.
    fn write_docker(&self, name: &str, path: &Path, called: Option<&str>) -> Result<()> {
        let found = self.find_image(name)?;
        self.store.protect(&[found.image.id.0])?;
        let names = match called {
            Some(called) => vec![self.tag_reference(called)?],
            None => found.tag.iter().map(|tag| tag.name.clone()).collect(),
        };
        let member = Member { image: &found.image, names, manifest: None, form: Form::default(), whole: None };
        write_file(path, |file| self.write_archive(&[member], ArchiveFormat::Docker, file).map(drop))
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
    let ranked = document.index()?.manifests.into_iter().filter_map(|entry| match &entry.platform {
        Some(offered) if offered.is_attestation() => None,
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
    fn run(&self, one: bool) -> Result<Document> {
        let mut root = self.source.root()?;
        if self.all && one {
            return Err(CommandError::usage("--all and --platform contradict each other"));
        }
        let mut depth = DEPTH;
        while root.is_index() && !self.all {
            depth = depth.checked_sub(1).ok_or_else(|| CommandError::new("the indexes lie too deep in one another"))?;
            root = self.source.manifest(&choose(&root, &self.platform)?)?;
        }
        let left = AtomicUsize::new(MANIFESTS_MAX);
        self.document(&root, true, DEPTH, &left)
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
