//! A bundle with busybox, and a runtime with a root of its own that leaves nothing behind.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether these tests can run; says why not.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skip: containers need root");
    }
    root
}

/// runc, if it is installed; says if it is not.
pub fn runc() -> Option<PathBuf> {
    let found = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/bin/runc"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("skip: runc is not installed");
    }
    found
}

/// What a command printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Said {
    /// It must have ended well; what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// What it printed as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It must have failed with these words.
    #[track_caller]
    pub fn refuses(self, words: &str) {
        assert!(self.code != 0 && self.err.contains(words), "{words}: {self:?}");
    }
}

/// A bundle and a runtime.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub id: String,
    program: PathBuf,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Path::new(env!("CARGO_BIN_EXE_img-runtime")))
    }

    pub fn with(program: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("oci-test-").tempdir().unwrap();
        // Ids of a user namespace must be able to go through.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        busybox(&dir.path().join("rootfs"));
        let id = format!("ot-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { dir, id, program: program.to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration: a shell with this script, and `more` merged into it.
    pub fn config(&self, script: &str, more: Value) {
        let mut config = base(script);
        merge(&mut config, more);
        std::fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.path("state")).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// `run`s a script to its end.
    pub fn run(&self, script: &str, more: Value) -> Said {
        self.config(script, more);
        self.call(&["run", "--bundle", self.dir.path().to_str().unwrap(), &self.id])
    }

    /// `create`s a container with a script; its output goes to the file `out` of the bundle.
    pub fn create(&self, script: &str, more: Value) -> Said {
        self.config(script, more);
        let out = || Stdio::from(std::fs::File::options().create(true).append(true).open(self.path("out")).unwrap());
        let mut command =
            self.command(&["--log", self.path("log").to_str().unwrap(), "--log-format", "json", "create"]);
        command.args(["--bundle", self.dir.path().to_str().unwrap(), &self.id]).stdout(out()).stderr(out());
        let status = command.status().unwrap();
        let text = |name: &str| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        Said { code: status.code().unwrap_or(-1), out: text("out"), err: text("log") }
    }

    pub fn start(&self) -> Said {
        self.call(&["start", &self.id])
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap_or_default()
    }

    pub fn state(&self) -> Value {
        self.call(&["state", &self.id]).json()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap()
    }

    pub fn wait_for(&self, status: &str) {
        wait_until(status, || self.status() == status);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).output();
    }
}

#[track_caller]
pub fn wait_until(what: &str, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !test() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn busybox(root: &Path) {
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "mnt"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n").unwrap();
}

/// A configuration that both runtimes take.
pub fn base(script: &str) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD", "CAP_NET_RAW"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin:/sbin", "TERM=dumb"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "hostname": "lab",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// Objects are merged; a list under `+name` is appended to the list `name`, when there is one to append to.
pub fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                match key.strip_prefix('+').filter(|name| base.contains_key(*name)) {
                    Some(name) => {
                        let list = base[name].as_array_mut().unwrap();
                        list.extend(value.as_array().unwrap().clone());
                    }
                    None => merge(base.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (base, more) => *base = more,
    }
}
