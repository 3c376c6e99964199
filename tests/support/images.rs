//! The base images, made once by `scripts/base-images` into `target/test-images` and shared by all tests. The script
//! holds a lock of its own, so test programs may ask at the same time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::Out;

/// The repository's root folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with all base images in it, made on first use. The first call on a fresh machine takes minutes.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // CARGO_TARGET_TMPDIR is <target>/tmp, wherever the target folder is.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
        let folder = target.join("test-images");
        let mut command = Command::new(repository().join("scripts/base-images"));
        command.arg(&folder);
        Out::of(command, None, Duration::from_secs(1800)).ok();
        folder
    })
}

/// An image as an OCI layout for skopeo, umoci and `img load`: `busybox`, `odd`, `debian` or `toolbox`.
pub fn layout(name: &str) -> PathBuf {
    folder().join(name)
}

/// Busybox as a plain root file system in a tar.
pub fn busybox_tar() -> PathBuf {
    layout("busybox").join("rootfs.tar")
}
