//! Where groups lie, and what must be right above them before they can be used.
//!
//! Names are checked here. On version 1 a cpuset group must take over its parent's lists; on cgroup2 each controller must be
//! enabled from the top down, which the kernel refuses in groups that have processes of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Error, Result, control, file};

/// Below which our groups lie when no parent is named.
pub(super) const HOME: &str = "img";
/// Where processes of a delegated group go that would stand in the way of its controllers.
const LEAF: &str = "img.own";

/// `<parent>/<name>` or `img/<name>`, checked.
pub(super) fn relative_path(name: &str, parent: Option<&str>) -> Result<PathBuf> {
    let bad = |reason| Error::Name { name: name.to_owned(), reason };
    if name.contains('/') {
        return Err(bad("it holds a slash"));
    }
    if name.is_empty() {
        return Err(bad("it is empty"));
    }
    if parent.is_some_and(|parent| parent.trim_matches('/').is_empty()) {
        return Err(bad("its parent would be the root of the hierarchy"));
    }
    checked_path(&format!("{}/{name}", parent.map_or(HOME, |parent| parent.trim_matches('/'))))
}

/// How deep below a mount a container's group is looked for.
pub(super) const DEEPEST_PARENT: u32 = 6;

/// Whether a group whose name begins so lies in `directory`, or up to so many levels below.
pub(super) fn has_group(directory: &Path, prefix: &str, levels: u32) -> bool {
    // A group that vanishes while we look was none that is alive.
    let names = file::children(directory).unwrap_or_default();
    names.iter().any(|name| name.starts_with(prefix))
        || levels > 0 && names.iter().any(|name| has_group(&directory.join(name), prefix, levels - 1))
}

/// A path of plain components. The kernel's own files have a dot, so a component must not look like one.
pub(super) fn checked_path(path: &str) -> Result<PathBuf> {
    let bad = |reason| Err(Error::Name { name: path.to_owned(), reason });
    let trimmed = path.trim_matches('/');
    for component in trimmed.split('/') {
        match component {
            "" => return bad("a component is empty"),
            "." | ".." => return bad("it leads upwards"),
            _ if component.len() > 255 => return bad("a component is longer than 255 bytes"),
            _ if component.bytes().any(|byte| byte < b' ' || byte == 0x7f) => {
                return bad("it holds a control character");
            }
            _ if component.starts_with("cgroup.") => return bad("names that start with `cgroup.` are the kernel's"),
            _ => {}
        }
    }
    Ok(PathBuf::from(trimmed))
}

/// Version 1's cpuset groups start empty and take nobody in until both lists are set: copy the parent's.
pub(super) fn inherit_cpuset(directory: &Path) -> Result<()> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if file::read(&directory.join(name))?.trim().is_empty() {
            file::write(&directory.join(name), file::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}

/// Makes controllers usable in the cgroup2 group `path` below `base`, by naming them in `subtree_control` of each group above.
///
/// The kernel refuses (EBUSY) in a group that has processes of its own, other than the very root: where `base` is a
/// delegated group or a container's root, those are moved into a leaf beside ours first.
pub(super) fn enable_controllers(base: &Path, path: &Path, controllers: &BTreeSet<&str>) -> Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let mut directory = base.to_owned();
    for component in path.components() {
        let control = directory.join("cgroup.subtree_control");
        let enabled = file::read(&control)?;
        let missing: Vec<String> = controllers
            .iter()
            .filter(|&&name| !enabled.split_whitespace().any(|known| known == name))
            .map(|name| format!("+{name}"))
            .collect();
        if !missing.is_empty() {
            let order = missing.join(" ");
            match file::write_raw(&control, &order) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && directory == base => {
                    let leaf = base.join(LEAF);
                    file::make_directory(&leaf)?;
                    control::move_all(|| control::processes_in(base), &leaf)?;
                    file::write(&control, &order)?;
                }
                Err(source) => return Err(Error::io("enable controllers in", control, source)),
                Ok(()) => {}
            }
        }
        directory.push(component);
    }
    Ok(())
}
