//! A directory that holds caches: an OCI image layout (image-layout.md), in whose index each cache has a tag. Blobs are
//! written before the index names them, each under a name of its own until it is whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use store::Digest;

use super::document::{ARTIFACT, Blob, MANIFEST_MAX};
use crate::error::{CommandError, Context as _, Result};

/// The annotation that names an entry of the index.
const TAG: &str = "org.opencontainers.image.ref.name";

/// A layout.
pub struct Layout {
    path: PathBuf,
}

impl Layout {
    /// The layout at `path`, there or not.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Reads a blob of at most `limit` bytes and verifies it.
    ///
    /// # Errors
    /// It is not there, too large or damaged.
    pub fn read(&self, blob: &Blob, limit: u64) -> Result<Vec<u8>> {
        let bytes = limited(self.open(&blob.digest)?, limit)?;
        if Digest::of(&bytes) != blob.digest {
            return Err(CommandError::new(format!("{} is damaged", self.blob_path(&blob.digest).display())));
        }
        Ok(bytes)
    }

    fn index(&self) -> Result<Option<Value>> {
        let path = self.path.join("index.json");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot open {}", path.display()))?,
        };
        let bytes = limited(file, MANIFEST_MAX)?;
        let index: Value = serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))?;
        if !index["manifests"].is_array() {
            return Err(CommandError::new(format!("{} is no index of an OCI layout", path.display())));
        }
        Ok(Some(index))
    }

    /// The manifest of the cache `tag`.
    ///
    /// # Errors
    /// There is none, or the layout is damaged.
    pub fn find(&self, tag: &str) -> Result<Vec<u8>> {
        let shown = self.path.display();
        let index = self.index()?.ok_or_else(|| CommandError::new(format!("{shown} holds no build cache")))?;
        let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = entries.iter().find(|entry| entry["annotations"][TAG] == tag);
        let found = found.ok_or_else(|| CommandError::new(format!("{shown} holds no build cache called {tag}")))?;
        let blob: Blob = serde_json::from_value(found.clone())?;
        self.read(&blob, MANIFEST_MAX)
    }

    /// Writes a blob that `write` fills in and names.
    ///
    /// # Errors
    /// The directory cannot be written, and what `write` says.
    pub fn put(&self, write: impl FnOnce(&mut File) -> Result<Digest>) -> Result<Digest> {
        let folder = self.path.join("blobs/sha256");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let partial = tempfile(&folder);
        let result = File::create_new(&partial).map_err(CommandError::from).and_then(|mut file| {
            let digest = write(&mut file)?;
            fs::rename(&partial, self.blob_path(&digest))?;
            Ok(digest)
        });
        if result.is_err() {
            // Its own error says what matters; a partial file has a name that says what it is.
            let _ = fs::remove_file(&partial);
        }
        result.with_context(|| format!("cannot write to {}", folder.display()))
    }

    /// Names the manifest `bytes`, which is written too, as the cache `tag`; others in the layout stay unless `reset`.
    ///
    /// # Errors
    /// The directory cannot be written, or is something else.
    pub fn publish(&self, tag: &str, bytes: &[u8], reset: bool) -> Result<()> {
        self.put(|file| {
            io::Write::write_all(file, bytes)?;
            Ok(Digest::of(bytes))
        })?;
        let fresh = json!({ "schemaVersion": 2, "mediaType": registry_client::MediaType::OCI_INDEX, "manifests": [] });
        let mut index = self.index()?.unwrap_or(fresh);
        if let Some(entries) = index["manifests"].as_array_mut() {
            entries.retain(|entry| !reset && entry["annotations"][TAG] != tag);
            entries.push(json!({
                "mediaType": registry_client::MediaType::OCI_MANIFEST,
                "artifactType": ARTIFACT,
                "digest": Digest::of(bytes),
                "size": bytes.len(),
                "annotations": { TAG: tag },
            }));
        }
        self.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.replace("index.json", &serde_json::to_vec(&index)?)?;
        if reset { self.remove_others(bytes) } else { Ok(()) }
    }

    /// Removes all blobs but those of this manifest, once nothing names them any more.
    fn remove_others(&self, manifest: &[u8]) -> Result<()> {
        let named: Value = serde_json::from_slice(manifest)?;
        let layers = named["layers"].as_array().into_iter().flatten();
        let mut kept: Vec<Digest> = layers
            .chain([&named["config"]])
            .map(|blob| Ok(serde_json::from_value(blob["digest"].clone())?))
            .collect::<Result<_>>()?;
        kept.push(Digest::of(manifest));
        let kept: std::collections::HashSet<PathBuf> = kept.iter().map(|digest| self.blob_path(digest)).collect();
        let folder = self.path.join("blobs/sha256");
        let empty = || -> io::Result<()> {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                // What somebody else is writing has a name with an ending.
                if path.extension().is_none() && !kept.contains(&path) {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        };
        empty().with_context(|| format!("cannot tidy {}", folder.display()))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let partial = tempfile(&self.path);
        fs::write(&partial, bytes)
            .and_then(|()| fs::rename(&partial, self.path.join(name)))
            .with_context(|| format!("cannot write {}", self.path.join(name).display()))
    }
}

/// A name that nobody else writes to.
fn tempfile(folder: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    folder.join(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn limited(from: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(CommandError::new(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
