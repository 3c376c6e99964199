//! What everything that works on entries relies on: they are sorted, and each is in a directory that is there.

use std::borrow::Borrow;

use super::NONE;
use crate::error::{Error, Result};
use crate::layer::{Entry, Kind, LayerPath, Time};

/// The root directory of a layer that has none in its tar: 0755, 0:0, time 0.
#[must_use]
pub fn implied_root() -> Entry {
    Entry {
        path: LayerPath::root(),
        kind: Kind::Directory { opaque: false, implied: true },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// The index of the directory that holds each of `entries`, `u32::MAX` for the root and for what is in a root that is
/// not among them.
///
/// # Errors
/// [`Error::InvalidLayer`] unless they are sorted by path, without duplicates, each in a directory that is there.
pub(crate) fn parents<'e>(entries: impl Iterator<Item = &'e Entry>) -> Result<Vec<u32>> {
    let mut order = Order::default();
    entries.enumerate().map(|(index, entry)| order.parent(index, entry, |path| path)).collect()
}

/// Where one has come to in going through entries, by their paths or clones of them.
pub(super) struct Order<P> {
    /// The directories around the entry at hand.
    open: Vec<(u32, P)>,
    /// The path of the entry before.
    last: Option<P>,
}

impl<P> Default for Order<P> {
    fn default() -> Self {
        Self { open: Vec::new(), last: None }
    }
}

impl<P: Borrow<LayerPath>> Order<P> {
    /// The index of the directory that holds the next entry; see [`parents`]. `keep` is how its path is remembered.
    pub(super) fn parent<'e>(
        &mut self,
        index: usize,
        entry: &'e Entry,
        keep: impl Fn(&'e LayerPath) -> P,
    ) -> Result<u32> {
        let bad = |why: &str| Err(Error::InvalidLayer(format!("{}: {why}", entry.path)));
        if index >= NONE as usize {
            return bad("too many entries");
        }
        if self.last.as_ref().is_some_and(|last| *last.borrow() >= entry.path) {
            return bad("out of order or there twice");
        }
        while self.open.last().is_some_and(|(_, path)| !entry.path.is_within(path.borrow())) {
            self.open.pop();
        }
        let raw = entry.path.as_bytes();
        let directory = raw.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        if self.open.last().map_or(0, |(_, path)| path.borrow().as_bytes().len()) != directory {
            return bad("not in a directory of the layer");
        }
        if entry.path.is_root() && !entry.is_directory() {
            return bad("is no directory");
        }
        let parent = self.open.last().map_or(NONE, |(index, _)| *index);
        if entry.is_directory() {
            self.open.push((index as u32, keep(&entry.path)));
        }
        self.last = Some(keep(&entry.path));
        Ok(parent)
    }
}
