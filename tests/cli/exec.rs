//! `img exec`: one more process in a running container, under the same walls.

use crate::support::Sandbox;

fn sleeper(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut all = vec!["run", "-d", "--network", "none"];
    all.extend(words);
    all.extend(["busybox", "sleep", "300"]);
    sandbox.ok(&all)
}

#[test]
fn output_status_input_user_folder_and_environment() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &["-e", "FROM_RUN=1", "-w", "/home"]);
    sandbox
        .img(&["exec", &id, "sh", "-c", "echo out; echo err >&2; exit 6"])
        .exits(6)
        .prints_exactly("out\n")
        .says(&["err"]);
    sandbox.img(&["exec", "-e", "A=2", &id, "sh", "-c", "echo $FROM_RUN $A; pwd"]).ok().prints_exactly("1 2\n/home\n");
    sandbox
        .img(&["exec", "-u", "alice", "-w", "/tmp", &id, "sh", "-c", "id -un; pwd"])
        .ok()
        .prints_exactly("alice\n/tmp\n");
    sandbox.img_with_input(&["exec", "-i", &id, "cat"], "through\n").ok().prints_exactly("through\n");
    sandbox.img(&["exec", &id, "cat"]).ok().prints_exactly("");
    sandbox.img(&["exec", &id, "no-such-program"]).refuses(127, &["no-such-program"]);
    sandbox.img(&["exec", &id, "/etc/passwd"]).refuses(126, &["/etc/passwd"]);
    sandbox.img(&["exec", &id, "sh", "-c", "kill -TERM $$"]).exits(143);
}

#[test]
fn the_same_walls_as_the_container() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &["--cap-drop", "CHOWN", "--pids-limit", "50"]);
    let walls = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; cat /proc/self/cgroup; for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done";
    let own = sandbox.img(&["exec", &id, "sh", "-c", &walls.replace("self", "1")]);
    let added = sandbox.img(&["exec", &id, "sh", "-c", walls]);
    assert_eq!(own.ok().stdout(), added.ok().stdout());
    sandbox.img(&["exec", &id, "ls", "-l", "/proc/self/fd"]).ok();
    let files = sandbox.img(&["exec", &id, "sh", "-c", "ls /proc/$$/fd | wc -l"]).ok().word();
    assert!(files.parse::<u32>().unwrap() <= 4, "no descriptor of the host's came along: {files}");
}

#[test]
fn on_a_terminal() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    let mut terminal = sandbox.terminal(&["exec", "-it", &id, "sh"]);
    terminal.line("tty; stty size");
    terminal.expect("/dev/pts/");
    terminal.expect("24 80");
    terminal.line("exit 3");
    assert_eq!(terminal.finish().0, 3);
}

#[test]
fn detached_and_ended_with_the_container() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    let out = sandbox.img(&["exec", "-d", &id, "sh", "-c", "echo $$ > /pid; sleep 300"]);
    out.ok();
    sandbox.wait_until("it runs", || sandbox.img(&["exec", &id, "test", "-s", "/pid"]).code() == 0);
    sandbox.ok(&["kill", &id]);
    sandbox.ok(&["wait", &id]);
    sandbox.img(&["exec", &id, "true"]).refuses(1, &["not running"]);
}

#[test]
fn a_lost_client_ends_its_process() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    let mut exec = sandbox.spawn(&["exec", &id, "sleep", "12345"]);
    let there = || sandbox.img(&["exec", &id, "sh", "-c", "ps | grep -q '[s]leep 12345'"]).code() == 0;
    sandbox.wait_until("it runs", there);
    exec.signal(rustix::process::Signal::KILL);
    exec.wait();
    sandbox.wait_until("it is ended", || !there());
    assert_eq!(sandbox.inspect(&id)["State"]["Running"], true);
}

#[test]
fn twenty_at_once() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    let mut all: Vec<_> = (0..20).map(|n| sandbox.spawn(&["exec", &id, "sh", "-c", &format!("exit {n}")])).collect();
    for (n, one) in all.iter_mut().enumerate() {
        assert_eq!(one.wait(), i32::try_from(n).unwrap());
    }
}

#[test]
fn what_runs_is_listed_and_forgotten_at_its_end() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    let ids = || sandbox.inspect(&id)["ExecIDs"].clone();
    assert!(ids().is_null());
    let list = sandbox.ok(&["exec", "--list", &id]);
    assert!(list.starts_with("EXEC ID") && list.lines().count() == 1, "{list}");
    sandbox.ok(&["exec", "-d", &id, "sleep", "301"]);
    let mut client = sandbox.command(&["exec", &id, "sleep", "302"]).spawn().unwrap();
    sandbox.wait_until("both are recorded", || ids().as_array().is_some_and(|ids| ids.len() == 2));
    let list = sandbox.ok(&["exec", "--list", &id]);
    let line = |text: &str| list.lines().find(|line| line.ends_with(text)).unwrap().to_owned();
    let (back, front) = (line("sleep 301"), line("sleep 302"));
    assert!(ids().as_array().unwrap().iter().any(|id| id.as_str().unwrap().starts_with(&back[..12])), "{back}");
    let pid = back.split_whitespace().nth(1).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "sleep\x00301\x00");
    // A client that is killed cannot take its record back; it is not believed.
    client.kill().unwrap();
    client.wait().unwrap();
    let gone = front.split_whitespace().nth(1).unwrap();
    sandbox.wait_until("it has ended with its client", || !std::path::Path::new(&format!("/proc/{gone}")).exists());
    assert_eq!(ids().as_array().unwrap().len(), 1);
    sandbox.ok(&["exec", &id, "sh", "-c", "kill $(pidof sleep | tr ' ' '\\n' | grep -v '^1$')"]);
    sandbox.wait_until("it is forgotten", || ids().is_null());
    sandbox.ok(&["exec", "-d", &id, "sleep", "303"]);
    sandbox.ok(&["rm", "-f", &id]);
    sandbox.img(&["exec", "--list", &id]).refuses(1, &["no such container"]);
}
