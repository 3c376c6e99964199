//! Who wrote what in a stack of layers: every file that any layer brought, whether its bytes still show at the top, and
//! if not, which layer took them away and at which path. What is hidden adds up: the bytes of all layers are those of
//! the copies that show and those of the copies that do not.
//!
//! The rules are those of [`super::tree`]; this keeps what that forgets. Directories have no bytes and are not kept.

use std::collections::BTreeMap;

use super::{Entry, Kind, LayerPath};
use crate::error::{Error, Result};

/// One file as one layer brought it, under one or more names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCopy {
    /// The layer, counted from 0 in the order of [`Stack::apply`].
    pub layer: usize,
    /// The entry's place in the layer's table of contents.
    pub entry: usize,
    /// The name it came with.
    pub path: LayerPath,
    /// Bytes of a regular file; 0 for anything else.
    pub size: u64,
    /// Names that still show.
    pub names: u32,
    /// The layer that took away the last name, and the entry by which it did.
    pub hidden: Option<(usize, LayerPath)>,
}

/// The files of a stack of layers.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    names: BTreeMap<LayerPath, usize>,
    copies: Vec<FileCopy>,
    layers: usize,
    /// There are layers below that nobody told of.
    partial: bool,
}

impl Stack {
    /// A stack whose lowest layers are left out: hard links to what they may have are files of theirs.
    #[must_use]
    pub fn partial() -> Self {
        Self { partial: true, ..Self::default() }
    }

    /// Says that the entries last given to [`Stack::apply`], for `layer`, were those of these places in its table.
    pub fn renumber(&mut self, layer: usize, places: &[usize]) {
        for copy in self.copies.iter_mut().rev().take_while(|copy| copy.layer == layer) {
            copy.entry = places[copy.entry];
        }
    }

    /// Puts one layer's entries, sorted by path, on top.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for a hard link to what no layer has.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<()> {
        let links = self.links(entries)?;
        // Which copy each entry became.
        let mut made: Vec<Option<usize>> = vec![None; entries.len()];
        for (index, entry) in entries.iter().enumerate() {
            match &entry.kind {
                Kind::HardLink { .. } => {}
                Kind::Whiteout => self.take(&entry.path, true),
                Kind::Directory { opaque, .. } => {
                    // A directory that comes again keeps what is in it, unless it says otherwise.
                    if *opaque {
                        self.take(&entry.path, true);
                    } else if self.names.contains_key(&entry.path) {
                        self.take(&entry.path, false);
                    }
                }
                _ => {
                    self.take(&entry.path, true);
                    made[index] = Some(self.copies.len());
                    self.names.insert(entry.path.clone(), self.copies.len());
                    let (layer, path, size) = (self.layers, entry.path.clone(), entry.size());
                    self.copies.push(FileCopy { layer, entry: index, path, size, names: 1, hidden: None });
                }
            }
        }
        for (index, target) in links {
            let copy = match target {
                Target::Below(copy) => Some(copy),
                Target::Here(entry) => made[entry],
                Target::Unknown => None,
            };
            let Some(copy) = copy else {
                self.take(&entries[index].path, true);
                continue;
            };
            // The new name first: it may be all that is left of the file.
            self.copies[copy].names += 1;
            self.take(&entries[index].path, true);
            self.names.insert(entries[index].path.clone(), copy);
        }
        self.layers += 1;
        Ok(())
    }

    /// Takes away the name `path`, and all names below it if `below`.
    fn take(&mut self, path: &LayerPath, below: bool) {
        let gone: Vec<LayerPath> = self
            .names
            .range(path..)
            .map(|(name, _)| name)
            .take_while(|name| *name == path || name.is_within(path))
            .filter(|name| below || *name == path)
            .cloned()
            .collect();
        for name in gone {
            if let Some(copy) = self.names.remove(&name) {
                let copy = &mut self.copies[copy];
                copy.names -= 1;
                copy.hidden = Some((self.layers, path.clone()));
            }
        }
    }

    /// Where the hard links of a layer lead: to a file of the layer, if it has one there, else to one below.
    fn links(&self, entries: &[Entry]) -> Result<Vec<(usize, Target)>> {
        let mut found = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let Kind::HardLink { target } = &entry.kind else { continue };
            let mut target = target;
            let mut hops = 0;
            let here = loop {
                hops += 1;
                match entries.binary_search_by(|entry| entry.path.cmp(target)) {
                    Ok(there) => match &entries[there].kind {
                        Kind::HardLink { target: next } if hops <= 40 => target = next,
                        Kind::Whiteout | Kind::HardLink { .. } => break None,
                        _ => break Some(there),
                    },
                    Err(_) => break None,
                }
            };
            let leads_to = match (here, self.names.get(target)) {
                (Some(here), _) => Target::Here(here),
                (None, Some(&copy)) => Target::Below(copy),
                (None, None) if self.partial => Target::Unknown,
                (None, None) => {
                    return Err(Error::InvalidLayer(format!(
                        "{}: hard link to {target}, which no layer has",
                        entry.path
                    )));
                }
            };
            found.push((index, leads_to));
        }
        Ok(found)
    }

    /// The file that shows at `path`.
    #[must_use]
    pub fn get(&self, path: &LayerPath) -> Option<&FileCopy> {
        self.names.get(path).map(|&copy| &self.copies[copy])
    }

    /// Every file of every layer, in the order of the layers.
    #[must_use]
    pub fn copies(&self) -> &[FileCopy] {
        &self.copies
    }
}

impl FileCopy {
    /// Whether its bytes show at the top.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.names > 0
    }
}

enum Target {
    /// A copy of the layers below.
    Below(usize),
    /// The entry of this index.
    Here(usize),
    /// A file of the layers that were left out.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Time;

    fn entry(path: &str, kind: Kind) -> Entry {
        let path = LayerPath::parse(path.as_bytes()).unwrap();
        Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }

    fn file(path: &str, size: u64) -> Entry {
        entry(path, Kind::file(size))
    }

    fn directory(path: &str, opaque: bool) -> Entry {
        entry(path, Kind::Directory { opaque, implied: false })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::HardLink { target: LayerPath::parse(target.as_bytes()).unwrap() })
    }

    fn path(path: &str) -> LayerPath {
        LayerPath::parse(path.as_bytes()).unwrap()
    }

    #[test]
    fn whoever_hid_a_file_is_known() {
        let mut stack = Stack::default();
        stack.apply(&[directory("d", false), file("d/a", 1), file("d/b", 2), file("d.x", 4), file("f", 8)]).unwrap();
        stack.apply(&[directory("d", false), file("d/a", 16), entry("f", Kind::Whiteout)]).unwrap();
        stack.apply(&[directory("d", true), file("d/c", 32)]).unwrap();
        let hidden: Vec<_> = stack.copies().iter().filter(|copy| !copy.shows()).collect();
        let told: Vec<_> = hidden.iter().map(|copy| (copy.size, copy.hidden.clone().unwrap())).collect();
        assert_eq!(told, [(1, (1, path("d/a"))), (2, (2, path("d"))), (8, (1, path("f"))), (16, (2, path("d")))]);
        assert_eq!(stack.get(&path("d.x")).map(|copy| copy.layer), Some(0));
        assert_eq!(stack.get(&path("d/c")).map(|copy| (copy.layer, copy.entry)), Some((2, 1)));
    }

    #[test]
    fn a_file_shows_as_long_as_one_name_does() {
        let mut stack = Stack::default();
        stack.apply(&[file("a", 5), link("b", "a")]).unwrap();
        stack.apply(&[entry("a", Kind::Whiteout), link("c", "b")]).unwrap();
        assert_eq!((stack.copies()[0].names, stack.copies()[0].shows()), (2, true));
        stack.apply(&[entry("b", Kind::Whiteout), file("c", 1)]).unwrap();
        assert!(!stack.copies()[0].shows());
        assert_eq!(stack.copies()[0].hidden, Some((2, path("c"))));
        assert!(stack.apply(&[link("x", "nothing")]).is_err());
    }

    #[test]
    fn a_link_moved_in_one_layer_keeps_its_file() {
        // What `mv a z` leaves behind for a file with two names.
        let mut stack = Stack::default();
        stack.apply(&[file("a", 5)]).unwrap();
        stack.apply(&[entry("a", Kind::Whiteout), link("z", "a")]).unwrap();
        assert!(stack.copies()[0].shows() && stack.get(&path("z")).is_some());
    }
}
