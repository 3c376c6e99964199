//! From an overlay's upper directory, in its form on disk, to a layer: what a build step or container changed.
//!
//! Overlay marks become whiteouts and opaque directories (kernel documentation, filesystems/overlayfs.rst "whiteouts
//! and opaque directories"): a 0:0 character device, a file with the xattr `overlay.whiteout`, the xattr
//! `overlay.opaque` = `y`, each with the prefix `trusted.` or `user.`. The upper directory was in the hands of a
//! container: it is walked by openat2 below its root without following a link, sorted, so that equal trees make equal
//! layers. Sockets are left out.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::tar::keep_xattr;
use super::writer::LayerWriter;
use super::{Entry, Kind, LayerPath, Time};
use crate::error::{Error, Result};
use crate::scoped;

/// How an upper directory becomes a layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffOptions {
    /// Times after this one (seconds since the epoch) are set to it: `SOURCE_DATE_EPOCH`.
    pub clamp_mtime: Option<i64>,
    /// A program works in the directory meanwhile: what it removes before its turn comes is left out.
    pub changing: bool,
}

/// Longest list of extended attribute names and longest value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` of Linux), bytes.
const XATTR_MAX: usize = 1 << 16;

/// Writes what is in `upper` to `writer`, but for `leave_out` and what is below; returns the number of entries.
pub(crate) fn write_upper(
    upper: BorrowedFd<'_>,
    options: &DiffOptions,
    leave_out: &BTreeSet<LayerPath>,
    writer: &mut LayerWriter,
) -> Result<u64> {
    walk(upper, options, leave_out, &mut |entry, data| writer.add(entry, data))
}

/// What is in the upper directory `upper`, as the entries of a layer in path order; file data are not read, and where
/// they lie is not said. What is removed before its turn comes is left out.
///
/// # Errors
/// [`Error::InvalidLayer`] for what no layer may hold, [`Error::Io`].
pub fn scan_upper(upper: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let options = DiffOptions { changing: true, ..DiffOptions::default() };
    walk(upper, &options, &BTreeSet::new(), &mut |entry, _| {
        entries.push(entry.clone());
        Ok(())
    })?;
    Ok(entries)
}

/// Opens the regular file `path` of the upper directory `upper` for reading.
///
/// # Errors
/// [`Error::Io`] if it is not there or a link leads to it.
pub fn open_upper(upper: BorrowedFd<'_>, path: &LayerPath) -> Result<File> {
    let file = open_below(upper, path, OFlags::RDONLY | OFlags::NONBLOCK);
    Ok(File::from(file.map_err(|error| io_error("open", path)(error))?))
}

/// Takes each entry and, for a regular file, its bytes.
type Sink<'a> = dyn FnMut(&Entry, Option<&mut dyn Read>) -> Result<()> + 'a;

fn walk(
    upper: BorrowedFd<'_>,
    options: &DiffOptions,
    leave_out: &BTreeSet<LayerPath>,
    sink: &mut Sink<'_>,
) -> Result<u64> {
    let mut walk = Walk { upper, options, leave_out, sink, links: HashMap::new(), entries: 0 };
    // An explicit stack: a hostile tree is as deep as it likes. Directories are opened by their whole path, one at a
    // time; the last element of each list comes next.
    let mut pending = vec![walk.children(&LayerPath::root())?];
    while let Some(children) = pending.last_mut() {
        let Some(path) = children.pop() else {
            pending.pop();
            continue;
        };
        if walk.visit(&path)? {
            pending.push(walk.children(&path)?);
        }
    }
    Ok(walk.entries)
}

struct Walk<'a, 'b> {
    upper: BorrowedFd<'a>,
    options: &'a DiffOptions,
    /// Not part of the layer, nor is what is in it.
    leave_out: &'a BTreeSet<LayerPath>,
    sink: &'a mut Sink<'b>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), LayerPath>,
    entries: u64,
}

/// Names and values, as in [`Entry::xattrs`].
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Overlay's marks on an entry.
#[derive(Default)]
struct Marks {
    opaque: bool,
    whiteout: bool,
    foreign: bool,
}

impl Walk<'_, '_> {
    /// `None` for what is gone, where that may be.
    fn open(&self, path: &LayerPath, flags: OFlags) -> Result<Option<OwnedFd>> {
        match open_below(self.upper, path, flags) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::NOENT | Errno::NOTDIR) if self.options.changing && !path.is_root() => Ok(None),
            Err(error) => Err(io_error("open", path)(error)),
        }
    }

    /// What is in a directory, sorted, the first name last.
    fn children(&self, path: &LayerPath) -> Result<Vec<LayerPath>> {
        let mut children = Vec::new();
        let Some(directory) = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(children) };
        for entry in rustix::fs::Dir::new(directory).map_err(|error| io_error("read", path)(error))? {
            let entry = entry.map_err(|error| io_error("read", path)(error))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                children.push(path.join(name)?);
            }
        }
        children.sort_unstable_by(|a, b| b.cmp(a));
        Ok(children)
    }

    /// Writes one entry; whether it is a directory to go into.
    fn visit(&mut self, path: &LayerPath) -> Result<bool> {
        if self.leave_out.contains(path) {
            return Ok(false);
        }
        let Some(handle) = self.open(path, OFlags::PATH)? else { return Ok(false) };
        let stat = stat_of(&handle, path)?;
        let Some((mut kind, xattrs)) = kind_of(&handle, path, &stat)? else { return Ok(false) };
        if !matches!(kind, Kind::Directory { .. } | Kind::Whiteout)
            && let Some(target) = self.first_name(&stat)
        {
            kind = Kind::HardLink { target };
        }
        let entry = entry_of(path, kind, &stat, xattrs, self.options);
        self.write(&entry, &handle)?;
        if stat.st_nlink > 1 && !entry.is_directory() {
            self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.clone());
        }
        Ok(entry.is_directory())
    }

    fn first_name(&self, stat: &Stat) -> Option<LayerPath> {
        self.links.get(&(stat.st_dev, stat.st_ino)).cloned()
    }

    fn write(&mut self, entry: &Entry, handle: &OwnedFd) -> Result<()> {
        self.entries += 1;
        let Kind::File { size, .. } = entry.kind else { return (self.sink)(entry, None) };
        // By the same descriptor: it is the regular file that was looked at, whatever has the name by now.
        let by_fd = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = rustix::fs::open(by_fd, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| io_error("open", &entry.path)(error))?;
        (self.sink)(entry, Some(&mut File::from(file).take(size)))
    }
}

/// What is at the descriptor `handle` (an `O_PATH` one will do), as the entry `path`; `None` for a socket. Several names
/// of one file are not told from one.
///
/// # Errors
/// As [`scan_upper`].
pub fn describe(handle: &OwnedFd, path: &LayerPath) -> Result<Option<Entry>> {
    let stat = stat_of(handle, path)?;
    let found = kind_of(handle, path, &stat)?;
    Ok(found.map(|(kind, xattrs)| entry_of(path, kind, &stat, xattrs, &DiffOptions::default())))
}

fn stat_of(handle: &OwnedFd, path: &LayerPath) -> Result<Stat> {
    rustix::fs::statat(handle, c"", AtFlags::EMPTY_PATH).map_err(|error| io_error("stat", path)(error))
}

/// Kind and attributes; `None` for a socket.
fn kind_of(handle: &OwnedFd, path: &LayerPath, stat: &Stat) -> Result<Option<(Kind, Xattrs)>> {
    let (xattrs, marks) = read_xattrs(handle, path)?;
    if marks.foreign {
        let why = "the upper directory holds a redirect or metadata-only copy, which must be switched off";
        return Err(Error::InvalidLayer(format!("{path}: {why}")));
    }
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let whiteout = marks.whiteout && file_type == FileType::RegularFile && stat.st_size == 0;
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match file_type {
        FileType::Socket => return Ok(None),
        FileType::CharacterDevice if (major, minor) == (0, 0) => Kind::Whiteout,
        _ if whiteout => Kind::Whiteout,
        FileType::Directory => Kind::Directory { opaque: marks.opaque, implied: false },
        FileType::RegularFile => Kind::file(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Symlink => {
            let target =
                rustix::fs::readlinkat(handle, c"", Vec::new()).map_err(|e| io_error("read the link", path)(e))?;
            Kind::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        FileType::Unknown => return Err(Error::InvalidLayer(format!("{path}: of an unknown file type"))),
    };
    Ok(Some((kind, xattrs)))
}

fn entry_of(path: &LayerPath, kind: Kind, stat: &Stat, xattrs: Xattrs, options: &DiffOptions) -> Entry {
    let mut mtime = Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    if let Some(latest) = options.clamp_mtime {
        mtime = mtime.min(Time { seconds: latest, nanoseconds: 0 });
    }
    let path = path.clone();
    if kind == Kind::Whiteout {
        // A whiteout has nothing of its own; what the device node has changes from run to run.
        return Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() };
    }
    Entry { path, kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs }
}

/// Opens `path` below the upper directory; the last component is not followed either.
fn open_below(upper: BorrowedFd<'_>, path: &LayerPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let name = if path.is_root() { OsStr::new(".") } else { OsStr::from_bytes(path.as_bytes()) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    scoped::open(upper, name, flags | OFlags::NOFOLLOW, resolve)
}

/// The extended attributes that a layer keeps, sorted, and overlay's marks.
fn read_xattrs(handle: &OwnedFd, path: &LayerPath) -> Result<(Xattrs, Marks)> {
    // The path of an O_PATH descriptor: the one way to reach the attributes of links and devices without following.
    let by_fd = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    let mut marks = Marks::default();
    let mut names = vec![0; XATTR_MAX];
    let length = match rustix::fs::listxattr(&by_fd, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok((Vec::new(), marks)),
        Err(error) => return Err(io_error("list the attributes of", path)(error)),
    };
    let mut xattrs = Vec::new();
    let mut value = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        value.resize(XATTR_MAX, 0);
        let length = match rustix::fs::getxattr(&by_fd, OsStr::from_bytes(name), &mut value) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(io_error("read the attributes of", path)(error)),
        };
        let value = &value[..length];
        let overlay = name.strip_prefix(b"trusted.overlay.").or_else(|| name.strip_prefix(b"user.overlay."));
        match overlay {
            Some(b"opaque") => marks.opaque |= value == b"y",
            Some(b"whiteout") => marks.whiteout = true,
            Some(b"redirect" | b"metacopy") => marks.foreign = true,
            // Labels belong to the host's policy, not to the image.
            None if name != b"security.selinux" && keep_xattr(name) => xattrs.push((name.to_vec(), value.to_vec())),
            _ => {}
        }
    }
    xattrs.sort_unstable();
    Ok((xattrs, marks))
}

fn io_error(action: &'static str, path: &LayerPath) -> impl FnOnce(Errno) -> Error {
    let path = PathBuf::from(format!("{path} of the upper directory"));
    move |error| Error::Io { action, path, source: error.into() }
}

#[cfg(test)]
mod tests;
