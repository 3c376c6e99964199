//! A disk of a test's own: an ext4 in a file, mounted over a loop device, that can be filled and be made read-only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Sandbox;
use super::tools;

/// A mounted disk; unmounted and removed when it is dropped. What uses it is to be dropped before.
pub struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// Whether this machine has what it takes.
    pub fn can_be_made() -> bool {
        tools::has("mkfs.ext4") && Path::new("/dev/loop-control").exists()
    }

    /// A new empty disk of so many MiB, nothing of it kept for root.
    pub fn new(mebibytes: u64) -> Self {
        let disk = Self { dir: tempfile::Builder::new().prefix("img-disk.").tempdir().expect("a folder for a disk") };
        let (file, place) = (disk.dir.path().join("disk"), disk.place());
        std::fs::create_dir(&place).expect("a mount point");
        File::create(&file).and_then(|file| file.set_len(mebibytes << 20)).expect("a file for a disk");
        tools::run("mkfs.ext4", ["-q".as_ref(), "-m".as_ref(), "0".as_ref(), file.as_os_str()]).ok();
        tools::run("mount", ["-o".as_ref(), "loop".as_ref(), file.as_os_str(), place.as_os_str()]).ok();
        disk
    }

    /// A sandbox whose store is on the disk.
    pub fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::new();
        let store = self.place().join("store");
        std::fs::create_dir(&store).expect("a directory for the store");
        std::os::unix::fs::symlink(&store, sandbox.root()).expect("a link to the store");
        sandbox
    }

    /// Where it is mounted.
    pub fn place(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut file = File::create(self.filling()).expect("a file that fills the disk");
        for size in [1 << 20, 4096, 512, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        // What a delayed allocation took is not known before.
        drop(file.sync_all());
        while file.write_all(&[1; 512]).and_then(|()| file.sync_all()).is_ok() {}
        assert_eq!(free(&self.place()), 0, "the disk is not full");
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn empty(&self) {
        std::fs::remove_file(self.filling()).expect("the file that fills the disk");
    }

    /// Mounts it read-only, for all who look at it.
    pub fn read_only(&self) {
        self.remount("ro");
    }

    /// Mounts it as it was.
    pub fn writable(&self) {
        self.remount("rw");
    }

    fn remount(&self, how: &str) {
        tools::run("mount", ["-o".as_ref(), format!("remount,{how}").as_ref(), self.place().as_os_str()]).ok();
    }

    fn filling(&self) -> PathBuf {
        self.place().join("filling")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.place()).output();
        if !std::thread::panicking() {
            let unmounted = unmounted.expect("umount");
            assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
        }
    }
}

/// Free bytes of the file system at a path.
pub fn free(path: &Path) -> u64 {
    let about = rustix::fs::statvfs(path).expect("a file system");
    about.f_bavail * about.f_frsize
}
