//! The start path, seen by strace: no process but the container's and its monitor, no other program, nothing synced.

use std::collections::BTreeSet;

use crate::support::{Out, Sandbox, skip, tools};

/// Calls that wait for a disk.
const SYNCS: [&str; 6] = ["fsync(", "fdatasync(", "sync(", "syncfs(", "sync_file_range(", "msync("];

struct Trace {
    text: String,
    /// Processes made, threads aside.
    forks: usize,
    /// Programs executed.
    programs: BTreeSet<String>,
}

fn traced(sandbox: &Sandbox, words: &[&str]) -> Trace {
    let log = sandbox.text("strace");
    let plain = sandbox.command(words);
    let mut command = sandbox.command(words);
    command = {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-s", "200", "-o", &log, "-e"]);
        strace.arg("trace=clone,clone3,fork,vfork,execve,execveat,fsync,fdatasync,sync,syncfs,sync_file_range,msync");
        strace.arg(plain.get_program()).args(words).env_clear().current_dir(sandbox.path("."));
        for (name, value) in command.get_envs() {
            strace.env(name, value.unwrap_or_default());
        }
        strace
    };
    Out::of(command, None, std::time::Duration::from_secs(60)).ok();
    let text = std::fs::read_to_string(&log).expect("strace wrote its log");
    // A call that was interrupted by another process's line is told a second time when it is resumed.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" resumed>")).collect();
    let made = |line: &&&str| ["clone(", "clone3(", "fork("].iter().any(|call| line.contains(call));
    let forks = lines.iter().filter(made).filter(|line| !line.contains("CLONE_THREAD")).count();
    let program = |line: &&str| line.split_once("execve(\"")?.1.split('"').next().map(str::to_owned);
    let programs = lines.iter().filter_map(program).collect();
    Trace { forks, programs, text }
}

#[test]
fn a_start_makes_no_process_but_the_containers_and_syncs_nothing() {
    if !tools::has("strace") {
        skip!("strace is not installed");
    }
    let sandbox = Sandbox::new();
    // The layers are mounted once, the record's folders made once.
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
    let cases: [(&[&str], usize); 7] = [
        (&["run", "--rm", "--network", "none", "busybox", "/bin/true"], 1),
        (&["run", "--rm", "busybox", "/bin/true"], 1),
        (&["run", "--rm", "--network", "none", "-m", "64m", "--read-only", "--tmpfs", "/t", "busybox", "/bin/true"], 1),
        // The monitor is forked twice, so that nobody waits for it.
        (&["run", "-d", "--rm", "--network", "none", "busybox", "/bin/true"], 3),
        (&["exec", &id, "/bin/true"], 1),
        // New volumes, filled from the image, named and not.
        (&["run", "--rm", "--network", "none", "-v", "new:/etc", "-v", "/tmp", "busybox", "/bin/true"], 1),
        (&["run", "-d", "--network", "none", "-v", "second:/x", "busybox", "/bin/true"], 3),
    ];
    for (words, most) in cases {
        let trace = traced(&sandbox, words);
        assert!((1..=most).contains(&trace.forks), "{words:?}: {} processes\n{}", trace.forks, trace.text);
        let others: Vec<&String> =
            trace.programs.iter().filter(|name| !name.ends_with("/img") && *name != "/bin/true").collect();
        assert!(others.is_empty() && trace.programs.contains("/bin/true"), "{words:?}: {others:?}\n{}", trace.text);
        for sync in SYNCS {
            let call = |line: &str| line.split_whitespace().nth(1).is_some_and(|call| call.starts_with(sync));
            assert!(!trace.text.lines().any(call), "{words:?}: {sync}\n{}", trace.text);
        }
    }
    sandbox.ok(&["rm", "-f", &id]);
}
