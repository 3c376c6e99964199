//! A store, run directory and configuration of a test's own, and `img` on top of them. When it is dropped, everything is
//! removed through `img` itself and then looked for from outside: a container's process, its monitor, a mount or a
//! control group left behind fails the test that made it.
//!
//! Tests share the machine, so all but those that count things on it hold a lock for reading; `Sandbox::alone` holds it
//! for writing. The locks are on files: the harness may give each test a thread or a process.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::pty::Terminal;
use super::{Out, Registry, images, leaks};

const LIMIT: Duration = Duration::from_secs(120);

/// A store of one's own.
pub struct Sandbox {
    dir: TempDir,
    config: String,
    ids: std::cell::RefCell<BTreeSet<String>>,
    _locks: Vec<File>,
}

/// A started `img` that is ended with the test.
pub struct Running(pub Child);

impl Sandbox {
    /// A new empty store beside those of other tests. Short image names come from the base images' registry.
    pub fn new() -> Self {
        let gate = lock_file("gate");
        gate.lock_shared().expect("the gate's lock");
        let lock = lock_file("machine");
        lock.lock_shared().expect("the machine's lock");
        Self::with_locks(vec![lock])
    }

    /// A new empty store, and no other test running until it is dropped.
    pub fn alone() -> Self {
        let gate = lock_file("gate");
        gate.lock().expect("the gate's lock");
        let lock = lock_file("machine");
        lock.lock().expect("the machine's lock");
        Self::with_locks(vec![lock, gate])
    }

    /// A new empty store for a test in namespaces of its own, which neither sees what others leave nor shows them what it does.
    #[allow(dead_code)] // Not every test program that shares this has namespaces of its own.
    pub fn apart() -> Self {
        Self::with_locks(Vec::new())
    }

    /// One more empty store for the same test.
    pub fn sibling(&self) -> Self {
        Self::with_locks(Vec::new())
    }

    fn with_locks(locks: Vec<File>) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("img-test.").tempdir().expect("a folder for the test");
        let mirror = Registry::bases().address();
        // The keyring is the user's, so all tests would share it.
        let config = format!(
            "credential-store = \"file\"\n\n[registries.\"docker.io\"]\nmirrors = [\"http://{mirror}\"]\n\n[registries.\"{mirror}\"]\ninsecure = true\n"
        );
        let sandbox = Self { dir, config, ids: Default::default(), _locks: locks };
        std::fs::write(sandbox.path("config.toml"), &sandbox.config).expect("a configuration file");
        std::fs::create_dir(sandbox.path("home")).expect("a home folder");
        sandbox
    }

    /// Lets `img` speak plain HTTP with this registry too.
    pub fn trust(&mut self, registry: &Registry) {
        self.config.push_str(&format!("\n[registries.\"{}\"]\ninsecure = true\n", registry.address()));
        std::fs::write(self.path("config.toml"), &self.config).expect("a configuration file");
    }

    /// A path below the test's folder.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a file below the test's folder, with the folders above it; returns its path as text.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders for a file");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path.to_string_lossy().into_owned()
    }

    /// A path below the test's folder as text, for arguments.
    pub fn text(&self, relative: &str) -> String {
        self.path(relative).to_string_lossy().into_owned()
    }

    /// The store's root.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// `img` with these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command_in(self.dir.path(), arguments)
    }

    /// Runs `img` to its end.
    #[track_caller]
    pub fn img(&self, arguments: &[&str]) -> Out {
        self.remember(Out::of(self.command(arguments), None, LIMIT))
    }

    /// Runs `img` with this on its standard input.
    #[track_caller]
    pub fn img_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Out {
        self.remember(Out::of(self.command(arguments), Some(input.as_ref()), LIMIT))
    }

    /// Runs `img`, asserts success, and returns its standard output without the white space around it.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.img(arguments).ok().word()
    }

    /// Starts `img` with both outputs piped; it is killed when the result is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap_or_else(|error| panic!("cannot start img {arguments:?}: {error}")))
    }

    /// Starts `img` on a terminal.
    pub fn terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(&self.command(arguments))
    }

    /// Pulls a base image (`busybox`, `odd`, `debian`) and returns the name.
    #[track_caller]
    pub fn pull<'a>(&self, name: &'a str) -> &'a str {
        self.ok(&["pull", "--quiet", name]);
        name
    }

    /// Writes `Buildfile` (and what the test put beside it before) below `context` and builds it as `tag`.
    #[track_caller]
    pub fn build(&self, context: &str, tag: &str, buildfile: &str) -> Out {
        self.write(&format!("{context}/Buildfile"), buildfile);
        self.img(&["build", "--tag", tag, &self.text(context)])
    }

    /// Unpacks the whole file system of `image` below `into` by way of `create`, `export` and GNU tar.
    #[track_caller]
    pub fn flatten(&self, image: &str, into: &str) -> PathBuf {
        let id = self.ok(&["create", image, "true"]);
        let archive = self.text(&format!("{into}.tar"));
        self.ok(&["export", "--output", &archive, &id]);
        self.ok(&["rm", &id]);
        super::tools::untar(Path::new(&archive), &self.path(into));
        self.path(into)
    }

    /// `img inspect` of one thing.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        self.img(&["inspect", name]).ok().json()[0].clone()
    }

    /// Waits until `true` comes out of `test`, asking every few milliseconds, for at most twenty seconds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut test: impl FnMut() -> bool) {
        let began = Instant::now();
        while !test() {
            assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asserts that the store is whole and usable: nothing damaged, and a container runs from it.
    #[track_caller]
    pub fn assert_usable(&self) {
        self.img(&["system", "check"]).ok();
        self.ok(&["pull", "--quiet", "busybox"]);
        self.img(&["run", "--rm", "--network", "none", "busybox", "echo", "usable"]).ok().prints_exactly("usable\n");
    }

    /// Every file below the store's root with its size and content's hash, to see that nothing changed. Locks, logs and
    /// unfinished downloads are left out.
    pub fn store_picture(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for part in ["blobs", "layers", "images", "refs"] {
            list(&self.root().join(part), &mut found);
        }
        found
    }

    fn remember(&self, out: Out) -> Out {
        let word = out.word();
        if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.ids.borrow_mut().insert(word);
        }
        out
    }

    fn clean(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.root().exists() {
            let listed = self.img(&["ps", "--all", "--quiet", "--no-trunc"]);
            let ids: Vec<String> = listed.stdout().split_whitespace().map(str::to_owned).collect();
            if listed.code() != 0 {
                problems.push(format!("cannot list what is left\n{listed}"));
            }
            if !ids.is_empty() {
                let mut words = vec!["rm", "--force", "--volumes"];
                words.extend(ids.iter().map(String::as_str));
                let removed = self.img(&words);
                if removed.code() != 0 {
                    problems.push(format!("cannot remove what is left\n{removed}"));
                }
            }
            self.ids.borrow_mut().extend(ids);
            let networks = self.img(&["network", "prune", "--force"]);
            if networks.code() != 0 {
                problems.push(format!("cannot remove the networks\n{networks}"));
            }
            let unmounted = self.img(&["system", "unmount"]);
            if unmounted.code() != 0 {
                problems.push(format!("cannot unmount\n{unmounted}"));
            }
        }
        let place = self.dir.path().to_string_lossy().into_owned();
        let began = Instant::now();
        loop {
            let mut left = leaks::mounts_with(&place);
            left.extend(leaks::processes(&place).iter().map(|(pid, line)| format!("process {pid}: {line}")));
            for id in self.ids.borrow().iter() {
                left.extend(leaks::groups_of(id).iter().map(|group| group.display().to_string()));
            }
            if left.is_empty() {
                break;
            }
            if began.elapsed() > Duration::from_secs(5) {
                problems.extend(left.into_iter().map(|line| format!("left behind: {line}")));
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        problems
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // One failure is enough to read; cleaning is still owed, and may itself run into what broke the test.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean())));
            return;
        }
        let problems = self.clean();
        assert!(problems.is_empty(), "after the test:\n{}", problems.join("\n"));
    }
}

impl Running {
    /// Sends a signal to it.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("a child of ours can be signalled");
    }

    /// What it wrote to standard error, once it has ended.
    pub fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            std::io::Read::read_to_string(stderr, &mut text).expect("its standard error is text");
        }
        text
    }

    /// Waits for its end and returns its exit status, 128+n for signal n.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child of ours can be waited for") {
                use std::os::unix::process::ExitStatusExt;
                return status.signal().map_or(status.code().unwrap_or(-1), |number| 128 + number);
            }
            assert!(began.elapsed() < LIMIT, "img (process {}) did not end", self.0.id());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// `img` with these arguments on the store of the sandbox that has this folder, for threads of a test's own.
pub fn command_in(folder: &Path, arguments: &[&str]) -> Command {
    let binary = std::env::var_os("IMG_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_img").into());
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().current_dir(folder);
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", folder.join("home")).env("IMG_CONFIG", folder.join("config.toml"));
    command.env("IMG_ROOT", folder.join("root")).env("IMG_RUNROOT", folder.join("run"));
    command
}

fn lock_file(name: &str) -> File {
    let path = images::folder().join(format!(".lock-{name}"));
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()))
}

fn list(at: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, found);
        } else {
            let size = entry.metadata().map(|meta| meta.len()).unwrap_or(0);
            found.insert(format!("{} {size}", path.display()));
        }
    }
}
