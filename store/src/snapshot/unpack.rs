//! Unpacks a layer into a directory, in the form in which overlayfs takes it as a lower directory.
//!
//! Nothing is reached by a path that a layer could bend: each parent is opened from the root's descriptor with
//! openat2(2) and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, and names in it are created, never reused. Each thing gets
//! its owner first, then its mode, then attributes, then its time, since each of these may undo a later one; times of
//! directories come last of all. Nothing is synced file by file: the caller syncs the file system once.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::erofs::{OPAQUE_MARK, ORIGIN_MARK, Source, is_visible};
use crate::error::{Error, Result};
use crate::layer::tree::parents;
use crate::layer::{Entry, Kind, LayerPath, Time};
use crate::scoped;

/// For whom a layer is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Root outside of user namespaces: everything, marks of overlayfs in `trusted.`.
    Full,
    /// Root of a user namespace: marks in `user.` (mount option `userxattr`); device nodes cannot be made there and
    /// are left out, and so are attributes in `trusted.` and, but for file capabilities, in `security.`.
    UserNamespace,
}

/// A layer on its way into a directory.
pub(super) struct Unpack<'a, F> {
    /// Sorted, the root first, every hard link's target among them.
    pub entries: &'a [&'a Entry],
    /// The tars.
    pub sources: &'a [Source<'a>],
    /// Which of them has the bytes of an entry.
    pub source_of: F,
    /// For whom.
    pub privilege: Privilege,
}

/// The directory at hand, so that what is in one directory opens it once.
struct Cursor<'r> {
    root: BorrowedFd<'r>,
    shown: &'r Path,
    at: LayerPath,
    fd: OwnedFd,
}

impl<'r> Cursor<'r> {
    fn new(root: BorrowedFd<'r>, shown: &'r Path) -> Result<Self> {
        let fd = root.try_clone_to_owned().map_err(Error::io("open", shown))?;
        Ok(Self { root, shown, at: LayerPath::root(), fd })
    }

    /// The open directory `path`.
    fn enter(&mut self, path: &LayerPath) -> Result<BorrowedFd<'_>> {
        if *path != self.at {
            self.fd = open_directory(self.root, path).map_err(Error::io("open", self.show(path)))?;
            self.at = path.clone();
        }
        Ok(self.fd.as_fd())
    }

    fn show(&self, path: &LayerPath) -> PathBuf {
        self.shown.join(OsStr::from_bytes(path.as_bytes()))
    }
}

fn open_directory(root: BorrowedFd<'_>, path: &LayerPath) -> io::Result<OwnedFd> {
    let name = if path.is_root() { b"." } else { path.as_bytes() };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(scoped::open(root, name, flags, resolve)?)
}

impl<F: Fn(usize) -> usize> Unpack<'_, F> {
    /// Unpacks into the empty directory `root`.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, [`Error::InvalidLayer`] for entries that break the rules.
    pub fn run(&self, root: &Path) -> Result<()> {
        let parents = parents(self.entries.iter().copied())?;
        let whiteouts = self.whiteouts(&parents);
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root_fd = fs::open(root, flags, Mode::empty()).map_err(|e| Error::io("open", root)(e.into()))?;
        let mut cursor = Cursor::new(root_fd.as_fd(), root)?;
        let mut buffer = Vec::new();
        let mut links = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let name = entry.path.name().unwrap_or(b".");
            let parent = cursor.enter(&entry.path.parent().unwrap_or_default())?;
            let made = match &entry.kind {
                Kind::Directory { .. } => self.directory(parent, name, entry, whiteouts[index]),
                Kind::File { .. } => {
                    let shown = root.join(OsStr::from_bytes(entry.path.as_bytes()));
                    let file = create(parent, name).map_err(Error::io("create", &shown))?;
                    self.sources[(self.source_of)(index)].copy(entry, &file, &shown, 0, &mut buffer)?;
                    self.finish_file(&file, entry)
                }
                Kind::HardLink { target } => {
                    links.push((entry, target));
                    Ok(())
                }
                Kind::Whiteout if self.is_needless(&parents, index) => Ok(()),
                _ => self.special(parent, name, entry),
            };
            made.map_err(|error| Error::io("unpack", cursor.show(&entry.path))(error))?;
        }
        for (entry, target) in links {
            self.link(&mut cursor, entry, target)?;
        }
        for entry in self.entries.iter().rev().filter(|entry| entry.is_directory()) {
            open_directory(root_fd.as_fd(), &entry.path)
                .and_then(|fd| Ok(fs::futimens(fd, &times(entry.mtime))?))
                .map_err(Error::io("set the time of", cursor.show(&entry.path)))?;
        }
        Ok(())
    }

    /// For each entry whether it is a directory with whiteouts in it.
    fn whiteouts(&self, parents: &[u32]) -> Vec<bool> {
        let mut whiteouts = vec![false; self.entries.len()];
        for (index, &parent) in parents.iter().enumerate() {
            if matches!(self.entries[index].kind, Kind::Whiteout)
                && !self.is_needless(parents, index)
                && let Some(parent) = whiteouts.get_mut(parent as usize)
            {
                *parent = true;
            }
        }
        whiteouts
    }

    /// Whether a whiteout is in an opaque directory, where it hides nothing.
    fn is_needless(&self, parents: &[u32], index: usize) -> bool {
        let parent = self.entries.get(parents[index] as usize);
        parent.is_some_and(|parent| matches!(parent.kind, Kind::Directory { opaque: true, .. }))
    }

    fn directory(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry, whiteouts: bool) -> io::Result<()> {
        if !entry.path.is_root() {
            fs::mkdirat(parent, name, Mode::RWXU)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(parent, name, flags, Mode::empty())?;
        let opaque = matches!(entry.kind, Kind::Directory { opaque: true, .. });
        for (wanted, (mark, value)) in [(opaque, OPAQUE_MARK), (whiteouts, ORIGIN_MARK)] {
            if wanted {
                let namespace = if self.privilege == Privilege::Full { "trusted" } else { "user" };
                fs::fsetxattr(&fd, format!("{namespace}.{mark}"), value, XattrFlags::CREATE)?;
            }
        }
        self.set_attributes(&fd, entry)
    }

    fn finish_file(&self, file: &File, entry: &Entry) -> io::Result<()> {
        file.set_len(entry.size())?;
        self.set_attributes(file, entry)?;
        Ok(fs::futimens(file, &times(entry.mtime))?)
    }

    fn set_attributes(&self, fd: impl AsFd, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = owner(entry);
        fs::fchown(&fd, Some(uid), Some(gid))?;
        fs::fchmod(&fd, Mode::from_raw_mode(entry.mode & 0o7777))?;
        for (name, value) in self.xattrs(entry) {
            fs::fsetxattr(&fd, name, value, XattrFlags::empty()).map_err(|error| attribute(name, error))?;
        }
        Ok(())
    }

    /// Symbolic links, devices, pipes and whiteouts: what must not be opened.
    fn special(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> io::Result<()> {
        let node = |kind, device| fs::mknodat(parent, name, kind, Mode::RUSR, device);
        match &entry.kind {
            Kind::Whiteout => return Ok(node(FileType::CharacterDevice, 0)?),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } if self.privilege != Privilege::Full => return Ok(()),
            Kind::CharDevice { major: 0, minor: 0 } => {
                return Err(io::Error::other("device 0:0 is overlayfs' whiteout"));
            }
            Kind::CharDevice { major, minor } => node(FileType::CharacterDevice, fs::makedev(*major, *minor))?,
            Kind::BlockDevice { major, minor } => node(FileType::BlockDevice, fs::makedev(*major, *minor))?,
            Kind::Symlink { target } => fs::symlinkat(target.as_slice(), parent, name)?,
            _ => node(FileType::Fifo, 0)?,
        }
        let (uid, gid) = owner(entry);
        fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if !matches!(entry.kind, Kind::Symlink { .. }) {
            // There is no flag not to follow a link, but this name is the node just made.
            fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode & 0o7777), AtFlags::empty())?;
        }
        for (xattr, value) in self.xattrs(entry) {
            // The way through the descriptor of the directory: there is no call relative to one before Linux 6.13.
            let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(OsStr::from_bytes(name));
            fs::lsetxattr(&path, xattr, value, XattrFlags::empty()).map_err(|error| attribute(xattr, error))?;
        }
        Ok(fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn link(&self, cursor: &mut Cursor<'_>, entry: &Entry, target: &LayerPath) -> Result<()> {
        let shown = cursor.show(&entry.path);
        let target = crate::erofs::follow_links(self.entries, target).map(|index| self.entries[index]);
        let Some((target, target_name)) = target.and_then(|target| Some((target, target.path.name()?))) else {
            return Err(Error::InvalidLayer(format!("{}: hard link to nothing", entry.path)));
        };
        let is_device = matches!(target.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. });
        if is_device && self.privilege != Privilege::Full {
            return Ok(());
        }
        let name = entry.path.name().unwrap_or(b".");
        let from = open_directory(cursor.root, &target.path.parent().unwrap_or_default());
        let from = from.map_err(Error::io("open the directory of", cursor.show(&target.path)))?;
        let to = cursor.enter(&entry.path.parent().unwrap_or_default())?;
        fs::linkat(from, target_name, to, name, AtFlags::empty()).map_err(|e| Error::io("link", shown)(e.into()))
    }

    /// The attributes that can be set here.
    fn xattrs<'e>(&self, entry: &'e Entry) -> impl Iterator<Item = (&'e [u8], &'e [u8])> {
        let full = self.privilege == Privilege::Full;
        let allowed = move |name: &[u8]| {
            full || name == b"security.capability" || !(name.starts_with(b"security.") || name.starts_with(b"trusted."))
        };
        entry
            .xattrs
            .iter()
            .filter(move |(name, _)| is_visible(&entry.kind, name) && allowed(name))
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

/// What became of an extended attribute. Some file systems (ext4) have 4 KiB for all those of a file, and say then that
/// the disk is full, which it is not.
fn attribute(name: &[u8], error: Errno) -> io::Error {
    if error == Errno::NOSPC {
        let name = name.escape_ascii();
        return io::Error::other(format!("the file system has no room for its extended attribute {name}"));
    }
    error.into()
}

fn create(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
}

fn owner(entry: &Entry) -> (fs::Uid, fs::Gid) {
    (fs::Uid::from_raw(entry.uid), fs::Gid::from_raw(entry.gid))
}

/// `time` as last access and modification.
pub(super) fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) as _ };
    Timestamps { last_access: time, last_modification: time }
}
