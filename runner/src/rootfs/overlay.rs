//! Layers joined by overlayfs, with something writable on top or without: one front for kernels that take detached mounts
//! and for those before, which want another way ([`older`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Owner, Prepared, older};
use crate::error::{Doing, Error, Result};
use crate::layers::{self, LayerMount};
use crate::mount::{self, Context};

/// Overlayfs takes at most this many lower layers (fs/overlayfs, `OVL_MAX_STACK`).
const MAX_LOWERS: usize = 500;

/// Where what is written goes.
#[derive(Clone, Copy, Debug)]
pub enum Upper<'a> {
    /// Into a directory beside overlayfs's own work directory.
    Directory { upper: &'a Path, work: &'a Path, volatile: bool },
    /// Into memory, of so many bytes at most.
    Memory(Option<u64>),
    /// Nowhere.
    None,
}

/// What lies below.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// A directory of ours.
    pub run: &'a Path,
    /// The layers; those that are not mounted yet are.
    pub lowers: &'a [LayerMount],
    /// Puts the mount points that every container needs below all of them.
    pub starting: bool,
    /// Whose user namespace they are for.
    pub owner: Option<&'a Owner>,
}

impl Layers<'_> {
    /// Mounts them with `upper` on top.
    pub fn mount(&self, upper: &Upper<'_>, attributes: u64) -> Result<Prepared> {
        refuse_older(self.owner)?;
        if let Upper::Directory { upper, work, .. } = upper {
            check(upper, work)?;
        }
        if older::is_needed() {
            return Prepared::without_folder(older::mount(self.run, self.lowers, *upper, attributes));
        }
        match *upper {
            Upper::Directory { upper, work, volatile } => self.on_directory(upper, work, volatile, attributes),
            Upper::Memory(size) => self.in_memory(size, attributes),
            Upper::None => self.read_only(attributes),
        }
    }

    fn on_directory(&self, upper: &Path, work: &Path, volatile: bool, attributes: u64) -> Result<Prepared> {
        let folder = upper.parent().unwrap_or(Path::new("/"));
        // Overlay wants both on one mount. A detached one it takes wherever the layers are joined, and shows no path of it.
        let clone = mount::clone_path(folder, false).doing(|| format!("open {}", folder.display()))?;
        if let Some(owner) = self.owner {
            owner.map(&clone, "the writable layer")?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |path: &Path| {
            rustix::fs::openat(&clone, path.file_name().unwrap_or_default(), flags, Mode::empty())
                .doing(|| format!("open {}", path.display()))
        };
        let (upper_fd, work_fd) = (open(upper)?, open(work)?);
        let mounted = self.joined(|context| {
            // Each time: a mount that fails for its layers leaves the mark too.
            forget_volatile(&work_fd).doing(|| format!("clean {}", work.display()))?;
            writable(context, &upper_fd, &work_fd, volatile)?.mount(attributes).doing(joining)
        })?;
        Ok(Prepared { mounted, folder: Some(clone) })
    }

    fn in_memory(&self, size: Option<u64>, attributes: u64) -> Result<Prepared> {
        let (memory, upper, work) = memory_layer(size, self.owner)?;
        let mounted = self.joined(|context| {
            // It is memory: there is nothing to sync to.
            writable(context, &upper, &work, true)?.mount(attributes).doing(joining)
        })?;
        Ok(Prepared { mounted, folder: Some(memory) })
    }

    fn read_only(&self, attributes: u64) -> Result<Prepared> {
        let mounted = self.joined(|context| {
            // Without a writable directory overlayfs wants two layers at least; each must be there until it is mounted.
            let empty = (self.lowers.len() == 1).then(empty_layer).transpose()?;
            if let Some(empty) = &empty {
                context.set_fd("lowerdir+", empty.as_fd()).doing(joining)?;
            }
            context.mount(attributes | mount::MOUNT_ATTR_RDONLY).doing(joining)
        })?;
        Prepared::without_folder(Ok(mounted))
    }

    /// An overlay over the layers, finished by `finish` while they may be taken. Redirects and metadata-only copies stay off: an
    /// image could lie with them.
    fn joined(&self, mut finish: impl FnMut(Context) -> Result<OwnedFd>) -> Result<OwnedFd> {
        let Self { run, lowers, starting, owner } = *self;
        if lowers.len() > MAX_LOWERS - 1 {
            let (have, most) = (lowers.len(), MAX_LOWERS - 1);
            return Err(Error::invalid(format!("{have} layers are more than overlayfs can stack ({most})")));
        }
        layers::with_open(run, lowers, |opened| {
            let context = Context::new("overlay").doing(joining)?;
            context.set("source", "overlay").doing(joining)?;
            let below = opened.mount_points.as_ref().filter(|_| starting);
            // Mapped clones must be there until the overlay is.
            let mut mapped = Vec::new();
            for layer in opened.layers.iter().chain(below) {
                match owner {
                    Some(owner) => mapped.push(owner.clone(layer, "a layer")?),
                    None => context.set_fd("lowerdir+", layer.as_fd()).doing(joining)?,
                }
            }
            for layer in &mapped {
                context.set_fd("lowerdir+", layer.as_fd()).doing(joining)?;
            }
            // Overlayfs wants something below.
            let empty = opened.layers.is_empty().then(empty_layer).transpose()?;
            if let Some(empty) = &empty {
                context.set_fd("lowerdir+", empty.as_fd()).doing(joining)?;
            }
            for key in ["redirect_dir", "metacopy", "index"] {
                context.set(key, "off").doing(joining)?;
            }
            match owner {
                Some(owner) => owner.acting(|| finish(context)),
                None => finish(context),
            }
        })
    }
}

/// Whether both directories lie in one, under names of their own.
fn check(upper: &Path, work: &Path) -> Result<()> {
    let (Some(folder), Some(upper_name), Some(work_name)) = (upper.parent(), upper.file_name(), work.file_name())
    else {
        return Err(Error::invalid("the upper or work directory has no name"));
    };
    if work.parent() != Some(folder) || upper_name == work_name {
        return Err(Error::invalid("the upper and work directories must lie in one directory"));
    }
    Ok(())
}

/// A detached directory with a writable layer in memory on top, which ends with the mount: the directory is not changed.
pub fn throw_away(below: OwnedFd, attributes: u64) -> Result<OwnedFd> {
    let (memory, upper, work) = memory_layer(None, None)?;
    let context = Context::new("overlay").doing(joining)?;
    context.set("source", "overlay").doing(joining)?;
    context.set_fd("lowerdir+", below.as_fd()).doing(joining)?;
    let mounted = writable(context, &upper, &work, true)?.mount(attributes).doing(joining);
    drop(memory);
    mounted
}

/// A layer with nothing in it.
fn empty_layer() -> Result<OwnedFd> {
    mount::empty_tmpfs("0755", None, mount::MOUNT_ATTR_RDONLY).doing(|| "make an empty layer".into())
}

pub(super) fn joining() -> String {
    "mount the overlay of the layers".to_owned()
}

/// A file system in memory, and the two directories in it that overlayfs wants.
fn memory_layer(size: Option<u64>, owner: Option<&Owner>) -> Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let memory = mount::empty_tmpfs("0755", size, 0).doing(|| "make the writable layer in memory".into())?;
    for name in ["upper", "work"] {
        rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755)).doing(joining)?;
    }
    if let Some(owner) = owner {
        owner.map(&memory, "the writable layer in memory")?;
    }
    let folder = |name: &str| {
        rustix::fs::openat(&memory, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let (upper, work) = (folder("upper").doing(joining)?, folder("work").doing(joining)?);
    Ok((memory, upper, work))
}

/// Kernels that take layers from their own mount namespace only cannot be given mapped clones.
pub(super) fn refuse_older(owner: Option<&Owner>) -> Result<()> {
    match owner.is_some() && older::is_needed() {
        true => Err(Error::invalid("a container in a user namespace of its own needs Linux 6.15")),
        false => Ok(()),
    }
}

fn writable(context: Context, upper: &OwnedFd, work: &OwnedFd, volatile: bool) -> Result<Context> {
    context.set_fd("upperdir", upper.as_fd()).doing(joining)?;
    context.set_fd("workdir", work.as_fd()).doing(joining)?;
    if volatile {
        context.flag("volatile").doing(joining)?;
    }
    Ok(context)
}

/// A volatile mount leaves `work/incompat/volatile`, which the next mount refuses. What it warns of (a crash in between) the
/// caller knows better: it asks for volatile only when what was written is thrown away at the end.
pub(super) fn forget_volatile(work: &OwnedFd) -> std::io::Result<()> {
    use rustix::fs::AtFlags;
    use rustix::io::Errno;
    for (path, flags) in [
        ("work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/incompat/volatile", AtFlags::REMOVEDIR),
        ("work/incompat", AtFlags::REMOVEDIR),
    ] {
        match rustix::fs::unlinkat(work, path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
