//! From a path in an image to the line that wrote it. Everything is read from the layers' tables of contents and from
//! what the store noted when the image was built; nothing is mounted or unpacked.

mod waste;

use serde::Serialize;
use store::DiffId;
use store::image::{Folded, Image};
use store::layer::tree::Tree;
use store::layer::{Entry, Kind, LayerPath, Toc};

use super::Engine;
use crate::error::{CommandError, Result};

/// The step that made a layer.
#[derive(Clone, Debug, Serialize)]
pub struct Writer {
    /// The layer's place in the image, from 1.
    pub layer: usize,
    /// The layer.
    pub diff_id: DiffId,
    /// The Buildfile, if the image was built here; else what it came from.
    pub source: Option<String>,
    /// Line in the Buildfile.
    pub line: Option<u32>,
    /// Stage and number of the step, like `build 3/7`.
    pub step: Option<String>,
    /// The instruction; for images built elsewhere, the entry of the history.
    pub instruction: Option<String>,
    /// Later steps whose changes of owner, mode or time are in this layer.
    pub folded: Vec<Folded>,
}

/// What one layer did to a path.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// The layer and its step.
    pub by: Writer,
    /// `written`, or `deleted`.
    pub action: &'static str,
    /// What was written: `file`, `directory`, `symlink`, `hard link`, `device`, `fifo`.
    pub kind: Option<&'static str>,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits, as `chmod` takes them.
    pub mode: Option<String>,
    /// Owner and group.
    pub owner: Option<String>,
    /// The directory or file whose change took the path away, if that is not the path itself.
    pub through: Option<String>,
}

/// Everything that is known of a path.
#[derive(Clone, Debug, Serialize)]
pub struct Blame {
    /// The path, symbolic links on the way followed.
    pub path: String,
    /// Whether it is there in the image.
    pub present: bool,
    /// What the layers did to it, the last one first. If it is present, the first is what shows.
    pub versions: Vec<Version>,
}

impl Engine {
    /// Who wrote `path` of an image, and every older copy that the layers still hold.
    ///
    /// # Errors
    /// No such image, a path that none of its layers has.
    pub fn blame(&self, name: &str, path: &str) -> Result<Blame> {
        let image = self.find_image(name)?.image;
        let tocs = self.tocs(&image)?;
        let mut tree = Tree::new();
        for toc in &tocs {
            tree.apply(toc.entries())?;
        }
        // A path through a file that became a directory's place is looked for as it is written.
        let resolved = tree.resolve(path.as_bytes(), false).or_else(|_| LayerPath::parse(path.as_bytes()))?;
        let writers = writers(&image);
        let mut versions = Vec::new();
        for (toc, by) in tocs.iter().zip(writers).rev() {
            versions.extend(version(toc, &resolved, by));
        }
        if versions.iter().all(|version| version.action == "deleted") {
            return Err(missing(&tree, &image, name, &resolved));
        }
        Ok(Blame { path: resolved.to_string(), present: tree.get(&resolved).is_some(), versions })
    }

    fn tocs(&self, image: &Image) -> Result<Vec<Toc>> {
        image.layers().iter().map(|layer| Ok(self.store.layers().toc(layer)?)).collect()
    }
}

/// What `toc` says of `path`.
fn version(toc: &Toc, path: &LayerPath, by: Writer) -> Option<Version> {
    let deleted = |by: Writer, through: Option<&LayerPath>| Version {
        by,
        action: "deleted",
        kind: None,
        size: 0,
        mode: None,
        owner: None,
        through: through.map(ToString::to_string),
    };
    if let Some(entry) = toc.get(path) {
        return match entry.kind {
            Kind::Directory { implied: true, .. } => None,
            Kind::Whiteout => Some(deleted(by, None)),
            _ => Some(written(toc, entry, by)),
        };
    }
    let mut above = path.parent();
    while let Some(directory) = above {
        match toc.get(&directory).map(|entry| &entry.kind) {
            None | Some(Kind::Directory { opaque: false, .. }) => {}
            Some(_) => return Some(deleted(by, Some(&directory))),
        }
        above = directory.parent();
    }
    None
}

fn written(toc: &Toc, entry: &Entry, by: Writer) -> Version {
    // A second name has the attributes of the first; one to a lower layer says nothing of its own.
    let said = match &entry.kind {
        Kind::HardLink { target } => toc.get(target),
        _ => Some(entry),
    };
    Version {
        by,
        action: "written",
        kind: Some(match &entry.kind {
            Kind::Directory { .. } => "directory",
            Kind::File { .. } => "file",
            Kind::HardLink { .. } => "hard link",
            Kind::Symlink { .. } => "symlink",
            Kind::Fifo => "fifo",
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Whiteout => "device",
        }),
        size: entry.size(),
        mode: said.map(|entry| format!("{:04o}", entry.mode)),
        owner: said.map(|entry| format!("{}:{}", entry.uid, entry.gid)),
        through: None,
    }
}

/// The step of each layer: as noted by the build, else as the image's history has it.
pub fn writers(image: &Image) -> Vec<Writer> {
    let mut history = image.history().filter_map(|(step, layer)| layer.map(|_| step.created_by.clone()));
    let layers = image.layers().iter().enumerate();
    layers
        .map(|(at, diff_id)| {
            let said = history.next().flatten().filter(|text| !text.is_empty());
            let known = image.record.provenance.get(at).cloned().unwrap_or_default();
            Writer {
                layer: at + 1,
                diff_id: *diff_id,
                source: known.source,
                line: known.line,
                step: known.step,
                instruction: known.instruction.or(said),
                folded: known.folded,
            }
        })
        .collect()
}

/// An error that no layer has the path, with the nearest name that one has.
fn missing(tree: &Tree, image: &Image, name: &str, path: &LayerPath) -> CommandError {
    let error = CommandError::new(format!("no layer of {name} has {path}"));
    let parent = path.parent().unwrap_or_default();
    let names: Vec<String> =
        tree.children(&parent).map(|node| String::from_utf8_lossy(node.name()).into_owned()).collect();
    let wanted = String::from_utf8_lossy(path.name().unwrap_or_default()).into_owned();
    match builder::buildfile::diagnostic::did_you_mean(&wanted, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {}/{near}?", parent.to_string().trim_end_matches('/'))),
        None => error.hint(format!("the image has {} layers; `img history {name}` lists them", image.layers().len())),
    }
}
