//! What is mounted from the host: clones of trees of its mounts, and file systems in image files, all detached.
//!
//! A part of a source is looked up inside of it by descriptor, so that no link in it, however it is swapped meanwhile,
//! leads out.
//! The kernel refuses to attach a tree that holds a pinned mount namespace (the layers' own pin, or what `ip netns`-like
//! tools leave) in a namespace made later (`ELOOP`), so that no cycle of them arises. A copy of the mount namespace comes
//! without such pins: the clone is taken there, and there is no way by which it could be missed in the container.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Doing, Error, Result};
use crate::id_maps::IdMaps;
use crate::inroot::Root;
use crate::layers::Inside;
use crate::plan::{MountKind, MountStep, Plan, Step};
use crate::sys::MountAttr;
use crate::{disk_image, foreign, mount, rootfs, sys};

/// Opens what the plan mounts from the host, by the number of the mount in the spec. Single-threaded callers only.
pub fn all(plan: &Plan) -> Result<BTreeMap<usize, OwnedFd>> {
    let mut opened = BTreeMap::new();
    for step in &plan.steps {
        let Step::Mount(step) = step else { continue };
        if let Some(mounted) = open(step, plan.id_maps.as_ref())? {
            opened.insert(step.index, mounted);
        }
    }
    Ok(opened)
}

/// One mount from the host, detached and with its attributes set; `None` for what does not come from there. `own` are the
/// container's maps of ids.
pub fn open(step: &MountStep, own: Option<&IdMaps>) -> Result<Option<OwnedFd>> {
    let options = &step.options;
    let (mounted, at) = match &step.kind {
        MountKind::Bind { source, recursive } => {
            let at = source.display();
            let clone = match &options.subdir {
                Some(subdir) => clone_part(source, subdir, *recursive)
                    .doing(|| format!("bind mount {} of {at}", subdir.display()))?,
                None if *recursive => clone_tree(source).doing(|| format!("bind mount {at}"))?,
                None => match foreign::of(source) {
                    Some((pid, inside)) => foreign::clone_mount(pid, &inside, false),
                    None => mount::clone_path(source, false),
                }
                .doing(|| format!("bind mount {at}"))?,
            };
            (clone, at)
        }
        MountKind::DiskImage { source, offset } => {
            let mounted = disk_image::mount(source, *offset, None, &options.data, options.attributes.set)?;
            (mounted, source.display())
        }
        _ => return Ok(None),
    };
    mount::set_attributes(&mounted, false, options.attributes).doing(|| format!("set the mount options of {at}"))?;
    let tree = MountAttr { propagation: 0, ..options.recursive };
    mount::set_attributes(&mounted, true, tree).doing(|| format!("set the mount options below {at}"))?;
    if let Some(ids) = &step.id_maps {
        let maps = ids.maps.as_ref().or(own);
        let maps = maps.ok_or_else(|| Error::invalid(format!("{at}: the ids of the mount are not given")))?;
        mount::map_ids(&mounted, ids.recursive, &maps.namespace()?).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => {
                Error::invalid(format!("cannot map the ids of {at}: its file system does not allow that ({error})"))
            }
            _ => Error::io(format!("map the ids of {at}"), error),
        })?;
    }
    if options.overlay {
        return rootfs::throw_away(mounted, options.attributes.set).map(Some);
    }
    Ok(Some(mounted))
}

/// Whether mounts can come to where `source` lies and, with `both`, go from there: the kernel takes the wish for it
/// on any mount, and does nothing.
///
/// # Errors
/// There is no `source`.
pub fn can_propagate(source: &Path, both: bool) -> io::Result<bool> {
    let id = mount::id(rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(propagates(&mountinfo, id, if both { &["shared:"] } else { &["shared:", "master:"] }))
}

/// Whether the mount of this number has one of the tags (proc_pid_mountinfo(5), field 7).
fn propagates(mountinfo: &str, id: u64, tags: &[&str]) -> bool {
    let line = mountinfo.lines().find(|line| line.split(' ').next().and_then(|own| own.parse().ok()) == Some(id));
    let words = line.into_iter().flat_map(|line| line.split(' ').skip(6)).take_while(|word| *word != "-");
    words.into_iter().any(|word| tags.iter().any(|tag| word.starts_with(tag)))
}

/// A detached clone of what lies at `part` inside of the directory `source`.
fn clone_part(source: &Path, part: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let whole = rustix::fs::open(source, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let found = Root::new(whole).open(part, OFlags::PATH)?;
    mount::clone_fd(found.as_fd(), recursive)
}

/// A detached clone of all mounts at and below `path`, but for pinned mount namespaces. Single-threaded callers only.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    if let Some((pid, inside)) = foreign::of(path) {
        return foreign::clone_mount(pid, &inside, true);
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

/// Something that is mounted below the directory, which is given without links, but not on it.
pub(crate) fn mounted_below(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4).map(unescape));
    Ok(places.find(|place| place != directory && place.starts_with(directory)))
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
        assert!(propagates(text, 22, &["shared:"]) && !propagates(text, 22, &["master:"]));
        assert!(!propagates(text, 40, &["shared:", "master:"]) && !propagates(text, 99, &["shared:"]));
    }
}
