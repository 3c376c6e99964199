//! The mount namespace the layers are mounted in, and the file that keeps it alive.
//!
//! `<run>/layers` is bound onto itself and made private (a namespace file may not be attached where mounts propagate), and
//! `<run>/layers/pin` is the bound namespace. Inside there is one small tmpfs as root and nothing of the host, so no disk of the
//! host is kept busy by it. [`Pin::enter`] moves the caller in and its guard moves it back to exactly where it was.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Doing, Error, Result};
use crate::{mount, sys};

/// `f_type` of a namespace file (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// The directory in the namespace's root that goes under all layers of a container: the mount points that every container
/// needs, so that most images need none made (and removed again) in the container's own layer. No layer's id begins so.
pub const MOUNT_POINTS: &str = ".mount-points";

/// How long to wait for another process that is mounting layers.
const LOCK_WAIT: Duration = Duration::from_secs(30);

fn directory(run: &Path) -> PathBuf {
    run.join("layers")
}

fn file(run: &Path) -> PathBuf {
    directory(run).join("pin")
}

/// The pinned namespace.
pub struct Pin {
    namespace: OwnedFd,
}

/// As long as it lives, the caller is inside another namespace; then it is where it was.
pub struct Inside {
    home: OwnedFd,
    root: OwnedFd,
    here: OwnedFd,
}

impl Pin {
    /// The namespace, if it is pinned in this mount namespace of the host.
    pub fn open(run: &Path) -> Result<Option<Self>> {
        let path = file(run);
        let namespace =
            match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(error) => return Err(Error::io(format!("open {}", path.display()), error)),
            };
        // After a reboot, or in another mount namespace, it is a plain empty file.
        let magic = sys::file_system_magic_of(&namespace).doing(|| format!("examine {}", path.display()))?;
        Ok((magic == NSFS_MAGIC).then_some(Self { namespace }))
    }

    /// The namespace, made if need be. The lock is held by the caller.
    pub fn open_or_make(run: &Path) -> Result<Self> {
        if let Some(pin) = Self::open(run)? {
            return Ok(pin);
        }
        make(run)?;
        Self::open(run)?.ok_or_else(|| {
            Error::invalid(format!("the layer namespace does not stay pinned at {}", file(run).display()))
        })
    }

    /// Moves the (single-threaded) caller into the namespace.
    pub fn enter(&self) -> Result<Inside> {
        let doing = || "enter the layer namespace".to_owned();
        let inside = Inside::remember().doing(doing)?;
        sys::setns(self.namespace.as_fd(), libc::CLONE_NEWNS).doing(doing)?;
        Ok(inside)
    }
}

impl Inside {
    /// Remembers where the (single-threaded) caller is; it is brought back there when the guard is dropped.
    pub fn remember() -> io::Result<Self> {
        let path = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        Ok(Self {
            home: path("/proc/self/ns/mnt", OFlags::RDONLY)?,
            root: path("/", OFlags::PATH)?,
            here: path(".", OFlags::PATH)?,
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Coming home undoes what was allowed a moment ago. Were it refused, going on in the wrong place would be worse than
        // ending: paths of the host would mean something else.
        let home = sys::setns(self.home.as_fd(), libc::CLONE_NEWNS)
            .and_then(|()| Ok(rustix::process::fchdir(&self.root)?))
            .and_then(|()| Ok(rustix::process::chroot(".")?))
            .and_then(|()| Ok(rustix::process::fchdir(&self.here)?));
        if let Err(error) = home {
            panic!("cannot return to the own mount namespace: {error}");
        }
    }
}

/// The lock under which layers are mounted and unmounted; dropped with the file.
pub fn lock(run: &Path) -> Result<File> {
    let folder = directory(run);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .doing(|| format!("make {}", folder.display()))?;
    // Beside the directory, not in it: the bind mount on top of it must not decide which file is locked.
    let path = run.join("layers.lock");
    let doing = || format!("lock {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path).doing(doing)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::Timeout {
                    doing: format!("waiting for another process to unlock {}", path.display()),
                    seconds: LOCK_WAIT.as_secs(),
                });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(Error::io(doing(), error)),
        }
    }
}

/// Makes the namespace and pins it.
fn make(run: &Path) -> Result<()> {
    let folder = directory(run);
    if !directory_is_mounted(run)? {
        let bound = mount::clone_path(&folder, false).doing(|| format!("bind {}", folder.display()))?;
        mount::make_private(&bound, false).doing(|| format!("make {} private", folder.display()))?;
        let target = File::open(&folder).doing(|| format!("open {}", folder.display()))?;
        mount::attach(&bound, target).doing(|| format!("bind {}", folder.display()))?;
    }
    let path = file(run);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .doing(|| format!("make {}", path.display()))?;
    let pinned = match pin_new(&path)? {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => pin_from_each_processor(&path)?,
        pinned => pinned,
    };
    pinned.doing(|| format!("pin the namespace for layer mounts at {}", path.display()))
}

/// A mount namespace can be pinned in an older one only, and the kernel knows the older by its number. Since Linux 6.18 each
/// processor hands out numbers of its own, so a namespace that is newer may have a lower one than ours. On the
/// processor that ours was made on, it has not.
fn pin_from_each_processor(path: &Path) -> Result<io::Result<()>> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let doing = || "choose a processor".to_owned();
    let allowed = sched_getaffinity(None).doing(doing)?;
    let mut last = Err(io::Error::from_raw_os_error(libc::EINVAL));
    for processor in 0..CpuSet::MAX_CPU {
        let mut one = CpuSet::new();
        one.set(processor);
        // Not there, or not ours.
        if sched_setaffinity(None, &one).is_err() {
            continue;
        }
        last = pin_new(path)?;
        if last.is_ok() {
            break;
        }
    }
    sched_setaffinity(None, &allowed).doing(doing)?;
    Ok(last)
}

/// Makes a namespace and binds it to the file at `path`; the inner result is that of the binding.
fn pin_new(path: &Path) -> Result<io::Result<()>> {
    // The child makes the namespace and waits, held by its end of the pipe, until it is pinned from outside.
    let doing = || "make the namespace for layer mounts".to_owned();
    let (ready, child_ready) = io::pipe().doing(doing)?;
    let (child_wait, release) = io::pipe().doing(doing)?;
    let (pid, pidfd) = match sys::clone_child(libc::CLONE_NEWNS as u64, None).doing(doing)? {
        sys::Forked::Parent(child) => child,
        sys::Forked::Child => {
            drop((ready, release));
            let mut answer = [0u8; 4];
            if let Err(error) = empty_root() {
                answer = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
            }
            let _ = rustix::io::write(&child_ready, &answer);
            let _ = rustix::io::read(&child_wait, &mut [0u8; 1]);
            sys::exit(0);
        }
    };
    drop((child_ready, child_wait));
    let mut answer = [0u8; 4];
    let made = match rustix::io::read(&ready, &mut answer) {
        Ok(4) if answer == [0; 4] => sys::bind(Path::new(&format!("/proc/{pid}/ns/mnt")), path),
        Ok(4) => Err(io::Error::other(io::Error::from_raw_os_error(i32::from_ne_bytes(answer)))),
        Ok(_) => Err(io::Error::other("the helper process ended")),
        Err(error) => Err(error.into()),
    };
    drop(release);
    sys::wait(pidfd.as_fd()).doing(doing)?;
    Ok(made)
}

/// In a fresh mount namespace: an empty tmpfs becomes the root, and everything of the host goes.
fn empty_root() -> io::Result<()> {
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount::make_private(&old, true)?;
    let root = mount::empty_tmpfs("0700", Some(1 << 20), mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOSUID)?;
    // Any directory will do as the place to attach it: the root itself, on top.
    mount::attach(&root, &old)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    // What is on top at "." now is the old root; with it gone, the tmpfs is all there is.
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    make_mount_points(Path::new("/").join(MOUNT_POINTS).as_path())
}

/// Directories and empty files that the mounts of every container lie on.
fn make_mount_points(place: &Path) -> io::Result<()> {
    for directory in ["", "dev", "etc", "proc", "sys"] {
        std::fs::DirBuilder::new().mode(0o755).create(place.join(directory))?;
    }
    for file in ["hostname", "hosts", "resolv.conf"] {
        File::create_new(place.join("etc").join(file))?;
    }
    Ok(())
}

/// Whether `<run>/layers` carries our bind mount.
pub fn directory_is_mounted(run: &Path) -> Result<bool> {
    let folder = directory(run);
    match rustix::fs::openat(CWD, &folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => mount::is_mount_root(&fd).doing(|| format!("examine {}", folder.display())),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::io(format!("open {}", folder.display()), error)),
    }
}

/// Unpins the namespace, and so unmounts all in it that no container holds.
pub fn remove(run: &Path) -> Result<()> {
    let path = file(run);
    if Pin::open(run)?.is_some() {
        mount::detach(&path).doing(|| format!("unpin {}", path.display()))?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(format!("remove {}", path.display()), error));
        }
        _ => {}
    }
    let folder = directory(run);
    if directory_is_mounted(run)? {
        mount::detach(&folder).doing(|| format!("unmount {}", folder.display()))?;
    }
    Ok(())
}
