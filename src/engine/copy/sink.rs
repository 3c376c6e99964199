//! Where entries go: below the descriptor of a directory, or into a tar. Each name is made in a directory that was
//! opened by openat2 without following a link, so neither the tar nor what lies at the destination can lead out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use runner::RunningIds;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::fs::{linkat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use store::layer::tar::Writer;
use store::layer::{Entry, Kind, LayerPath};

use super::place::failed;
use super::source::Source;
use crate::error::{CommandError, Context as _, Result};

/// Set-user-id and set-group-id: they mean something only with the owner they were given for.
const SET_ID: u32 = 0o6000;
/// How often another may make a file of the same name in between.
const COLLISIONS: usize = 100;

/// A directory that entries are written below.
pub struct Sink {
    top: OwnedFd,
    shown: String,
    /// Who owns everything; `None`: whom the entries name.
    owner: Option<(u32, u32)>,
    /// Extended attributes stay although the owner is another, and so do the modes of files whose owner is the same.
    exporting: bool,
    /// Directories made here, in order; they get their times when nothing more is put into them.
    made: Vec<Entry>,
    /// The ids of a container in a user namespace: owners are meant as it sees them.
    ids: Option<RunningIds>,
}

impl Sink {
    /// A sink below `top`; `shown` is what messages call it.
    pub fn new(top: OwnedFd, shown: String, owner: Option<(u32, u32)>) -> Self {
        Self { top, shown, owner, exporting: false, made: Vec::new(), ids: None }
    }

    /// The same sink, into a container with these ids.
    pub fn with_ids(self, ids: Option<RunningIds>) -> Self {
        Self { ids, ..self }
    }

    /// A sink for a whole file system that is given to `owner`, as an export of a build is.
    pub fn exporting(top: OwnedFd, shown: String, owner: (u32, u32)) -> Self {
        Self { exporting: true, ..Self::new(top, shown, Some(owner)) }
    }

    /// Writes one entry, in place of what is there unless either is a directory and the other is not.
    ///
    /// # Errors
    /// What is there cannot be replaced, a file that cannot be written.
    pub fn put(&mut self, entry: &Entry, data: Option<&mut dyn Read>) -> Result<()> {
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        if self.ids.as_ref().is_some_and(|ids| ids.outside(owner).is_none()) {
            return Err(CommandError::new(format!(
                "cannot copy {}: the container has no user {} or no group {}",
                entry.path, owner.0, owner.1
            ))
            .hint("its map of ids leaves them out; without -a everything is given to its root"));
        }
        let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.name()) else {
            return Err(CommandError::new("a tar's root is no file"));
        };
        let parent = self.parent(&parent)?;
        let wrong = |error: Errno| failed("write", &format!("{}/{}", self.shown, entry.path), error);
        let (parent, name) = (parent.as_fd(), OsStr::from_bytes(name));
        match &entry.kind {
            Kind::Directory { .. } => {
                let make = |there| if there { Ok(false) } else { mkdirat(parent, name, Mode::RWXU).map(|()| true) };
                if self.place(parent, name, entry, make)? {
                    self.made.push(entry.clone());
                }
            }
            Kind::File { .. } => {
                // A file that is a mount point (/etc/hosts of a running container) cannot be replaced: it is filled anew.
                let open = |there| {
                    let flags = if there { OFlags::TRUNC } else { OFlags::CREATE | OFlags::EXCL };
                    let flags = flags | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                    openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
                };
                let mut file = File::from(self.place(parent, name, entry, open)?);
                if let Some(data) = data {
                    io::copy(data, &mut file).with_context(|| format!("cannot write {}/{}", self.shown, entry.path))?;
                }
                self.attributes(file.as_fd(), entry).map_err(wrong)?;
            }
            Kind::Symlink { target } => {
                self.place(parent, name, entry, |_| symlinkat(OsStr::from_bytes(target), parent, name))?;
                let (uid, gid) = self.owner(entry);
                rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(wrong)?;
                rustix::fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(wrong)?;
            }
            Kind::HardLink { target } => {
                let (Some(folder), Some(first)) = (target.parent(), target.name()) else {
                    return Err(wrong(Errno::INVAL));
                };
                let (folder, first) = (self.parent(&folder)?, OsStr::from_bytes(first));
                self.place(parent, name, entry, |_| linkat(&folder, first, parent, name, AtFlags::empty()))?;
            }
            Kind::CharDevice { major, minor } => {
                let node = |_| self.node(parent, name, entry, FileType::CharacterDevice, (*major, *minor));
                self.place(parent, name, entry, node)?;
            }
            Kind::BlockDevice { major, minor } => {
                let node = |_| self.node(parent, name, entry, FileType::BlockDevice, (*major, *minor));
                self.place(parent, name, entry, node)?;
            }
            Kind::Fifo => {
                self.place(parent, name, entry, |_| self.node(parent, name, entry, FileType::Fifo, (0, 0)))?;
            }
            Kind::Whiteout => return Err(wrong(Errno::INVAL)),
        }
        Ok(())
    }

    /// Gives the directories that were made their owners, modes and times.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn finish(self) -> Result<()> {
        for entry in self.made.iter().rev() {
            let directory = self.open(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY);
            directory
                .and_then(|directory| self.attributes(directory.as_fd(), entry))
                .map_err(|error| failed("write", &format!("{}/{}", self.shown, entry.path), error))?;
        }
        Ok(())
    }

    fn open(&self, path: &LayerPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let name = if path.is_root() { OsStr::new(".") } else { OsStr::from_bytes(path.as_bytes()) };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        store::scoped::open(&self.top, name, flags | OFlags::NOFOLLOW, resolve)
    }

    /// The directory an entry goes into; one that a tar left out is made.
    fn parent(&self, path: &LayerPath) -> Result<OwnedFd> {
        let wrong = |error: Errno| failed("write", &format!("{}/{path}", self.shown), error);
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(wrong),
        }
        let mut at = LayerPath::root();
        let mut directory = self.open(&at, OFlags::PATH | OFlags::DIRECTORY).map_err(wrong)?;
        for name in path.components() {
            match mkdirat(&directory, OsStr::from_bytes(name), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(wrong(error)),
            }
            at = at.join(name)?;
            directory = self.open(&at, OFlags::PATH | OFlags::DIRECTORY).map_err(wrong)?;
        }
        Ok(directory)
    }

    /// Makes room for an entry and makes it; `make` hears whether what is there is kept. Where somebody else makes one of that
    /// name in between, the last one stays.
    fn place<T>(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
        make: impl Fn(bool) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let mut tries = 1..COLLISIONS;
        loop {
            let there = self.clear(parent, name, entry)?;
            match make(there) {
                Err(Errno::EXIST) if tries.next().is_some() => {}
                made => return made.map_err(|error| failed("write", &format!("{}/{}", self.shown, entry.path), error)),
            }
        }
    }

    /// Makes room for an entry. True if what is there is kept: a directory, or a file that is a mount point.
    fn clear(&self, parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<bool> {
        let shown = || format!("{}/{}", self.shown, entry.path);
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(failed("write", &shown(), error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match (kind == FileType::Directory, entry.is_directory()) {
            (true, true) => return Ok(true),
            (true, false) => {
                return Err(CommandError::new(format!("cannot overwrite the directory {} with a file", shown())));
            }
            (false, true) => {
                return Err(CommandError::new(format!("cannot overwrite the file {} with a directory", shown())));
            }
            (false, false) => {}
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(false),
            Err(Errno::BUSY) if kind == FileType::RegularFile && matches!(entry.kind, Kind::File { .. }) => Ok(true),
            Err(error) => Err(failed("replace", &shown(), error)),
        }
    }

    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        let (uid, gid) = self.ids.as_ref().and_then(|ids| ids.outside(owner)).unwrap_or(owner);
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    fn mode(&self, entry: &Entry) -> Mode {
        let same = self.exporting && self.owner == Some((entry.uid, entry.gid));
        Mode::from_raw_mode(if self.owner.is_some() && !same { entry.mode & !SET_ID } else { entry.mode })
    }

    /// Owner, then mode and extended attributes, which a change of owner clears, then times.
    fn attributes(&self, file: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
        let kept = if self.owner.is_some() && !self.exporting { &[] } else { entry.xattrs.as_slice() };
        set_attributes(file, entry, self.owner(entry), self.mode(entry), kept)
    }

    fn node(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> rustix::io::Result<()> {
        rustix::fs::mknodat(parent, name, kind, Mode::RUSR, rustix::fs::makedev(major, minor))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(parent, name, flags, Mode::empty())?;
        // By descriptor: were the name replaced by a link meanwhile, nothing would be changed through it.
        let by_fd = format!("/proc/self/fd/{}", node.as_raw_fd());
        let (uid, gid) = self.owner(entry);
        rustix::fs::chownat(&node, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        rustix::fs::chmodat(CWD, &by_fd, self.mode(entry), AtFlags::empty())?;
        rustix::fs::utimensat(CWD, &by_fd, &times(entry), AtFlags::empty())
    }
}

/// Gives a file all that its entry says of it.
pub fn attributes(file: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    set_attributes(file, entry, owner, Mode::from_raw_mode(entry.mode), &entry.xattrs)
}

fn set_attributes(
    file: BorrowedFd<'_>,
    entry: &Entry,
    (uid, gid): (Option<Uid>, Option<Gid>),
    mode: Mode,
    xattrs: &[(Vec<u8>, Vec<u8>)],
) -> rustix::io::Result<()> {
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, mode)?;
    for (name, value) in xattrs {
        match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            // As cp -a has it: a file system without them does not stop the copy.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    rustix::fs::futimens(file, &times(entry))
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

/// Writes `source` as a tar to `output`, called `base` in it.
///
/// # Errors
/// A file that cannot be read, an output that cannot be written.
pub fn tar(output: impl Write, source: &Source, base: &LayerPath) -> Result<()> {
    let mut tar = Writer::new(BufWriter::with_capacity(1 << 20, output));
    source.each(base, &mut |entry, data| Ok(tar.append(entry, data).map(drop)?))?;
    tar.finish()?.flush().context("cannot write the tar")?;
    Ok(())
}
