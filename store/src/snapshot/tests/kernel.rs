//! Mounts views for real, in a mount namespace of a thread's own that ends with the thread.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use rustix::thread::UnshareFlags;

use super::super::{LayerMount, Snapshot};

/// Whether mounts can be made; says so if not.
pub fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    let erofs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    if !(root && erofs) {
        eprintln!("SKIPPED: mounting EROFS takes root and a kernel that has it");
    }
    root && erofs
}

/// Runs `work` in a new mount namespace.
pub fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // The file descriptor table stays shared, which is what makes the other function unsafe.
            #[allow(deprecated)]
            rustix::thread::unshare(UnshareFlags::NEWNS | UnshareFlags::FS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn finish(context: &OwnedFd, at: &Path) {
    if let Err(error) = fsconfig_create(context.as_fd()) {
        let mut log = vec![0; 4096];
        let length = rustix::io::read(context, &mut log).unwrap_or(0);
        panic!("{error}: {}", String::from_utf8_lossy(&log[..length]));
    }
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    std::fs::create_dir_all(at).unwrap();
    move_mount(mount.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
}

/// Mounts one layer at `at`, or says where it lies as a directory.
pub fn layer(mount: &LayerMount, at: &Path) -> PathBuf {
    match mount {
        LayerMount::Directory { path, .. } => path.clone(),
        LayerMount::Erofs { metadata, devices, .. } => {
            let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
            fsconfig_set_flag(context.as_fd(), "ro").unwrap();
            fsconfig_set_string(context.as_fd(), "source", metadata.as_path()).unwrap();
            for device in devices {
                assert_eq!(std::fs::metadata(&device.path).unwrap().len(), device.size);
                fsconfig_set_string(context.as_fd(), "device", device.path.as_path()).unwrap();
            }
            finish(&context, at);
            at.to_path_buf()
        }
    }
}

/// Mounts a snapshot below the directory `scratch`; where its root is.
pub fn overlay(snapshot: &Snapshot, scratch: &Path) -> PathBuf {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (index, mount) in snapshot.layers.iter().enumerate() {
        let lower = layer(mount, &scratch.join(format!("lower-{index}")));
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower.as_path()).unwrap();
    }
    fsconfig_set_string(context.as_fd(), "upperdir", snapshot.upper.as_path()).unwrap();
    fsconfig_set_string(context.as_fd(), "workdir", snapshot.work.as_path()).unwrap();
    if snapshot.userxattr {
        // Implies that redirects and metacopy are off, and refuses to be told.
        fsconfig_set_flag(context.as_fd(), "userxattr").unwrap();
    } else {
        for (option, value) in [("redirect_dir", "off"), ("metacopy", "off")] {
            fsconfig_set_string(context.as_fd(), option, value).unwrap();
        }
    }
    let root = scratch.join("root");
    finish(&context, &root);
    root
}
