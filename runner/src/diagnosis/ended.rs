//! A program that was started and ended at once with 127: the dynamic loader's way to say that a library is missing.
//!
//! Whoever waited for the program may ask here, before the root file system is gone, whether that was it. The answer is
//! `None` for every other reason: a shell also says 127 for a command it does not find.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

use super::content::{Content, HEAD, classify};
use super::elf::{self, Source};
use super::libraries::missing;
use super::walk::walk;
use super::{FileSource, open_regular, shown};
use crate::broker;
use crate::container::Container;
use crate::error::Result;
use crate::init::{DEFAULT_PATH, candidates};
use crate::inroot::Root;
use crate::rootfs::{mount_stopped, root_of_running};

/// What a container's first process lacked, looked up in its root file system after its end. May be called by any thread.
///
/// # Errors
/// The root file system cannot be mounted.
pub fn after_run(container: &Container) -> Result<Option<String>> {
    broker::in_child(|| Ok(lacks(mount_stopped(&container.run_dir, &container.rootfs)?, &container.spec, true)))
}

/// What a further process of a running container lacked; `spec` is the container's with the further process in it.
///
/// # Errors
/// The container does not run any more.
pub fn after_exec(state_dir: &Path, spec: &Spec) -> Result<Option<String>> {
    Ok(lacks(root_of_running(state_dir)?, spec, false))
}

/// With `ended`, the container's mounts are gone and cannot be looked into.
fn lacks(root: OwnedFd, spec: &Spec, ended: bool) -> Option<String> {
    let process: &Process = spec.process().as_ref()?;
    let mounts = spec.mounts().iter().flatten().filter(|_| ended);
    let unseen: Vec<PathBuf> = mounts.map(|mount| mount.destination().clone()).collect();
    let root = Root::new(root);
    let variable = |name: &str| {
        let entries = process.env().as_deref().unwrap_or_default();
        entries.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    };
    let program = process.args().as_deref()?.first()?;
    let path = variable("PATH").unwrap_or(DEFAULT_PATH);
    let found =
        candidates(program, path).into_iter().find_map(|candidate| walk(&root, &process.cwd().join(candidate)).ok())?;
    let mut at = found.path;
    for _ in 0..4 {
        let source = FileSource(open_regular(&root, &at)?);
        let mut head = [0u8; HEAD];
        let count = source.read_at(0, &mut head)?;
        match classify(&head[..count]) {
            Content::Script(script) => {
                at = walk(&root, &Path::new("/").join(PathBuf::from(script.interpreter))).ok()?.path;
            }
            Content::Elf => {
                let program = elf::parse(&source)?;
                program.interpreter.as_ref()?;
                let missing = missing(&root, &at, &program, variable("LD_LIBRARY_PATH"), &unseen);
                let words = missing.iter().map(|one| {
                    let other = one.other.as_ref().map(|other| format!(" (the image has {})", shown(other)));
                    format!("{} needs {}{}", shown(&one.needed_by), shown(&one.library), other.unwrap_or_default())
                });
                let text = words.take(16).collect::<Vec<_>>().join(", ");
                return (!text.is_empty()).then(|| format!("shared libraries are missing in the image: {text}"));
            }
            _ => return None,
        }
    }
    None
}
