//! `--storage-opt size=`: what a container writes goes into an ext4 of that size, in a sparse file in the container's
//! directory. It is mounted on the directory of its writable layer when the container is first started or looked into, and
//! stays until the container is removed (or `system unmount`): whatever reads the layer finds it where it always is. Making it
//! takes a millisecond for 1 GiB and starts no program; larger ones take longer (docs/volumes.md).

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use runner::host_mount::{self, FileSystem};
use runner::spec::parse;
use store::Store;
use store::record::ContainerPaths;

use super::ContainerData;
use super::create::usage;
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// The file that holds a writable layer of a limited size.
const IMAGE: &str = "rw.img";

/// How much a container may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    size: Option<u64>,
    inodes: Option<u64>,
}

impl Limit {
    /// Understands `--storage-opt`.
    ///
    /// # Errors
    /// A key that is not known, a size that cannot be, a container without layers.
    pub fn of(data: &ContainerData) -> Result<Option<Self>> {
        let words = &data.options.storage.storage;
        let mut limit = Self::default();
        for word in words {
            let number = |value: &str| parse::size("storage option", value).map_err(usage);
            match word.split_once('=') {
                Some(("size" | "overlay.size" | "overlay2.size", value)) => limit.size = Some(number(value)?),
                Some(("inodes", value)) => limit.inodes = Some(number(value)?),
                _ => {
                    return Err(CommandError::usage(format!("--storage-opt {word}: there is no such option"))
                        .hint("known are size=BYTES and inodes=NUMBER"));
                }
            }
        }
        if words.is_empty() {
            return Ok(None);
        }
        if data.options.rootfs.is_some() {
            return Err(CommandError::usage("--storage-opt limits the writable layer of an image, --rootfs has none"));
        }
        match limit.size {
            None => Err(CommandError::usage("--storage-opt inodes= needs a size= too")),
            Some(size) if size < store::ext4::MIN => Err(CommandError::usage("--storage-opt size=: at least 1 MiB")),
            Some(_) => Ok(Some(limit)),
        }
    }
}

impl Engine {
    /// Where the files of a container are; its writable layer is mounted if it is a file system of its own.
    pub(in crate::engine) fn writable(&self, id: &str, data: &ContainerData) -> Result<ContainerPaths> {
        let paths = self.store.containers().container_paths(id)?;
        let Some(limit) = Limit::of(data)? else { return Ok(paths) };
        let (image, rw) = (paths.directory.join(IMAGE), paths.directory.join("rw"));
        if host_mount::is_mounted(&rw)? {
            return Ok(paths);
        }
        let what = || format!("cannot make the writable layer in {}", image.display());
        if !image.exists() {
            // Under another name until it is whole.
            let new = paths.directory.join("rw.new");
            let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
            let layout = store::ext4::Ext4 {
                size: limit.size.unwrap_or_default(),
                inodes: limit.inodes,
                mode: 0o700,
                ..store::ext4::Ext4::default()
            };
            file.and_then(|file| layout.write(&file)).with_context(what)?;
            fs::rename(&new, &image).with_context(what)?;
        }
        let file_system = FileSystem::Device { source: image.clone(), kind: Some("ext4".to_owned()) };
        host_mount::mount_on(&rw, &file_system, &[]).map_err(|error| {
            CommandError::from(error)
                .prefixed("cannot limit what the container writes (--storage-opt)")
                .hint("it takes a loop device; without the option nothing is limited")
        })?;
        for (path, mode) in [(&paths.upper, 0o755), (&paths.work, 0o700)] {
            fs::DirBuilder::new().recursive(true).mode(mode).create(path).with_context(what)?;
        }
        Ok(paths)
    }
}

/// Unmounts a writable layer of a limited size; nobody needs it any more, or it is mounted again when somebody does.
pub fn unmount(store: &Store, id: &str) -> Result<()> {
    let rw = store.containers().path(id)?.join("rw");
    unmount_directory(&rw)
}

fn unmount_directory(rw: &Path) -> Result<()> {
    if host_mount::is_mounted(rw)? { Ok(host_mount::unmount(rw)?) } else { Ok(()) }
}
