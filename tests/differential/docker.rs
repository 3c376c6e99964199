//! One dockerd for the whole suite, with BuildKit as its builder: a child of ours in a folder and a network namespace of its
//! own, without a rule in the firewall, ended by its id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::registry::spawn_from_keeper;
use crate::support::{Out, images, leaks, tools};

const LIMIT: Duration = Duration::from_secs(180);

/// What the name of a dockerd's folder begins with; the id of the test program follows.
const FOLDER: &str = "img-dockerd.";

/// A running dockerd.
pub struct Docker {
    dir: PathBuf,
    child: Child,
}

impl Docker {
    /// The one that all tests of this program share, started by the first that asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Docker> = OnceLock::new();
        SHARED.get_or_init(|| {
            remove_leftovers();
            Self::start(&std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id())))
        })
    }

    /// Is it installed?
    pub fn is_there() -> bool {
        Path::new("/usr/bin/docker").exists() && tools::has("dockerd")
    }

    /// Starts it below `dir`, with busybox loaded.
    fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a folder for dockerd");
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let mut command = Command::new("setpriv");
        // The kernel ends it when this program is gone.
        command.args(["--pdeathsig", "TERM", "unshare", "--net", "dockerd", "--iptables=false", "--host"]);
        command.arg(format!("unix://{}/docker.sock", dir.display()));
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(dir.join(name));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let docker = Self { dir: dir.to_owned(), child: spawn_from_keeper(command) };
        let began = Instant::now();
        while docker.run(&["version"]).code() != 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "dockerd did not come up, see {}/log", dir.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        let archive = dir.join("busybox.tar").to_string_lossy().into_owned();
        let from = format!("oci:{}:latest", images::layout("busybox").display());
        tools::run("skopeo", ["copy", "--quiet", &from, &format!("docker-archive:{archive}:busybox:latest")]);
        docker.run(&["load", "--quiet", "--input", &archive]).ok();
        docker
    }

    /// Runs `docker` to its end. By its path: /usr/local/bin may have another one.
    pub fn run(&self, words: &[&str]) -> Out {
        Out::of(self.command(words), None, LIMIT)
    }

    /// `docker` with these words, not started.
    pub fn command(&self, words: &[&str]) -> Command {
        let own = self.words();
        let mut command = Command::new(&own[0]);
        command.args(&own[1..]).args(words);
        command.env("DOCKER_BUILDKIT", "1").env("HOME", &self.dir);
        command
    }

    /// `docker` and the words that lead it to this daemon.
    pub fn words(&self) -> [String; 3] {
        ["/usr/bin/docker".into(), "--host".into(), format!("unix://{}/docker.sock", self.dir.display())]
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Already gone is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > Duration::from_secs(20) {
                drop(self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes the folders of test programs that have ended: what a program shares is never dropped, and its dockerd, which the kernel ends
/// with it, needs the folder until then.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(FOLDER).and_then(|id| id.parse::<u32>().ok()) else { continue };
        let place = entry.path().to_string_lossy().into_owned();
        let alive = Path::new(&format!("/proc/{owner}")).exists() || !leaks::processes(&place).is_empty();
        if !alive && leaks::mounts_with(&place).is_empty() {
            // One that somebody else removes too is gone all the same.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}
