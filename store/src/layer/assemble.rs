//! From the members of a tar, in their order, to the entries of a layer: whiteouts translated, parents implied,
//! later duplicates over earlier ones, and everything refused that could lead out of the tree or be read two ways.
//!
//! Source: OCI image spec, layer.md. A layer may have half a million members, so none of them is kept as an [`Entry`]:
//! its name is in [`Names`], the rest is a record in one large vector, written as the table of contents writes it.
//! Memory is bounded by [`TOC_MAX`].

mod finish;

use super::names::{Names, ROOT};
use super::path::NAME_MAX;
use super::tar::{Member, MemberKind};
use super::toc::code::{self, Input};
use super::toc::fault;
use super::tree::implied_root;
use super::{Entry, Kind, LayerPath};
use crate::error::{Error, Result};

/// Most memory that the entries of one layer may take, bytes: about half a million files.
pub(crate) const TOC_MAX: u64 = 160 << 20;
/// Most notes kept.
const NOTES_MAX: usize = 50;
/// Bytes of memory an entry takes beside its path and attributes, roughly.
const ENTRY_COST: u64 = 240;

/// Collects members; see the module.
#[derive(Default)]
pub(crate) struct Assembler {
    names: Names,
    records: Records,
    /// The directory that was last found to be one, with its name.
    parent: Option<(LayerPath, u32)>,
    notes: Vec<String>,
    cost: u64,
}

/// What is at the names, which hard links share: a byte of flags, the length of what follows, and the attributes.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

/// The padding behind the file's data is not zero.
const DIRTY: u8 = 1;
/// There may be several names of it.
const SHARED: u8 = 2;

impl Records {
    fn add(&mut self, entry: &Entry, flags: u8) -> u32 {
        self.scratch.clear();
        code::encode_attributes(&mut self.scratch, entry);
        let at = self.bytes.len() as u32;
        self.bytes.push(flags);
        code::unsigned(&mut self.bytes, self.scratch.len() as u64);
        self.bytes.extend_from_slice(&self.scratch);
        at
    }

    fn flags(&mut self, at: u32) -> &mut u8 {
        &mut self.bytes[at as usize]
    }

    /// Where the attributes of the record at `at` are.
    fn range(&self, at: u32) -> std::ops::Range<usize> {
        let mut input = Input(&self.bytes[at as usize + 1..]);
        // Written above, so it can be read; an empty range would be told as damage.
        let length = input.number().unwrap_or_default() as usize;
        let start = self.bytes.len() - input.0.len();
        start..start + length
    }

    fn attributes(&self, at: u32) -> &[u8] {
        &self.bytes[self.range(at)]
    }

    /// The first byte of the attributes.
    fn tag(&mut self, at: u32) -> &mut u8 {
        let start = self.range(at).start;
        &mut self.bytes[start]
    }

    fn is_directory(&self, at: u32) -> bool {
        code::is_directory(self.bytes[self.range(at).start])
    }

    fn entry(&self, at: u32, path: LayerPath) -> Result<Entry> {
        Input(self.attributes(at)).attributes(path)
    }
}

fn invalid(path: &LayerPath, why: &str) -> Error {
    Error::InvalidLayer(format!("{path}: {why}"))
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
            MemberKind::File { size, extents } => Kind::File { size, extents: extents.into() },
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
                    self.enter(&entry.path).map(drop)
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

    fn insert(&mut self, entry: Entry, dirty: bool) -> Result<()> {
        check(&entry)?;
        let parent = entry.path.parent().map(|parent| self.enter(&parent)).transpose()?;
        self.pay(&entry)?;
        let shared = match &entry.kind {
            Kind::HardLink { target } => self.names.find(target).and_then(|name| self.names.record(name)),
            _ => None,
        };
        if shared.is_some_and(|record| self.records.is_directory(record)) {
            return Err(invalid(&entry.path, "is a hard link to a directory"));
        }
        let mut id = match (parent, entry.path.name()) {
            (Some(parent), Some(name)) => self.names.make(parent, name),
            _ => ROOT,
        };
        let mut entry = entry;
        match self.names.record(id).filter(|&record| self.records.is_directory(record)) {
            Some(old) if entry.is_directory() => {
                let old = self.records.entry(old, LayerPath::root())?;
                if let (Kind::Directory { opaque, .. }, Kind::Directory { opaque: true, .. }) =
                    (&mut entry.kind, old.kind)
                {
                    *opaque = true;
                }
                // Who unpacks makes the directory once: what the later member does not speak of stays.
                let kept =
                    old.xattrs.into_iter().filter(|(name, _)| entry.xattrs.iter().all(|(other, _)| other != name));
                let kept: Vec<_> = kept.collect();
                entry.xattrs.extend(kept);
                entry.xattrs.sort();
            }
            Some(_) => {
                self.parent = None;
                id = self.names.emptied(id);
            }
            None => {}
        }
        let record = match shared {
            Some(shared) => {
                *self.records.flags(shared) |= SHARED;
                shared
            }
            None => self.records.add(&entry, if dirty { DIRTY } else { 0 }),
        };
        self.names.set_record(id, record);
        Ok(())
    }

    fn whiteout(&mut self, target: LayerPath) -> Result<()> {
        let (Some(parent), Some(name)) = (target.parent(), target.name()) else {
            return Err(invalid(&target, "cannot be removed"));
        };
        let parent = self.enter(&parent)?;
        self.cost(target.as_bytes().len() as u64 * 2 + ENTRY_COST)?;
        let id = self.names.make(parent, name);
        self.names.name_mut(id).whiteout = true;
        Ok(())
    }

    fn opaque(&mut self, path: &LayerPath) -> Result<()> {
        let id = self.enter(path)?;
        if let Some(record) = self.names.record(id) {
            *self.records.tag(record) |= code::OPAQUE;
        }
        Ok(())
    }

    /// Makes sure that `path` and all above it are directories of this layer, implied ones if need be; the name of
    /// the last.
    fn enter(&mut self, path: &LayerPath) -> Result<u32> {
        if let Some((last, id)) = &self.parent
            && last == path
        {
            return Ok(*id);
        }
        let mut id = self.enter_one(ROOT)?;
        for name in path.components() {
            id = match self.names.get(id, name) {
                Some(there) => self.enter_one(there)?,
                None => {
                    self.cost(path.as_bytes().len() as u64 * 2 + ENTRY_COST)?;
                    let new = self.names.make(id, name);
                    self.enter_one(new)?
                }
            };
        }
        self.parent = Some((path.clone(), id));
        Ok(id)
    }

    /// Makes sure that there is a directory at the name `id`.
    fn enter_one(&mut self, id: u32) -> Result<u32> {
        match self.names.record(id) {
            Some(record) if self.records.is_directory(record) => {}
            Some(_) => {
                return Err(invalid(&self.path(id)?, "is no directory in this layer, but a path leads through it"));
            }
            None => self.names.name_mut(id).record = self.records.add(&implied_root(), 0),
        }
        Ok(id)
    }

    fn path(&self, id: u32) -> Result<LayerPath> {
        let mut raw = Vec::new();
        self.names.path_into(id, &mut raw);
        LayerPath::from_canonical(raw)
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
    if let Some(why) = fault(entry) {
        return Err(invalid(path, why));
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
