//! The build context: the directory whose files COPY, ADD and bind mounts see. It is touched through one directory fd
//! with openat2 (RESOLVE_BENEATH, no symbolic links), so that nothing in it, however it is swapped about meanwhile,
//! leads out of it; symbolic links are followed by `files::resolve` only, inside. What the ignore file hides is not
//! there. Digests of files are remembered between builds ([`StatCache`]).

mod ignore;
mod stat_cache;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use store::layer::{LayerPath, Time};
use store::{Digest, Store, scoped};

use crate::files::{Content, Files, Node, NodeKind};
use crate::op::OpError;

pub use ignore::{IGNORE_MAX, Ignore, Matched};
pub use stat_cache::{Stamp, StatCache};

/// Most entries in one directory, so that a hostile context cannot take all memory.
const ENTRIES_MAX: usize = 1 << 20;
const CAPABILITY: &str = "security.capability";

/// An opened build context.
#[derive(Debug)]
pub struct BuildContext {
    name: String,
    root: OwnedFd,
    path: PathBuf,
    ignore: Ignore,
    ignore_name: Option<String>,
    /// Stamps of what was listed or looked at, by path.
    seen: Mutex<HashMap<Vec<u8>, Stamp>>,
    cache: Mutex<StatCache>,
}

impl BuildContext {
    /// Opens the directory `path`. The ignore patterns are `ignore` if given, otherwise those of the first file found
    /// in the context of `NAME.dockerignore`, `NAME.containerignore` (`buildfile` being NAME), `.containerignore` and
    /// `.dockerignore`.
    ///
    /// # Errors
    /// [`OpError`] if it is no directory that can be read, or the ignore file cannot be understood.
    pub fn open(store: &Store, path: &Path, buildfile: &str, ignore: Option<&[u8]>) -> Result<Self, OpError> {
        let shown = || path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty())
            .map_err(|error| OpError::io(format!("open the build context {}", shown()), error))?;
        let path = std::fs::canonicalize(path)
            .map_err(|error| OpError::io(format!("find the build context {}", shown()), error))?;
        let mut context = Self {
            name: "the build context".to_owned(),
            root,
            ignore: Ignore::default(),
            ignore_name: None,
            seen: Mutex::default(),
            cache: Mutex::new(StatCache::load(store, &path)?),
            path,
        };
        let names = [
            format!("{buildfile}.dockerignore"),
            format!("{buildfile}.containerignore"),
            ".containerignore".to_owned(),
            ".dockerignore".to_owned(),
        ];
        let found = match ignore {
            Some(bytes) => Some(("the ignore file".to_owned(), bytes.to_vec())),
            None => {
                let mut found = None;
                for name in names {
                    if let Some(bytes) = context.read_small(&name)? {
                        found = Some((name, bytes));
                        break;
                    }
                }
                found
            }
        };
        if let Some((name, bytes)) = found {
            context.ignore = Ignore::parse(&bytes).map_err(|error| OpError::Message(format!("{name}: {error}")))?;
            context.ignore_name = Some(name);
        }
        Ok(context)
    }

    /// The same under another name in messages.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Keeps the digests found in this build for the next one.
    ///
    /// # Errors
    /// [`OpError`] if the store cannot be written.
    pub fn save(&self, store: &Store) -> Result<(), OpError> {
        self.lock_cache().save(store, &self.path)
    }

    /// The ignore patterns in force.
    #[must_use]
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// Name of the ignore file in force.
    #[must_use]
    pub fn ignore_name(&self) -> Option<&str> {
        self.ignore_name.as_deref()
    }

    fn lock_cache(&self) -> std::sync::MutexGuard<'_, StatCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens `path` beneath the root without following any symbolic link.
    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        self.open_beneath(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    /// Opens below the root, by way of links unless `more` says otherwise.
    fn open_beneath(&self, path: &[u8], flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        scoped::open(self.root.as_fd(), path, flags, resolve)
    }

    /// The bytes of a small regular file, if there is one; links are followed within the context.
    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, OpError> {
        if name.is_empty() || LayerPath::parse(name.as_bytes()).is_err() {
            return Ok(None);
        }
        let cannot = |error: io::Error| OpError::io(format!("read {name} in the build context"), error);
        // A link may be in its place, to somewhere in the context. One that cannot be followed is no reason to go on
        // without: what the file was to hide would be in the image.
        let (path, flags) = (name.trim_start_matches('/').as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
        let file = match self.open_beneath(path, flags, ResolveFlags::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(OpError::Message(format!("{name} is a link that leads out of the build context")));
            }
            Err(error) => return Err(cannot(error.into())),
        };
        if !file.metadata().map_err(cannot)?.is_file() {
            return Err(OpError::Message(format!("{name} in the build context is no regular file")));
        }
        let mut bytes = Vec::new();
        file.take(IGNORE_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > IGNORE_MAX {
            return Err(OpError::Message(format!("{name} is larger than {IGNORE_MAX} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Looks at `name` in the opened directory. None for what is not there, or is a socket.
    fn stat(&self, directory: &OwnedFd, name: &[u8], path: &LayerPath) -> Result<Option<Node>, OpError> {
        let cannot = |error: Errno| OpError::io(format!("look at {path} in the build context"), error);
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let stamp = Stamp::of(&stat);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.as_bytes().to_vec(), stamp);
                NodeKind::File(stamp.size)
            }
            FileType::Symlink => {
                let target = fs::readlinkat(directory, name, Vec::new()).map_err(cannot)?;
                NodeKind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                NodeKind::Device(character, fs::major(stat.st_rdev), fs::minor(stat.st_rdev))
            }
            FileType::Fifo => NodeKind::Fifo,
            _ => return Ok(None),
        };
        let shared = stat.st_nlink > 1 && kind != NodeKind::Directory;
        Ok(Some(Node {
            kind,
            mode: stat.st_mode & 0o7777,
            // The context belongs to nobody in particular: its files become root's unless --chown says otherwise.
            uid: 0,
            gid: 0,
            mtime: Time { seconds: stamp.mtime.0, nanoseconds: stamp.mtime.1 },
            xattrs: Vec::new(),
            link: shared.then_some((stamp.device, stamp.inode)),
        }))
    }

    /// Names in the directory `path` but `.` and `..`.
    fn names(&self, path: &LayerPath) -> Result<(OwnedFd, Vec<Vec<u8>>), OpError> {
        let cannot = |error: Errno| OpError::io(format!("read the directory {path} of the build context"), error);
        let directory = self.open_at(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(cannot)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
            if names.len() > ENTRIES_MAX {
                return Err(OpError::Message(format!("{path} in the build context has over {ENTRIES_MAX} entries")));
            }
        }
        names.sort_unstable();
        Ok((directory, names))
    }

    /// Whether an ignored directory has something in it that an exception takes back.
    fn has_exceptions(&self, path: &LayerPath, matched: &Matched) -> Result<bool, OpError> {
        let mut todo = vec![(path.clone(), matched.clone())];
        while let Some((path, matched)) = todo.pop() {
            if !self.ignore.may_take_back_below(path.as_bytes()) {
                continue;
            }
            let (directory, names) = self.names(&path)?;
            for name in names {
                let below = path.join(&name)?;
                let inner = self.ignore.enter(&matched, below.as_bytes());
                match self.stat(&directory, &name, &below)? {
                    Some(_) if !inner.ignored => return Ok(true),
                    Some(node) if node.is_directory() => todo.push((below, inner)),
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    fn visible(&self, path: &LayerPath, node: &Node, matched: &Matched) -> Result<bool, OpError> {
        Ok(!matched.ignored || (node.is_directory() && self.has_exceptions(path, matched)?))
    }

    /// The node at `path`, whatever the ignore file says.
    fn any_node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        let parent = path.parent().unwrap_or_default();
        let directory = match self.open_at(parent.as_bytes(), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(OpError::io(format!("look at {parent} in the build context"), error)),
        };
        self.stat(&directory, path.name().unwrap_or(b"."), path)
    }
}

impl Files for BuildContext {
    fn name(&self) -> &str {
        &self.name
    }

    fn node(&self, path: &LayerPath) -> Result<Option<Node>, OpError> {
        let Some(node) = self.any_node(path)? else { return Ok(None) };
        let matched = self.ignore.judge(path.as_bytes());
        Ok(if self.visible(path, &node, &matched)? { Some(node) } else { None })
    }

    fn children(&self, path: &LayerPath) -> Result<Vec<(Vec<u8>, Node)>, OpError> {
        let matched = self.ignore.judge(path.as_bytes());
        let (directory, names) = self.names(path)?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let below = path.join(&name)?;
            let inner = self.ignore.enter(&matched, below.as_bytes());
            if let Some(node) = self.stat(&directory, &name, &below)?
                && self.visible(&below, &node, &inner)?
            {
                found.push((name, node));
            }
        }
        Ok(found)
    }

    fn open(&self, path: &LayerPath) -> Result<Box<dyn Read + Send + '_>, OpError> {
        let fd = self
            .open_at(path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
            .map_err(|error| OpError::io(format!("open {path} in the build context"), error))?;
        Ok(Box::new(File::from(fd)))
    }

    fn content(&self, path: &LayerPath, _node: &Node) -> Result<Content, OpError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(path.as_bytes()).copied();
        if let Some(content) = seen.and_then(|stamp| self.lock_cache().get(path.as_bytes(), &stamp)) {
            return Ok(content);
        }
        let cannot = |error: Errno| OpError::io(format!("read {path} in the build context"), error);
        let changed = || OpError::Message(format!("{path} in the build context changed while it was read"));
        let started = jiff::Timestamp::now();
        let fd = self.open_at(path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(cannot)?;
        let before = fs::fstat(&fd).map_err(cannot)?;
        let stamp = Stamp::of(&before);
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile || seen.is_some_and(|seen| seen != stamp) {
            return Err(changed());
        }
        let mut xattrs = Vec::new();
        let mut value = [0u8; 256];
        match fs::fgetxattr(&fd, CAPABILITY, &mut value) {
            Ok(length) => xattrs.push((CAPABILITY.as_bytes().to_vec(), value[..length].to_vec())),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(cannot(error)),
        }
        let mut file = File::from(fd);
        let (digest, size) =
            hash(&mut file).map_err(|error| cannot(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let after = Stamp::of(&fs::fstat(&file).map_err(cannot)?);
        if after != stamp || size != stamp.size {
            return Err(changed());
        }
        let content = Content { digest, xattrs };
        self.lock_cache().put(path.as_bytes(), stamp, &content, started);
        Ok(content)
    }

    fn hides(&self, path: &LayerPath) -> bool {
        self.ignore.judge(path.as_bytes()).ignored && matches!(self.any_node(path), Ok(Some(_)))
    }
}

/// Digest and size of what `reader` gives.
pub(crate) fn hash(reader: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut digester = store::digest::Digester::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => digester.update(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let size = digester.size();
    Ok((digester.finish(), size))
}

#[cfg(test)]
mod tests;
