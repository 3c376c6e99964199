//! From the members of a tar, in their order, to the entries of a layer: whiteouts translated, parents implied,
//! later duplicates over earlier ones, and everything refused that could lead out of the tree or be read two ways.
//!
//! Source: OCI image spec, layer.md. Entries are keyed by their path with NUL for `/`, which no name contains: plain
//! byte order is then the order of [`LayerPath`], and what lies in a directory is one range. Memory is bounded by
//! [`TOC_MAX`].

use std::collections::{BTreeMap, HashMap};

use super::path::NAME_MAX;
use super::tar::{Member, MemberKind};
use super::toc::Toc;
use super::{Entry, Kind, LayerPath, Time};
use crate::error::{Error, Result};

/// Most memory that the entries of one layer may take, bytes: about half a million files.
pub(crate) const TOC_MAX: u64 = 160 << 20;
/// Most notes kept.
const NOTES_MAX: usize = 50;
/// Bytes of memory an entry takes beside its path and attributes, roughly.
const ENTRY_COST: u64 = 240;

type Key = Vec<u8>;

/// What is at a path: a node, which hard links share, or nothing but a whiteout.
#[derive(Default)]
struct Slot {
    node: Option<usize>,
    whiteout: bool,
}

/// Content and attributes; the path is where it was first seen.
struct Node {
    entry: Entry,
    dirty: bool,
}

/// Collects members; see the module.
#[derive(Default)]
pub(crate) struct Assembler {
    slots: BTreeMap<Key, Slot>,
    nodes: Vec<Node>,
    /// The directory that was last found to be one, with all above it.
    parent: Key,
    notes: Vec<String>,
    cost: u64,
}

fn key(path: &LayerPath) -> Key {
    path.as_bytes().iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

fn invalid(path: &LayerPath, why: &str) -> Error {
    Error::InvalidLayer(format!("{path}: {why}"))
}

fn directory(path: LayerPath) -> Entry {
    Entry {
        path,
        kind: Kind::Directory { opaque: false, implied: true },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// What a path says beside where it is.
enum Mark {
    None,
    Whiteout(LayerPath),
    Opaque(LayerPath),
    /// Bookkeeping of AUFS.
    Ignored,
}

/// Takes the whiteout marks out of a path (layer.md "Whiteouts").
fn mark(path: &LayerPath) -> Result<Mark> {
    let Some(name) = path.name() else { return Ok(Mark::None) };
    let parent = path.parent().unwrap_or_default();
    for above in parent.components() {
        if above.starts_with(b".wh..wh.") {
            return Ok(Mark::Ignored);
        }
        if above.starts_with(b".wh.") {
            return Err(invalid(path, "lies in a whiteout"));
        }
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Mark::None),
        Some(b".wh..opq") => Ok(Mark::Opaque(parent)),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Mark::Ignored),
        Some(b"" | b"." | b"..") => Err(invalid(path, "is a whiteout of no plain name")),
        Some(rest) => parent.join(rest).map(Mark::Whiteout),
    }
}

/// The target of a whiteout whose own name is longer than a name may be, because its target's nearly is.
fn long_whiteout(raw: &[u8]) -> Option<LayerPath> {
    let start = raw.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let name = raw[start..].strip_prefix(b".wh.").filter(|name| name.len() + 4 > NAME_MAX)?;
    let target = LayerPath::parse(&raw[..start]).ok()?.join(name).ok()?;
    matches!(mark(&target), Ok(Mark::None)).then_some(target)
}

impl Assembler {
    /// Takes in the next member; `dirty` says that the padding behind its data is not zero.
    pub(crate) fn add(&mut self, member: Member, dirty: bool) -> Result<()> {
        let path = match (LayerPath::parse(&member.path), long_whiteout(&member.path)) {
            (Err(_), Some(target)) => return self.whiteout(target),
            (path, _) => path?,
        };
        match mark(&path)? {
            Mark::None => {}
            Mark::Ignored => return Ok(()),
            Mark::Opaque(directory) => return self.opaque(&directory),
            Mark::Whiteout(target) => return self.whiteout(target),
        }
        let kind = match member.kind {
            MemberKind::Directory => Kind::Directory { opaque: false, implied: false },
            MemberKind::File { size, extents } => Kind::File { size, extents },
            MemberKind::HardLink { target } => Kind::HardLink { target: LayerPath::parse(&target)? },
            MemberKind::Symlink { target } => Kind::Symlink { target },
            MemberKind::CharDevice { major: 0, minor: 0 } => {
                self.note(format!("{path}: dropped, a 0:0 character device would hide the file below it"));
                return Ok(());
            }
            MemberKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            MemberKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            MemberKind::Fifo => Kind::Fifo,
        };
        let Member { mode, uid, gid, mtime, xattrs, .. } = member;
        self.insert(Entry { path, kind, mode, uid, gid, mtime, xattrs }, dirty)
    }

    /// Takes in an entry as our own writers make it: whiteouts and opaque directories are kinds already.
    pub(crate) fn add_entry(&mut self, entry: Entry) -> Result<()> {
        match entry.kind {
            Kind::Whiteout => self.whiteout(entry.path),
            Kind::Directory { implied: true, opaque } => {
                if opaque {
                    self.opaque(&entry.path)
                } else {
                    self.enter(&entry.path)
                }
            }
            Kind::Directory { opaque: true, .. } => {
                let path = entry.path.clone();
                self.insert(Entry { kind: Kind::Directory { opaque: false, implied: false }, ..entry }, false)?;
                self.opaque(&path)
            }
            _ => self.insert(entry, false),
        }
    }

    /// Something worth telling about the layer.
    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    fn node(&self, key: &Key) -> Option<&Entry> {
        self.slots.get(key)?.node.map(|node| &self.nodes[node].entry)
    }

    fn insert(&mut self, entry: Entry, dirty: bool) -> Result<()> {
        check(&entry)?;
        if let Some(parent) = entry.path.parent() {
            self.enter(&parent)?;
        }
        self.pay(&entry)?;
        let key = key(&entry.path);
        let shared = match &entry.kind {
            Kind::HardLink { target } => self.slots.get(&self::key(target)).and_then(|slot| slot.node),
            _ => None,
        };
        if shared.is_some_and(|node| self.nodes[node].entry.is_directory()) {
            return Err(invalid(&entry.path, "is a hard link to a directory"));
        }
        let old = self
            .node(&key)
            .and_then(|old| if let Kind::Directory { opaque, .. } = old.kind { Some(opaque) } else { None });
        let mut entry = entry;
        match (&mut entry.kind, old) {
            (Kind::Directory { opaque, .. }, Some(was_opaque)) => {
                *opaque |= was_opaque;
                // Who unpacks makes the directory once: what the later member does not speak of stays.
                let before = self.node(&key).map_or(&[][..], |old| &old.xattrs);
                let kept = before.iter().filter(|(name, _)| entry.xattrs.iter().all(|(other, _)| other != name));
                let kept: Vec<_> = kept.cloned().collect();
                entry.xattrs.extend(kept);
                entry.xattrs.sort();
            }
            (_, Some(_)) => self.remove_below(&key),
            (_, None) => {}
        }
        let node = shared.unwrap_or_else(|| {
            self.nodes.push(Node { entry, dirty });
            self.nodes.len() - 1
        });
        self.slots.entry(key).or_default().node = Some(node);
        Ok(())
    }

    fn whiteout(&mut self, target: LayerPath) -> Result<()> {
        if target.is_root() {
            return Err(invalid(&target, "cannot be removed"));
        }
        self.enter(&target.parent().unwrap_or_default())?;
        self.cost(target.as_bytes().len() as u64 * 2 + ENTRY_COST)?;
        self.slots.entry(key(&target)).or_default().whiteout = true;
        Ok(())
    }

    fn opaque(&mut self, path: &LayerPath) -> Result<()> {
        self.enter(path)?;
        if let Some(node) = self.slots.get(&key(path)).and_then(|slot| slot.node)
            && let Kind::Directory { opaque, .. } = &mut self.nodes[node].entry.kind
        {
            *opaque = true;
        }
        Ok(())
    }

    /// Makes sure that `path` and all above it are directories of this layer, implied ones if need be.
    fn enter(&mut self, path: &LayerPath) -> Result<()> {
        let whole = key(path);
        if whole == self.parent && self.slots.contains_key(&whole) {
            return Ok(());
        }
        // Whatever is here has directories above it: going through the names of a deep path each time would cost the
        // square of its length.
        if self.node(&whole).is_some_and(Entry::is_directory) {
            self.parent = whole;
            return Ok(());
        }
        let mut above = LayerPath::root();
        self.enter_one(&above)?;
        for name in path.components() {
            above = above.join(name)?;
            self.enter_one(&above)?;
        }
        self.parent = whole;
        Ok(())
    }

    fn enter_one(&mut self, path: &LayerPath) -> Result<()> {
        let key = key(path);
        match self.node(&key) {
            Some(entry) if entry.is_directory() => return Ok(()),
            Some(_) => return Err(invalid(path, "is no directory in this layer, but a path leads through it")),
            None => {}
        }
        let entry = directory(path.clone());
        self.pay(&entry)?;
        self.nodes.push(Node { entry, dirty: false });
        self.slots.entry(key).or_default().node = Some(self.nodes.len() - 1);
        Ok(())
    }

    /// Removes all that is in the directory at `key`.
    fn remove_below(&mut self, key: &Key) {
        self.parent.clear();
        let inside = |other: &Key| other.len() > key.len() && other.starts_with(key) && other[key.len()] == 0;
        let below = self.slots.range(key.clone()..).map(|(other, _)| other).skip(1);
        // Names that only begin alike sort behind all that is inside: NUL comes first.
        let doomed: Vec<Key> = below.take_while(|other| inside(other)).cloned().collect();
        for other in &doomed {
            self.slots.remove(other);
        }
    }

    fn pay(&mut self, entry: &Entry) -> Result<()> {
        let text = match &entry.kind {
            Kind::Symlink { target } => target.len(),
            Kind::HardLink { target } => target.as_bytes().len() * 3,
            Kind::File { extents, .. } => extents.len() * 24,
            _ => 0,
        };
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        self.cost((entry.path.as_bytes().len() * 2 + text + xattrs) as u64 + ENTRY_COST)
    }

    fn cost(&mut self, bytes: u64) -> Result<()> {
        self.cost += bytes;
        if self.cost > TOC_MAX {
            let limit = format!("{} MiB of memory", TOC_MAX >> 20);
            return Err(Error::Limit { what: "table of contents of a layer".to_owned(), limit });
        }
        Ok(())
    }

    /// The layer, with the notes made on the way. Of several names of one node the first in order has the content.
    pub(crate) fn finish(mut self) -> Result<(Toc, Vec<String>)> {
        self.enter_one(&LayerPath::root())?;
        self.resolve_links()?;
        self.settle_whiteouts();
        let mut entries: Vec<Entry> = Vec::with_capacity(self.slots.len());
        let mut dirty = Vec::new();
        let mut first: HashMap<usize, usize> = HashMap::new();
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        for (key, slot) in self.slots {
            let path = path(&key)?;
            let entry = match slot.node {
                None if slot.whiteout => Entry { kind: Kind::Whiteout, mode: 0, ..directory(path) },
                None => continue,
                Some(node) => match nodes[node].take() {
                    Some(Node { entry, dirty: is_dirty }) => {
                        first.insert(node, entries.len());
                        if is_dirty {
                            dirty.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                        }
                        Entry { path, ..entry }
                    }
                    None => {
                        let original = &entries[first[&node]];
                        // Two names of something that only a lower layer has point there, both.
                        let target = match &original.kind {
                            Kind::HardLink { target } => target.clone(),
                            _ => original.path.clone(),
                        };
                        let Entry { mode, uid, gid, mtime, .. } = *original;
                        Entry { path, kind: Kind::HardLink { target }, mode, uid, gid, mtime, xattrs: Vec::new() }
                    }
                },
            };
            entries.push(entry);
        }
        Ok((Toc::new(entries, dirty)?, self.notes))
    }

    /// Whiteouts hide only what is below: beside a directory of this layer one makes it opaque, beside any other
    /// entry it says nothing new, nor does it inside an opaque directory.
    fn settle_whiteouts(&mut self) {
        let mut opaque: Option<&Key> = None;
        for (key, slot) in &mut self.slots {
            let hidden = opaque
                .is_some_and(|above| above.is_empty() || (key.starts_with(above) && key.get(above.len()) == Some(&0)));
            if hidden {
                slot.whiteout = false;
                continue;
            }
            opaque = None;
            let Some(node) = slot.node else { continue };
            if let Kind::Directory { opaque: is_opaque, implied } = &mut self.nodes[node].entry.kind {
                if slot.whiteout {
                    *is_opaque = true;
                    *implied = false;
                }
                if *is_opaque {
                    opaque = Some(key);
                }
            }
        }
    }

    /// Lets hard links that came before their target share its node, if this layer has it.
    fn resolve_links(&mut self) -> Result<()> {
        let target = |entry: &Entry| if let Kind::HardLink { target } = &entry.kind { Some(key(target)) } else { None };
        let mut resolved = Vec::new();
        for (at, slot) in &self.slots {
            let Some(mut node) = slot.node else { continue };
            let mut steps = 0;
            while let Some(next) = target(&self.nodes[node].entry) {
                let refuse = |why| invalid(&self.nodes[node].entry.path, why);
                match self.slots.get(&next) {
                    None => break,
                    Some(Slot { node: None, .. }) => return Err(refuse("is a hard link to what this layer removes")),
                    Some(Slot { node: Some(_), .. }) if steps == 64 => return Err(refuse("is a hard link in a ring")),
                    Some(Slot { node: Some(next), .. }) => node = *next,
                }
                steps += 1;
            }
            if slot.node != Some(node) {
                if self.nodes[node].entry.is_directory() {
                    return Err(Error::InvalidLayer("a hard link to a directory".to_owned()));
                }
                resolved.push((at.clone(), node));
            }
        }
        for (at, node) in resolved {
            self.slots.entry(at).or_default().node = Some(node);
        }
        Ok(())
    }
}

/// The path that `key` was made of.
fn path(key: &Key) -> Result<LayerPath> {
    LayerPath::from_canonical(key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect())
}

/// What an entry must keep by itself.
fn check(entry: &Entry) -> Result<()> {
    let path = &entry.path;
    if path.is_root() && !entry.is_directory() {
        return Err(Error::InvalidLayer("the root is no directory".to_owned()));
    }
    if !matches!(mark(path)?, Mark::None) {
        return Err(invalid(path, "has the name of a whiteout"));
    }
    match &entry.kind {
        Kind::Symlink { target } if target.is_empty() || target.len() > 4095 || target.contains(&0) => {
            Err(invalid(path, "is a symbolic link to nothing, to NUL or to more than 4095 bytes"))
        }
        Kind::HardLink { target } if target == path || target.is_root() => {
            Err(invalid(path, "is a hard link to itself or the root"))
        }
        Kind::HardLink { target } if !matches!(mark(target)?, Mark::None) => {
            Err(invalid(path, "is a hard link to a whiteout"))
        }
        _ => Ok(()),
    }
}
