//! What everything that works on entries relies on: they are sorted, and each is in a directory that is there.

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
    let mut parents = Vec::new();
    // The directories around the entry at hand, and the entry before.
    let mut open: Vec<(u32, &LayerPath)> = Vec::new();
    let mut last: Option<&Entry> = None;
    for (index, entry) in entries.enumerate() {
        let bad = |why: &str| Err(Error::InvalidLayer(format!("{}: {why}", entry.path)));
        if index >= NONE as usize {
            return bad("too many entries");
        }
        if last.is_some_and(|last| last.path >= entry.path) {
            return bad("out of order or there twice");
        }
        last = Some(entry);
        while open.last().is_some_and(|(_, path)| !entry.path.is_within(path)) {
            open.pop();
        }
        let raw = entry.path.as_bytes();
        let directory = raw.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        if open.last().map_or(0, |(_, path)| path.as_bytes().len()) != directory {
            return bad("not in a directory of the layer");
        }
        if entry.path.is_root() && !entry.is_directory() {
            return bad("is no directory");
        }
        parents.push(open.last().map_or(NONE, |(index, _)| *index));
        if entry.is_directory() {
            open.push((index as u32, &entry.path));
        }
    }
    Ok(parents)
}
