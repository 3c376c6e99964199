//! Filling a new volume with what the image has at its place, as docker does: owners, modes, times, extended attributes,
//! links and hard links. Everything is made below the volume's own descriptor, and no link in it is followed.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use store::DiffId;
use store::layer::tree::NodeRef;
use store::layer::{Entry, Kind, LayerPath};

use crate::engine::Engine;
use crate::engine::copy::sink::{Sink, attributes};
use crate::engine::tree::Merged;
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Copies what `layers` have at `target` into the empty directory `volume`, whose owner and mode become those of
    /// the image's directory. An image without a directory there, and a volume with something in it, change nothing.
    pub(super) fn fill_volume(&self, volume: &Path, target: &str, layers: &[DiffId]) -> Result<()> {
        let merged = Merged::new(&self.store, layers)?;
        let Ok(path) = merged.tree.resolve(target.as_bytes(), true) else { return Ok(()) };
        let Some(node) = merged.tree.get(&path).filter(NodeRef::is_directory) else { return Ok(()) };
        let root = File::open(volume).with_context(|| format!("cannot open the volume {}", volume.display()))?;
        if std::fs::read_dir(volume)?.next().is_some() {
            return Ok(());
        }
        let what = format!("cannot fill the volume at {target}");
        let top: OwnedFd = root.try_clone().with_context(|| what.clone())?.into();
        let mut filling =
            Filling { merged: &merged, sink: Sink::new(top, target.to_owned(), None), names: HashMap::new() };
        let filled = node.children().try_for_each(|child| filling.copy(&child, &LayerPath::root()));
        filled.and_then(|()| filling.sink.finish()).map_err(|error| error.prefixed(&what))?;
        attributes(root.as_fd(), &node.entry())
            .map_err(|error| CommandError::new(format!("{what}: {}", std::io::Error::from(error))))
    }
}

struct Filling<'a> {
    merged: &'a Merged,
    sink: Sink,
    /// The first name of each file that has several.
    names: HashMap<u32, LayerPath>,
}

impl Filling<'_> {
    /// Copies `node` and all below it into the directory `parent` of the volume.
    fn copy(&mut self, node: &NodeRef<'_>, parent: &LayerPath) -> Result<()> {
        let path = parent.join(node.name())?;
        let mut entry = Entry { path: path.clone(), ..node.entry() };
        if let Some(group) = node.link_group() {
            if let Some(first) = self.names.get(&group) {
                entry.kind = Kind::HardLink { target: first.clone() };
            } else {
                self.names.insert(group, path.clone());
            }
        }
        match &entry.kind {
            // Devices of an image are of no use in a volume, which is mounted nodev.
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => Ok(()),
            Kind::File { .. } => self.merged.with_data(node, |data| self.sink.put(&entry, Some(data))),
            Kind::Directory { .. } => {
                self.sink.put(&entry, None)?;
                node.children().try_for_each(|child| self.copy(&child, &path))
            }
            _ => self.sink.put(&entry, None),
        }
    }
}
