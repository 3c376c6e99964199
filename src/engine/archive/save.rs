//! Writing archives. Layers go out as the tars they are: nothing is compressed, so saving is copying, and what is
//! loaded elsewhere has the same image id.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use store::layer::tar::Writer;
use store::layer::{Entry, Kind, LayerPath, Time};
use store::{DiffId, Digest};

use super::{ArchiveFormat, DockerImage, NAME_ANNOTATION, REF_ANNOTATION};
use crate::engine::Engine;
use crate::engine::names::{Found, familiar_parts};
use crate::error::{Context as _, Result};

/// Bytes written at one time.
const BUFFER: usize = 1 << 20;

impl Engine {
    /// Writes `names` to the file `output`, or standard output. A file appears only when it is whole.
    ///
    /// # Errors
    /// No such image, a file that cannot be written.
    pub fn save(&self, names: &[String], format: ArchiveFormat, output: Option<&Path>) -> Result<()> {
        let images = names.iter().map(|name| self.find_image(name)).collect::<Result<Vec<_>>>()?;
        self.store.protect(&images.iter().map(|found| found.image.id.0).collect::<Vec<_>>())?;
        match output {
            None => self.write_archive(&images, format, io::stdout().lock()),
            Some(path) => write_file(path, |file| self.write_archive(&images, format, file)),
        }
    }

    fn write_archive(&self, images: &[Found], format: ArchiveFormat, output: impl Write) -> Result<()> {
        let mut archive =
            Archive { tar: Writer::new(BufWriter::with_capacity(BUFFER, output)), written: BTreeSet::new() };
        let mut index = Vec::new();
        let mut docker: Vec<DockerImage> = Vec::new();
        if format == ArchiveFormat::Oci {
            archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        for found in images {
            let image = &found.image;
            let config = archive.blob(&image.raw, format)?;
            let mut layers = Vec::new();
            for layer in image.layers() {
                layers.push(self.write_layer(&mut archive, layer, format)?);
            }
            let name = found.tag.as_ref().map(|tag| familiar_parts(&tag.name));
            let tag = name.and_then(|(repository, tag)| Some(format!("{repository}:{}", tag?)));
            if format == ArchiveFormat::Oci {
                let canonical = found.tag.as_ref().map(|tag| tag.name.as_str());
                index.push(archive.manifest(&image.raw, image.layers(), &layers, canonical)?);
            }
            let layers: Vec<String> = layers.into_iter().map(|(path, _)| path).collect();
            match docker.iter_mut().find(|entry| entry.config == config) {
                Some(entry) => entry.repo_tags.get_or_insert_default().extend(tag),
                None => docker.push(DockerImage { config, repo_tags: tag.map(|tag| vec![tag]), layers }),
            }
        }
        if format == ArchiveFormat::Oci {
            let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index });
            archive.file("index.json", &serde_json::to_vec(&index)?)?;
        }
        archive.file("manifest.json", &serde_json::to_vec(&docker)?)?;
        archive.tar.finish()?.flush().context("cannot write the archive")?;
        Ok(())
    }

    /// Writes a layer unless it is there; gives its path in the archive and its size.
    fn write_layer<W: Write>(
        &self,
        archive: &mut Archive<W>,
        layer: &DiffId,
        format: ArchiveFormat,
    ) -> Result<(String, u64)> {
        let path = match format {
            ArchiveFormat::Oci => format!("blobs/sha256/{}", layer.hex()),
            ArchiveFormat::Docker => format!("{}.tar", layer.hex()),
        };
        let size = self.store.layers().info(layer)?.tar_size;
        if archive.written.insert(path.clone()) {
            // Verified while it is read: an archive is never made of bytes that are not what their name says.
            let mut reader = self.store.layers().reader(layer)?;
            archive.member(&path, size, &mut reader)?;
        }
        Ok((path, size))
    }
}

/// An archive that is being written.
struct Archive<W: Write> {
    tar: Writer<BufWriter<W>>,
    written: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn member(&mut self, path: &str, size: u64, data: &mut dyn Read) -> Result<()> {
        let entry = Entry {
            path: LayerPath::parse(path.as_bytes())?,
            kind: Kind::File { size, extents: Vec::new() },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Vec::new(),
        };
        self.tar.append(&entry, Some(data))?;
        Ok(())
    }

    fn file(&mut self, path: &str, mut bytes: &[u8]) -> Result<()> {
        self.member(path, bytes.len() as u64, &mut bytes)
    }

    /// Writes a blob unless it is there; gives its path.
    fn blob(&mut self, bytes: &[u8], format: ArchiveFormat) -> Result<String> {
        let hex = Digest::of(bytes).hex();
        let path = match format {
            ArchiveFormat::Oci => format!("blobs/sha256/{hex}"),
            ArchiveFormat::Docker => format!("{hex}.json"),
        };
        if self.written.insert(path.clone()) {
            self.file(&path, bytes)?;
        }
        Ok(path)
    }

    /// Writes the OCI manifest of an image; gives its line of the index.
    fn manifest(
        &mut self,
        config: &[u8],
        diff_ids: &[DiffId],
        layers: &[(String, u64)],
        name: Option<&str>,
    ) -> Result<Value> {
        let layers: Vec<Value> = diff_ids
            .iter()
            .zip(layers)
            .map(|(layer, (_, size))| {
                json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(config),
                "size": config.len(),
            },
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest)?;
        self.blob(&bytes, ArchiveFormat::Oci)?;
        let mut line = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(&bytes),
            "size": bytes.len(),
        });
        if let Some(name) = name {
            let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
            line["annotations"] = json!({ NAME_ANNOTATION: name, REF_ANNOTATION: tag });
        }
        Ok(line)
    }
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
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let partial = path.with_file_name(name);
    let mut file = File::create_new(&partial).context(format!("cannot write {}", path.display()))?;
    let result = write(&mut file)
        .and_then(|()| std::fs::rename(&partial, path).context(format!("cannot put {} in place", path.display())));
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}
