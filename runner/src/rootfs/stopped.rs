//! A container that does not run, with its volumes and binds, as one tree that only the caller sees.
//!
//! The tree is put together in a copy of the mount namespace and taken out of it as a detached clone, so nothing of it is ever
//! on the host. Mount points are looked up below the root by descriptor; those that are missing are made, as on a start,
//! and taken back at the end.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Mode, OFlags};

use super::{Prepared, mount_stopped, prepare_layers};
use crate::container::{MountedLayers, Rootfs};
use crate::error::{Doing, Error, Result};
use crate::init::filesystem::part_of;
use crate::inroot::{Missing, Root, Stub};
use crate::layers::Inside;
use crate::plan::{self, MountKind, MountStep};
use crate::{bind, mount, sys};

/// A stopped container's files.
#[derive(Debug)]
pub struct Stopped {
    root: Root,
    stubs: Vec<Stub>,
}

/// What is mounted somewhere in it.
enum Material {
    Whole(OwnedFd),
    Layers(Prepared, std::path::PathBuf),
}

impl Stopped {
    /// Mounts the root of a container that does not run, and `mounts` in it: binds, file systems in image files, and the
    /// `layers` that they name. Gives the root directory of the tree, which lives as long as the descriptor, and what
    /// [`Stopped::close`] needs. With `read_only` nothing can be written but on the mounts. The caller must be single-threaded,
    /// and must not start the container meanwhile.
    ///
    /// # Errors
    /// A layer or source that cannot be mounted, a place that cannot be found or made.
    pub fn open(
        run: &Path,
        rootfs: &Rootfs,
        mounts: &[Mount],
        layers: &[MountedLayers],
        read_only: bool,
    ) -> Result<(OwnedFd, Self)> {
        let root = mount_stopped(run, rootfs)?;
        let mut materials = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let step = plan::live_mount_step(mount)?;
            let material = match (&step.kind, bind::open(&step, None)?) {
                (_, Some(mounted)) => Material::Whole(mounted),
                (MountKind::Layers(number), None) => {
                    let layers = layers.get(*number);
                    let layers = layers.ok_or_else(|| Error::invalid(format!("there are no layers {number}")))?;
                    Material::Layers(prepare_layers(run, layers, false, None)?, layers.path.clone())
                }
                _ => return Err(Error::invalid(format!("{}: not a mount of files", step.destination.display()))),
            };
            materials.push((step, material));
        }
        let mut stopped = Self { root: Root::new(root), stubs: Vec::new() };
        let tree = stopped.put_together(materials, read_only);
        match tree {
            Ok(tree) => Ok((tree, stopped)),
            Err(error) => stopped.close().and(Err(error)),
        }
    }

    fn put_together(&mut self, materials: Vec<(MountStep, Material)>, read_only: bool) -> Result<OwnedFd> {
        let doing = || "put the container's mounts together".to_owned();
        let home = Inside::remember().doing(doing)?;
        sys::unshare(libc::CLONE_NEWNS).doing(doing)?;
        let tree = self.in_copy(materials);
        drop(home);
        let tree = tree?;
        if read_only {
            mount::make_read_only(&tree, false).doing(|| "make the root read-only".into())?;
        }
        Ok(tree)
    }

    fn in_copy(&mut self, materials: Vec<(MountStep, Material)>) -> Result<OwnedFd> {
        let doing = || "put the container's mounts together".to_owned();
        let host = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        mount::make_private(&host, true).doing(doing)?;
        // On top of the host's root, which is where nobody looks.
        mount::attach(&self.root, &host).doing(doing)?;
        for (step, material) in materials {
            let at = step.destination.display();
            let mounted = match material {
                Material::Whole(mounted) => mounted,
                Material::Layers(layers, path) => {
                    part_of(layers.mount()?, &path).doing(|| format!("find {} to mount", path.display()))?
                }
            };
            let place = self.place(&step, &mounted)?;
            mount::attach(&mounted, &place).doing(|| format!("mount on {at}"))?;
        }
        let tree = mount::clone_fd(&self.root, true).doing(doing)?;
        mount::make_private(&tree, true).doing(doing)?;
        Ok(tree)
    }

    /// Where a mount goes; made if it is missing.
    fn place(&mut self, step: &MountStep, mounted: &OwnedFd) -> Result<OwnedFd> {
        let at = || format!("find the mount point {}", step.destination.display());
        let is_directory = |fd: &OwnedFd| -> Result<bool> {
            Ok(FileType::from_raw_mode(rustix::fs::fstat(fd).doing(at)?.st_mode) == FileType::Directory)
        };
        let directory = is_directory(mounted)?;
        let missing = if directory { Missing::Directory } else { Missing::File };
        let found = self.root.find(&step.destination, missing).doing(at)?;
        // What is made on a mount stays there, as on a start.
        if let Some(stub) = found.made
            && mount::id(&found.fd).doing(at)? == mount::id(&self.root).doing(at)?
        {
            self.stubs.push(stub);
        }
        if is_directory(&found.fd)? != directory {
            let (source, target) = if directory { ("directory", "file") } else { ("file", "directory") };
            let at = step.destination.display();
            return Err(Error::invalid(format!("cannot mount a {source} on {at}, which is a {target} in the image")));
        }
        Ok(found.fd)
    }

    /// Takes back the mount points that were made, as far as they are still empty.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn close(self) -> Result<()> {
        for stub in self.stubs.iter().rev() {
            self.root.remove_stub(stub).doing(|| format!("remove the mount point {}", stub.path.display()))?;
        }
        Ok(())
    }
}
