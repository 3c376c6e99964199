//! What is copied, as the entries of a layer: one file, a tree, or a tar that comes in. Trees are walked below the
//! descriptor of their directory without following a link.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use runner::RunningIds;
use rustix::fs::{CWD, Mode, OFlags};
use store::layer::diff::{describe, open_upper, scan_upper};
use store::layer::tar::{Member, MemberKind, Reader};
use store::layer::{Entry, Kind, LayerPath};

use super::join;
use super::place::{Place, failed};
use crate::error::{CommandError, Context as _, Result};

/// Takes one entry and, for a regular file, its bytes.
pub type Take<'a> = dyn FnMut(&Entry, Option<&mut dyn Read>) -> Result<()> + 'a;

/// A file or tree to be copied.
pub struct Source {
    handle: OwnedFd,
    /// What was named, at the path of the root.
    pub entry: Entry,
    /// Its own name.
    pub name: Vec<u8>,
    /// As it is shown in messages.
    pub shown: String,
    /// What is in it is wanted, not itself (`/.`).
    pub contents: bool,
    /// The ids of a container in a user namespace, whose owners are shown as it sees them.
    ids: Option<RunningIds>,
}

impl Source {
    /// Opens what `path` names.
    ///
    /// # Errors
    /// There is no such thing, or it is a socket.
    pub fn open(place: &Place, path: &str, follow_link: bool) -> Result<Self> {
        let shown = place.shown(path);
        let bare = path.trim_end_matches('/');
        let name = bare.rsplit('/').next().unwrap_or_default();
        // Neither of these is a name that what is copied could get.
        let contents = matches!(name, "" | "." | "..");
        let follow = follow_link || contents || bare.len() < path.len();
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        let handle = place.open(path.as_bytes(), flags).map_err(|error| failed("copy", &shown, error))?;
        let entry = describe(&handle, &LayerPath::root()).with_context(|| format!("cannot copy {shown}"))?;
        let entry = entry
            .filter(|entry| !matches!(entry.kind, Kind::Whiteout))
            .ok_or_else(|| CommandError::new(format!("cannot copy {shown}: it is a socket or a mark of overlayfs")))?;
        Ok(Self { handle, entry, name: name.as_bytes().to_vec(), shown, contents, ids: place.ids.clone() })
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entry.is_directory()
    }

    /// Where it goes in a tar.
    ///
    /// # Errors
    /// A name that no tar may hold.
    pub fn base_for_tar(&self) -> Result<LayerPath> {
        Ok(if self.contents { LayerPath::root() } else { LayerPath::parse(&self.name)? })
    }

    /// Gives everything to `take`, as it is called below `base`. With the root as base, what is copied into is there
    /// already and only the contents come.
    ///
    /// # Errors
    /// A file that cannot be read, and what `take` says.
    pub fn each(&self, base: &LayerPath, take: &mut Take<'_>) -> Result<()> {
        let what = || format!("cannot copy {}", self.shown);
        let take: &mut Take<'_> = &mut |entry, data| match &self.ids {
            Some(ids) => {
                let (uid, gid) = ids.inside((entry.uid, entry.gid));
                take(&Entry { uid, gid, ..entry.clone() }, data)
            }
            None => take(entry, data),
        };
        let own = Entry { path: base.clone(), ..self.entry.clone() };
        match &self.entry.kind {
            Kind::File { size, .. } => {
                // The kind is known to be a regular file by the same descriptor, so opening it waits for nobody.
                let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
                let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                let file = File::from(file.map_err(|error| failed("copy", &self.shown, error))?);
                return take(&own, Some(&mut file.take(*size)));
            }
            Kind::Directory { .. } => {}
            _ => return take(&own, None),
        }
        if !base.is_root() {
            take(&own, None)?;
        }
        for below in scan_upper(self.handle.as_fd()).with_context(what)? {
            let mut entry = Entry { path: join(base, &below.path)?, ..below.clone() };
            match &mut entry.kind {
                Kind::Whiteout => {
                    return Err(CommandError::new(format!(
                        "cannot copy {}/{}: it is a mark of overlayfs",
                        self.shown, below.path
                    )));
                }
                Kind::HardLink { target } => *target = join(base, target)?,
                Kind::Directory { opaque, .. } => *opaque = false,
                _ => {}
            }
            if let Kind::File { size, .. } = &entry.kind {
                let file = open_upper(self.handle.as_fd(), &below.path).with_context(what)?;
                take(&entry, Some(&mut file.take(*size)))?;
            } else {
                take(&entry, None)?;
            }
        }
        Ok(())
    }
}

/// Gives the members of a tar to `take`.
///
/// # Errors
/// What is no tar, or holds a path that leads out of it; what `take` says.
pub fn tar(input: impl BufRead, take: &mut Take<'_>) -> Result<()> {
    let mut reader = Reader::new(input);
    while let Some(member) = reader.next_member().context("cannot read the tar on standard input")? {
        let (entry, holes) = entry_of(&member)?;
        match &entry.kind {
            Kind::File { .. } if holes.is_empty() => take(&entry, Some(&mut reader))?,
            Kind::File { size, .. } => take(&entry, Some(&mut Holes::new(&mut reader, holes, *size)))?,
            _ if entry.path.is_root() => {}
            _ => take(&entry, None)?,
        }
    }
    Ok(())
}

/// A member as an entry, and the runs (offset, length) of its stored bytes if it is sparse.
fn entry_of(member: &Member) -> Result<(Entry, Vec<(u64, u64)>)> {
    let path = LayerPath::parse(&member.path)?;
    let mut runs = Vec::new();
    let kind = match &member.kind {
        MemberKind::Directory => Kind::Directory { opaque: false, implied: false },
        MemberKind::File { size, extents } => {
            let whole = matches!(extents.as_slice(), [one] if one.logical == 0 && one.length == *size);
            if !whole && *size > 0 {
                runs = extents.iter().map(|extent| (extent.logical, extent.length)).collect();
                // A file that is all hole still has to be told from a plain one.
                if runs.is_empty() {
                    runs.push((*size, 0));
                }
            }
            Kind::file(*size)
        }
        MemberKind::HardLink { target } => Kind::HardLink { target: LayerPath::parse(target)? },
        MemberKind::Symlink { target } => Kind::Symlink { target: target.clone() },
        MemberKind::CharDevice { major, minor } => Kind::CharDevice { major: *major, minor: *minor },
        MemberKind::BlockDevice { major, minor } => Kind::BlockDevice { major: *major, minor: *minor },
        MemberKind::Fifo => Kind::Fifo,
    };
    let (mode, uid, gid, mtime) = (member.mode, member.uid, member.gid, member.mtime);
    Ok((Entry { path, kind, mode, uid, gid, mtime, xattrs: member.xattrs.clone() }, runs))
}

/// A sparse file with its holes read as zeros.
struct Holes<R> {
    stored: R,
    runs: std::vec::IntoIter<(u64, u64)>,
    /// The run that comes next or is being read.
    run: (u64, u64),
    at: u64,
    size: u64,
}

impl<R: Read> Holes<R> {
    fn new(stored: R, runs: Vec<(u64, u64)>, size: u64) -> Self {
        let mut runs = runs.into_iter();
        let run = runs.next().unwrap_or((size, 0));
        Self { stored, runs, run, at: 0, size }
    }
}

impl<R: Read> Read for Holes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at < self.size && self.at >= self.run.0 + self.run.1 {
            self.run = self.runs.next().unwrap_or((self.size, 0));
            if self.run == (self.size, 0) {
                break;
            }
        }
        let hole = self.at < self.run.0;
        let end = if hole { self.run.0.min(self.size) } else { self.run.0 + self.run.1 };
        let room = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let count = if hole {
            buffer[..room].fill(0);
            room
        } else {
            self.stored.read(&mut buffer[..room])?
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::Holes;

    #[test]
    fn holes_read_as_zeros() {
        let mut read = Vec::new();
        Holes::new(&b"abcd"[..], vec![(2, 1), (5, 3)], 10).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"\0\0a\0\0bcd\0\0");
        read.clear();
        Holes::new(&b""[..], vec![(4, 0)], 4).read_to_end(&mut read).unwrap();
        assert_eq!(read, [0; 4]);
    }
}
