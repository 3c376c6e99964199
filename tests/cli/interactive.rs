//! What people feel at a terminal: keys, sizes, signals, and the terminal as it was before; by a pty and by tmux.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::pty::Terminal;
use crate::support::{Sandbox, tools};

/// A shell on a terminal, in the sandbox's environment.
fn shell(sandbox: &Sandbox, script: &str) -> Terminal {
    let img = sandbox.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(sandbox.path(""));
    command.envs(img.get_envs().filter_map(|(key, value)| Some((key, value?)))).env("IMG", img.get_program());
    Terminal::start(&command)
}

#[test]
fn a_half_typed_detach_sequence_reaches_the_program() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "stty raw -echo; echo ready; dd bs=1 count=1 2>/dev/null | od -An -c";
    let mut terminal = sandbox.terminal(&["run", "-it", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    terminal.expect("ready");
    let typed = Instant::now();
    terminal.send("\x10");
    terminal.expect("020");
    assert!(typed.elapsed() >= Duration::from_millis(400), "ctrl-q could still have followed");
    assert_eq!(terminal.finish().0, 0);
}

#[test]
fn exec_detaches_by_keys_of_its_own() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "300"]);
    let words = ["exec", "-it", "--detach-keys", "ctrl-x,x", &id, "sh", "-c", "echo ready; sleep 300"];
    let mut terminal = sandbox.terminal(&words);
    terminal.expect("ready");
    terminal.send("\x18x");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(sandbox.ok(&["exec", &id, "sh", "-c", "ps | grep -c '[s]leep 300'"]), "2", "it goes on without us");
}

#[test]
fn the_terminal_is_as_before_when_a_signal_or_a_crash_ends_the_client() {
    let sandbox = Sandbox::new();
    let words = ["run", "-dit", "--name", "box", "--stop-signal", "KILL", "--network", "none", "busybox", "sh"];
    sandbox.ok(&words);
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)].into_iter().chain([
        ("SEGV", 139),
        ("BUS", 135),
        ("ABRT", 134),
    ]) {
        let attach =
            "ulimit -c 0; sh -c 'echo $$ > pid; exec $IMG attach --sig-proxy=false box'; echo code=$?; stty -a";
        let mut terminal = shell(&sandbox, attach);
        terminal.send("echo rea''dy\r");
        terminal.expect("ready");
        let pid = std::fs::read_to_string(sandbox.path("pid")).unwrap();
        tools::run("kill", [format!("-{signal}"), pid.trim().to_owned()]).ok();
        terminal.expect(&format!("code={code}"));
        let (_, screen) = terminal.finish();
        let modes = screen.rsplit("code=").next().unwrap().to_owned();
        assert!(modes.contains(" icanon") && modes.contains(" echo "), "after SIG{signal}: {modes}");
        assert_eq!(sandbox.inspect("box")["State"]["Running"], true, "it only was attached to");
    }
}

#[test]
fn a_shell_stops_and_goes_on_with_a_run_in_the_foreground() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script =
        "echo be''gun; n=0; until [ -e /tmp/go ]; do n=$((n+1)); echo $n > /tmp/count; sleep 0.05; done; exit 4";
    sandbox.write("script", script);
    let mut terminal = shell(&sandbox, "exec sh -i");
    terminal.send("$IMG run --name box --network none busybox sh -c \"$(cat script)\"\r");
    terminal.expect("begun");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    let count = || sandbox.ok(&["exec", "box", "cat", "/tmp/count"]).trim().parse::<u32>().unwrap_or(0);
    let before = count();
    sandbox.wait_until("the container goes on", || count() > before + 2);
    terminal.send("fg; echo co''de=$?\r");
    terminal.expect("co''de=");
    sandbox.ok(&["exec", "box", "touch", "/tmp/go"]);
    terminal.expect("code=4");
    terminal.send("exit\r");
    terminal.finish();
}

#[test]
fn what_is_written_right_before_the_end_arrives() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "yes 0123456789 | head -n 100000; echo last";
    for flags in [&["run", "--rm"][..], &["run", "--rm", "-i"]] {
        let words = [flags, &["--network", "none", "busybox", "sh", "-c", script]].concat();
        let out = sandbox.img(&words);
        assert_eq!(out.ok().bytes().len(), 1_100_000 + 5, "{flags:?}");
    }
    let words = ["run", "--rm", "-it", "--network", "none", "busybox", "sh", "-c", script];
    let mut terminal = sandbox.terminal(&words);
    let (code, screen) = terminal.finish();
    assert_eq!((code, screen.len()), (0, 1_200_000 + 6), "on a terminal lines end with two bytes");
}

#[test]
fn a_terminal_lives_while_nobody_has_it_open() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    // As an init does it, which opens its console for a line only.
    let script =
        "exec </dev/null >/dev/null 2>&1; while [ ! -e /go ]; do sleep 0.1; done; echo later >/dev/console; sleep 300";
    sandbox.ok(&["run", "-dt", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.wait_until("it has closed its terminal", || {
        !sandbox.img(&["exec", "box", "ls", "-l", "/proc/1/fd"]).stdout().contains("pts/")
    });
    sandbox.ok(&["exec", "box", "touch", "/go"]);
    sandbox.wait_until("what it wrote is kept", || sandbox.ok(&["logs", "box"]).contains("later"));
    sandbox.ok(&["rm", "-f", "box"]);
}

#[test]
fn a_session_in_tmux() {
    if !tools::has("tmux") {
        println!("skip: tmux is not here");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let tmux = Tmux::start(&sandbox);
    tmux.line("$IMG run -it --name box --network none busybox sh");
    tmux.waits_for("/ #");
    tmux.line("vi /tmp/file");
    tmux.waits_for("~");
    tmux.keys(&["i"]);
    tmux.waits_for("I /tmp/file");
    tmux.keys(&["hello from vi", "Escape"]);
    // Right behind an escape a key would be part of a sequence.
    tmux.waits_for("- /tmp/file");
    tmux.line(":wq");
    tmux.line("clear; cat /tmp/file | tr a-z A-Z");
    tmux.waits_for("HELLO FROM VI");
    tmux.run(&["resize-window", "-t", "0", "-x", "117", "-y", "33"]);
    tmux.line("clear; stty size");
    tmux.waits_for("33 117");
    tmux.line("clear; echo go; sleep 300");
    tmux.waits_for("go");
    tmux.keys(&["C-c"]);
    tmux.line("echo code $?");
    tmux.waits_for("code 130");
    tmux.keys(&["C-p", "C-q"]);
    tmux.line("echo out $?; stty -a | grep -o -e '-*icanon'");
    tmux.waits_for("out 0\nicanon");
    assert_eq!(sandbox.inspect("box")["State"]["Running"], true);
    tmux.line("clear; $IMG attach box");
    tmux.keys(&["Enter"]);
    tmux.waits_for("/ #");
    tmux.line("exit 7");
    // What is typed before the client has ended is the container's.
    tmux.waits_for("exit 7\n#");
    tmux.line("echo end $?");
    tmux.waits_for("end 7");
}

/// A tmux server of the test's own, ended with it.
struct Tmux<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Tmux<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let tmux = Self { sandbox };
        tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "sh"]);
        tmux.run(&["set", "-g", "status", "off"]);
        tmux
    }

    /// A command of tmux, and what it prints.
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let img = self.sandbox.command(&[]);
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.sandbox.path("tmux")).args(words).env_clear();
        command.envs(img.get_envs().filter_map(|(key, value)| Some((key, value?)))).env("IMG", img.get_program());
        let out = command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").output().expect("tmux runs");
        assert!(out.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys", "-t", "0"][..], keys].concat());
    }

    fn line(&self, text: &str) {
        self.keys(&[text, "Enter"]);
    }

    #[track_caller]
    fn waits_for(&self, text: &str) {
        let began = Instant::now();
        loop {
            let screen = self.run(&["capture-pane", "-p", "-t", "0"]);
            if screen.contains(text) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "waited for {text:?}; the screen shows\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let socket = self.sandbox.path("tmux");
        drop(Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output());
    }
}
