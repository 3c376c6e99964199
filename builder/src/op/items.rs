//! What a draft has at its paths. An archive that ADD unpacks may have half a million members, so of those only a number
//! is kept here, beside the name: what they are is read in the archive's table of contents whenever it is asked for.
//! Everything else is kept as it is.

use std::sync::Arc;

use store::layer::names::{Names, ROOT};
use store::layer::{LayerPath, Place, Time};

use super::OpError;
use super::archive::Archive;
use super::place::Data;
use super::select::FILES_MAX;
use crate::files::{Node, NodeKind};
use crate::mutation::broken;

/// How an entry got into the draft.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An existing directory, on the way to something.
    Kept,
    /// Made on the way; its time is set at the end.
    Made,
    /// Copied.
    Copied,
}

/// What the names of one file have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Number of the source, and link of its tree.
    Link(usize, (u64, u64)),
    /// Number of the archive, and place in it.
    Member(u32, Place),
}

/// What is at a path.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) node: Node,
    pub(super) data: Data,
    pub(super) origin: Origin,
    pub(super) group: Option<Group>,
}

/// What is known of a path.
pub(super) enum Look {
    /// The draft has this name.
    There(u32),
    /// The draft has something else than a directory above it.
    Gone,
    /// Whatever is below the draft.
    Below,
}

/// Where an item is.
#[derive(Clone, Copy)]
enum Slot {
    /// Among those kept as they are.
    Kept(u32),
    /// In the archive of this number.
    Member(u32, Place),
}

/// The items of a draft; see the module.
#[derive(Default)]
pub(super) struct Items {
    /// Each name but the root's has the number of a slot for its record.
    names: Names,
    slots: Vec<Slot>,
    kept: Vec<Option<Item>>,
    archives: Vec<Arc<Archive>>,
}

impl Items {
    /// What is at `path`.
    pub(super) fn look(&self, path: &LayerPath) -> Result<Look, OpError> {
        let mut at = ROOT;
        for name in path.components() {
            if at != ROOT && !self.is_directory(at)? {
                return Ok(Look::Gone);
            }
            match self.names.get(at, name) {
                Some(next) => at = next,
                None => return Ok(Look::Below),
            }
        }
        Ok(if at == ROOT { Look::Below } else { Look::There(at) })
    }

    /// Whether there is a directory at `path`.
    pub(super) fn has_directory(&self, path: &LayerPath) -> Result<bool, OpError> {
        match self.look(path)? {
            Look::There(id) => self.is_directory(id),
            _ => Ok(false),
        }
    }

    fn is_directory(&self, id: u32) -> Result<bool, OpError> {
        match self.slot(id) {
            Some(Slot::Kept(at)) => Ok(self.kept[at as usize].as_ref().is_some_and(|item| item.node.is_directory())),
            _ => Ok(self.node(id)?.is_some_and(|node| node.is_directory())),
        }
    }

    fn slot(&self, id: u32) -> Option<Slot> {
        self.names.record(id).map(|record| self.slots[record as usize])
    }

    /// What is at the name `id`.
    pub(super) fn node(&self, id: u32) -> Result<Option<Node>, OpError> {
        Ok(match self.slot(id) {
            None => None,
            Some(Slot::Kept(at)) => self.kept[at as usize].as_ref().map(|item| item.node.clone()),
            Some(Slot::Member(archive, place)) => Some(self.archives[archive as usize].node(place)?.0),
        })
    }

    /// Puts an item at `path`, which is not the root and whose parents are there.
    pub(super) fn insert(&mut self, path: &LayerPath, item: Item) -> Result<(), OpError> {
        let at = self.kept.len() as u32;
        self.kept.push(Some(item));
        self.put(path, Slot::Kept(at))
    }

    /// The number of an archive whose members are to be put somewhere.
    pub(super) fn add(&mut self, archive: Arc<Archive>) -> u32 {
        self.archives.push(archive);
        self.archives.len() as u32 - 1
    }

    /// Puts a member of an archive at `path`, which is not the root and whose parents are there. What is below goes with
    /// a directory that it takes the place of, unless it is one itself.
    pub(super) fn insert_member(&mut self, path: &LayerPath, archive: u32, place: Place) -> Result<(), OpError> {
        let there = match self.look(path)? {
            Look::There(id) if self.is_directory(id)? => Some(id),
            _ => None,
        };
        self.put(path, Slot::Member(archive, place))?;
        if let Some(id) = there
            && !self.is_directory(id)?
        {
            self.names.emptied(id);
        }
        Ok(())
    }

    fn put(&mut self, path: &LayerPath, slot: Slot) -> Result<(), OpError> {
        // Their text stays below 4 GiB so.
        if self.names.count() > FILES_MAX {
            return Err(OpError::Message(format!("one instruction copies more than {FILES_MAX} files")));
        }
        let mut id = ROOT;
        for name in path.components() {
            id = self.names.make(id, name);
        }
        match self.names.record(id) {
            Some(record) => self.slots[record as usize] = slot,
            None => {
                self.names.set_record(id, self.slots.len() as u32);
                self.slots.push(slot);
            }
        }
        Ok(())
    }

    /// Whether there is nothing but directories that were there before.
    pub(super) fn is_nothing_new(&self) -> bool {
        self.slots.iter().all(|slot| match slot {
            Slot::Kept(at) => self.kept[*at as usize].as_ref().is_none_or(|item| item.origin == Origin::Kept),
            Slot::Member(..) => false,
        })
    }

    /// The names in the order of their paths.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut order = self.names.in_order();
        order.retain(|id| *id != ROOT);
        order
    }

    /// The path of the name `id`.
    pub(super) fn path(&self, id: u32) -> Result<LayerPath, OpError> {
        let mut raw = Vec::new();
        self.names.path_into(id, &mut raw);
        Ok(LayerPath::from_canonical(raw)?)
    }

    /// The newest time of what was copied or, if nothing was, of the directories that were there; what is written from
    /// memory has none.
    pub(super) fn newest(&self, order: &[u32]) -> Result<Option<Time>, OpError> {
        let (mut copied, mut kept) = (None, None);
        for &id in order {
            let (time, newest) = match self.slot(id) {
                Some(Slot::Member(archive, place)) => {
                    (self.archives[archive as usize].node(place)?.0.mtime, &mut copied)
                }
                Some(Slot::Kept(at)) => match &self.kept[at as usize] {
                    Some(Item { data: Data::Inline(_), .. } | Item { origin: Origin::Made, .. }) | None => continue,
                    Some(Item { node, origin: Origin::Copied, .. }) => (node.mtime, &mut copied),
                    Some(Item { node, origin: Origin::Kept, .. }) => (node.mtime, &mut kept),
                },
                None => continue,
            };
            *newest = (*newest).max(Some(time));
        }
        Ok(copied.or(kept))
    }

    /// Takes out what is at the name `id`.
    pub(super) fn take(&mut self, id: u32) -> Result<Option<Item>, OpError> {
        let (number, place) = match self.slot(id) {
            None => return Ok(None),
            Some(Slot::Kept(at)) => return Ok(self.kept[at as usize].take()),
            Some(Slot::Member(archive, place)) => (archive, place),
        };
        let archive = &self.archives[number as usize];
        let (node, kind) = archive.node(place)?;
        let data = match node.kind {
            NodeKind::File(_) => Data::Member { archive: Arc::clone(archive), kind },
            _ => Data::None,
        };
        let is_linked = archive.is_linked(place) && !broken("hard-links");
        let group = is_linked.then_some(Group::Member(number, place));
        Ok(Some(Item { node, data, origin: Origin::Copied, group }))
    }
}
