//! `--restart`, and what is started after a boot: `system start`, `system stop`, `generate systemd`.

use std::time::{Duration, Instant};

use crate::support::{Out, Sandbox, tools};

/// Runs a container without a network.
#[track_caller]
fn run(sandbox: &Sandbox, words: &[&str]) -> Out {
    let mut all = vec!["run", "--network", "none"];
    all.extend(words);
    sandbox.img(&all)
}

fn restarts(sandbox: &Sandbox, name: &str) -> u64 {
    sandbox.inspect(name)["RestartCount"].as_u64().unwrap()
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    sandbox.inspect(name)["State"]["Status"].as_str().unwrap().to_owned()
}

#[test]
fn each_policy_does_what_its_name_says() {
    let sandbox = Sandbox::new();
    run(&sandbox, &["--name", "twice", "--restart=on-failure:2", "busybox", "sh", "-c", "echo run; exit 4"])
        .exits(4)
        .prints_exactly("run\nrun\nrun\n");
    assert_eq!(restarts(&sandbox, "twice"), 2);
    run(&sandbox, &["--name", "good", "--restart=on-failure", "busybox", "echo", "once"]).ok().prints_exactly("once\n");
    run(&sandbox, &["--name", "no", "--restart=no", "busybox", "sh", "-c", "echo once; exit 1"])
        .exits(1)
        .prints_exactly("once\n");
    for policy in ["always", "unless-stopped"] {
        run(&sandbox, &["-d", "--name", policy, "--restart", policy, "busybox", "true"]).ok();
        sandbox.wait_until("it was started again", || restarts(&sandbox, policy) >= 2);
        // It goes on meanwhile: both are asked until both find it waiting.
        sandbox.wait_until("it waits, and says so", || {
            let (listed, removal) = (sandbox.img(&["ps"]), sandbox.img(&["rm", policy]));
            removal.refuses(1, &["hint"]);
            listed.ok().stdout().contains("Restarting (0) ") && removal.stderr().contains("restarting")
        });
        sandbox.ok(&["stop", policy]);
        assert_eq!(status(&sandbox, policy), "exited");
    }
    let facts = sandbox.inspect("twice");
    let policy = &facts["HostConfig"]["RestartPolicy"];
    assert_eq!((&policy["Name"], &policy["MaximumRetryCount"]), (&"on-failure".into(), &2.into()));
}

#[test]
fn the_waits_grow_and_a_stop_ends_them_at_once() {
    let sandbox = Sandbox::new();
    let began = Instant::now();
    run(&sandbox, &["-d", "--name", "box", "--restart=always", "busybox", "date", "+%s"]).ok();
    // 100, 200, 400 and 800 ms come before the fourth restart; the fifth wait is of 1.6 s.
    sandbox.wait_until("four restarts", || restarts(&sandbox, "box") == 4);
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    sandbox.wait_until("it waits", || status(&sandbox, "box") == "restarting");
    let stop = sandbox.img(&["stop", "box"]);
    assert!(stop.ok().took < Duration::from_millis(700), "{stop}");
    assert_eq!((status(&sandbox, "box"), restarts(&sandbox, "box")), ("exited".into(), 4));
    // A start by hand begins to count anew.
    sandbox.ok(&["start", "box"]);
    assert!(restarts(&sandbox, "box") < 3);
    sandbox.ok(&["rm", "--force", "box"]);
    sandbox.img(&["inspect", "box"]).refuses(1, &["box"]);
}

#[test]
fn who_stops_or_kills_it_means_it() {
    let sandbox = Sandbox::new();
    for end in [&["stop", "-t", "0"][..], &["kill"], &["kill", "-s", "TERM"]] {
        let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
        let id = run(&sandbox, &["-d", "--restart=always", "busybox", "sh", "-c", script]).ok().word();
        sandbox.wait_until("it runs", || status(&sandbox, &id) == "running");
        std::thread::sleep(Duration::from_millis(200));
        let mut words = end.to_vec();
        words.push(&id);
        sandbox.ok(&words);
        sandbox.ok(&["wait", &id]);
        assert_eq!((status(&sandbox, &id), restarts(&sandbox, &id)), ("exited".into(), 0), "{end:?}");
    }
}

#[test]
fn a_policy_that_is_changed_while_it_runs_holds_from_its_end_on() {
    let sandbox = Sandbox::new();
    // It ends when its first process is told to.
    let script = "trap 'exit 3' USR1; echo up; while :; do sleep 0.05; done";
    // Its end may take along who told it, by SIGKILL.
    let end = |name: &str| {
        let told = sandbox.img(&["exec", name, "kill", "-USR1", "1"]);
        assert!([0, 137].contains(&told.code()), "{told}");
    };
    run(&sandbox, &["-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    let changed = sandbox.img(&["update", "--restart", "on-failure:9", "box"]);
    changed.ok().prints_exactly("box\n");
    assert_eq!(sandbox.inspect("box")["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 9);
    for run in 1..=2 {
        sandbox.wait_until("it listens", || sandbox.ok(&["logs", "box"]).lines().count() == run);
        end("box");
        sandbox.wait_until("it was started again", || restarts(&sandbox, "box") == run as u64);
    }
    sandbox.wait_until("it listens", || sandbox.ok(&["logs", "box"]).lines().count() == 3);
    sandbox.ok(&["update", "--restart=no", "box"]);
    end("box");
    assert_eq!(sandbox.ok(&["wait", "box"]), "3");
    assert_eq!((status(&sandbox, "box"), restarts(&sandbox, "box")), ("exited".into(), 2));
    // What was said to the last run is not believed by the next.
    sandbox.ok(&["update", "--restart=always", "box"]);
    sandbox.ok(&["start", "box"]);
    sandbox.wait_until("it listens", || sandbox.ok(&["logs", "box"]).lines().count() == 4);
    end("box");
    sandbox.wait_until("it was started again", || restarts(&sandbox, "box") == 1);
    sandbox.ok(&["stop", "-t", "0", "box"]);
    run(&sandbox, &["-d", "--rm", "--name", "gone", "busybox", "sleep", "300"]).ok();
    sandbox.img(&["update", "--restart=always", "gone"]).refuses(125, &["--rm"]).hints();
    sandbox.img(&["update", "--restart=allways", "box"]).refuses(125, &["allways"]);
    sandbox.ok(&["kill", "gone"]);
}

#[test]
fn a_policy_reaches_one_in_the_foreground_and_the_next_boot() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 3' USR1; echo up; while :; do sleep 0.05; done";
    let words = ["run", "--network", "none", "--name", "front", "busybox", "sh", "-c", script];
    let mut client = sandbox.command(&words).stdout(std::process::Stdio::null()).spawn().unwrap();
    sandbox.wait_until("it runs", || sandbox.img(&["logs", "front"]).stdout().contains("up"));
    sandbox.ok(&["update", "--restart=on-failure:1", "front"]);
    sandbox.ok(&["exec", "front", "kill", "-USR1", "1"]);
    sandbox.wait_until("it listens again", || sandbox.ok(&["logs", "front"]).lines().count() == 2);
    sandbox.ok(&["exec", "front", "kill", "-USR1", "1"]);
    assert_eq!(client.wait().unwrap().code(), Some(3));
    run(&sandbox, &["-d", "--name", "box", "--stop-signal", "KILL", "busybox", "sleep", "300"]).ok();
    sandbox.img(&["update", "--restart=unless-stopped", "box"]).ok().says(&["img system start"]);
    end_as_a_boot_does(&sandbox);
    assert_eq!(sandbox.ok(&["system", "start"]), "box");
}

#[test]
fn contradictions_are_refused_before_anything_is_fetched() {
    let sandbox = Sandbox::new();
    run(&sandbox, &["--rm", "--restart=always", "no-such-image"]).refuses(125, &["--restart", "--rm"]).hints();
    run(&sandbox, &["--restart=allways", "no-such-image"]).refuses(125, &["allways"]).says(&["always"]);
    run(&sandbox, &["--rm", "--restart=no", "busybox", "true"]).ok();
}

#[test]
fn after_a_boot_what_should_run_runs() {
    let sandbox = Sandbox::new();
    let sleep = |name: &str, policy: &str| {
        run(&sandbox, &["-d", "--name", name, "--stop-signal", "KILL", "--restart", policy, "busybox", "sleep", "300"])
            .ok();
    };
    let first = run(
        &sandbox,
        &["-d", "--name", "always", "--stop-signal", "KILL", "--restart=always", "busybox", "sleep", "300"],
    );
    first.ok().says(&["img system start", "img generate systemd"]);
    for (name, policy) in [("unless", "unless-stopped"), ("failure", "on-failure"), ("never", "no")] {
        sleep(name, policy);
    }
    for (name, policy) in [("always-stopped", "always"), ("unless-was-stopped", "unless-stopped")] {
        sleep(name, policy);
        sandbox.ok(&["stop", "-t", "0", name]);
    }
    let fresh = sandbox.img(&[
        "create",
        "--name",
        "fresh",
        "--stop-signal",
        "KILL",
        "--restart=always",
        "busybox",
        "sleep",
        "300",
    ]);
    assert_eq!(fresh.ok().stderr(), "", "said once");
    end_as_a_boot_does(&sandbox);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "", "nothing of another boot is believed");
    let mut started: Vec<String> = sandbox.ok(&["system", "start"]).lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["always", "always-stopped", "failure", "unless"]);
    let mut running: Vec<String> = sandbox.ok(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    running.sort();
    assert_eq!(running, started);
    assert_eq!(sandbox.ok(&["system", "start"]), "", "what runs is left alone");
    // A shutdown is nobody's wish to stop them.
    sandbox.img(&["system", "stop"]).ok().prints(&["failure", "unless"]);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    sandbox.img(&["system", "start"]).ok().prints(&["always", "failure", "unless"]);
    // And so that a stop between boots counts, though nothing runs.
    end_as_a_boot_does(&sandbox);
    sandbox.ok(&["stop", "unless"]);
    let started = sandbox.ok(&["system", "start"]);
    assert!(started.contains("failure") && !started.contains("unless"), "{started}");
}

/// Kills all monitors, and with them the containers, and makes the states those of another boot.
fn end_as_a_boot_does(sandbox: &Sandbox) {
    for entry in std::fs::read_dir(sandbox.path("run/containers")).unwrap() {
        let path = entry.unwrap().path().join("state.json");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let id = state["id"].as_str().unwrap().to_owned();
        if state["status"] == "running" {
            tools::run("kill", ["-KILL", &state["monitor"]["pid"].to_string()]);
            sandbox.wait_until("it is gone", || {
                crate::support::leaks::groups_of(&id).iter().all(|group| {
                    std::fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
                })
            });
        }
        state["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        std::fs::write(&path, state.to_string()).unwrap();
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "web", "--restart=always", "--stop-timeout", "7", "busybox", "sleep", "300"]);
    let folder = sandbox.text("units");
    std::fs::create_dir(&folder).unwrap();
    let files = format!("--files={folder}");
    let boot = sandbox.ok(&["generate", "systemd", &files]);
    let web = sandbox.ok(&["generate", "systemd", &files, "web"]);
    assert!(boot.ends_with("/img.service") && web.ends_with("/container-web.service"), "{boot} {web}");
    let text = std::fs::read_to_string(&boot).unwrap();
    assert!(text.contains(" system start\n") && text.contains(&sandbox.text("root")), "{text}");
    sandbox.img(&["generate", "systemd", "web"]).ok().prints(&["start --attach web\n", "TimeoutStopSec=67\n"]);
    sandbox.img(&["generate", "systemd", "nobody"]).refuses(1, &["nobody"]);
    if !tools::has("systemd-analyze") {
        println!("skip: systemd-analyze is not here");
        return;
    }
    let verified = tools::run("systemd-analyze", ["verify", "--man=no", &boot, &web]);
    assert_eq!(verified.ok().stderr(), "");
    // The command of the unit is one that works.
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    tools::run("sh", ["-c", start]).ok();
}

#[test]
fn a_restart_that_fails_is_told_and_tried_again() {
    let sandbox = Sandbox::new();
    let (source, away) = (sandbox.path("source"), sandbox.path("away"));
    let (path, mount) = (source.display().to_string(), format!("{}:/data", source.display()));
    std::fs::create_dir_all(source.join("go")).unwrap();
    for (name, policy) in [("always", "always"), ("thrice", "on-failure:2")] {
        let script = "while test -d /data/go; do sleep 0.01; done; exit 3";
        run(&sandbox, &["-d", "--name", name, "--restart", policy, "-v", &mount, "busybox", "sh", "-c", script]).ok();
    }
    let error = |name: &str| sandbox.inspect(name)["State"]["Error"].as_str().unwrap().to_owned();
    assert_eq!(error("always"), "");
    std::fs::rename(&source, &away).unwrap();
    std::fs::remove_dir(away.join("go")).unwrap();
    sandbox.wait_until("it cannot be started again", || error("always").contains(&path));
    sandbox.wait_until("it waits", || status(&sandbox, "always") == "restarting");
    assert_eq!(sandbox.inspect("always")["State"]["ExitCode"], 125);
    // A start that failed counts as a run that did.
    sandbox.wait_until("that was all", || status(&sandbox, "thrice") == "exited");
    assert!(error("thrice").contains(&path), "{}", error("thrice"));
    assert_eq!((restarts(&sandbox, "thrice"), sandbox.img(&["wait", "thrice"]).ok().word()), (2, "125".to_owned()));
    std::fs::create_dir_all(source.join("go")).unwrap();
    sandbox.wait_until("it runs again", || status(&sandbox, "always") == "running");
    assert_eq!(error("always"), "");
    sandbox.ok(&["rm", "--force", "always"]);
}

#[test]
fn who_joins_another_container_finds_it_anew() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let host = |from: &str| {
        run(&sandbox, &["-d", "--name", "host", "--ipc", "shareable", "busybox", "sh", "-c", from]).ok();
    };
    host("echo first > /dev/shm/mark; exec sleep 1000");
    // Each ends when it is told to, and with `--pid container:host` when that does.
    let script = "trap 'exit 0' USR1; echo $$ > /own; while :; do sleep 0.05; done";
    let guests = ["pid", "ipc", "net"];
    for guest in guests {
        let joined = ["--pid", "--ipc", "--network"].map(|flag| match flag.contains(guest) {
            true => vec![flag, "container:host"],
            false if flag == "--network" => vec![flag, "none"],
            false => Vec::new(),
        });
        let words = ["run", "-d", "--restart", "always", "--name", guest];
        sandbox.ok(&[&words[..], &joined.concat(), &["busybox", "sh", "-c", script]].concat());
    }
    let space = |name: &str, kind: &str| sandbox.ok(&["exec", name, "readlink", &format!("/proc/self/ns/{kind}")]);
    let all_joined = |when: &str| {
        for guest in guests {
            sandbox.wait_until(&format!("{guest} runs {when}"), || {
                status(&sandbox, guest) == "running" && sandbox.img(&["exec", guest, "test", "-e", "/own"]).code() == 0
            });
            assert_eq!(space(guest, guest), space("host", guest), "{guest} {when}");
        }
    };
    let end_those_that_outlived_it = || {
        for guest in ["ipc", "net"] {
            // Its end may take along who told it, by SIGKILL.
            let told = sandbox.img(&["exec", guest, "sh", "-c", "kill -USR1 $(cat /own)"]);
            assert!([0, 137].contains(&told.code()), "{told}");
        }
    };
    all_joined("at first");
    // Without it nobody can be started; with it everybody is, with its new namespaces.
    sandbox.ok(&["stop", "-t", "0", "host"]);
    end_those_that_outlived_it();
    let error = |name: &str| sandbox.inspect(name)["State"]["Error"].as_str().unwrap().to_owned();
    for guest in guests {
        sandbox.wait_until("it says what it lacks", || error(guest).contains("not running"));
    }
    sandbox.ok(&["start", "host"]);
    all_joined("when it was started again");
    // And so with another container of that name.
    sandbox.ok(&["rm", "-f", "host"]);
    host("echo second > /dev/shm/mark; exec sleep 1000");
    end_those_that_outlived_it();
    sandbox.wait_until("the shared memory is the new one", || {
        sandbox.img(&["exec", "ipc", "cat", "/dev/shm/mark"]).stdout() == "second\n"
    });
    all_joined("when it is another");
    for guest in guests {
        assert!(restarts(&sandbox, guest) >= 2);
        sandbox.ok(&["stop", "-t", "0", guest]);
    }
    sandbox.ok(&["stop", "-t", "0", "host"]);
    sandbox.ok(&["system", "check"]);
}

#[test]
fn a_restart_that_cannot_start_again_ends_with_1() {
    let sandbox = Sandbox::new();
    let source = sandbox.write("source", "");
    let mount = format!("{source}:/source");
    run(&sandbox, &["-d", "--name", "box", "-v", &mount, "busybox", "sleep", "1000"]).ok();
    run(&sandbox, &["-d", "--name", "other", "busybox", "sleep", "1000"]).ok();
    std::fs::remove_file(&source).unwrap();
    // The others still get their turn.
    let out = sandbox.img(&["restart", "-t", "0", "box", "other"]);
    out.exits(1).says(&["source"]).prints_exactly("other\n");
    assert_eq!((status(&sandbox, "box"), status(&sandbox, "other")), ("exited".into(), "running".into()));
    sandbox.img(&["restart", "nobody"]).refuses(1, &["no such container"]);
    std::fs::write(sandbox.path("source"), "").unwrap();
    sandbox.img(&["restart", "-t", "0", "box"]).ok().prints_exactly("box\n");
}
