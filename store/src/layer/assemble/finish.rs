//! From all members of a layer to its table of contents: links that came before their target resolved, whiteouts that
//! say nothing dropped, and the entries written in order, one at a time.

use std::collections::HashMap;

use super::{Assembler, DIRTY, SHARED, invalid};
use crate::error::{Error, Result};
use crate::layer::names::{NONE, ROOT};
use crate::layer::toc::{Encoder, code};
use crate::layer::tree::implied_root;
use crate::layer::{Entry, Kind, LayerPath};

impl Assembler {
    /// The bytes of the layer's table of contents, with the notes made on the way. Of several names of one file the first
    /// in order has the content.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, Vec<String>)> {
        self.enter_one(ROOT)?;
        let order = self.names.in_order();
        self.resolve_links(&order)?;
        self.settle_whiteouts(&order);
        let is_there = |id: &&u32| {
            let name = self.names.name(**id);
            name.record != NONE || name.whiteout
        };
        let mut out = Encoder::new(order.iter().filter(is_there).count());
        let mut whiteout = Vec::new();
        code::encode_attributes(&mut whiteout, &Entry { kind: Kind::Whiteout, mode: 0, ..implied_root() });
        // First names of the records that may have more.
        let mut first: HashMap<u32, u32> = HashMap::new();
        let (mut path, mut scratch, mut dirty) = (Vec::new(), Vec::new(), Vec::new());
        for (index, &id) in order.iter().filter(is_there).enumerate() {
            self.names.path_into(id, &mut path);
            let record = self.names.name(id).record;
            let attributes = if record == NONE {
                &whiteout
            } else {
                let flags = self.records.bytes[record as usize];
                let before = if flags & SHARED == 0 { id } else { *first.entry(record).or_insert(id) };
                match Some(before).filter(|&before| before != id) {
                    Some(before) => {
                        scratch.clear();
                        code::encode_attributes(&mut scratch, &self.second_name(record, before)?);
                        &scratch
                    }
                    None => {
                        if flags & DIRTY != 0 {
                            // As many as there are names, whose numbers have 32 bits.
                            dirty.push(index as u32);
                        }
                        self.records.attributes(record)
                    }
                }
            };
            out.add(&path, attributes);
        }
        Ok((out.finish(&dirty), self.notes))
    }

    /// What another name of the file says that has the name `first`.
    fn second_name(&self, record: u32, first: u32) -> Result<Entry> {
        let original = self.records.entry(record, self.path(first)?)?;
        // Two names of something that only a lower layer has point there, both.
        let target = match original.kind {
            Kind::HardLink { target } => target,
            _ => original.path,
        };
        Ok(Entry { path: LayerPath::root(), kind: Kind::HardLink { target }, xattrs: Vec::new(), ..original })
    }

    /// Whiteouts hide only what is below: beside a directory of this layer one makes it opaque, beside any other
    /// entry it says nothing new, nor does it inside an opaque directory.
    fn settle_whiteouts(&mut self, order: &[u32]) {
        for &id in order {
            let parent = self.names.name(id).parent;
            let hidden = parent != NONE && self.hides(parent);
            let name = self.names.name_mut(id);
            name.hidden = hidden;
            if hidden {
                name.whiteout = false;
            }
            let (whiteout, record) = (name.whiteout, name.record);
            if whiteout && record != NONE && self.records.is_directory(record) {
                let tag = self.records.tag(record);
                *tag = (*tag | code::OPAQUE) & !code::IMPLIED;
            }
        }
    }

    /// Whether nothing of lower layers is seen in the directory.
    fn hides(&self, id: u32) -> bool {
        let name = self.names.name(id);
        name.hidden || (name.record != NONE && self.records.attributes(name.record)[0] & code::OPAQUE != 0)
    }

    /// The target, if the record is a hard link.
    fn target(&self, record: u32) -> Result<Option<LayerPath>> {
        if !code::is_hard_link(self.records.attributes(record)[0]) {
            return Ok(None);
        }
        let entry = self.records.entry(record, LayerPath::root())?;
        Ok(if let Kind::HardLink { target } = entry.kind { Some(target) } else { None })
    }

    /// Lets hard links that came before their target share its record, if this layer has it.
    fn resolve_links(&mut self, order: &[u32]) -> Result<()> {
        let mut resolved = Vec::new();
        for &id in order {
            let Some(mut record) = self.names.record(id) else { continue };
            let mut at = id;
            let mut steps = 0;
            while let Some(target) = self.target(record)? {
                let refuse = |why| self.path(at).map_or_else(|error| error, |path| invalid(&path, why));
                let Some(next) = self.names.find(&target) else { break };
                match self.names.record(next) {
                    None => return Err(refuse("is a hard link to what this layer removes")),
                    Some(_) if steps == 64 => return Err(refuse("is a hard link in a ring")),
                    Some(there) => (at, record) = (next, there),
                }
                steps += 1;
            }
            if at != id {
                if self.records.is_directory(record) {
                    return Err(Error::InvalidLayer("a hard link to a directory".to_owned()));
                }
                resolved.push((id, record));
            }
        }
        for (id, record) in resolved {
            *self.records.flags(record) |= SHARED;
            self.names.set_record(id, record);
        }
        Ok(())
    }
}
