//! A path of the image followed one name at a time, to say where it ends: which part is missing, which link leads nowhere,
//! which directory may not be searched.
//!
//! As all look-ups in an image it goes by descriptors below the root, opens no link but reads it, and opens nothing for reading.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::inroot::{MAX_LINKS, Root, components};

/// The file at the end of a path.
#[derive(Debug)]
pub struct Reached {
    /// An `O_PATH` descriptor of it.
    pub fd: OwnedFd,
    /// Where it is, free of links.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
}

/// Why there is no file at the end of a path.
#[derive(Debug)]
pub enum Obstacle {
    /// `name` is not in the directory `parent`; `link` is the link followed last and what it says.
    Missing {
        /// The last directory that is there.
        parent: PathBuf,
        /// What is not in it.
        name: OsString,
        /// The link that led there.
        link: Option<(PathBuf, PathBuf)>,
    },
    /// This is used as a directory and is none.
    NotDirectory(PathBuf),
    /// This directory may not be searched.
    Denied(PathBuf, Box<Stat>),
    /// Links lead in a circle, beginning with this one, which says that.
    Loop(PathBuf, PathBuf),
    /// Something else.
    Other(io::Error),
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Self {
        Self::Other(error.into())
    }
}

/// Follows `path`, which is absolute, below the root.
pub fn walk(root: &Root, path: &Path) -> Result<Reached, Obstacle> {
    let mut stack: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut todo: VecDeque<OsString> = components(path).map_err(Obstacle::Other)?;
    let (mut first, mut link, mut links) = (None, None, 0);
    let path_of = |stack: &[(OwnedFd, OsString)], name: Option<&OsStr>| {
        let names = stack.iter().map(|(_, name)| name.as_os_str()).chain(name);
        names.fold(PathBuf::from("/"), |path, name| path.join(name))
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let parent = stack.last().map_or(root.as_fd(), |(fd, _)| fd.as_fd());
        let found = match rustix::fs::openat(parent, &name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Obstacle::Missing { parent: path_of(&stack, None), name, link }),
            Err(Errno::ACCESS) => {
                return Err(Obstacle::Denied(path_of(&stack, None), Box::new(rustix::fs::fstat(parent)?)));
            }
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                let here = (path_of(&stack, Some(&name)), target.clone());
                links += 1;
                let (at, says) = first.get_or_insert_with(|| here.clone());
                if links > MAX_LINKS {
                    return Err(Obstacle::Loop(at.clone(), says.clone()));
                }
                link = Some(here);
                if target.is_absolute() {
                    stack.clear();
                }
                for name in components(&target).map_err(Obstacle::Other)?.into_iter().rev() {
                    todo.push_front(name);
                }
            }
            FileType::Directory => stack.push((found, name)),
            _ if todo.is_empty() => return Ok(Reached { fd: found, path: path_of(&stack, Some(&name)), stat }),
            _ => return Err(Obstacle::NotDirectory(path_of(&stack, Some(&name)))),
        }
    }
    let path = path_of(&stack, None);
    let fd = match stack.pop() {
        Some((fd, _)) => fd,
        None => root.as_fd().try_clone_to_owned().map_err(Obstacle::Other)?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Reached { fd, path, stat })
}

/// The names in a directory of the root, as far as it can be read; a very large one is not read to its end.
pub fn names(root: &Root, directory: &Path) -> Vec<String> {
    const MOST: usize = 8192;
    let Ok(fd) = root.open(directory, OFlags::RDONLY | OFlags::DIRECTORY) else { return Vec::new() };
    let Ok(entries) = rustix::fs::Dir::new(fd) else { return Vec::new() };
    let name = |entry: rustix::fs::DirEntry| String::from_utf8_lossy(entry.file_name().to_bytes()).into_owned();
    entries.filter_map(|entry| entry.ok().map(name)).filter(|name| name != "." && name != "..").take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_end_of_a_path_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("opt/app")).unwrap();
        fs::write(at("opt/app/run"), "x").unwrap();
        symlink("/opt/./app", at("app")).unwrap();
        symlink("../../../../opt/gone/x", at("opt/dangling")).unwrap();
        symlink("/two", at("one")).unwrap();
        symlink("/one", at("two")).unwrap();
        let root = Root::new(fs::File::open(directory.path()).unwrap().into());
        let reached = walk(&root, Path::new("/app/../app/run")).unwrap();
        assert_eq!(reached.path, Path::new("/opt/app/run"));
        assert_eq!(walk(&root, Path::new("/..")).unwrap().path, Path::new("/"));
        match walk(&root, Path::new("/opt/dangling")).unwrap_err() {
            Obstacle::Missing { parent, name, link: Some((link, says)) } => {
                assert_eq!((parent.as_path(), name.to_str()), (Path::new("/opt"), Some("gone")));
                assert_eq!((link.to_str(), says.to_str()), (Some("/opt/dangling"), Some("../../../../opt/gone/x")));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(walk(&root, Path::new("/one")), Err(Obstacle::Loop(first, _)) if first == Path::new("/one")));
        let through = walk(&root, Path::new("/app/run/x")).unwrap_err();
        assert!(matches!(through, Obstacle::NotDirectory(path) if path == Path::new("/opt/app/run")));
        assert_eq!(names(&root, Path::new("/opt/app")), ["run"]);
    }
}
