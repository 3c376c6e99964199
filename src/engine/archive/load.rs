//! Reading archives: the OCI layout if there is one (it has the manifests), else docker's form. An archive that names an
//! image twice, several images, or no names at all is taken as it is.

use std::collections::BTreeMap;
use std::path::Path;

use registry_client::{Descriptor, Document, Index, Manifest, MediaType, Platform};
use store::image::{CONFIG_MAX, ImageConfig, ImageRecord, Provenance};
use store::refs::{Expect, Target};
use store::{DiffId, Digest, ImageId};

use super::contents::Contents;
use super::keeping::Keeping;
use super::legacy::is_legacy;
use super::{DockerImage, MANIFEST_MAX, NAME_ANNOTATION, REF_ANNOTATION};
use crate::engine::Engine;
use crate::engine::names::familiar_parts;
use crate::engine::originals::KeepCompressed;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::to_store;
use crate::engine::transport::{INDEX_DEPTH, check_size, is_image};
use crate::error::{CommandError, Context as _, Kind, Result};

/// Most images of an archive.
const IMAGES_MAX: usize = 2000;
/// Most names of its images.
const NAMES_MAX: usize = 5000;

/// An image that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// Its name as docker shows it, if the archive had one.
    pub name: Option<String>,
}

impl Engine {
    /// Loads all images of the archive at `input`, or standard input.
    ///
    /// # Errors
    /// What is no archive of images, content that is not what its name says.
    pub fn load(
        &self,
        input: Option<&Path>,
        keep: Option<KeepCompressed>,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        let name = input.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        self.load_from(input, keep.unwrap_or(self.settings.keep_compressed), progress)
            .with_context(|| format!("cannot load {name}"))
    }

    fn load_from(&self, input: Option<&Path>, keep: KeepCompressed, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let contents = self.open_archive(input)?;
        let mut loaded = Vec::new();
        // An archive that has both forms loses nothing by the second: only that one has manifests.
        if contents.has("index.json") {
            let keeping = self.keeping(keep)?;
            contents.check_version()?;
            let index = index(&contents)?;
            check_number(index.manifests.len(), 0)?;
            for descriptor in &index.manifests {
                loaded.extend(self.load_oci(&contents, descriptor, &keeping, progress)?);
            }
        } else if contents.has("manifest.json") {
            let images: Vec<DockerImage> = contents.json("manifest.json")?;
            check_number(images.len(), images.iter().map(|image| image.repo_tags.iter().flatten().count()).sum())?;
            for image in &images {
                loaded.extend(self.load_docker(&contents, image, progress)?);
            }
        } else if is_legacy(&contents) {
            loaded = self.load_legacy(&contents, progress)?;
        } else {
            return Err(CommandError::new("the archive has neither manifest.json nor index.json: it holds no images")
                .hint("`img import` makes an image of the tar of a root file system"));
        }
        if loaded.is_empty() {
            return Err(CommandError::new("the archive holds no image for this platform"));
        }
        Ok(loaded)
    }

    /// Takes in one image of docker's archive, without a name: the one of the name `wanted`, the one at `@POSITION`, or
    /// the only one there is.
    pub(in crate::engine) fn load_one(
        &self,
        path: &Path,
        wanted: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<ImageId> {
        let contents = self.open_archive(Some(path))?;
        if !contents.has("manifest.json") {
            return Err(CommandError::new("it is no docker archive: it has no manifest.json")
                .hint("oci-archive:PATH is for OCI layouts; `img load` takes the oldest archives too"));
        }
        let images: Vec<DockerImage> = contents.json("manifest.json")?;
        let name = wanted.map(|wanted| self.tag_reference(wanted.trim_start_matches('@'))).transpose();
        let has = |image: &DockerImage| {
            let own = image.repo_tags.iter().flatten();
            own.filter_map(|own| self.tag_reference(own).ok())
                .any(|own| matches!(&name, Ok(Some(name)) if *name == own))
        };
        let found = match wanted.map(|wanted| (wanted, wanted.strip_prefix('@'))) {
            Some((_, Some(position))) => position.parse::<usize>().ok().and_then(|at| images.get(at)),
            Some((_, None)) => images.iter().find(|image| has(image)),
            None => images.first().filter(|_| images.len() == 1),
        };
        let Some(image) = found else {
            let names: Vec<&str> =
                images.iter().flat_map(|image| image.repo_tags.iter().flatten()).map(String::as_str).collect();
            return Err(CommandError::new(match wanted {
                Some(wanted) => format!("the archive has no image {wanted}"),
                None => format!("the archive has {} images: which one has to be said", images.len()),
            })
            .hint(format!("it has {}; @0 is the first", names.join(", "))));
        };
        self.load_docker_image(&contents, image, progress)
    }

    fn load_docker_image(&self, contents: &Contents, image: &DockerImage, progress: &dyn Progress) -> Result<ImageId> {
        let raw = contents.read(&image.config, CONFIG_MAX)?;
        let config = ImageConfig::parse(&raw)?;
        let source = |path: &String| Source { path: path.clone(), announced: None, keep: false };
        let layers: Vec<Source> = image.layers.iter().map(source).collect();
        self.load_image(contents, &raw, &config, &layers, ImageRecord::default(), progress)
    }

    fn load_docker(&self, contents: &Contents, image: &DockerImage, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let id = self.load_docker_image(contents, image, progress)?;
        let mut loaded = Vec::new();
        for name in image.repo_tags.iter().flatten() {
            loaded.push(self.name_loaded(&id, name, None)?);
        }
        if loaded.is_empty() {
            loaded.push(Loaded { id, name: None });
        }
        Ok(loaded)
    }

    fn load_oci(
        &self,
        contents: &Contents,
        descriptor: &Descriptor,
        keeping: &Keeping,
        progress: &dyn Progress,
    ) -> Result<Option<Loaded>> {
        let annotations = descriptor.annotations.clone().unwrap_or_default();
        if let Some(target) = self.load_whole(contents, descriptor, keeping, progress)? {
            return Ok(Some(match archive_name(&annotations) {
                Some(name) => self.name_loaded_as(&target, &name)?,
                None => Loaded { id: target.image, name: None },
            }));
        }
        let Some((id, manifest)) = self.load_oci_image(contents, descriptor, None, keeping, progress)? else {
            return Ok(None);
        };
        match archive_name(&annotations) {
            Some(name) => Ok(Some(self.name_loaded(&id, &name, Some(manifest))?)),
            None => Ok(Some(Loaded { id, name: None })),
        }
    }

    /// Takes in the one image of the OCI layout in `directory` that `tag` (its annotation) or `digest` names, or the
    /// only one there is, without giving it a name here.
    ///
    /// # Errors
    /// What is no layout, no such image in it, content that is not what its name says.
    pub fn load_layout(
        &self,
        directory: &Path,
        tag: Option<&str>,
        digest: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<ImageId> {
        let contents = Contents::layout(directory)?;
        let descriptor = pick(&contents, &directory.display().to_string(), tag, digest)?;
        let loaded = self.load_oci_image(&contents, &descriptor, None, &Keeping::NOTHING, progress)?;
        loaded.map(|(id, _)| id).ok_or_else(|| CommandError::new("the layout holds no image for this platform"))
    }

    /// The image that a descriptor leads to, and the digest of its manifest; `index` is filed with it. The compressed bytes
    /// of layers that `keeping` keeps stay.
    pub(super) fn load_oci_image(
        &self,
        contents: &Contents,
        descriptor: &Descriptor,
        index: Option<Digest>,
        keeping: &Keeping,
        progress: &dyn Progress,
    ) -> Result<Option<(ImageId, Digest)>> {
        let Some((digest, document)) = choose(contents, descriptor, INDEX_DEPTH)? else { return Ok(None) };
        document.check_image(&format!("image {digest}"), false)?;
        let raw = contents.blob(&to_store(&document.config.digest), CONFIG_MAX)?;
        let config = ImageConfig::parse(&raw)?;
        let mut layers = Vec::new();
        let mut compressed = Vec::new();
        for layer in &document.layers {
            let digest = to_store(&layer.digest);
            let path = format!("blobs/sha256/{}", digest.hex());
            let form = keeping.layer(layer.media_type.as_str(), digest, layer.size);
            layers.push(Source { path, announced: Some((digest, layer.size)), keep: keeping.keeps(&form) });
            compressed.push(vec![form]);
        }
        let manifest = self.store.blobs().put(&contents.blob(&digest, MANIFEST_MAX)?)?;
        let record = ImageRecord {
            compressed,
            manifests: std::iter::once(manifest).chain(index).collect(),
            ..ImageRecord::default()
        };
        Ok(Some((self.load_image(contents, &raw, &config, &layers, record, progress)?, manifest)))
    }

    fn load_image(
        &self,
        contents: &Contents,
        raw: &[u8],
        config: &ImageConfig,
        layers: &[Source],
        mut record: ImageRecord,
        progress: &dyn Progress,
    ) -> Result<ImageId> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let text = format!("the archive names {} layers and the config {}", layers.len(), diff_ids.len());
            return Err(CommandError::new(text));
        }
        self.store.protect(&diff_ids.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
        for (diff_id, source) in diff_ids.iter().zip(layers) {
            self.load_layer(contents, diff_id, source, progress)?;
        }
        let provenance = Provenance { source: Some("an archive".into()), ..Provenance::default() };
        record.provenance = vec![provenance; diff_ids.len()];
        Ok(self.store.images().put(raw, &record)?)
    }

    fn load_layer(
        &self,
        contents: &Contents,
        diff_id: &DiffId,
        source: &Source,
        progress: &dyn Progress,
    ) -> Result<()> {
        let short = diff_id.short();
        let kept = source.announced.filter(|(digest, _)| source.keep && *digest != diff_id.0);
        if let Some((digest, size)) = kept {
            return self.load_kept(contents, diff_id, source, (digest, size), progress);
        }
        if self.store.layers().has(diff_id) {
            progress.event(Event::Done(&short, "Already exists"));
            return Ok(());
        }
        let (reader, size) = contents.open(&source.path)?;
        progress.event(Event::Started(&short, size));
        self.store
            .layers()
            .ingest(reader, Some(diff_id), source.announced)
            .context(format!("layer {}", source.path))?;
        progress.event(Event::Done(&short, "Loaded"));
        Ok(())
    }

    /// Takes in a layer and its compressed bytes, whichever is missing.
    fn load_kept(
        &self,
        contents: &Contents,
        diff_id: &DiffId,
        source: &Source,
        (digest, size): (Digest, u64),
        progress: &dyn Progress,
    ) -> Result<()> {
        let short = diff_id.short();
        let doing = || format!("layer {}", source.path);
        let has = self.store.layers().has(diff_id);
        if has && self.store.blobs().has(&digest) {
            progress.event(Event::Done(&short, "Already exists"));
            return Ok(());
        }
        progress.event(Event::Started(&short, size));
        self.keep_blob(&digest, size, contents.open(&source.path)?.0).with_context(doing)?;
        if !has {
            let reader = self.store.blobs().open(&digest)?;
            self.store.layers().ingest(reader, Some(diff_id), Some((digest, size))).with_context(doing)?;
        }
        progress.event(Event::Done(&short, "Loaded"));
        Ok(())
    }

    /// Gives a loaded image the name it has in the archive.
    pub(super) fn name_loaded(&self, id: &ImageId, name: &str, manifest: Option<Digest>) -> Result<Loaded> {
        self.name_loaded_as(&Target { image: *id, manifest, platforms: Vec::new(), attached: Vec::new() }, name)
    }

    /// As [`Engine::name_loaded`], also for an index that is whole.
    fn name_loaded_as(&self, target: &Target, name: &str) -> Result<Loaded> {
        let id = &target.image;
        // The name is the archive's and not a word of the command line.
        let canonical = self.tag_reference(name).map_err(|error| error.kind(Kind::Failed))?;
        self.store.refs().point(&canonical, target, Expect::Any)?;
        self.image_event("load", id, Some(&canonical));
        let (repository, tag) = familiar_parts(&canonical);
        Ok(Loaded { id: *id, name: Some(tag.map_or(repository.clone(), |tag| format!("{repository}:{tag}"))) })
    }
}

/// The image of a layout that `tag` (its annotation) or `digest` names, or the only one there is.
///
/// # Errors
/// What is no layout, no such image in it.
pub fn pick(contents: &Contents, place: &str, tag: Option<&str>, digest: Option<&str>) -> Result<Descriptor> {
    contents.check_version()?;
    let mut index = index(contents)?;
    let names = |descriptor: &Descriptor| -> Vec<String> {
        let annotations = descriptor.annotations.iter();
        annotations.flat_map(|all| [all.get(REF_ANNOTATION), all.get(NAME_ANNOTATION)]).flatten().cloned().collect()
    };
    let is_wanted = |descriptor: &Descriptor| match digest {
        Some(digest) => descriptor.digest.to_string() == digest,
        None => names(descriptor).iter().any(|name| name == tag.unwrap_or("latest")),
    };
    let only = index.manifests.len() == 1 && tag.is_none() && digest.is_none();
    match index.manifests.iter().position(is_wanted).or(only.then_some(0)) {
        Some(at) => Ok(index.manifests.swap_remove(at)),
        None => {
            let wanted = digest.or(tag).unwrap_or("latest");
            let names: Vec<String> = index.manifests.iter().flat_map(names).collect();
            let error = CommandError::new(format!("the layout {place} has no image {wanted}"));
            Err(if names.is_empty() { error } else { error.hint(format!("it has {}", names.join(", "))) })
        }
    }
}

/// Where a layer is in the archive, and what it was announced as.
struct Source {
    path: String,
    announced: Option<(Digest, u64)>,
    /// Whether the compressed bytes stay.
    keep: bool,
}

/// The index that an OCI layout begins with.
fn index(contents: &Contents) -> Result<Index> {
    let bytes = contents.read("index.json", MANIFEST_MAX)?;
    match Document::parse("index.json in the archive", &MediaType::OCI_INDEX.into(), &bytes)? {
        Document::Index(index) => Ok(*index),
        Document::Manifest(_) => Err(CommandError::new("index.json in the archive is a manifest, not an index")),
    }
}

/// Each image and each name is work on the disk, so that a small archive must not have any number of them.
pub(super) fn check_number(images: usize, names: usize) -> Result<()> {
    for (number, most, what) in [(images, IMAGES_MAX, "images"), (names, NAMES_MAX, "names")] {
        if number > most {
            return Err(CommandError::new(format!("the archive has more than {most} {what}: {number}")));
        }
    }
    Ok(())
}

/// The manifest that `descriptor` leads to: itself, or in an index the one for this platform.
fn choose(contents: &Contents, descriptor: &Descriptor, depth: usize) -> Result<Option<(Digest, Manifest)>> {
    if depth == 0 {
        return Err(CommandError::new("the indexes of the archive lie too deep in one another"));
    }
    let digest = to_store(&descriptor.digest);
    let bytes = contents.blob(&digest, MANIFEST_MAX)?;
    check_size(descriptor, bytes.len())?;
    let document = match Document::parse(&digest.to_string(), &descriptor.media_type, &bytes)? {
        Document::Manifest(manifest) => return Ok(Some((digest, *manifest))),
        Document::Index(index) => index,
    };
    let host = Platform::host();
    let ranked = document.manifests.iter().filter(|inner| is_image(inner)).filter_map(|inner| match &inner.platform {
        Some(platform) => Some((host.rank(platform)?, inner)),
        None => Some((0, inner)),
    });
    match ranked.min_by_key(|(rank, _)| *rank) {
        Some((_, inner)) => choose(contents, inner, depth - 1),
        None => Ok(None),
    }
}

/// The name that the annotations give an image; a bare tag is none.
fn archive_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    if let Some(name) = annotations.get(NAME_ANNOTATION) {
        return Some(name.clone());
    }
    annotations.get(REF_ANNOTATION).filter(|name| name.contains(['/', ':'])).cloned()
}
