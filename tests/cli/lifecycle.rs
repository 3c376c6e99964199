//! `create`, `start`, `stop`, `kill`, `wait`, `rm`, `ps`, `inspect` of containers: each state and the way between them.

use crate::support::Sandbox;

#[test]
fn from_created_to_removed() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo hi; sleep 10"]);
    let state = || sandbox.inspect("box")["State"]["Status"].as_str().unwrap().to_owned();
    assert_eq!(state(), "created");
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    assert_eq!(sandbox.ok(&["ps", "-aq", "--no-trunc"]), id);
    sandbox.img(&["start", "box"]).ok().prints_exactly("box\n");
    assert_eq!(state(), "running");
    assert!(sandbox.inspect("box")["State"]["Pid"].as_u64().unwrap() > 1);
    sandbox.img(&["start", "box"]).ok();
    sandbox.img(&["rm", "box"]).refuses(1, &["running"]).hints();
    sandbox.img(&["stop", "-t", "0", "box"]).ok().prints_exactly("box\n");
    assert_eq!(state(), "exited");
    assert_eq!(sandbox.inspect("box")["State"]["ExitCode"], 137);
    sandbox.img(&["start", "-a", "box"]).exits(0).prints(&["hi"]);
}

#[test]
fn the_write_layer_lasts_from_start_to_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo x >> /count; wc -l < /count",
    ]);
    for expected in ["1\n", "2\n", "3\n"] {
        sandbox.img(&["start", "-a", "box"]).ok().prints_exactly(expected);
    }
}

#[test]
fn stop_asks_first_and_then_kills() {
    let sandbox = Sandbox::new();
    let polite = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; while :; do sleep 0.05; done",
    ]);
    let own = sandbox.ok(&[
        "run",
        "-d",
        "--stop-signal",
        "USR1",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 4' USR1; while :; do sleep 0.05; done",
    ]);
    let deaf = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.05; done",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    for (id, code) in [(&polite, 3), (&own, 4)] {
        let out = sandbox.img(&["stop", id]);
        assert!(out.ok().took.as_secs() < 5, "{out}");
        assert_eq!(sandbox.inspect(id)["State"]["ExitCode"], code);
    }
    let out = sandbox.img(&["stop", "-t", "1", &deaf]);
    assert!((0.9..5.0).contains(&out.ok().took.as_secs_f64()), "{out}");
    assert_eq!(sandbox.inspect(&deaf)["State"]["ExitCode"], 137);
}

#[test]
fn kill_takes_signals_by_name_and_number() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "trap 'echo usr1' USR1; trap 'exit 8' HUP; while :; do sleep 0.05; done",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    sandbox.ok(&["kill", "-s", "USR1", &id]);
    sandbox.wait_until("the signal was seen", || sandbox.img(&["logs", &id]).stdout().contains("usr1"));
    sandbox.img(&["kill", "-s", "NOSUCH", &id]).refuses(1, &["NOSUCH"]);
    sandbox.ok(&["kill", "--signal", "1", &id]);
    assert_eq!(sandbox.ok(&["wait", &id]), "8");
    sandbox.img(&["kill", &id]).refuses(1, &["not running"]);
}

#[test]
fn wait_blocks_and_gives_each_status() {
    let sandbox = Sandbox::new();
    let run = |script: &str| sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", script]);
    let (one, two) = (run("sleep 0.5; exit 5"), run("exit 6"));
    sandbox.img(&["wait", &one, &two]).ok().prints_exactly("5\n6\n");
    sandbox.img(&["wait", "nobody"]).refuses(1, &["nobody", "no such container"]);
}

#[test]
fn ps_has_dockers_columns_filters_and_formats() {
    let sandbox = Sandbox::new();
    sandbox
        .img(&["ps"])
        .ok()
        .prints_exactly("CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n");
    let up = sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "up",
        "--label",
        "tier=web",
        "--network",
        "none",
        "busybox",
        "sleep",
        "100",
    ]);
    sandbox.img(&["run", "--name", "down", "--network", "none", "busybox", "false"]).exits(1);
    let table = sandbox.img(&["ps", "-a"]);
    table.ok().prints(&["up", "down", "Up ", "Exited (1)", "\"sleep 100\"", &up[..12]]);
    let names = |words: &[&str]| {
        let mut all = vec!["ps", "--format", "{{.Names}}"];
        all.extend(words);
        sandbox.ok(&all)
    };
    assert_eq!(names(&[]), "up");
    assert_eq!(names(&["-a"]), "down\nup", "newest first");
    assert_eq!(names(&["-a", "--filter", "status=exited"]), "down");
    assert_eq!(names(&["-a", "--filter", "label=tier=web"]), "up");
    assert_eq!(names(&["-a", "--filter", "name=do"]), "down");
    assert_eq!(names(&["-a", "--filter", "ancestor=busybox"]), "down\nup");
    assert_eq!(names(&["-a", "--filter", "exited=1"]), "down");
    assert_eq!(names(&["-l"]), "down");
    let row = sandbox.img(&["ps", "--format", "{{json .}}"]).ok().json_lines().remove(0);
    assert_eq!((&row["Names"], &row["State"], &row["Image"]), (&"up".into(), &"running".into(), &"busybox".into()));
}

#[test]
fn by_name_id_or_the_beginning_of_an_id() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["create", "--name", "box", "busybox"]);
    for name in ["box", &id, &id[..12], &id[..3]] {
        assert_eq!(sandbox.inspect(name)["Id"], id.as_str());
    }
    let second = (0..40).map(|_| sandbox.ok(&["create", "busybox"])).find(|other| other[..1] == id[..1]);
    if second.is_some() {
        sandbox.img(&["start", &id[..1]]).refuses(1, &["more than one"]);
    }
}

#[test]
fn several_at_once_do_what_they_can() {
    let sandbox = Sandbox::new();
    let one = sandbox.ok(&["create", "busybox", "true"]);
    let two = sandbox.ok(&["create", "busybox", "true"]);
    let out = sandbox.img(&["rm", &one, "nobody", &two]);
    out.exits(1).prints(&[&one, &two]).says(&["error: ", "nobody"]);
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    sandbox.img(&["rm", "-f", "nobody"]).ok();
}

#[test]
fn inspect_has_dockers_keys() {
    let sandbox = Sandbox::new();
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "-e",
        "A=1",
        "--network",
        "none",
        "-v",
        "/tmp:/host:ro",
        "busybox",
        "sleep",
        "100",
    ];
    let id = sandbox.ok(&words);
    let facts = sandbox.inspect("box");
    assert_eq!(facts["Id"], id.as_str());
    assert_eq!(facts["Name"], "/box");
    assert_eq!((&facts["Path"], &facts["Args"][0]), (&"sleep".into(), &"100".into()));
    assert_eq!(facts["Config"]["Image"], "busybox");
    assert!(facts["Image"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(facts["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(facts["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(facts["HostConfig"]["NetworkMode"], "none");
    let mount = &facts["Mounts"][0];
    assert_eq!(
        (&mount["Source"], &mount["Destination"], &mount["RW"]),
        (&"/tmp".into(), &"/host".into(), &false.into())
    );
    for key in ["Created", "State", "NetworkSettings"] {
        assert!(!facts[key].is_null(), "{key}");
    }
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}} {{.HostConfig.Memory}}", "box"]), "true 67108864");
}

#[test]
fn a_killed_monitor_is_never_believed_to_be_running() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "300"]);
    let inside = sandbox.inspect(&id)["State"]["Pid"].as_u64().unwrap();
    let place = sandbox.text("");
    for (pid, _) in crate::support::leaks::processes(&place) {
        if u64::from(pid) != inside {
            crate::support::tools::run("kill", ["-KILL", &pid.to_string()]);
        }
    }
    let running = || sandbox.inspect(&id)["State"]["Running"] == true;
    // One that has ended but was not reaped yet (`Z`) is its new parent's business.
    let stat = || std::fs::read_to_string(format!("/proc/{inside}/stat")).unwrap_or_default();
    let alive = || stat().rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'));
    // Either the container went with its monitor, or it is listed and can still be stopped.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(running(), alive());
    if running() {
        sandbox.ok(&["stop", "-t", "1", &id]);
    }
    assert!(!alive() && !running());
}

#[test]
fn a_clone_that_is_killed_leaves_its_original_running_and_no_half_copy() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "i=0; while [ $i -lt 10000 ]; do echo $i > /f$i; i=$((i+1)); done; echo ready; exec sleep 1000";
    sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.wait_until("it has written", || sandbox.img(&["logs", "box"]).stdout().contains("ready"));
    let status = |name: &str| sandbox.ok(&["inspect", "-f", "{{.State.Status}}", name]);
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let mut clone = sandbox.spawn(&["clone", "box", "copy"]);
        sandbox.wait_until("the original stands still", || status("box") == "paused");
        clone.signal(signal);
        assert!(clone.wait() > 128);
        sandbox.wait_until("the original goes on", || status("box") == "running");
        sandbox.img(&["exec", "box", "true"]).ok();
        sandbox.img(&["start", "copy"]).refuses(1, &["not copied whole"]).hints();
        assert_eq!(sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]), "box");
    }
    sandbox.ok(&["clone", "box", "copy"]);
    assert_eq!((status("box").as_str(), status("copy").as_str()), ("running", "created"));
    sandbox.ok(&["rm", "-f", "box"]);
}

#[test]
fn what_a_failed_start_cannot_clean_up_is_said() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "/no/such"]);
    // A mount in its state directory, as somebody who looks into it may have.
    let busy = sandbox.path("run/containers").join(&id).join("busy");
    std::fs::create_dir_all(&busy).expect("a folder");
    let tool = |words: &[&str]| {
        let done = std::process::Command::new(words[0]).args(&words[1..]).arg(&busy).status().expect("a tool");
        assert!(done.success(), "{words:?}");
    };
    tool(&["mount", "-t", "tmpfs", "none"]);
    let out = sandbox.img(&["start", "box"]);
    tool(&["umount"]);
    out.exits(127).says(&["/no/such", "cannot remove the state of container box", "busy"]);
    sandbox.img(&["start", "box"]).exits(127);
    assert!(!sandbox.img(&["start", "box"]).stderr().contains("warning"));
}
