//! The names of a layer while it is put together: a tree in a few large vectors, some 40 bytes a name beside its text.
//! What is at a name is kept by whoever puts the layer together; here is only a number for it, the record.
//!
//! Children are chained in no order and found by a hash table over all names, keyed at random since the names come
//! from outside. Nothing is ever taken out: a directory that something else takes the place of leaves its old self and
//! all below it behind, where nothing leads any more.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::LayerPath;

/// No name, or no record.
pub(crate) const NONE: u32 = u32::MAX;
/// The root's name, always there.
pub const ROOT: u32 = 0;

/// One name, and what is there.
pub(crate) struct Name {
    pub parent: u32,
    /// The child added last, and the one added before this to the same directory.
    child: u32,
    next: u32,
    /// Where its text starts.
    text: u32,
    /// Where the record of what is there starts, or [`NONE`].
    pub record: u32,
    length: u8,
    /// A whiteout of this path came along.
    pub whiteout: bool,
    /// In an opaque directory; known at the end only.
    pub hidden: bool,
    /// Another name took its place.
    gone: bool,
}

/// All names; see the module. Their text must stay below 4 GiB: whoever adds names bounds their number.
pub struct Names {
    names: Vec<Name>,
    text: Vec<u8>,
    /// Open addressing; as many places as a power of two, at most three quarters of them taken.
    table: Vec<u32>,
    taken: usize,
    hasher: RandomState,
}

impl Default for Names {
    fn default() -> Self {
        let mut new =
            Self { names: Vec::new(), text: Vec::new(), table: Vec::new(), taken: 0, hasher: RandomState::new() };
        new.push(NONE, 0, 0);
        new
    }
}

impl Names {
    pub(crate) fn name(&self, id: u32) -> &Name {
        &self.names[id as usize]
    }

    pub(crate) fn name_mut(&mut self, id: u32) -> &mut Name {
        &mut self.names[id as usize]
    }

    /// The record of what is at the name `id`, if anything is.
    #[must_use]
    pub fn record(&self, id: u32) -> Option<u32> {
        Some(self.name(id).record).filter(|&record| record != NONE)
    }

    /// Notes the record of what is at the name `id`.
    pub fn set_record(&mut self, id: u32, record: u32) {
        self.name_mut(id).record = record;
    }

    /// How many there are, the root and those that nothing leads to any more included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The last name of `id`.
    fn text(&self, id: u32) -> &[u8] {
        let name = self.name(id);
        &self.text[name.text as usize..][..usize::from(name.length)]
    }

    fn push(&mut self, parent: u32, text: u32, length: u8) -> u32 {
        let id = self.names.len() as u32;
        let next = if parent == NONE { NONE } else { std::mem::replace(&mut self.name_mut(parent).child, id) };
        let (whiteout, hidden, gone) = (false, false, false);
        self.names.push(Name { parent, child: NONE, next, text, record: NONE, length, whiteout, hidden, gone });
        id
    }

    /// The place in the table of `text` in `parent`, or where it belongs.
    fn place(&self, parent: u32, text: &[u8]) -> usize {
        let last = self.table.len() - 1;
        let mut place = self.hasher.hash_one((parent, text)) as usize & last;
        loop {
            let id = self.table[place];
            if id == NONE || (self.name(id).parent == parent && self.text(id) == text) {
                return place;
            }
            place = (place + 1) & last;
        }
    }

    /// The name `text` in the directory `parent`.
    #[must_use]
    pub fn get(&self, parent: u32, text: &[u8]) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        Some(self.table[self.place(parent, text)]).filter(|&id| id != NONE)
    }

    /// The name `text`, at most 255 bytes, in the directory `parent`, made if need be.
    pub fn make(&mut self, parent: u32, text: &[u8]) -> u32 {
        if self.taken * 4 >= self.table.len() * 3 {
            self.grow();
        }
        let place = self.place(parent, text);
        if self.table[place] != NONE {
            return self.table[place];
        }
        // The limit of a layer's memory is far below 4 GiB, and that of a name is below 256 bytes.
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        let id = self.push(parent, start, text.len() as u8);
        self.table[place] = id;
        self.taken += 1;
        id
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(64);
        self.table = Vec::new();
        self.table = vec![NONE; size];
        self.taken = 0;
        for id in 1..self.names.len() as u32 {
            let Name { parent, gone, .. } = *self.name(id);
            if !gone {
                let place = self.place(parent, self.text(id));
                self.table[place] = id;
                self.taken += 1;
            }
        }
    }

    /// The name at `path`.
    #[must_use]
    pub fn find(&self, path: &LayerPath) -> Option<u32> {
        path.components().try_fold(ROOT, |id, name| self.get(id, name))
    }

    /// Puts a name without children in the place of `id`, which is not the root.
    pub fn emptied(&mut self, id: u32) -> u32 {
        let Name { parent, text, record, length, whiteout, .. } = *self.name(id);
        if self.name(id).child == NONE {
            return id;
        }
        let place = self.place(parent, self.text(id));
        self.name_mut(id).gone = true;
        let new = self.push(parent, text, length);
        self.table[place] = new;
        *self.name_mut(new) = Name { record, whiteout, ..*self.name(new) };
        new
    }

    /// Puts the bytes of the path of `id` into `out`.
    pub fn path_into(&self, id: u32, out: &mut Vec<u8>) {
        out.clear();
        let mut at = id;
        while at != ROOT {
            if !out.is_empty() {
                out.push(b'/');
            }
            out.extend(self.text(at).iter().rev());
            at = self.name(at).parent;
        }
        out.reverse();
    }

    /// All names that the root leads to, in the order of paths.
    #[must_use]
    pub fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.names.len());
        let mut pending = vec![ROOT];
        while let Some(id) = pending.pop() {
            order.push(id);
            let start = pending.len();
            let mut child = self.name(id).child;
            while child != NONE {
                if !self.name(child).gone {
                    pending.push(child);
                }
                child = self.name(child).next;
            }
            // Those of one directory mostly come in order, and so are chained the other way round.
            pending[start..].sort_unstable_by(|&one, &other| self.text(other).cmp(self.text(one)));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &Names) -> Vec<String> {
        let mut path = Vec::new();
        let text = |id: &u32| {
            names.path_into(*id, &mut path);
            String::from_utf8(path.clone()).unwrap()
        };
        names.in_order().iter().map(text).collect()
    }

    #[test]
    fn names_are_found_and_come_in_order() {
        let mut names = Names::default();
        let a = names.make(ROOT, b"a");
        for name in ["z", "b", "b-", "a!"] {
            names.make(ROOT, name.as_bytes());
            names.make(a, name.as_bytes());
        }
        assert_eq!(paths(&names), ["", "a", "a/a!", "a/b", "a/b-", "a/z", "a!", "b", "b-", "z"]);
        assert_eq!(names.make(ROOT, b"a"), a);
        let there = names.find(&LayerPath::parse(b"a/b-").unwrap());
        assert_eq!(there, names.get(a, b"b-"));
        assert!(there.is_some() && names.get(ROOT, b"nothing").is_none());
    }

    #[test]
    fn what_is_replaced_leaves_nothing_below() {
        let mut names = Names::default();
        for round in 0..300 {
            let a = names.make(ROOT, b"a");
            names.make(a, format!("in {round}").as_bytes());
            assert_eq!(paths(&names), ["".to_owned(), "a".to_owned(), format!("a/in {round}")]);
            let new = names.emptied(a);
            assert_eq!((names.get(ROOT, b"a"), paths(&names).len()), (Some(new), 2));
        }
    }
}
