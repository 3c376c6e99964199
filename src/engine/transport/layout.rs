//! `oci:` and `oci-archive:`: OCI image layouts. A directory that is one already is added to, and an image of the same name
//! in it replaced; an archive is written anew, member after member, while the blobs come.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;

use ::store::layer::tar::Writer;
use registry_client::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::directory::{media_type, verified};
use super::folder::Folder;
use super::{Document, Source, Target, as_io, check_size};
use crate::engine::Engine;
use crate::engine::archive::{Contents, MANIFEST_MAX, REF_ANNOTATION, append, pick};
use crate::engine::originals::Opener;
use crate::engine::pull::to_store;
use crate::error::{CommandError, Context as _, Result};

/// The file that says what the directory is (image-spec, image-layout.md).
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// One image of a layout that is read.
pub(in crate::engine) struct Layout<C = Contents> {
    contents: C,
    root: Descriptor,
}

impl<'a> Layout<&'a Contents> {
    /// What `root` says of a layout that is open already.
    pub fn of(contents: &'a Contents, root: Descriptor) -> Self {
        Self { contents, root }
    }
}

impl Layout {
    /// The image `name` of a layout, or the only one there is.
    pub fn open(engine: &Engine, path: &Path, name: Option<&str>) -> Result<Self> {
        let contents = engine.open_archive(Some(path)).with_context(|| format!("cannot read {}", path.display()))?;
        if !contents.has("index.json") {
            return Err(CommandError::new(format!("{} is no OCI layout: it has no index.json", path.display()))
                .hint("docker-archive:PATH is for what docker writes"));
        }
        let (tag, digest) = match name.map(|name| (name, name.strip_prefix('@'))) {
            Some((_, Some(digest))) => (None, Some(digest)),
            Some((name, None)) => (Some(name), None),
            None => (None, None),
        };
        let root = pick(&contents, &path.display().to_string(), tag, digest)?;
        Ok(Self { contents, root })
    }
}

impl<C: Borrow<Contents> + Sync> Source for Layout<C> {
    fn root(&self) -> Result<Document> {
        self.manifest(&self.root)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = self.contents.borrow().blob(&to_store(&descriptor.digest), MANIFEST_MAX)?;
        let stated = descriptor.media_type.as_str();
        let media_type = if stated.is_empty() { media_type(&bytes)? } else { stated.to_owned() };
        let document = Document { media_type, bytes };
        check_size(descriptor, document.bytes.len())?;
        Ok(document)
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> Result<Opener<'a>> {
        let path = format!("blobs/sha256/{}", descriptor.digest.hex());
        let contents = self.contents.borrow();
        if !contents.has(&path) {
            return Err(CommandError::new(format!("the layout has no blob {}", descriptor.digest)));
        }
        Ok(Box::new(move |offset| {
            let (reader, _) = contents.open_at(&path, offset).map_err(as_io)?;
            Ok(Box::new(reader))
        }))
    }
}

/// The line of `index.json` for an image.
fn line(document: &Document, name: Option<&str>) -> Value {
    let mut line = json!({
        "mediaType": document.media_type,
        "digest": document.digest(),
        "size": document.bytes.len(),
    });
    if let Some(name) = name {
        line["annotations"] = json!({ REF_ANNOTATION: name });
    }
    line
}

fn index(lines: &[Value]) -> Result<Vec<u8>> {
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": lines });
    Ok(serde_json::to_vec(&index)?)
}

/// A directory that gets an image.
pub(super) struct LayoutDirectory {
    folder: Folder,
    name: Option<String>,
}

impl LayoutDirectory {
    /// New, empty, or a layout already.
    pub fn create(path: &Path, name: Option<String>) -> Result<Self> {
        let (folder, taken) = Folder::create(path)?;
        if taken && folder.file("oci-layout").is_err() {
            return Err(CommandError::new(format!("{} holds something else", path.display()))
                .hint("name a new directory, an empty one, or an OCI layout"));
        }
        folder.folder("blobs")?;
        folder.folder("blobs/sha256")?;
        if !taken {
            folder.write("oci-layout", &mut { MARK })?;
        }
        Ok(Self { folder, name })
    }

    /// The lines of other images than the one that comes.
    fn others(&self, document: &Document) -> Result<Vec<Value>> {
        if !self.folder.has("index.json") {
            return Ok(Vec::new());
        }
        let doing = || format!("{} is malformed", self.folder.path().join("index.json").display());
        let before: Value =
            serde_json::from_slice(&self.folder.read("index.json", MANIFEST_MAX)?).with_context(doing)?;
        let lines = before.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
        let digest = json!(document.digest());
        let stays = |line: &Value| {
            let name = line.get("annotations").and_then(|all| all.get(REF_ANNOTATION)).and_then(Value::as_str);
            name != self.name.as_deref() || name.is_none() && line.get("digest") != Some(&digest)
        };
        Ok(lines.into_iter().filter(stays).collect())
    }
}

impl Target for LayoutDirectory {
    fn blob(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<&'static str> {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        if self.folder.has_file(&name, descriptor.size) {
            return Ok("Already exists");
        }
        self.folder.write(&name, &mut verified(source, descriptor)?)?;
        Ok("Copied")
    }

    fn document(&self, document: &Document, root: bool) -> Result<()> {
        let name = format!("blobs/sha256/{}", document.digest().hex());
        self.folder.write(&name, &mut document.bytes.as_slice())?;
        if root {
            let mut lines = self.others(document)?;
            lines.push(line(document, self.name.as_deref()));
            self.folder.write("index.json", &mut index(&lines)?.as_slice())?;
        }
        Ok(())
    }
}

/// An archive that is being written.
pub(super) struct LayoutArchive<W: Write> {
    open: Mutex<(Writer<BufWriter<W>>, BTreeSet<String>)>,
    name: Option<String>,
}

impl LayoutArchive<File> {
    /// One that goes into `file`.
    pub fn create(file: File, name: Option<String>) -> Result<Self> {
        let archive =
            Self { open: Mutex::new((Writer::new(BufWriter::with_capacity(1 << 20, file)), BTreeSet::new())), name };
        archive.append("oci-layout", MARK.len() as u64, &mut { MARK })?;
        Ok(archive)
    }

    fn append(&self, path: &str, size: u64, bytes: &mut dyn io::Read) -> Result<&'static str> {
        let mut open = self.open.lock().map_err(|_| CommandError::new("writing the archive ended unexpectedly"))?;
        let (tar, written) = &mut *open;
        if !written.insert(path.to_owned()) {
            return Ok("Already exists");
        }
        append(tar, path, size, bytes)?;
        Ok("Copied")
    }

    /// Writes the end.
    pub fn finish(self) -> Result<()> {
        let (tar, _) =
            self.open.into_inner().map_err(|_| CommandError::new("writing the archive ended unexpectedly"))?;
        tar.finish()?.flush().context("cannot write the archive")
    }
}

impl Target for LayoutArchive<File> {
    fn blob(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<&'static str> {
        let path = format!("blobs/sha256/{}", descriptor.digest.hex());
        self.append(&path, descriptor.size, &mut verified(source, descriptor)?)
    }

    fn document(&self, document: &Document, root: bool) -> Result<()> {
        let (path, size) = (format!("blobs/sha256/{}", document.digest().hex()), document.bytes.len() as u64);
        self.append(&path, size, &mut document.bytes.as_slice())?;
        if root {
            let index = index(&[line(document, self.name.as_deref())])?;
            self.append("index.json", index.len() as u64, &mut index.as_slice())?;
        }
        Ok(())
    }
}
