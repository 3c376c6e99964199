//! Clones of whole trees of the host's mounts, for bind mounts.
//!
//! The kernel refuses to attach a tree that holds a pinned mount namespace (the layers' own pin, or what `ip netns`-like
//! tools leave) in a namespace made later (`ELOOP`), so that no cycle of them arises. A copy of the mount namespace comes
//! without such pins: the clone is taken there, and there is no way by which it could be missed in the container.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::layers::Inside;
use crate::{foreign, mount, sys};

/// A detached clone of all mounts at and below `path`, but for pinned mount namespaces. Single-threaded callers only.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    if let Some((pid, inside)) = foreign::of(path) {
        return foreign::clone_mount(pid, &inside);
    }
    // Nothing can be mounted below a file.
    if !path.is_dir() || !pins_below(&std::fs::canonicalize(path)?)? {
        return mount::clone_path(path, true);
    }
    let home = Inside::remember()?;
    sys::unshare(libc::CLONE_NEWNS)?;
    let clone = mount::clone_path(path, true);
    drop(home);
    clone
}

/// Whether a mount namespace is pinned below the directory.
fn pins_below(directory: &Path) -> io::Result<bool> {
    Ok(pinned(&std::fs::read_to_string("/proc/self/mountinfo")?).any(|place| place.starts_with(directory)))
}

/// Where mount namespaces are pinned (proc_pid_mountinfo(5)).
fn pinned(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        root.starts_with("mnt:[").then(|| unescape(place))
    })
}

/// Spaces, tabs, newlines and backslashes stand as octal numbers.
fn unescape(place: &str) -> PathBuf {
    let text = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(text.iter().fold(place.to_owned(), |place, (code, sign)| place.replace(code, sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_mount_namespaces_are_found() {
        let text = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                    40 22 0:4 mnt:[4026532] /run/a\\040b/pin rw - nsfs nsfs rw\n\
                    41 22 0:4 net:[4026533] /run/netns/x rw - nsfs nsfs rw\n";
        assert_eq!(pinned(text).collect::<Vec<_>>(), [Path::new("/run/a b/pin")]);
    }
}
