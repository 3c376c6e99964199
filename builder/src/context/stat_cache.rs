//! Digests of context files, remembered between builds: a file whose device, inode, size and both times are what they
//! were is not read again. An entry is kept only if the file had been left alone for a while before it was read (the
//! rule of git's index for "racily clean" entries): a change within the same tick of the clock would not show in its
//! times. The file is checked by its digest when read; a damaged one is as good as none.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::Stat;
use store::{Digest, Store};

use crate::files::Content;
use crate::op::OpError;

const MAGIC: &[u8; 8] = b"imgstat1";
const FILE_MAX: u64 = 512 << 20;
const ENTRIES_MAX: usize = 2_000_000;
/// Seconds a file must have been left alone: two, the coarsest clock of a file system in use (FAT).
const SETTLED: i64 = 2;
/// Builds after which an entry that was of no use is dropped.
const AGE_MAX: u8 = 16;

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of contents: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of anything, which no program can set at will.
    pub ctime: (i64, u32),
}

impl Stamp {
    /// The stamp in a stat result.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        // The fields' types differ between architectures; their values fit everywhere.
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime: (stat.st_ctime as i64, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    stamp: Stamp,
    content: Content,
    age: u8,
}

/// The remembered digests of one context.
#[derive(Debug, Default)]
pub struct StatCache {
    entries: HashMap<Vec<u8>, Entry>,
    changed: bool,
}

fn file_name(context: &Path) -> String {
    format!("context {}", Digest::of(context.as_os_str().as_bytes()).hex())
}

impl StatCache {
    /// Loads what is remembered of `context`; nothing if there is nothing or it is damaged.
    ///
    /// # Errors
    /// [`OpError`] if the store cannot be read.
    pub fn load(store: &Store, context: &Path) -> Result<Self, OpError> {
        let bytes = store.cache().file(&file_name(context), FILE_MAX)?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes)).unwrap_or_default())
    }

    /// Writes it back if it changed.
    ///
    /// # Errors
    /// [`OpError`] if the store cannot be written.
    pub fn save(&mut self, store: &Store, context: &Path) -> Result<(), OpError> {
        if !self.changed {
            return Ok(());
        }
        store.cache().put_file(&file_name(context), &self.encode())?;
        self.changed = false;
        Ok(())
    }

    /// The content of `path` if it still has `stamp`.
    pub fn get(&mut self, path: &[u8], stamp: &Stamp) -> Option<Content> {
        let entry = self.entries.get_mut(path).filter(|entry| entry.stamp == *stamp)?;
        // Ages are only worth a write when something else changes too.
        entry.age = 0;
        Some(entry.content.clone())
    }

    /// Remembers `content`, read from `started` on while the file had `stamp`.
    pub fn put(&mut self, path: &[u8], stamp: Stamp, content: &Content, started: Timestamp) {
        let last = stamp.mtime.0.max(stamp.ctime.0);
        self.changed |= self.entries.remove(path).is_some();
        if last.saturating_add(SETTLED) < started.as_second() && self.entries.len() < ENTRIES_MAX {
            self.entries.insert(path.to_vec(), Entry { stamp, content: content.clone(), age: 0 });
            self.changed = true;
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (path, entry) in self.entries.iter().filter(|(_, entry)| entry.age < AGE_MAX) {
            let Stamp { device, inode, size, mtime, ctime } = entry.stamp;
            put_bytes(&mut out, path);
            for number in [device, inode, size, mtime.0.cast_unsigned(), ctime.0.cast_unsigned()] {
                out.extend(number.to_le_bytes());
            }
            out.extend(mtime.1.to_le_bytes());
            out.extend(ctime.1.to_le_bytes());
            out.push(entry.age + 1);
            out.extend(entry.content.digest.as_bytes());
            out.push(u8::try_from(entry.content.xattrs.len()).unwrap_or(0));
            for (name, value) in entry.content.xattrs.iter().take(usize::from(u8::MAX)) {
                put_bytes(&mut out, name);
                put_bytes(&mut out, value);
            }
        }
        let digest = Digest::of(&out);
        out.extend(digest.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut entries = HashMap::new();
        while !rest.is_empty() {
            let path = take_bytes(&mut rest)?.to_vec();
            let mut number = || Some(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?));
            let (device, inode, size) = (number()?, number()?, number()?);
            let (mtime, ctime) = (number()?.cast_signed(), number()?.cast_signed());
            let mut nanoseconds = || Some(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?));
            let (mtime, ctime) = ((mtime, nanoseconds()?), (ctime, nanoseconds()?));
            let age = take(&mut rest, 1)?[0];
            let digest = Digest::from_bytes(take(&mut rest, 32)?.try_into().ok()?);
            let mut xattrs = Vec::new();
            for _ in 0..take(&mut rest, 1)?[0] {
                xattrs.push((take_bytes(&mut rest)?.to_vec(), take_bytes(&mut rest)?.to_vec()));
            }
            let stamp = Stamp { device, inode, size, mtime, ctime };
            entries.insert(path, Entry { stamp, content: Content { digest, xattrs }, age });
        }
        Some(Self { entries, changed: false })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Paths end at 4096 bytes and a capability at 256.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_le_bytes());
    out.extend(&bytes[..usize::from(length)]);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(time: i64) -> Stamp {
        Stamp { device: 1, inode: 2, size: 3, mtime: (time, 5), ctime: (time, 6) }
    }

    fn content() -> Content {
        Content { digest: Digest::of(b"x"), xattrs: vec![(b"security.capability".to_vec(), vec![1, 2])] }
    }

    #[test]
    fn survives_a_round_trip_and_refuses_damage() {
        let mut cache = StatCache::default();
        let now = Timestamp::from_second(1000).unwrap();
        cache.put(b"a/b", stamp(900), &content(), now);
        cache.put(b"\xff", stamp(-5), &content(), now);
        let bytes = cache.encode();
        let mut back = StatCache::decode(&bytes).unwrap();
        assert_eq!(back.get(b"a/b", &stamp(900)), Some(content()));
        assert_eq!(back.get(b"\xff", &stamp(-5)), Some(content()));
        assert_eq!(back.get(b"a/b", &stamp(901)), None, "any change of the stamp counts");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(StatCache::decode(&damaged).is_none(), "byte {at}");
            assert!(StatCache::decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn young_files_are_not_trusted() {
        let mut cache = StatCache::default();
        for age in 0..=2 {
            cache.put(b"a", stamp(1000 - age), &content(), Timestamp::from_second(1000).unwrap());
            assert_eq!(cache.get(b"a", &stamp(1000 - age)), None, "{age} s old");
        }
        cache.put(b"a", stamp(997), &content(), Timestamp::from_second(1000).unwrap());
        assert!(cache.get(b"a", &stamp(997)).is_some());
        cache.put(b"a", stamp(999), &content(), Timestamp::from_second(1000).unwrap());
        assert!(cache.get(b"a", &stamp(997)).is_none(), "a newer reading replaces the older one");
    }

    #[test]
    fn unused_entries_grow_old_and_go() {
        let mut cache = StatCache::default();
        let now = Timestamp::from_second(1000).unwrap();
        cache.put(b"a", stamp(1), &content(), now);
        for _ in 0..AGE_MAX {
            cache = StatCache::decode(&cache.encode()).unwrap();
        }
        assert!(cache.entries.is_empty() || StatCache::decode(&cache.encode()).unwrap().entries.is_empty());
    }
}
