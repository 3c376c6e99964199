//! The steps that build the container's view of the file system: root, mounts, masks, pivot.
//!
//! Every target is a descriptor found below the new root ([`Root`]), and every mount is complete before it is attached. The
//! rule: /proc and /sys must be real directories in the image, and nothing is mounted into a procfs but the few files that
//! tools replace on purpose.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::Child;
use crate::error::{Doing, Error, Result};
use crate::inroot::{self, Missing, Root};
use crate::mount::{self, Context};
use crate::plan::mount_options::MountOptions;
use crate::plan::{self, MountKind, MountStep, Step};
use crate::sys::{self, MountAttr};

/// `f_type` of procfs (linux/magic.h).
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Makes all mounts of the (new) mount namespace private.
pub fn isolate() -> Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(|| "open the root".into())?;
    mount::make_private(&root, true).doing(|| "make all mounts private".into())
}

impl Child<'_> {
    pub(super) fn isolate_mounts(&mut self) -> Result<()> {
        if self.materials.plan.has_users() {
            // In a user namespace the kernel gives a procfs only while a whole one can be seen, which ends with the old root.
            self.open_proc()?;
        }
        isolate()
    }

    /// A procfs of our own, for later.
    pub(super) fn open_proc(&mut self) -> Result<()> {
        if self.proc.is_none() {
            let proc = Context::new("proc").and_then(|context| context.mount(0));
            // That of the host's processes is the host's, and there is no other of it in a user namespace.
            let proc = proc.or_else(|error| match error.raw_os_error() {
                Some(libc::EPERM) => {
                    Ok(rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
                }
                _ => Err(error),
            });
            self.proc = Some(proc.doing(|| "open procfs".into())?);
        }
        Ok(())
    }

    pub(super) fn mount_root(&mut self) -> Result<()> {
        let Some(rootfs) = &self.materials.rootfs else {
            return Err(Error::invalid("the root file system was not prepared"));
        };
        let root = rootfs.mount()?;
        // On top of the old root: a place that is always there, and that is gone after the pivot.
        let place = self.materials.root_place.as_deref().unwrap_or(Path::new("/"));
        let open = |place: &Path| rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let place = match open(place) {
            // Not to be reached by the root of a user namespace.
            Err(rustix::io::Errno::ACCESS) => open(Path::new("/")),
            result => result,
        };
        let place = place.doing(|| "open the place of the root".into())?;
        if let Some(folder) = rootfs.folder() {
            self.leave_behind(folder)?;
        }
        mount::attach(&root, place).doing(|| "attach the root file system".into())?;
        self.root_mount_id = mount::id(&root).doing(|| "examine the root file system".into())?;
        self.root = Some(Root::new(root));
        Ok(())
    }

    /// Attaches a mount that was needed once to the old root, with which it goes: by itself it would cost a grace period
    /// more when the parent closes it.
    fn leave_behind(&self, mounted: BorrowedFd<'_>) -> Result<()> {
        let plan = self.materials.plan;
        // Hooks see the old root as it is, and where it is not let go of nothing may be left in it.
        if plan.has_users() || self.materials.hooks.is_some() || !plan.steps.contains(&Step::PivotRoot) {
            return Ok(());
        }
        // Not the root itself: what lies on top of the old root there is what the pivot lets go of, and that alone.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open("/tmp", flags, Mode::empty()) {
            Ok(place) => mount::attach(mounted, place).doing(|| "leave the writable layer's mount behind".into()),
            // Then it stays with the parent.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(()),
            Err(error) => Err(Error::io("open the old /tmp", error)),
        }
    }

    pub(super) fn mount(&mut self, step: &MountStep) -> Result<()> {
        let at = step.destination.display();
        let doing = || format!("mount on {at}");
        let (mounted, is_directory) = match &step.kind {
            MountKind::Bind { source, .. } | MountKind::DiskImage { source, .. } => {
                let clone = self.materials.binds.get(&step.index);
                let clone = clone.ok_or_else(|| Error::invalid(format!("{} was not opened", source.display())))?;
                let kind = rustix::fs::fstat(clone).doing(|| format!("examine {}", source.display()))?.st_mode;
                (clone.try_clone().doing(doing)?, FileType::from_raw_mode(kind) == FileType::Directory)
            }
            MountKind::Layers(number) => {
                let layers = self.materials.layers.get(&step.index);
                let (layers, path) =
                    layers.ok_or_else(|| Error::invalid(format!("the layers {number} were not opened")))?;
                let mounted = part_of(layers.mount()?, path).doing(|| format!("find {} to mount", path.display()))?;
                let kind = rustix::fs::fstat(&mounted).doing(doing)?.st_mode;
                (mounted, FileType::from_raw_mode(kind) == FileType::Directory)
            }
            MountKind::File(number) => {
                let file = self.materials.files.get(*number);
                let file = file.ok_or_else(|| Error::invalid(format!("the file {number} was not handed in")))?;
                (super::memory_file::mount(file).doing(|| format!("make the file {number} in memory"))?, false)
            }
            MountKind::Cgroup => (self.cgroup_view(&step.options)?, true),
            MountKind::FileSystem(kind) => {
                let source = step.source.as_deref().unwrap_or(kind);
                let mut options = step.options.clone();
                options.data.extend(self.mode_of(step)?.map(|mode| ("mode".to_owned(), Some(format!("{mode:o}")))));
                (file_system(kind, source, &options).doing(|| format!("mount {kind} on {at}"))?, true)
            }
        };
        let target = self.target(&step.destination, &step.kind, is_directory)?;
        if step.options.copy_up {
            super::copy_up::copy(target.as_fd(), mounted.as_fd())
                .doing(|| format!("copy what the image has in {at}"))?;
        }
        if matches!(&step.kind, MountKind::FileSystem(kind) if kind == "proc") {
            self.remember_proc(&mounted).doing(doing)?;
        }
        mount::attach(&mounted, &target).doing(doing)?;
        if matches!(step.kind, MountKind::Bind { .. }) {
            // Attributes were set by the parent, while the clone was detached. Propagation takes effect in place.
            let (kind, tree) = step.options.propagation.unwrap_or((libc::MS_PRIVATE, true));
            propagate(&mounted, kind, tree).doing(|| format!("set the propagation of {at}"))?;
        } else if let Some((kind, tree)) = step.options.propagation {
            propagate(&mounted, kind, tree).doing(|| format!("set the propagation of {at}"))?;
        }
        Ok(())
    }

    /// The mode of the directory that a tmpfs covers, which it takes over unless it was given one.
    fn mode_of(&mut self, step: &MountStep) -> Result<Option<u32>> {
        let is_tmpfs = matches!(&step.kind, MountKind::FileSystem(kind) if kind == "tmpfs");
        if !is_tmpfs || step.source.is_none() || step.options.data.iter().any(|(key, _)| key == "mode") {
            return Ok(None);
        }
        let Some(covered) = self.existing(&step.destination)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&covered).doing(|| format!("examine {}", step.destination.display()))?;
        Ok(Some(stat.st_mode & 0o7777))
    }

    /// The descriptor to mount on, made if it is missing.
    fn target(&mut self, destination: &Path, kind: &MountKind, is_directory: bool) -> Result<OwnedFd> {
        let at = destination.display();
        let special = matches!(kind, MountKind::FileSystem(kind) if kind == "proc" || kind == "sysfs");
        if special {
            self.refuse_link(destination)?;
        }
        let missing = if is_directory { Missing::Directory } else { Missing::File };
        let found = self.root()?.find(destination, missing).doing(|| format!("find the mount point {at}"))?;
        // What was made on a mount of the container's own goes with it; only what is in the root is to be taken back.
        if let Some(stub) = found.made
            && mount::id(&found.fd).doing(|| format!("examine the mount point {at}"))? == self.root_mount_id
        {
            self.stubs.push(stub);
        }
        let magic = sys::file_system_magic_of(&found.fd).doing(|| format!("examine the mount point {at}"))?;
        if magic == PROC_SUPER_MAGIC {
            let file_system = if let MountKind::FileSystem(kind) = kind { kind } else { "" };
            if !plan::allowed_in_proc(destination, matches!(kind, MountKind::Bind { .. }), file_system) {
                return Err(Error::invalid(format!("cannot mount on {at}: it lies in procfs")));
            }
        }
        let mode = rustix::fs::fstat(&found.fd).doing(|| format!("examine the mount point {at}"))?.st_mode;
        if (FileType::from_raw_mode(mode) == FileType::Directory) != is_directory {
            let (source, target) = if is_directory { ("directory", "file") } else { ("file", "directory") };
            return Err(Error::invalid(format!("cannot mount a {source} on {at}, which is a {target} in the image")));
        }
        Ok(found.fd)
    }

    /// /proc and /sys decide what masks and kernel parameters mean, so an image may not redirect them.
    fn refuse_link(&mut self, destination: &Path) -> Result<()> {
        let root = self.root()?;
        let mut directory = root.as_fd().try_clone_to_owned().doing(|| "open the root".into())?;
        for part in destination.components() {
            let Component::Normal(name) = part else { continue };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
                Ok(next) => directory = next,
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(error) => return Err(Error::io(format!("examine {}", destination.display()), error)),
            }
            let mode = rustix::fs::fstat(&directory).doing(|| format!("examine {}", destination.display()))?.st_mode;
            if FileType::from_raw_mode(mode) != FileType::Directory {
                return Err(Error::invalid(format!("{} is not a real directory in the image", destination.display())));
            }
        }
        Ok(())
    }

    /// The container's own groups: cgroup2 as it is, or for v1 a tmpfs with one directory for each hierarchy.
    fn cgroup_view(&self, options: &MountOptions) -> Result<OwnedFd> {
        let doing = || "mount the cgroup view".to_owned();
        let attributes = options.attributes.set;
        if self.materials.cgroup_view.is_empty() {
            return Context::new("cgroup2").and_then(|context| context.mount(attributes)).doing(doing);
        }
        let view = mount::empty_tmpfs("0755", Some(1 << 16), attributes & !mount::MOUNT_ATTR_RDONLY).doing(doing)?;
        for (name, group) in &self.materials.cgroup_view {
            rustix::fs::mkdirat(&view, name.as_str(), Mode::from_raw_mode(0o755)).doing(doing)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = rustix::fs::openat(&view, name.as_str(), flags, Mode::empty()).doing(doing)?;
            let group = group.try_clone().doing(doing)?;
            mount::set_attributes(&group, false, MountAttr { set: attributes, ..MountAttr::default() }).doing(doing)?;
            mount::attach(&group, place).doing(doing)?;
        }
        mount::set_attributes(&view, false, MountAttr { set: attributes, ..MountAttr::default() }).doing(doing)?;
        Ok(view)
    }

    pub(super) fn make_working_directory(&mut self, path: &Path) -> Result<()> {
        // A directory made here belongs to the container, it is no stub.
        self.root()?
            .find(path, Missing::Directory)
            .doing(|| format!("make the working directory {}", path.display()))?;
        Ok(())
    }

    pub(super) fn mask(&mut self, path: &Path) -> Result<()> {
        let at = path.display();
        let Some(target) = self.existing(path)? else { return Ok(()) };
        let doing = || format!("mask {at}");
        let mode = rustix::fs::fstat(&target).doing(doing)?.st_mode;
        let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
        if !is_directory && self.null_mask.is_none() {
            self.null_mask = Some(self.null_device()?);
        }
        if let Some(source) = if is_directory { &self.empty_mask } else { &self.null_mask } {
            let clone = mount::clone_fd(source, false).doing(doing)?;
            return mount::attach(&clone, &target).doing(doing);
        }
        let attributes =
            mount::MOUNT_ATTR_RDONLY | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NOEXEC;
        let empty = mount::empty_tmpfs("0555", Some(4096), attributes).doing(doing)?;
        // The first directory's is attached itself and the next ones are clones of it: letting go of a mount that is attached
        // nowhere costs an RCU grace period, which the exec would have to wait for.
        mount::attach(&empty, &target).doing(doing)?;
        self.empty_mask = Some(empty);
        Ok(())
    }

    /// The null device of the container's /dev, which must be the real one: the image could have planted a link.
    fn null_device(&mut self) -> Result<OwnedFd> {
        let doing = || "open /dev/null to mask files with".to_owned();
        let fd = self.root()?.open(Path::new("/dev/null"), OFlags::PATH | OFlags::NOFOLLOW).doing(doing)?;
        let stat = rustix::fs::fstat(&fd).doing(doing)?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3);
        if is_null { Ok(fd) } else { Err(Error::invalid("/dev/null in the container is not the null device")) }
    }

    pub(super) fn make_read_only(&mut self, path: &Path) -> Result<()> {
        let doing = || format!("make {} read-only", path.display());
        let Some(target) = self.existing(path)? else { return Ok(()) };
        let clone = mount::clone_fd(&target, true).doing(doing)?;
        mount::make_read_only(&clone, true).doing(doing)?;
        mount::attach(&clone, &target).doing(doing)
    }

    /// A path that may be missing, as not every kernel has all of them.
    fn existing(&mut self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.root()?.open(path, OFlags::PATH) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(Error::io(format!("open {}", path.display()), error)),
        }
    }

    pub(super) fn make_root_read_only(&mut self) -> Result<()> {
        let root = self.root()?;
        mount::make_read_only(root, false).doing(|| "make the root read-only".into())
    }

    /// The new root becomes the root. The old one lies on top of it for a moment and is then let go.
    pub(super) fn pivot_root(&mut self) -> Result<()> {
        let doing = || "change the root".to_owned();
        let root = self.root()?;
        rustix::process::fchdir(root).doing(doing)?;
        rustix::process::pivot_root(".", ".").doing(doing)?;
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).doing(doing)?;
        rustix::process::chdir("/").doing(doing)
    }

    /// The new root becomes the root by chroot(2). It lies on top of the old one, which stays where it is.
    pub(super) fn change_root(&mut self) -> Result<()> {
        let doing = || "change the root".to_owned();
        rustix::process::fchdir(self.root()?).doing(doing)?;
        rustix::process::chroot(".").doing(doing)?;
        rustix::process::chdir("/").doing(doing)
    }

    pub(super) fn set_root_propagation(&mut self, kind: u64, tree: bool) -> Result<()> {
        let attributes = MountAttr { propagation: kind, ..MountAttr::default() };
        mount::set_attributes(self.root()?, tree, attributes).doing(|| "set the propagation of the root".into())
    }

    /// Keeps the places of the container's own procfs that are written to later, as they are before anything lies over them.
    fn remember_proc(&mut self, proc: &OwnedFd) -> std::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(proc, "sys", flags, Mode::empty()) {
            Ok(sys) => self.proc_sys = Some(sys),
            // A procfs of processes alone.
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Sets a kernel parameter, by its path in /proc/sys.
    pub(super) fn set_sysctl(&mut self, path: &str, value: &str) -> Result<()> {
        // A mount less to make, and to let go of at the exec.
        if let Some(sys) = &self.proc_sys
            && let Ok(file) = open_in_proc(sys, path)
        {
            let written = rustix::io::write(file, value.as_bytes());
            return written.doing(|| format!("write {value:?} to /proc/sys/{path}")).map(drop);
        }
        self.write_proc(&format!("sys/{path}"), value)
    }

    /// Writes to a file of a procfs of our own, which nothing can be mounted over.
    pub(super) fn write_proc(&mut self, path: &str, text: &str) -> Result<()> {
        if self.proc.is_none() {
            let proc = Context::new("proc").and_then(|context| context.mount(0));
            self.proc = Some(proc.doing(|| "open procfs".into())?);
        }
        let Some(proc) = &self.proc else { return Ok(()) };
        open_in_proc(proc, path)
            .and_then(|file| Ok(rustix::io::write(file, text.as_bytes())?))
            .doing(|| format!("write {text:?} to /proc/{path}"))
            .map(drop)
    }

    /// Writes to a file of the process's own directory there.
    pub(super) fn write_own_proc(&mut self, file: &str, text: &str) -> Result<()> {
        let pid = rustix::process::getpid().as_raw_nonzero();
        self.write_proc(&format!("{pid}/{file}"), text)
    }

    pub(super) fn enter_working_directory(&mut self, path: &Path) -> Result<()> {
        let at = path.display();
        let directory = self
            .root()?
            .open(path, OFlags::PATH | OFlags::DIRECTORY)
            .doing(|| format!("enter the working directory {at}"))?;
        rustix::process::fchdir(&directory).doing(|| format!("enter the working directory {at}"))?;
        // Opened below the root it cannot be outside; the kernel's own word for it is asked for all the same.
        let mut here = [0u8; 4096];
        let length = sys::getcwd(&mut here).doing(|| format!("find the working directory {at} again"))?;
        if here.first() != Some(&b'/') || length == 0 {
            return Err(Error::invalid(format!("the working directory {at} lies outside of the container")));
        }
        Ok(())
    }
}

/// Opens a file of a procfs for writing; nothing that is mounted in it counts.
fn open_in_proc(directory: &OwnedFd, path: &str) -> std::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(inroot::open(directory, path, OFlags::WRONLY, resolve)?)
}

/// The part of a detached mount that lies at `path`, as a mount of its own. A part can be cloned only of what is
/// attached (before Linux 6.15), so for a moment the whole lies on top of the old root, as the new root does.
pub(crate) fn part_of(whole: OwnedFd, path: &Path) -> std::io::Result<OwnedFd> {
    if path.as_os_str().is_empty() || path == Path::new("/") {
        return Ok(whole);
    }
    let place = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount::attach(&whole, place)?;
    let part = Root::new(whole.try_clone()?)
        .open(path, OFlags::PATH | OFlags::NOFOLLOW)
        .and_then(|found| mount::clone_fd(found, false));
    rustix::process::fchdir(&whole)?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    part
}

/// A new file system with the options of the Spec, detached.
pub(crate) fn file_system(kind: &str, source: &str, options: &MountOptions) -> std::io::Result<OwnedFd> {
    let context = Context::new(kind)?;
    context.set("source", source)?;
    for (key, value) in &options.data {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.flag(key)?,
        }
    }
    context.mount(options.attributes.set)
}

/// Changes the propagation of an attached mount. Shared makes a group of its own first, so it is private before.
/// Sets the propagation of a mount, or of a tree of them.
pub(crate) fn propagate(mounted: &OwnedFd, kind: u64, tree: bool) -> std::io::Result<()> {
    debug_assert!(mounted.as_raw_fd() >= 0);
    mount::set_attributes(mounted, tree, MountAttr { propagation: kind, ..MountAttr::default() })
}

/// Opens the terminal multiplexer of the container's devpts and checks that it is one.
pub fn open_ptmx(root: &Root) -> Result<OwnedFd> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let doing = || "open /dev/pts/ptmx in the container".to_owned();
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let fd = inroot::open(root, "dev/pts/ptmx", flags, resolve).doing(doing)?;
    if sys::file_system_magic_of(&fd).doing(doing)? != DEVPTS_SUPER_MAGIC {
        return Err(Error::invalid("/dev/pts in the container is not a devpts"));
    }
    let stat = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS).doing(doing)?;
    if (stat.stx_rdev_major, stat.stx_rdev_minor) != (5, 2) {
        return Err(Error::invalid("/dev/pts/ptmx in the container is not a terminal multiplexer"));
    }
    Ok(fd)
}
