//! `export` and `diff`: a container's file system as a tar, and what the container has changed in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use store::layer::diff::scan_upper;
use store::layer::tar::Writer;
use store::layer::{Entry, Kind, LayerPath};

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
        let record = self.container_named(name)?;
        if record.data.options.rootfs.is_some() {
            return Err(CommandError::new(format!("container {name} runs a directory of the host; tar that")));
        }
        // They stay even if somebody removes the container meanwhile.
        self.store.protect(&record.data.layers.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
        let read = || {
            let mut merged = Merged::new(&self.store, &record.data.layers)?;
            let (upper, entries) = self.changed_entries(&record, &merged)?;
            merged.put_upper(upper, &entries)?;
            Ok(merged)
        };
        let merged = self.unless_removed(&record, read())?;
        match output {
            None => self.unless_removed(&record, write_tree(&merged, io::stdout().lock())),
            // Looked at before the file gets its name.
            Some(path) => write_file(path, |file| self.unless_removed(&record, write_tree(&merged, file))),
        }
    }

    /// What a container has changed in its file system.
    ///
    /// # Errors
    /// No such container, an upper directory that cannot be read.
    pub fn diff(&self, name: &str) -> Result<Vec<Change>> {
        let record = self.container_named(name)?;
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
/// first in path order has the data, the others link to it. What was removed from an upper directory meanwhile is left out.
///
/// # Errors
/// A layer that cannot be read, and what `put` says.
pub fn each_entry(merged: &Merged, put: &mut Take<'_>) -> Result<()> {
    let mut first_names = HashMap::new();
    for node in merged.tree.walk() {
        let mut entry = node.entry();
        if entry.path.is_root() {
            continue;
        }
        let first: Option<&LayerPath> = node.link_group().and_then(|group| first_names.get(&group));
        if let Some(first) = first {
            entry.kind = Kind::HardLink { target: first.clone() };
        }
        match &mut entry.kind {
            Kind::File { .. } => match merged.open(&node)? {
                Some(mut data) => put(&entry, Some(&mut data))?,
                None => continue,
            },
            kind => {
                if let Kind::Directory { opaque, implied } = kind {
                    (*opaque, *implied) = (false, false);
                }
                put(&entry, None)?;
            }
        }
        if let Some(group) = node.link_group() {
            first_names.entry(group).or_insert_with(|| entry.path.clone());
        }
    }
    Ok(())
}
