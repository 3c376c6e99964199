//! The names of places, as skopeo writes them: `docker://NAME`, `oci:PATH[:NAME]`, `oci-archive:PATH[:NAME]`, `dir:PATH`,
//! `docker-archive:PATH[:NAME]`, `containers-storage:NAME`. A name without any of these words is an image of this store.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{CommandError, Result};

/// A place of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `docker://NAME`
    Registry(String),
    /// `oci:PATH[:NAME]`, `oci-archive:PATH[:NAME]`; NAME is an annotation, or `@` and a digest.
    Layout {
        /// The directory or archive.
        path: PathBuf,
        /// Which image in it.
        name: Option<String>,
        /// Whether it is a file.
        archive: bool,
    },
    /// `dir:PATH`
    Directory(PathBuf),
    /// `docker-archive:PATH[:NAME]`
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which image in it.
        name: Option<String>,
    },
    /// An image of this store.
    Store(String),
}

/// Places that there are elsewhere and not here.
const REFUSED: [&str; 4] = ["docker-daemon", "ostree", "sif", "tarball"];

impl FromStr for Place {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        let Some((word, rest)) = text.split_once(':') else { return Ok(Self::Store(text.to_owned())) };
        let in_file = || -> Result<(PathBuf, Option<String>)> {
            let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name.to_owned())));
            if path.is_empty() || name.as_ref().is_some_and(String::is_empty) {
                return Err(CommandError::usage(format!("{text:?} names no path, or an empty image"))
                    .hint(format!("it is {word}:PATH or {word}:PATH:NAME")));
            }
            Ok((path.into(), name))
        };
        Ok(match word {
            "docker" => match rest.strip_prefix("//") {
                Some(name) if !name.is_empty() => Self::Registry(name.to_owned()),
                _ => return Ok(Self::Store(text.to_owned())),
            },
            "oci" | "oci-archive" => {
                let (path, name) = in_file()?;
                Self::Layout { path, name, archive: word == "oci-archive" }
            }
            "docker-archive" => {
                let (path, name) = in_file()?;
                Self::DockerArchive { path, name }
            }
            "dir" if !rest.is_empty() => Self::Directory(rest.into()),
            "containers-storage" if rest.starts_with('[') => {
                return Err(CommandError::usage(format!("{text:?} names another store"))
                    .hint("--root names the store of a command; containers-storage:NAME is an image of it"));
            }
            "containers-storage" if !rest.is_empty() => Self::Store(rest.to_owned()),
            word if REFUSED.contains(&word) => {
                return Err(CommandError::usage(format!("images of {word} cannot be copied")).hint(
                    "there are docker://, oci:, oci-archive:, dir:, docker-archive:, and the names of this store",
                ));
            }
            _ => Self::Store(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_places() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert_eq!(place("docker://quay.io/a/b:1"), Place::Registry("quay.io/a/b:1".into()));
        let layout = |path: &str, name: Option<&str>, archive| Place::Layout {
            path: path.into(),
            name: name.map(str::to_owned),
            archive,
        };
        assert_eq!(place("oci:a/b"), layout("a/b", None, false));
        assert_eq!(place("oci-archive:/x.tar:docker.io/a/b:1"), layout("/x.tar", Some("docker.io/a/b:1"), true));
        assert_eq!(place("dir:x"), Place::Directory("x".into()));
        for name in ["busybox", "busybox:1", "127.0.0.1:5000/a:b", "containers-storage:busybox:1"] {
            let plain = name.trim_start_matches("containers-storage:");
            assert_eq!(place(name), Place::Store(plain.into()));
        }
        for wrong in ["oci:", "oci::x", "docker-daemon:x:1", "containers-storage:[overlay@/x]y", "docker-archive:x:"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
