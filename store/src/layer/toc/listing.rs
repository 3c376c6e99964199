//! A table of contents that stays as its file has it: an entry is decoded whenever it is asked for, so that half a million
//! of them take some 15 MiB. Entries are gone through in their order, or got by the place where they were found; to find
//! one by its path, one path in each [`STEP`] is noted when that is first asked for.

use std::sync::OnceLock;

use super::code::Input;
use super::{begin, damaged, fault, verified};
use crate::error::Result;
use crate::layer::tree::Entries;
use crate::layer::{Entry, LayerPath};

/// Entries of which the first one's path is noted.
const STEP: usize = 32;

/// Where an entry of a [`Listing`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u32);

/// A table of contents in the form of its file; see the module.
pub struct Listing {
    bytes: Vec<u8>,
    /// Where the first entry begins.
    start: usize,
    count: usize,
    /// The path of each [`STEP`]th entry, and where it begins.
    marks: OnceLock<Vec<(LayerPath, usize)>>,
}

impl Listing {
    /// The table that `bytes` are, as [`super::Toc::encode`] made them: whole, its entries not looked at yet.
    ///
    /// # Errors
    /// [`crate::error::Error::Damaged`] for bytes that are no table.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        let content = verified(&bytes)?;
        let mut input = begin(content)?;
        let count = input.count(8)?;
        if u32::try_from(bytes.len()).is_err() {
            return Err(damaged("more than 4 GiB"));
        }
        let start = content.len() - input.0.len();
        Ok(Self { bytes, start, count, marks: OnceLock::new() })
    }

    /// All entries with their places, in the order of their paths. What comes after an error means nothing.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Place, Entry)>> {
        self.entries_from(LayerPath::root(), self.start).take(self.count)
    }

    /// The entries from the one that begins at `start` on, where the one before has the path `before`.
    fn entries_from(&self, mut before: LayerPath, start: usize) -> impl Iterator<Item = Result<(Place, Entry)>> {
        let mut input = Input(&self.bytes[start..]);
        std::iter::repeat_with(move || {
            let path = input.next_path(before.as_bytes())?;
            let place = self.place(&input);
            before = path.clone();
            let entry = input.attributes(path)?;
            match fault(&entry) {
                Some(why) => Err(damaged(&format!("{}: {why}", entry.path))),
                None => Ok((place, entry)),
            }
        })
    }

    /// Where the attributes begin that are next in line.
    fn place(&self, input: &Input<'_>) -> Place {
        Place((self.bytes.len() - input.0.len()) as u32)
    }

    /// The entry at `place`, under the path `path`, which may be another than its own.
    ///
    /// # Errors
    /// [`crate::error::Error::Damaged`] if there is none.
    pub fn entry(&self, place: Place, path: LayerPath) -> Result<Entry> {
        Input(self.bytes.get(place.0 as usize..).unwrap_or_default()).attributes(path)
    }

    /// The place of the entry at `path`.
    ///
    /// # Errors
    /// [`crate::error::Error::Damaged`].
    pub fn find(&self, path: &LayerPath) -> Result<Option<Place>> {
        let marks = match self.marks.get() {
            Some(marks) => marks,
            None => {
                let marks = self.mark()?;
                self.marks.get_or_init(|| marks)
            }
        };
        let after = marks.partition_point(|(marked, _)| marked <= path);
        let Some((marked, start)) = after.checked_sub(1).map(|at| &marks[at]) else { return Ok(None) };
        // What its path shares with the one before, it shares with itself.
        let left = self.count - (after - 1) * STEP;
        for found in self.entries_from(marked.clone(), *start).take(left.min(STEP)) {
            let (place, entry) = found?;
            if entry.path >= *path {
                return Ok((entry.path == *path).then_some(place));
            }
        }
        Ok(None)
    }

    fn mark(&self) -> Result<Vec<(LayerPath, usize)>> {
        let mut input = Input(&self.bytes[self.start..]);
        let mut before = LayerPath::root();
        let mut marks = Vec::with_capacity(self.count.div_ceil(STEP));
        for index in 0..self.count {
            let start = self.bytes.len() - input.0.len();
            let path = input.next_path(before.as_bytes())?;
            input.attributes(LayerPath::root())?;
            if index % STEP == 0 {
                marks.push((path.clone(), start));
            }
            before = path;
        }
        Ok(marks)
    }
}

impl Entries for Listing {
    fn count(&self) -> usize {
        self.count
    }

    fn each(&self, found: &mut dyn FnMut(usize, &Entry) -> Result<()>) -> Result<()> {
        self.entries().enumerate().try_for_each(|(index, entry)| found(index, &entry?.1))
    }
}
