//! `export` and `diff`: a container's file system as a tar, and what the container has changed in it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use store::layer::diff::scan_upper;
use store::layer::tar::Writer;
use store::layer::{Entry, Kind};

use super::Engine;
use super::archive::write_file;
use super::container::ContainerRecord;
use super::copy::source::Take;
use super::tree::{Change, Merged, changes};
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Writes the file system of a container, mounts left out, to the file `output` or standard output.
    ///
    /// # Errors
    /// No such container, a file that cannot be written.
    pub fn export(&self, name: &str, output: Option<&Path>) -> Result<()> {
        let record = self.container_record(&self.find_container(name)?)?;
        if record.data.options.rootfs.is_some() {
            return Err(CommandError::new(format!("container {name} runs a directory of the host; tar that")));
        }
        // They stay even if somebody removes the container meanwhile.
        self.store.protect(&record.data.layers.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
        let read = || {
            let mut merged = Merged::new(&self.store, &record.data.layers)?;
            let (upper, entries) = self.changed_entries(&record, &merged)?;
            merged.put_upper(upper, &entries)?;
            match output {
                None => write_tree(&merged, io::stdout().lock()),
                Some(path) => write_file(path, |file| write_tree(&merged, file)),
            }
        };
        self.unless_removed(&record, read())
    }

    /// What a container has changed in its file system.
    ///
    /// # Errors
    /// No such container, an upper directory that cannot be read.
    pub fn diff(&self, name: &str) -> Result<Vec<Change>> {
        let record = self.container_record(&self.find_container(name)?)?;
        let read = || {
            let below = Merged::new(&self.store, &record.data.layers)?;
            let (_, entries) = self.changed_entries(&record, &below)?;
            Ok(changes(&below.tree, &entries))
        };
        self.unless_removed(&record, read())
    }

    /// What the container itself has changed over `below`, and the upper directory it lies in.
    fn changed_entries(&self, record: &ContainerRecord, below: &Merged) -> Result<(File, Vec<Entry>)> {
        let path = self.writable(&record.id, &record.data)?.upper;
        let upper = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut entries = scan_upper(upper.as_fd())?;
        let stubs = self.stubs(record, &below.tree, &entries)?;
        entries.retain(|entry| !stubs.contains(&entry.path));
        Ok((upper, entries))
    }
}

/// Writes a whole tree as a tar.
///
/// # Errors
/// A layer that cannot be read, an output that cannot be written.
pub fn write_tree(merged: &Merged, output: impl Write) -> Result<()> {
    let mut tar = Writer::new(BufWriter::with_capacity(1 << 20, output));
    each_entry(merged, &mut |entry, data| Ok(tar.append(entry, data).map(drop)?))?;
    tar.finish()?.flush().context("cannot write the tar")?;
    Ok(())
}

/// Gives every entry of a tree but its root to `put`, directories before what is in them; of several names of a file the
/// first in path order has the data, the others link to it.
///
/// # Errors
/// A layer that cannot be read, and what `put` says.
pub fn each_entry(merged: &Merged, put: &mut Take<'_>) -> Result<()> {
    let mut first_names = std::collections::HashMap::new();
    for node in merged.tree.walk() {
        let mut entry = node.entry();
        if entry.path.is_root() {
            continue;
        }
        if let Some(group) = node.link_group() {
            match first_names.entry(group) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    let target: &store::layer::LayerPath = first.get();
                    entry.kind = Kind::HardLink { target: target.clone() };
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(entry.path.clone());
                }
            }
        }
        match &mut entry.kind {
            Kind::File { .. } => merged.with_data(&node, |data| put(&entry, Some(data)))?,
            kind => {
                if let Kind::Directory { opaque, implied } = kind {
                    (*opaque, *implied) = (false, false);
                }
                put(&entry, None)?;
            }
        }
    }
    Ok(())
}
