//! Bytes: blobs, layers with what was made of them, and the metadata images of chains.

use std::fs;
use std::io::{self, BufReader};
use std::path::Path;

use super::{Checker, REBUILT, REMOVED, chain};
use crate::digest::{ChainId, DiffId, Digest, VerifiedReader};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::layer::{LayerInfo, Toc, ingest};
use crate::snapshot;

impl Checker<'_> {
    pub(super) fn blob(&mut self, digest: &Digest) -> Result<()> {
        self.report.blobs += 1;
        if self.options.quick {
            return Ok(());
        }
        let path = self.store.blobs().path(digest);
        let Some(mut reader) = files::optional(self.store.blobs().reader(digest))? else { return Ok(()) };
        let (read, message) = read_through(&mut reader, &path)?;
        self.report.bytes += read;
        if let Some(message) = message {
            let message = message.strip_prefix(&format!("blob {digest} ")).unwrap_or(&message).to_owned();
            self.problem(format!("blob {digest}"), message, Some(REMOVED), Some(digest));
            self.remove(&path)?;
        }
        Ok(())
    }

    pub(super) fn layer(&mut self, layer: &DiffId) -> Result<()> {
        self.report.layers += 1;
        let path = self.store.layers().path(layer);
        let found = match self.options.quick {
            true => self.confirmed(|| Ok(self.sizes(layer).err().filter(|_| path.exists())))?,
            false => self.whole_layer(layer, &path)?,
        };
        if let Some(message) = found {
            let done = if self.options.quick { None } else { Some(REMOVED) };
            self.problem(format!("layer {layer}"), message, done, Some(&layer.0));
            if done.is_some() {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    /// What a look at a layer's files without reading the tar tells.
    fn sizes(&self, layer: &DiffId) -> std::result::Result<(), String> {
        let layers = self.store.layers();
        layers.open_tar(layer).map_err(|error| chain(&error))?;
        layers.toc(layer).map_err(|error| chain(&error))?;
        Ok(())
    }

    /// Reads a layer's tar and compares everything with it; what is wrong with the tar itself.
    fn whole_layer(&mut self, layer: &DiffId, path: &Path) -> Result<Option<String>> {
        let tar_path = path.join("tar");
        let open = || match fs::File::open(&tar_path) {
            Ok(file) => Ok(Ok(file)),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(Err(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err("its tar is missing".to_owned())),
            Err(error) => Err(Error::io("open", &tar_path)(error)),
        };
        let file = match open()? {
            Ok(file) => file,
            Err(_) => return self.confirmed(|| Ok(open()?.err().filter(|_| path.exists()))),
        };
        // One descriptor for both readings: the layer may be collected in between.
        let again = file.try_clone().map_err(Error::io("open", &tar_path))?;
        let size = file.metadata().map_err(Error::io("stat", &tar_path))?.len();
        let (read, wrong) = read_through(&mut VerifiedReader::new(file, "its tar", layer.0, size), &tar_path)?;
        self.report.bytes += read;
        if wrong.is_some() {
            return Ok(wrong);
        }
        let start = rustix::fs::seek(&again, rustix::fs::SeekFrom::Start(0));
        start.map_err(|error| Error::io("seek in", &tar_path)(error.into()))?;
        match ingest::contents(BufReader::with_capacity(1 << 18, again)) {
            Err(error) => Ok(Some(chain(&error))),
            Ok((toc, notes)) => self.layer_tables(layer, path, &toc, notes, size).map(|()| None),
        }
    }

    /// Compares what is on disk beside a sound tar with what follows from it.
    fn layer_tables(&mut self, layer: &DiffId, path: &Path, toc: &Toc, notes: Vec<String>, size: u64) -> Result<()> {
        let facts = LayerInfo::of(*layer, size, toc, notes);
        let encoded = toc.encode();
        let (layers, subject) = (self.store.layers(), format!("layer {layer}"));
        let wrong = self.confirmed(|| {
            // Its bytes follow from its entries; decoded it would be held twice.
            let toc = layers.encoded_toc(layer).is_ok_and(|ours| ours == encoded);
            let facts = layers.info(layer).is_ok_and(|ours| ours == facts);
            Ok((!(toc && facts) && path.exists()).then_some([toc, facts]))
        })?;
        let files = [("toc", encoded), ("layer.json", facts.encode()?)];
        for ((name, bytes), _) in files.into_iter().zip(wrong.unwrap_or([true; 2])).filter(|(_, sound)| !sound) {
            let message = format!("its {name} does not describe its tar");
            self.problem(subject.clone(), message, Some(REBUILT), Some(&layer.0));
            if self.options.repair {
                let temporary = self.store.lease()?.temporary("repair");
                files::replace_file(&path.join(name), &temporary, &bytes, Durability::Synced)?;
            }
        }
        // While it is compared nobody takes the layer away.
        self.store.protect(&[layer.0])?;
        let differs = |repair| Ok(path.exists() && !snapshot::check_layer(self.store, layer, toc, repair)?);
        if self.confirmed(|| Ok(differs(false)?.then_some(())))?.is_some() {
            let message = "its metadata image does not describe its tar".to_owned();
            self.problem(subject, message, Some(REBUILT), Some(&layer.0));
            if self.options.repair {
                differs(true)?;
            }
        }
        Ok(())
    }

    /// What was made of several layers can be made again at any time, so a repair throws it away.
    pub(super) fn chains(&mut self) -> Result<()> {
        let directory = self.store.root().join("chains");
        for id in files::names(&directory)?.iter().filter_map(|name| Digest::from_hex(name).ok()).map(ChainId) {
            let wrong = self.confirmed(|| snapshot::check_chain(self.store, &id, self.options.quick))?;
            if let Some(message) = wrong {
                self.problem(format!("chain {id}"), message, Some("removed; it is made again when it is needed"), None);
                self.remove(&directory.join(id.hex()))?;
            }
        }
        Ok(())
    }
}

/// Reads to the verified end: how much there was, and what is wrong with the bytes, if anything is.
fn read_through(reader: &mut dyn io::Read, path: &Path) -> Result<(u64, Option<String>)> {
    match io::copy(&mut BufReader::with_capacity(1 << 18, reader), &mut io::sink()) {
        Ok(read) => Ok((read, None)),
        // A disk that cannot read these bytes back has lost them.
        Err(error) if error.kind() == io::ErrorKind::InvalidData || error.raw_os_error() == Some(libc::EIO) => {
            Ok((0, Some(error.to_string())))
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
