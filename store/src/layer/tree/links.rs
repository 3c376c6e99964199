//! Going through a layer's entries before they are merged: whether they are in order, and where its hard links lead.
//! Entries may be decoded anew each time they are gone through, so only links are kept.

use std::collections::HashMap;

use super::Tree;
use super::order::Order;
use crate::error::{Error, Result};
use crate::layer::{Entry, Kind, LayerPath};

/// Entries that can be gone through more than once.
pub(crate) trait Entries {
    /// How many there are.
    fn count(&self) -> usize;

    /// Hands over each with its index, up to the first error.
    fn each(&self, found: &mut dyn FnMut(usize, &Entry) -> Result<()>) -> Result<()>;
}

impl Entries for [Entry] {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, found: &mut dyn FnMut(usize, &Entry) -> Result<()>) -> Result<()> {
        self.iter().enumerate().try_for_each(|(index, entry)| found(index, entry))
    }
}

/// A hard link of the layer.
pub(super) struct Link {
    /// Its index among the entries.
    pub index: usize,
    pub path: LayerPath,
    target: LayerPath,
}

/// What a hard link is another name of.
pub(super) enum LinkTarget {
    /// An inode of the layers below.
    Below(u32),
    /// The entry of this index.
    Here(usize),
}

/// What the layer has at a path that links lead to.
#[derive(Clone, Copy)]
enum There {
    Directory,
    Whiteout,
    File(usize),
}

/// The index of the directory of each entry, see [`super::parents`], and all hard links.
pub(super) fn survey(entries: &(impl Entries + ?Sized)) -> Result<(Vec<u32>, Vec<Link>)> {
    let mut order = Order::default();
    let mut parents = Vec::with_capacity(entries.count());
    let mut links = Vec::new();
    entries.each(&mut |index, entry| {
        parents.push(order.parent(index, entry, LayerPath::clone)?);
        if let Kind::HardLink { target } = &entry.kind {
            links.push(Link { index, path: entry.path.clone(), target: target.clone() });
        }
        Ok(())
    })?;
    Ok((parents, links))
}

impl Tree {
    /// Where `links`, all among `entries`, lead: to a file of the layer if it has one there, else to one below.
    pub(super) fn link_targets(&self, entries: &(impl Entries + ?Sized), links: &[Link]) -> Result<Vec<LinkTarget>> {
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let next: HashMap<&LayerPath, &LayerPath> = links.iter().map(|link| (&link.path, &link.target)).collect();
        let ends = links.iter().map(|link| &link.target).filter(|target| !next.contains_key(target));
        let mut ends: HashMap<&LayerPath, Option<There>> = ends.map(|target| (target, None)).collect();
        entries.each(&mut |index, entry| {
            if let Some(end) = ends.get_mut(&entry.path) {
                *end = Some(match entry.kind {
                    Kind::Directory { .. } => There::Directory,
                    Kind::Whiteout => There::Whiteout,
                    _ => There::File(index),
                });
            }
            Ok(())
        })?;
        let mut found = Vec::with_capacity(links.len());
        for link in links {
            let mut target = &link.target;
            let bad = |what| Error::InvalidLayer(format!("{}: hard link to {}, {what}", link.path, link.target));
            let mut hops = 1;
            while let Some(further) = next.get(target) {
                target = further;
                hops += 1;
                if hops > 40 {
                    return Err(bad("which is a ring of links"));
                }
            }
            found.push(match (ends.get(target).copied().flatten(), self.find(target)) {
                (Some(There::File(here)), _) => LinkTarget::Here(here),
                (Some(There::Directory), _) => return Err(bad("which is a directory")),
                (_, Some(node)) if !self.is_directory(node) => LinkTarget::Below(self.nodes[node as usize].inode),
                (_, Some(_)) => return Err(bad("which is a directory")),
                (_, None) => return Err(bad("which no layer has")),
            });
        }
        Ok(found)
    }
}
