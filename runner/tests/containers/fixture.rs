//! What the tests of containers share: a busybox root, a spec as the sandbox makes it, and a run directory that is gone
//! afterwards.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use oci_spec::runtime::Spec;
use runner::log::{LogConfig, Stream};
use runner::{Container, Exit, Rootfs};
use serde_json::{Value, json};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A machine for one test.
pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("runner-test-").tempdir().unwrap();
        let lab = Self { dir };
        busybox(&lab.path("rootfs"));
        std::fs::create_dir_all(lab.path("run/containers")).unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container over the busybox directory with an overlay, running `script` in a shell.
    pub fn container(&self, script: &str, more: Value) -> Container {
        self.container_of(&["sh", "-c", script], more)
    }

    pub fn container_of(&self, args: &[&str], more: Value) -> Container {
        let id = format!("rt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let rw = self.path(&format!("rw-{id}"));
        for name in ["upper", "work"] {
            std::fs::create_dir_all(rw.join(name)).unwrap();
        }
        let lower = runner::layers::LayerMount::Directory { id: "busybox".into(), path: self.path("rootfs") };
        Container {
            state_dir: self.path("run/containers").join(&id),
            run_dir: self.path("run"),
            rootfs: Rootfs::Overlay {
                lowers: vec![lower],
                upper: rw.join("upper"),
                work: rw.join("work"),
                volatile: true,
            },
            spec: spec(args, more),
            network: None,
            hosts: None,
            init: false,
            log: Some(LogConfig::new(self.path(&format!("{id}.log")))),
            create_cwd: false,
            layer_mounts: Vec::new(),
            file_mounts: Vec::new(),
            lenders: Vec::new(),
            cgroup_parent: None,
            stop_signal: libc::SIGTERM,
            supervision: runner::Supervision::default(),
            passed_on: Vec::new(),
            id,
        }
    }

    /// Runs a script to its end and returns its output and how it ended.
    pub fn run(&self, script: &str, more: Value) -> (String, Exit) {
        collect(&self.container(script, more))
    }

    /// As [`Lab::run`], the output alone, which must not be followed by a failure.
    pub fn output(&self, script: &str, more: Value) -> String {
        let (output, exit) = self.run(script, more);
        assert_eq!(exit.code, Some(0), "{script}: {output}");
        output
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a failed test left running must not outlive it.
        for (dir, _) in runner::state::list(&self.path("run/containers")).unwrap() {
            runner::delete(&dir, true).unwrap();
        }
        runner::layers::unmount_all(&self.path("run")).unwrap();
    }
}

/// Runs a container to its end.
pub fn collect(container: &Container) -> (String, Exit) {
    try_collect(container).unwrap_or_else(|error| panic!("{error}"))
}

pub fn try_collect(container: &Container) -> runner::Result<(String, Exit)> {
    let mut output = Vec::new();
    let mut sink = |_: Stream, bytes: &[u8]| output.extend_from_slice(bytes);
    let exit = runner::run_in(container, &mut sink, &AtomicBool::new(false))?;
    Ok((String::from_utf8_lossy(&output).into_owned(), exit))
}

/// A root file system with busybox and its applets.
pub fn busybox(root: &Path) {
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n").unwrap();
}

/// A spec with the default sandbox, and `more` merged into it.
pub fn spec(args: &[&str], more: Value) -> Spec {
    let sets = runner::security::capabilities::to_oci(
        &runner::security::capabilities::adjust(&runner::security::capabilities::DEFAULT, &[], &[]).unwrap(),
    );
    let mut base = json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "capabilities": sets,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        },
        "root": {"path": "rootfs"},
        "hostname": "lab",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}],
            "maskedPaths": runner::security::paths::MASKED,
            "readonlyPaths": runner::security::paths::READ_ONLY,
            "resources": {"pids": {"limit": 512}}
        }
    });
    let mounts = more.get("extraMounts").cloned();
    merge(&mut base, more);
    base.as_object_mut().unwrap().remove("extraMounts");
    if let Some(Value::Array(mounts)) = mounts {
        base["mounts"].as_array_mut().unwrap().extend(mounts);
    }
    serde_json::from_value(base).unwrap()
}

fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// Runs `work` with standard output and error going to a pipe, and returns what was written.
pub fn captured<T>(work: impl FnOnce() -> T) -> (T, String) {
    let file = tempfile::tempfile().unwrap();
    let saved = [rustix::io::dup(rustix::stdio::stdout()).unwrap(), rustix::io::dup(rustix::stdio::stderr()).unwrap()];
    rustix::stdio::dup2_stdout(&file).unwrap();
    rustix::stdio::dup2_stderr(&file).unwrap();
    let result = work();
    rustix::stdio::dup2_stdout(&saved[0]).unwrap();
    rustix::stdio::dup2_stderr(&saved[1]).unwrap();
    let mut text = String::new();
    let mut file = file;
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    (result, text)
}

/// Waits until `done` says so, at most ten seconds.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < until, "not within ten seconds: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
