//! Writing archives. An image that has a manifest leaves with it where the form has one, its layers in the very bytes that
//! the manifest names. Other layers go out as the tars they are unless the form says otherwise: saving is copying then, and
//! what is loaded elsewhere has the same image id.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use registry_client::Platform;
use serde_json::{Value, json};
use store::digest::VerifiedReader;
use store::image::{CompressedLayer, Image};
use store::layer::compression::compress;
use store::layer::tar::Writer;
use store::layer::{Compression, Entry, Kind, LayerPath, Time};
use store::{DiffId, Digest};

use super::{ArchiveFormat, DockerImage, NAME_ANNOTATION, REF_ANNOTATION};
use crate::engine::Engine;
use crate::engine::form::{Form, Keep, Manifest, layer_type};
use crate::engine::indexes::Whole;
use crate::engine::names::{Found, familiar_parts};
use crate::engine::originals::{Kept, LazyClient, Original, out_of_reach};
use crate::engine::progress::Progress;
use crate::error::{CommandError, Context as _, Result};

/// Bytes written at one time.
const BUFFER: usize = 1 << 20;

fn gone(name: &str) -> CommandError {
    CommandError::new(format!("no such image: {name}")).hint("it was removed just now")
}

impl Engine {
    /// Writes `names` to the file `output`, or standard output. A file appears only when it is whole.
    ///
    /// # Errors
    /// No such image, a file that cannot be written.
    pub fn save(
        &self,
        names: &[String],
        format: ArchiveFormat,
        keep: Keep,
        platform: Option<&Platform>,
        output: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut images = names.iter().map(|name| self.find_image(name)).collect::<Result<Vec<_>>>()?;
        if let Some(platform) = platform {
            for (name, found) in names.iter().zip(&mut images) {
                found.image = self.image_of_platform(found, name, platform)?;
            }
        }
        for (name, found) in names.iter().zip(&images) {
            self.store.images().protect(&found.image.id)?.ok_or_else(|| gone(name))?;
        }
        let mut members: Vec<Member> = images.iter().map(|found| Member::of(found, keep)).collect();
        // Under new manifests no index stays what it was, and docker's form knows none.
        if keep == Keep::Must && platform.is_none() && format != ArchiveFormat::Docker {
            for (member, found) in members.iter_mut().zip(&images) {
                member.whole = match &found.tag {
                    Some(tag) => self.whole_index(tag, false, progress)?,
                    None => None,
                };
            }
        }
        match output {
            Some(path) if format == ArchiveFormat::OciDirectory => self.write_layout(&members, path)?,
            None if format == ArchiveFormat::OciDirectory => {
                return Err(
                    CommandError::usage("a directory cannot go to standard output").hint("name the directory with -o")
                );
            }
            None => self.write_archive(&members, format, io::stdout().lock()).map(drop)?,
            Some(path) => write_file(path, |file| self.write_archive(&members, format, file).map(drop))?,
        }
        for found in &images {
            self.image_event("save", &found.image.id, found.tag.as_ref().map(|tag| tag.name.as_str()));
        }
        Ok(())
    }

    /// Writes images as one archive; gives the OCI manifest of each, if the archive has them.
    ///
    /// # Errors
    /// A layer that is not there or damaged, an output that cannot be written.
    pub fn write_archive(
        &self,
        images: &[Member<'_>],
        format: ArchiveFormat,
        output: impl Write,
    ) -> Result<Vec<Manifest>> {
        let tar = Writer::new(BufWriter::with_capacity(BUFFER, output));
        let mut archive = Archive { place: Place::Tar(tar), written: BTreeSet::new() };
        let manifests = self.write_members(images, format, &mut archive)?;
        if let Place::Tar(tar) = archive.place {
            tar.finish()?.flush().context("cannot write the archive")?;
        }
        Ok(manifests)
    }

    /// Writes images as an OCI layout in the new directory `path` (image-spec, "Image Layout"), which appears when it is whole.
    fn write_layout(&self, images: &[Member<'_>], path: &Path) -> Result<()> {
        let doing = || format!("cannot write {}", path.display());
        let taken = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if taken || path.is_file() {
            return Err(CommandError::new(format!("{} is there already", path.display()))
                .hint("name a directory that does not exist, or an empty one"));
        }
        let partial = partial_of(path);
        std::fs::create_dir(&partial).with_context(doing)?;
        let written = std::fs::create_dir_all(partial.join("blobs/sha256")).with_context(doing).and_then(|()| {
            let mut archive =
                Archive::<io::Sink> { place: Place::Directory(partial.clone()), written: BTreeSet::new() };
            self.write_members(images, ArchiveFormat::OciDirectory, &mut archive)?;
            std::fs::rename(&partial, path).with_context(doing)
        });
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&partial);
        }
        written
    }

    fn write_members<W: Write>(
        &self,
        images: &[Member<'_>],
        format: ArchiveFormat,
        archive: &mut Archive<W>,
    ) -> Result<Vec<Manifest>> {
        let oci = format != ArchiveFormat::Docker;
        let mut index = Vec::new();
        let mut manifests = Vec::new();
        let client = LazyClient::new(self);
        let mut docker: Vec<DockerImage> = Vec::new();
        if oci {
            archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        for member in images {
            let (manifest, own) = match &member.whole {
                Some(whole) if oci => {
                    let (manifest, own) = self.write_whole(&mut *archive, member, whole, format, &client)?;
                    (Some(manifest), own)
                }
                _ => self.write_member(&mut *archive, member, format, &client)?,
            };
            if let Some(manifest) = manifest {
                index.extend(lines(&manifest, member));
                manifests.push(manifest);
            }
            let tags: Vec<String> = member
                .names
                .iter()
                .filter_map(|name| {
                    let (repository, tag) = familiar_parts(name);
                    Some(format!("{repository}:{}", tag?))
                })
                .collect();
            let tags = (!tags.is_empty()).then_some(tags);
            match docker.iter_mut().find(|entry| entry.config == own.config) {
                Some(entry) => entry.repo_tags.get_or_insert_default().extend(tags.into_iter().flatten()),
                None => docker.push(DockerImage { repo_tags: tags, ..own }),
            }
        }
        if oci {
            let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index });
            archive.file("index.json", &serde_json::to_vec(&index)?)?;
        }
        if format != ArchiveFormat::OciDirectory {
            archive.file("manifest.json", &serde_json::to_vec(&docker)?)?;
        }
        Ok(manifests)
    }

    /// Writes config, layers and manifest of one image; gives the manifest, if the archive has them, and docker's line.
    pub(super) fn write_member<W: Write>(
        &self,
        archive: &mut Archive<W>,
        member: &Member<'_>,
        format: ArchiveFormat,
        client: &LazyClient<'_>,
    ) -> Result<(Option<Manifest>, DockerImage)> {
        let (image, oci) = (member.image, format != ArchiveFormat::Docker);
        let config = archive.blob(&image.raw, format)?;
        let (mut paths, mut layers) = (Vec::new(), Vec::new());
        let kept = if oci { self.kept_by(member, client)? } else { None };
        for (at, layer) in image.layers().iter().enumerate() {
            let original = kept.as_ref().and_then(|kept| Some((kept, kept.layers.get(at)?)));
            let (path, layer) = match original {
                Some((kept, original)) => {
                    self.write_original(archive, layer, original, kept, member.form.keep, client)?
                }
                None => self.write_layer(archive, layer, format, &member.form)?,
            };
            paths.push(path);
            layers.push(layer);
        }
        let docker = DockerImage { config, repo_tags: None, layers: paths };
        if !oci {
            return Ok((None, docker));
        }
        let manifest = member.form.manifest(image, &layers, &self.known_manifests(image)?)?;
        archive.blob(&manifest.bytes, format)?;
        let around = member.form.index(image, &manifest)?;
        if let Some(around) = &around {
            archive.blob(&around.bytes, format)?;
        }
        Ok((Some(around.unwrap_or(manifest)), docker))
    }

    /// The manifest that an image keeps. One that it must keep and cannot is an error before anything is written.
    fn kept_by(&self, member: &Member<'_>, client: &LazyClient<'_>) -> Result<Option<Kept>> {
        if member.form.keep == Keep::Free {
            return Ok(None);
        }
        let kept = self.kept_manifest(member.image, member.manifest.as_ref())?;
        if let Some(kept) = kept.as_ref().filter(|_| member.form.keep == Keep::Must) {
            let mut reasons = Vec::new();
            for (layer, original) in member.image.layers().iter().zip(&kept.layers) {
                // What is compressed again is not tried twice.
                if original.form.level.is_none() {
                    reasons.extend(self.reach(client, layer, original)?.err().into_iter().flatten());
                }
            }
            if !reasons.is_empty() {
                return Err(saved_otherwise(kept, reasons));
            }
        }
        Ok(kept)
    }

    /// Writes a layer in the bytes that its manifest names, unless it is there.
    fn write_original<W: Write>(
        &self,
        archive: &mut Archive<W>,
        layer: &DiffId,
        original: &Original,
        kept: &Kept,
        keep: Keep,
        client: &LazyClient<'_>,
    ) -> Result<(String, CompressedLayer)> {
        let form = original.form.clone();
        let path = format!("blobs/sha256/{}", form.digest.hex());
        if archive.written.contains(&path) {
            return Ok((path, form));
        }
        match self.reach(client, layer, original)? {
            Ok(open) => {
                let what = format!("layer {}", form.digest);
                let bytes = open(0).with_context(|| format!("cannot read {what}"))?;
                archive.written.insert(path.clone());
                archive.member(&path, form.size, &mut VerifiedReader::new(bytes, what, form.digest, form.size))?;
                Ok((path, form))
            }
            Err(_) if keep == Keep::Try => {
                let compressed = Form { compression: Some(Compression::Gzip), ..Form::default() };
                self.write_layer(archive, layer, ArchiveFormat::Oci, &compressed)
            }
            Err(reasons) => Err(saved_otherwise(kept, reasons)),
        }
    }

    /// Writes a layer unless it is there, compressed as the form says; gives its path in the archive and what it is.
    fn write_layer<W: Write>(
        &self,
        archive: &mut Archive<W>,
        layer: &DiffId,
        format: ArchiveFormat,
        form: &Form,
    ) -> Result<(String, CompressedLayer)> {
        let compression = form.compression.unwrap_or(Compression::None);
        let place = |digest: &Digest| match format {
            ArchiveFormat::Oci | ArchiveFormat::OciDirectory => format!("blobs/sha256/{}", digest.hex()),
            ArchiveFormat::Docker => format!("{}.tar", layer.hex()),
        };
        let media_type = layer_type(compression);
        // Verified while it is read: an archive is never made of bytes that are not what their name says.
        let mut reader = self.store.layers().reader(layer)?;
        if compression == Compression::None {
            let size = self.store.layers().info(layer)?.tar_size;
            let path = place(&layer.0);
            if archive.written.insert(path.clone()) {
                archive.member(&path, size, &mut reader)?;
            }
            return Ok((path, CompressedLayer::new(media_type, layer.0, size)));
        }
        let mut scratch = self.store.scratch_file()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let compressed = compress(reader, &mut scratch, compression, form.level, threads)?;
        let path = place(&compressed.digest);
        if archive.written.insert(path.clone()) {
            scratch.rewind()?;
            archive.member(&path, compressed.size, &mut scratch)?;
        }
        Ok((path, CompressedLayer::new(media_type, compressed.digest, compressed.size)))
    }
}

/// An image to be written to an archive.
pub struct Member<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its canonical names.
    pub names: Vec<String>,
    /// Which of its manifests is meant, if it has several.
    pub manifest: Option<Digest>,
    /// How it is written.
    pub form: Form,
    /// The index that goes in its place, with all that it lists.
    pub whole: Option<Whole>,
}

impl<'a> Member<'a> {
    /// A found image under the name it was found by.
    fn of(found: &'a Found, keep: Keep) -> Self {
        let names = found.tag.iter().map(|tag| tag.name.clone()).collect();
        let manifest = found.tag.as_ref().and_then(|tag| tag.manifest);
        Self { image: &found.image, names, manifest, form: Form { keep, ..Form::of(&found.image) }, whole: None }
    }
}

/// The error for an image that cannot be saved with its manifest.
fn saved_otherwise(kept: &Kept, reasons: Vec<String>) -> CommandError {
    out_of_reach(&kept.digest, reasons).hint("--uncompressed writes the layers as they are here, under a new manifest")
}

/// The lines of `index.json` for one image: one for each name, or one without.
fn lines(manifest: &Manifest, member: &Member<'_>) -> Vec<Value> {
    let mut names: Vec<Option<&String>> = member.names.iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    let line = |name: Option<&String>| {
        let own = &member.form.annotations;
        let mut notes = if manifest.is_index() { own.index_descriptor.clone() } else { own.descriptor.clone() };
        if let Some(name) = name {
            let tag = name.rsplit_once(':').map_or(name.as_str(), |(_, tag)| tag);
            notes.insert(NAME_ANNOTATION.into(), name.clone());
            notes.insert(REF_ANNOTATION.into(), tag.into());
        }
        manifest.descriptor(None, &notes)
    };
    names.into_iter().map(line).collect()
}

/// Where this process writes what is to appear at `path` when it is whole: beside it.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Where an archive's members go.
enum Place<W: Write> {
    Tar(Writer<BufWriter<W>>),
    Directory(PathBuf),
}

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    place: Place<W>,
    written: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn member(&mut self, path: &str, size: u64, data: &mut dyn Read) -> Result<()> {
        let tar = match &mut self.place {
            Place::Tar(tar) => tar,
            Place::Directory(directory) => {
                let path = directory.join(path);
                let mut file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
                io::copy(data, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(());
            }
        };
        append(tar, path, size, data)
    }

    fn file(&mut self, path: &str, mut bytes: &[u8]) -> Result<()> {
        self.member(path, bytes.len() as u64, &mut bytes)
    }

    /// Writes a blob unless it is there; gives its path.
    pub(super) fn blob(&mut self, bytes: &[u8], format: ArchiveFormat) -> Result<String> {
        let hex = Digest::of(bytes).hex();
        let path = match format {
            ArchiveFormat::Oci | ArchiveFormat::OciDirectory => format!("blobs/sha256/{hex}"),
            ArchiveFormat::Docker => format!("{hex}.json"),
        };
        if self.written.insert(path.clone()) {
            self.file(&path, bytes)?;
        }
        Ok(path)
    }
}

/// Writes a member of an archive.
///
/// # Errors
/// Data that cannot be read or has another size, a file that cannot be written.
pub fn append<W: Write>(tar: &mut Writer<W>, path: &str, size: u64, data: &mut dyn Read) -> Result<()> {
    let entry = Entry {
        path: LayerPath::parse(path.as_bytes())?,
        kind: Kind::file(size),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    };
    tar.append(&entry, Some(data))?;
    Ok(())
}

/// Writes a file that appears under its name only when it is whole.
///
/// # Errors
/// Whatever `write` says, and a directory that cannot be written.
pub fn write_file(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    // A pipe or device is written as it is; only a regular file can be replaced.
    if path.exists() && !path.is_file() {
        let mut file = File::options().write(true).open(path).context(format!("cannot write {}", path.display()))?;
        return write(&mut file);
    }
    let partial = partial_of(path);
    let mut file = File::create_new(&partial).context(format!("cannot write {}", path.display()))?;
    let result = write(&mut file)
        .and_then(|()| std::fs::rename(&partial, path).context(format!("cannot put {} in place", path.display())));
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}
