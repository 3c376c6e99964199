//! Bytes of an image that nobody sees: files that a later layer replaced or deleted. They add up to the byte: all layers
//! together, less the flattened image.

use std::collections::BTreeMap;

use serde::Serialize;
use store::layer::Stack;

use super::{Writer, writers};
use crate::engine::Engine;
use crate::error::Result;

/// Files named for one pair of lines.
const NAMED: usize = 20;

/// Hidden bytes of an image.
#[derive(Clone, Debug, Serialize)]
pub struct Waste {
    /// Bytes of the files of all layers.
    pub layer_bytes: u64,
    /// Bytes of the files of the flattened image.
    pub flat_bytes: u64,
    /// The difference: what is hidden.
    pub wasted_bytes: u64,
    /// The same by who wrote and who hid, most bytes first; their bytes add up to `wasted_bytes`.
    pub hidden: Vec<Hidden>,
}

/// What one layer wrote and another one hid.
#[derive(Clone, Debug, Serialize)]
pub struct Hidden {
    /// Bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// The step that wrote them.
    pub written_by: Writer,
    /// The step that replaced or deleted them.
    pub hidden_by: Writer,
    /// The largest of them, with their bytes.
    pub largest: Vec<(String, u64)>,
}

impl Engine {
    /// The hidden bytes of an image.
    ///
    /// # Errors
    /// No such image, a damaged layer.
    pub fn waste(&self, name: &str) -> Result<Waste> {
        let image = self.find_image(name)?.image;
        let mut stack = Stack::default();
        for toc in self.tocs(&image)? {
            stack.apply(toc.entries())?;
        }
        let writers = writers(&image);
        let mut groups: BTreeMap<(usize, usize), Vec<(u64, String)>> = BTreeMap::new();
        let (mut layer_bytes, mut flat_bytes) = (0, 0);
        for copy in stack.copies() {
            layer_bytes += copy.size;
            match &copy.hidden {
                Some((by, _)) if !copy.shows() => {
                    groups.entry((copy.layer, *by)).or_default().push((copy.size, copy.path.to_string()));
                }
                _ => flat_bytes += copy.size,
            }
        }
        let mut hidden = Vec::new();
        for ((wrote, hid), mut files) in groups {
            files.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let bytes = files.iter().map(|(bytes, _)| bytes).sum();
            let count = files.len() as u64;
            let largest = files.into_iter().take(NAMED).map(|(bytes, path)| (path, bytes)).collect();
            let (written_by, hidden_by) = (writers[wrote].clone(), writers[hid].clone());
            hidden.push(Hidden { bytes, files: count, written_by, hidden_by, largest });
        }
        hidden.sort_by_key(|group| std::cmp::Reverse(group.bytes));
        Ok(Waste { layer_bytes, flat_bytes, wasted_bytes: layer_bytes - flat_bytes, hidden })
    }
}
