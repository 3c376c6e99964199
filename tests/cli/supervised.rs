//! What is seen of a program's end: exit codes as docker documents them, memory that ran out, and what `--init` reaps and passes on.

use crate::support::Sandbox;

#[test]
fn exit_codes_of_run_exec_start_and_wait() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let ends: [(&[&str], i32); 7] = [
        (&["/etc/passwd"], 126),
        (&["no-such-program"], 127),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["sh", "-c", "kill -SEGV $$"], 139),
    ];
    sandbox.ok(&["run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "300"]);
    for (number, (command, code)) in ends.into_iter().enumerate() {
        // Without --init the kernel keeps a first process from ending itself by a signal.
        let run = ["--init", "--network", "none", "busybox"];
        sandbox.img(&[&["run", "--rm"], &run[..], command].concat()).exits(code);
        sandbox.img(&[&["exec", "host"], command].concat()).exits(code);
        let name = format!("box{number}");
        sandbox.ok(&[&["create", "--name", &name], &run[..], command].concat());
        sandbox.img(&["start", "-a", &name]).exits(code);
        sandbox.img(&["wait", &name]).ok().prints_exactly(&format!("{code}\n"));
        assert_eq!(sandbox.inspect(&name)["State"]["ExitCode"], code, "{command:?}");
    }
    for words in [&["run", "--no-such-flag", "busybox"][..], &["run", "--pull=never", "no-such-image"]] {
        sandbox.img(words).exits(125);
    }
    sandbox.img(&["exec", "--no-such-flag", "host", "true"]).exits(125);
    sandbox.img(&["wait", "nobody"]).refuses(1, &["nobody"]);
    for (verb, code) in [("stop", 143), ("kill", 137)] {
        let id = sandbox.ok(&["run", "-d", "--init", "--network", "none", "busybox", "sleep", "300"]);
        sandbox.ok(&[verb, &id]);
        sandbox.img(&["wait", &id]).ok().prints_exactly(&format!("{code}\n"));
    }
}

#[test]
fn memory_that_ran_out_in_the_background_is_seen_everywhere() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let limits = ["--network", "none", "-m", "16m", "--memory-swap", "16m"];
    let command = ["busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"];
    sandbox.ok(&[&["run", "-d", "--name", "box"], &limits[..], &command].concat());
    assert_eq!(sandbox.ok(&["wait", "box"]), "137");
    let state = &sandbox.inspect("box")["State"];
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()));
    let status = sandbox.ok(&["ps", "-a", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Exited (137)"), "{status}");
    let told = ["events", "--since", "1h", "--stream=false", "--format", "{{.Action}}"];
    sandbox.wait_until("it is told", || sandbox.ok(&told).contains("die"));
    let actions = sandbox.ok(&[&told[..], &["--filter", "container=box"]].concat());
    assert!(actions.ends_with("start\noom\ndie"), "{actions}");
}

#[test]
fn an_init_reaps_orphans_and_passes_signals_on() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let orphans = "i=0; while [ $i -lt 100 ]; do (sleep 0.01 &); i=$((i+1)); done";
    // The sleepers and, of these, the zombies: the first process is one that never waits for a child.
    let count = "grep -l '^Name:.sleep$' /proc/[0-9]*/status 2>/dev/null | wc -l; \
                 cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.*zombie'; true";
    for (name, init, left) in [("with", &["--init"][..], "1\n0"), ("without", &[], "101\n100")] {
        let run = ["run", "-d", "--name", name, "--network", "none"];
        sandbox.ok(&[&run[..], init, &["busybox", "sleep", "300"]].concat());
        sandbox.ok(&["exec", name, "sh", "-c", orphans]);
        sandbox.wait_until(left, || sandbox.ok(&["exec", name, "sh", "-c", count]) == left);
    }
    let script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--init", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.wait_until("it listens", || sandbox.ok(&["logs", "box"]) == "up");
    sandbox.ok(&["kill", "-s", "USR1", "box"]);
    assert_eq!(sandbox.ok(&["wait", "box"]), "9");
}
