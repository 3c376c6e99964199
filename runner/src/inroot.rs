//! Paths of an image, which somebody else wrote: looked up below the container's root, and nowhere else.
//!
//! [`Root`] owns the descriptor of a root directory. A look-up is one `openat2` with `RESOLVE_IN_ROOT` and
//! `RESOLVE_NO_MAGICLINKS`; what is missing is made by a walk that follows no link by the kernel but reads each one and restarts at
//! the root. The rule: no path of an image is ever joined to a host path.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Links followed in one look-up before it counts as a loop, as in the kernel.
pub const MAX_LINKS: usize = 40;

/// What a mount point or path is made as when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error.
    Refuse,
    /// A directory, and all above it.
    Directory,
    /// An empty file, and all directories above it.
    File,
}

/// A path that was looked up.
#[derive(Debug)]
pub struct Found {
    /// An `O_PATH` descriptor of it.
    pub fd: OwnedFd,
    /// What had to be made for it.
    pub made: Option<Stub>,
}

/// A mount point that was missing in the image and was made; both paths are below the root and free of links.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stub {
    /// The topmost thing that was made.
    pub top: PathBuf,
    /// The mount point itself.
    pub path: PathBuf,
}

/// The root directory of a container.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Links that a look-up may follow.
    links: usize,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// openat2(2) of what is there, close-on-exec, and again where the kernel says so: a rename or mount anywhere on the machine makes
/// it unsure of a `..`.
pub fn open(top: impl AsFd, path: impl Arg, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    path.into_with_c_str(|path| {
        loop {
            #[expect(clippy::disallowed_methods, reason = "this is what is to be called instead")]
            match rustix::fs::openat2(&top, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    })
}

impl Root {
    /// A root from the descriptor of its directory.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, links: MAX_LINKS }
    }

    /// A root whose programs run and change its links: look-ups follow none (`ELOOP`), and end where they say.
    pub fn without_links(fd: OwnedFd) -> Self {
        Self { fd, links: 0 }
    }

    /// Opens `path` inside the root; a link cannot lead out, and magic links of procfs are refused (`ELOOP`).
    pub fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_SYMLINKS, self.links == 0);
        Ok(open(&self.fd, relative, flags, resolve)?)
    }

    /// Looks `path` up and makes what is missing, if so wished, mode 0755 for directories and 0644 for a file.
    pub fn find(&self, path: &Path, missing: Missing) -> io::Result<Found> {
        match self.open(path, OFlags::PATH) {
            Ok(fd) => Ok(Found { fd, made: None }),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) && missing != Missing::Refuse => {
                self.create(path, missing)
            }
            Err(error) => Err(error),
        }
    }

    /// The walk of [`Root::find`]: one component at a time, on descriptors, reading links instead of following them.
    fn create(&self, path: &Path, missing: Missing) -> io::Result<Found> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut stack: Vec<(OwnedFd, OsString)> = Vec::new();
        let mut todo: VecDeque<OsString> = components(path)?;
        let mut links = 0;
        let mut top: Option<PathBuf> = None;
        let path_of = |stack: &[(OwnedFd, OsString)], name: Option<&OsStr>| {
            stack
                .iter()
                .map(|(_, name)| name.as_os_str())
                .chain(name)
                .fold(PathBuf::from("/"), |path, name| path.join(name))
        };
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let parent = stack.last().map_or(self.fd.as_fd(), |(fd, _)| fd.as_fd());
            let last = todo.is_empty();
            let found = match rustix::fs::openat(
                parent,
                &name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            ) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    if last && missing == Missing::File {
                        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                        drop(rustix::fs::openat(parent, &name, flags, Mode::from_raw_mode(0o644))?);
                    } else {
                        rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(0o755))?;
                    }
                    top.get_or_insert_with(|| path_of(&stack, Some(&name)));
                    let kind = if last && missing == Missing::File { directory - OFlags::DIRECTORY } else { directory };
                    rustix::fs::openat(parent, &name, kind, Mode::empty())?
                }
                Err(error) => return Err(error.into()),
            };
            match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > self.links {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        stack.clear();
                    }
                    for name in components(&target)?.into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                FileType::Directory => stack.push((found, name)),
                _ if last => {
                    let path = path_of(&stack, Some(&name));
                    return Ok(Found { fd: found, made: top.map(|top| Stub { top, path }) });
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        let path = path_of(&stack, None);
        let fd = match stack.pop() {
            Some((fd, _)) => fd,
            None => self.fd.try_clone()?,
        };
        Ok(Found { fd, made: top.map(|top| Stub { top, path }) })
    }

    /// Reads a regular file of the root of at most `limit` bytes. Devices and pipes are refused without waiting on them;
    /// `Ok(None)` if there is no such file. The null device is what masks a file, which is empty then.
    pub fn read_file(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let fd = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(fd) => fd,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3) {
            return Ok(Some(Vec::new()));
        }
        if kind != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it has more than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Takes back a stub that [`Root::find`] made, from the bottom up, as far as nothing was put into it: an empty
    /// file or empty directories along `path`. Follows no link at all.
    pub fn remove_stub(&self, stub: &Stub) -> io::Result<()> {
        let mut chain = vec![(self.fd.try_clone()?, OsString::new())];
        let names = components(&stub.path)?;
        let keep = components(&stub.top)?.len().saturating_sub(1);
        for name in &names {
            let (parent, _) = &chain[chain.len() - 1];
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(fd) => chain.push((fd, name.clone())),
                Err(Errno::NOENT | Errno::NOTDIR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        while chain.len() > keep + 1 {
            let Some((fd, name)) = chain.pop() else { break };
            let stat = rustix::fs::fstat(&fd)?;
            let (parent, _) = &chain[chain.len() - 1];
            let result = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR),
                FileType::RegularFile if stat.st_size == 0 => rustix::fs::unlinkat(parent, &name, AtFlags::empty()),
                _ => return Ok(()),
            };
            match result {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The names of a path; `..` stays, roots and dots go. A name with a NUL cannot be.
pub fn components(path: &Path) -> io::Result<VecDeque<OsString>> {
    let names: VecDeque<OsString> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            _ => None,
        })
        .collect();
    if names.iter().any(|name| name.as_bytes().contains(&0)) || names.len() > 512 {
        return Err(Errno::INVAL.into());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let fd = fs::File::open(directory.path()).unwrap().into();
        (directory, Root::new(fd))
    }

    #[test]
    fn links_stay_inside() {
        let (directory, root) = root();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc", directory.path().join("absolute")).unwrap();
        symlink("../../../../../etc", directory.path().join("up")).unwrap();
        for path in ["/absolute/passwd", "up/passwd", "/../../etc/passwd"] {
            assert_eq!(root.read_file(Path::new(path), 100).unwrap().unwrap(), b"inside", "{path}");
        }
        assert!(root.read_file(Path::new("/etc/none"), 100).unwrap().is_none());
        assert!(root.read_file(Path::new("/etc/passwd"), 5).is_err(), "too long");
        assert!(root.read_file(Path::new("/etc"), 100).is_err(), "not a file");
    }

    #[test]
    fn missing_parts_are_made_below_the_root_through_links() {
        let (directory, root) = root();
        symlink("/run/dangling/deep", directory.path().join("link")).unwrap();
        let found = root.find(Path::new("/link/a/file"), Missing::File).unwrap();
        let made = found.made.unwrap();
        assert_eq!(
            (made.top.as_path(), made.path.as_path()),
            (Path::new("/run"), Path::new("/run/dangling/deep/a/file"))
        );
        assert!(directory.path().join("run/dangling/deep/a/file").is_file());
        symlink("../../../../escape", directory.path().join("out")).unwrap();
        root.find(Path::new("/out"), Missing::Directory).unwrap();
        assert!(directory.path().join("escape").is_dir());
        assert!(root.find(Path::new("/nothing"), Missing::Refuse).is_err());
        symlink("loop2", directory.path().join("loop1")).unwrap();
        symlink("loop1", directory.path().join("loop2")).unwrap();
        let error = root.find(Path::new("/loop1/x"), Missing::Directory).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        let error = root.find(Path::new("/link/a/file/below"), Missing::Directory).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn a_root_without_links_follows_none() {
        let (directory, root) = root();
        fs::create_dir(directory.path().join("real")).unwrap();
        symlink("/real", directory.path().join("link")).unwrap();
        symlink("/missing", directory.path().join("dangling")).unwrap();
        let root = Root::without_links(root.fd);
        root.find(Path::new("/real/new"), Missing::Directory).unwrap();
        for path in ["/link", "/link/new", "/dangling", "/dangling/new"] {
            let error = root.find(Path::new(path), Missing::Directory).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ELOOP), "{path}");
        }
        assert!(!directory.path().join("missing").exists());
    }

    #[test]
    fn magic_links_are_refused() {
        let root = Root::new(fs::File::open("/").unwrap().into());
        let error = root.open(Path::new("/proc/self/fd/0"), OFlags::PATH).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn stubs_go_and_used_ones_stay() {
        let (directory, root) = root();
        let path = Path::new("/a/b/c");
        let made = root.find(path, Missing::File).unwrap().made.unwrap();
        root.remove_stub(&made).unwrap();
        assert!(!directory.path().join("a").exists());
        let made = root.find(path, Missing::Directory).unwrap().made.unwrap();
        fs::write(directory.path().join("a/b/kept"), "").unwrap();
        root.remove_stub(&made).unwrap();
        assert!(directory.path().join("a/b/kept").exists() && !directory.path().join("a/b/c").exists());
        fs::create_dir_all(directory.path().join("old")).unwrap();
        let made = root.find(Path::new("/old/new"), Missing::File).unwrap().made.unwrap();
        fs::write(directory.path().join("old/new"), "written").unwrap();
        root.remove_stub(&made).unwrap();
        assert!(directory.path().join("old/new").exists());
    }
}
