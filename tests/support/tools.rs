//! Programs that others wrote, as oracles: podman and buildah with a storage of their own, skopeo, umoci, tar. Each is
//! kept away from the machine's own configuration, images and containers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Out;

const LIMIT: Duration = Duration::from_secs(180);

/// Is there a program of this name on the PATH?
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a program to its end and asserts success.
#[track_caller]
pub fn run<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Out {
    let mut command = Command::new(program);
    command.args(arguments);
    let out = Out::of(command, None, LIMIT);
    out.ok();
    out
}

/// Unpacks a tar with everything that GNU tar can restore, for comparison.
pub fn untar(archive: &Path, into: &Path) {
    std::fs::create_dir_all(into).expect("a folder for the tree");
    let tar = ["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner", "--xattrs"];
    let mut words: Vec<&OsStr> = tar.iter().map(OsStr::new).collect();
    words.extend(["--xattrs-include=*", "--file"].iter().map(OsStr::new));
    words.extend([archive.as_os_str(), OsStr::new("--directory"), into.as_os_str()]);
    run("tar", words);
}

/// Podman or buildah with storage, run files and registries of its own below one folder.
pub struct Podman {
    dir: PathBuf,
    registry: String,
}

impl Podman {
    /// Below `dir`, with `registry` (host:port) allowed without TLS.
    pub fn new(dir: &Path, registry: &str) -> Self {
        std::fs::create_dir_all(dir).expect("a folder for podman");
        let registries = format!("[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n");
        std::fs::write(dir.join("registries.conf"), registries).expect("podman's registries.conf");
        let anything = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(dir.join("policy.json"), anything).expect("podman's policy.json");
        Self { dir: dir.to_owned(), registry: registry.to_owned() }
    }

    /// `podman` or `buildah`, to be given arguments.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command.env("CONTAINERS_REGISTRIES_CONF", self.dir.join("registries.conf"));
        command.env("REGISTRIES_CONFIG_PATH", self.dir.join("registries.conf"));
        command.env("TMPDIR", &self.dir).env("REGISTRY", &self.registry);
        command
    }

    /// Runs `podman` and returns how it went.
    pub fn run(&self, arguments: &[&str]) -> Out {
        let mut command = self.command("podman");
        // Its own folder in /run is made at boot, which a machine where podman was just installed has not seen.
        command.arg("--tmpdir").arg(self.dir.join("tmp"));
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]).args(arguments);
        Out::of(command, None, LIMIT)
    }

    /// Runs `buildah` on the same storage.
    pub fn buildah(&self, arguments: &[&str]) -> Out {
        let mut command = self.command("buildah");
        command.args(arguments);
        Out::of(command, None, LIMIT)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Storage may hold mounts; podman knows how to let go of them. A failure shows in the leak check.
        drop(self.run(&["system", "reset", "--force"]));
    }
}
