//! What a container's root file system is: an image's layers with its own on top, or a directory (`--rootfs`).
//!
//! A directory is given with options behind a colon: `O` throws away what is written, `idmap` says by which ids its own are
//! shown. In a user namespace it always shows them as the container's, as layers are.

use std::path::{Path, PathBuf};

use runner::Rootfs;
use runner::id_maps::IdMaps;
use runner::layers::LayerMount;
use runner::spec::parse;

use super::ContainerData;
use super::create::usage;
use super::options::Options;
use crate::engine::Engine;
use crate::engine::layers::to_runner;
use crate::error::{CommandError, Context as _, Result};

/// How much memory the mount points of a container on a read-only disk may take, bytes.
const MOUNT_POINTS: u64 = 1 << 20;

/// What `--rootfs` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// The directory.
    pub path: PathBuf,
    /// What is written is thrown away.
    pub throw_away: bool,
    /// `idmap` was asked for.
    idmap: bool,
    /// The mapping that stands behind it.
    ids: Option<parse::IdMap>,
}

impl Directory {
    /// `DIR[:OPTION[,OPTION]]`. A colon before what is no option belongs to the name.
    pub fn parse(text: &str) -> Result<Self> {
        let whole = || Self { path: PathBuf::from(text), ..Self::default() };
        let Some((path, words)) = text.rsplit_once(':') else { return Ok(whole()) };
        let mut found = Self { path: PathBuf::from(path), ..Self::default() };
        for word in words.split(',') {
            match word {
                "O" | "overlay" => found.throw_away = true,
                "idmap" => found.idmap = true,
                _ => match word.strip_prefix("idmap=") {
                    Some(map) => (found.idmap, found.ids) = (true, Some(parse::id_map(map).map_err(usage)?)),
                    None => return Ok(whole()),
                },
            }
        }
        Ok(found)
    }

    /// Checks it for a container with these options.
    pub fn check(&self, asked: &Options) -> Result<()> {
        let refuse = |reason: &str, hint: &str| {
            Err(CommandError::usage(format!("--rootfs {}: {reason}", self.path.display())).hint(hint.to_owned()))
        };
        if !self.path.is_dir() {
            return Err(CommandError::usage(format!("--rootfs {}: no such directory", self.path.display())));
        }
        if self.idmap && self.ids.is_none() && !asked.ids.mapped() {
            return refuse(
                "idmap shows files by the ids of a user namespace, and there is none",
                "add --userns auto or the like, or say which ids: idmap=uids=FROM-TO-COUNT#gids=FROM-TO-COUNT",
            );
        }
        if self.throw_away && self.ids.is_some() {
            return refuse("O and a mapping of ids exclude each other", "`O,idmap` takes that of --userns");
        }
        Ok(())
    }

    fn real_path(&self) -> Result<PathBuf> {
        std::fs::canonicalize(&self.path).with_context(|| format!("cannot use --rootfs {}", self.path.display()))
    }
}

impl Engine {
    /// Where the store and its running containers lie in a throw-away copy of the machine: it is not shown to itself,
    /// which overlayfs would refuse anyway for the copy's own layer.
    pub(super) fn own_places(&self, data: &ContainerData) -> Result<Vec<String>> {
        let directory = data.options.rootfs.as_deref().map(Directory::parse).transpose()?;
        let Some(directory) = directory.filter(|directory| directory.throw_away) else { return Ok(Vec::new()) };
        let root = directory.real_path()?;
        let places = [self.store.root(), self.runroot.as_path()].into_iter().filter_map(|place| {
            let below = std::fs::canonicalize(place).ok()?.strip_prefix(&root).ok()?.to_str().map(str::to_owned)?;
            Some(format!("/{below}"))
        });
        Ok(places.filter(|place| place != "/").collect())
    }

    /// The root file system: layers with the container's own on top, or a directory.
    pub(in crate::engine) fn rootfs(&self, id: &str, data: &ContainerData) -> Result<Rootfs> {
        let paths = self.writable(id, data)?;
        if let Some(text) = &data.options.rootfs {
            let directory = Directory::parse(text)?;
            let path = directory.real_path()?;
            if directory.throw_away {
                let lower = LayerMount::Directory { id: format!("rootfs-{id}"), path };
                return Ok(Rootfs::Overlay {
                    lowers: vec![lower],
                    upper: paths.upper,
                    work: paths.work,
                    volatile: true,
                });
            }
            let ids = directory.ids.map(|map| IdMaps::of_ranges(&map.uids, &map.gids));
            return Ok(Rootfs::Directory { path, readonly: data.options.read_only, ids });
        }
        let rw = paths.directory.join("rw");
        let snapshot = self.snapshot(&data.layers, &rw)?;
        let mut lowers = to_runner(snapshot.layers);
        if snapshot.read_only {
            lowers.insert(0, LayerMount::Directory { id: format!("rw-{id}"), path: snapshot.upper });
            return Ok(Rootfs::TmpfsOverlay { lowers, size: Some(MOUNT_POINTS) });
        }
        Ok(Rootfs::Overlay { lowers, upper: snapshot.upper, work: snapshot.work, volatile: data.options.remove })
    }

    /// Whether a root is to be read-only because the disk is: what is in memory above it is for mount points alone.
    pub(in crate::engine) fn is_read_only(rootfs: &Rootfs) -> bool {
        matches!(rootfs, Rootfs::TmpfsOverlay { .. })
    }

    /// The directory that is a container's root, if it is one.
    pub(super) fn root_directory(data: &ContainerData) -> Option<PathBuf> {
        let text = data.options.rootfs.as_deref()?;
        Some(Directory::parse(text).map_or_else(|_| Path::new(text).to_owned(), |directory| directory.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_the_last_colon() {
        let parse = |text: &str| Directory::parse(text).unwrap();
        assert_eq!(parse("/a:b").path, Path::new("/a:b"));
        assert_eq!((parse("/:O").path, parse("/:O").throw_away), ("/".into(), true));
        let both = parse("/a:O,idmap");
        assert!(both.throw_away && both.idmap && both.ids.is_none());
        let mapped = parse("/a:b:idmap=uids=0-100000-10#gids=0-200000-10");
        assert_eq!(mapped.path, Path::new("/a:b"));
        assert_eq!(mapped.ids.unwrap().gids, [(0, 200_000, 10)]);
        assert!(Directory::parse("/a:idmap=uids=0-1").is_err());
    }
}
