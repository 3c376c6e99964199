//! `img-runtime` under the engines: podman and containerd start, look into, limit and end containers with it, as they do with
//! runc. What it does by itself is tested in the runner.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::pty::Terminal;
use crate::support::tools::{Podman, has};
use crate::support::{Out, Registry, Sandbox, images, skip};

/// The binary, which is built beside `img` where the whole workspace is.
fn runtime() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_img")).with_file_name("img-runtime");
    path.exists().then_some(path)
}

/// podman with one image and containers by img-runtime. This machine's own limits are lower than podman's defaults.
struct Engine {
    podman: Podman,
    runtime: String,
}

impl Engine {
    fn new(sandbox: &Sandbox) -> Option<Self> {
        let runtime = runtime().filter(|_| has("podman"))?.to_str()?.to_owned();
        let podman = Podman::new(&sandbox.path("podman"), Registry::bases().address());
        podman.run(&["import", "--quiet", images::busybox_tar().to_str()?, "bb"]).ok();
        Some(Self { podman, runtime })
    }

    fn call(&self, words: &[&str]) -> Out {
        let mut all = vec!["--runtime", &self.runtime];
        all.extend(words);
        self.podman.run(&all)
    }

    fn run(&self, words: &[&str]) -> Out {
        self.call(&[&["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"], words].concat())
    }
}

#[test]
fn podman_runs_containers_and_gets_their_exit_codes() {
    let sandbox = Sandbox::new();
    let Some(engine) = Engine::new(&sandbox) else {
        skip!("podman and img-runtime are needed");
    };
    let quiet = ["--rm", "--network", "none"];
    let run = |words: &[&str]| engine.run(&[&quiet[..], words].concat());
    let out = run(&["bb", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    out.exits(7);
    assert_eq!((out.stdout().as_str(), out.stderr().as_str()), ("out\n", "err\n"));
    run(&["bb", "/nosuch"]).exits(127);
    run(&["bb", "nosuch"]).exits(127);
    run(&["bb", "/etc"]).exits(126);
    let out = run(&[
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "33",
        "bb",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/*/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true",
    ]);
    assert_eq!(out.ok().word(), "33");
    let shared = sandbox.write("shared/file", "from the host\n");
    let folder = Path::new(&shared).parent().unwrap().to_str().unwrap().to_owned();
    let out = run(&[
        "-v",
        &format!("{folder}:/data:ro"),
        "--read-only",
        "--tmpfs",
        "/t",
        "--user",
        "1000",
        "bb",
        "sh",
        "-c",
        "id -u; cat /data/file; touch /t/x && echo made; touch /x 2>/dev/null || echo read-only",
    ]);
    assert_eq!(out.ok().stdout(), "1000\nfrom the host\nmade\nread-only\n");
}

#[test]
fn podman_looks_after_a_container_in_the_background() {
    let sandbox = Sandbox::new();
    let Some(engine) = Engine::new(&sandbox) else {
        skip!("podman and img-runtime are needed");
    };
    let script = "echo started; trap 'exit 5' TERM; while :; do sleep 0.1; done";
    engine.run(&["-d", "--name", "c", "--network", "none", "bb", "sh", "-c", script]).ok();
    engine.call(&["exec", "c", "sh", "-c", "exit 4"]).exits(4);
    engine.call(&["exec", "c", "nosuch"]).exits(127);
    let out = engine.call(&[
        "exec",
        "--user",
        "1000:1001",
        "-w",
        "/tmp",
        "-e",
        "A=b",
        "c",
        "sh",
        "-c",
        "id -u; id -g; pwd; echo $A",
    ]);
    assert_eq!(out.ok().stdout(), "1000\n1001\n/tmp\nb\n");
    let status = || engine.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "c"]).ok().stdout();
    engine.call(&["pause", "c"]).ok();
    assert_eq!(status(), "paused 0\n");
    engine.call(&["unpause", "c"]).ok();
    assert!(engine.call(&["top", "c"]).ok().stdout().contains("sleep 0.1"));
    sandbox.wait_until("the log", || engine.call(&["logs", "c"]).ok().stdout() == "started\n");
    engine.call(&["stop", "-t", "10", "c"]).ok();
    assert_eq!(status(), "exited 5\n");
    engine.call(&["start", "c"]).ok();
    engine.call(&["kill", "c"]).ok();
    assert_eq!(engine.call(&["wait", "c"]).ok().word(), "137");
    engine.call(&["rm", "-f", "c"]).ok();
    assert!(!Path::new("/run/img-runtime/c").exists());
}

#[test]
fn podman_gives_a_container_a_terminal() {
    let sandbox = Sandbox::new();
    let Some(engine) = Engine::new(&sandbox) else {
        skip!("podman and img-runtime are needed");
    };
    let mut command = engine.podman.command("podman");
    command.arg("--tmpdir").arg(sandbox.path("podman/tmp")).args([
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        &engine.runtime,
    ]);
    command.args([
        "run",
        "--rm",
        "-it",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1000:1000",
        "--network",
        "none",
    ]);
    command.args(["bb", "sh"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("/ # ");
    terminal.line("tty; stty size");
    terminal.expect("/dev/pts/0\r\n24 80\r\n");
    terminal.line("exit 9");
    assert_eq!(terminal.finish().0, 9);
}

/// A containerd of the test's own, ended by its id.
struct Containerd {
    daemon: Child,
    socket: String,
    runtime: String,
}

impl Containerd {
    fn start(sandbox: &Sandbox) -> Option<Self> {
        let runtime = runtime().filter(|_| has("containerd") && has("ctr"))?.to_str()?.to_owned();
        let place = sandbox.text("containerd");
        std::fs::create_dir(&place).unwrap();
        let socket = format!("{place}/c.sock");
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n"
        );
        let config = sandbox.write("containerd/config.toml", config);
        let log = std::fs::File::create(format!("{place}/log")).unwrap();
        let mut command = Command::new("containerd");
        command.args(["--config", &config]).stdout(log.try_clone().unwrap()).stderr(log);
        let containerd = Self { daemon: command.spawn().ok()?, socket, runtime };
        sandbox.wait_until("containerd", || containerd.call(&["version"]).code() == 0);
        let archive = sandbox.text("bb.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(images::layout("busybox")).args([
            "blobs",
            "index.json",
            "oci-layout",
        ]);
        assert!(tar.status().unwrap().success());
        containerd.call(&["image", "import", "--base-name", "docker.io/library/bb", &archive]).ok();
        Some(containerd)
    }

    fn call(&self, words: &[&str]) -> Out {
        let mut command = Command::new("ctr");
        command.args(["--address", &self.socket]).args(words);
        Out::of(command, None, Duration::from_secs(60))
    }

    fn run(&self, flags: &[&str], name: &str, program: &[&str]) -> Out {
        let fixed = ["run", "--runtime", "io.containerd.runc.v2", "--runc-binary", &self.runtime];
        self.call(&[&fixed[..], flags, &["docker.io/library/bb:latest", name], program].concat())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.daemon.wait());
    }
}

#[test]
fn containerd_starts_and_ends_tasks() {
    let sandbox = Sandbox::alone();
    let Some(containerd) = Containerd::start(&sandbox) else {
        skip!("containerd, ctr and img-runtime are needed");
    };
    let out = containerd.run(&["--rm"], "one", &["sh", "-c", "echo out; exit 6"]);
    out.exits(6);
    assert_eq!(out.stdout(), "out\n");
    let out = containerd.run(&["--rm"], "none", &["nosuch"]);
    out.exits(1);
    assert!(out.stderr().contains("executable file not found in $PATH"), "{out}");
    containerd.run(&["-d", "--memory-limit", "50000000"], "two", &["sleep", "1000"]).ok();
    let status = || containerd.call(&["task", "ls"]).ok().stdout();
    assert!(status().contains("RUNNING"), "{}", status());
    containerd.call(&["task", "exec", "--exec-id", "e", "two", "sh", "-c", "echo inside; exit 3"]).exits(3);
    containerd.call(&["task", "pause", "two"]).ok();
    assert!(status().contains("PAUSED"), "{}", status());
    containerd.call(&["task", "resume", "two"]).ok();
    assert!(containerd.call(&["task", "metrics", "two"]).ok().stdout().contains("memory"), "figures of its group");
    containerd.call(&["task", "kill", "--signal", "SIGKILL", "two"]).ok();
    sandbox.wait_until("its end", || status().contains("STOPPED"));
    let out = containerd.call(&["task", "delete", "two"]);
    out.ok();
    assert!(out.stderr().contains("exit code 137"), "{out}");
    containerd.call(&["container", "rm", "two"]).ok();
}
