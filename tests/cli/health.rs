//! Health checks: asked by the container's own monitor, inside of the container's walls, and never in a busy loop.

use std::time::Duration;

use crate::support::Sandbox;

/// Runs a container in the background without a network.
#[track_caller]
fn run(sandbox: &Sandbox, name: &str, flags: &[&str], script: &str) {
    let mut words = vec!["run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", script]);
    sandbox.img(&words).ok();
}

fn health(sandbox: &Sandbox, name: &str) -> serde_json::Value {
    sandbox.inspect(name)["State"]["Health"].clone()
}

#[track_caller]
fn becomes(sandbox: &Sandbox, name: &str, status: &str) {
    sandbox.wait_until(status, || health(sandbox, name)["Status"] == status);
}

const FAST: [&str; 2] = ["--health-interval", "100ms"];

#[test]
fn healthy_and_unhealthy_and_healthy_again() {
    let sandbox = Sandbox::new();
    let flags = ["--health-cmd", "echo asked; test -e /ok", "--health-retries", "2", FAST[0], FAST[1]];
    run(&sandbox, "box", &flags, "touch /ok; sleep 300");
    sandbox.img(&["wait", "--condition", "healthy", "box"]).ok();
    sandbox.img(&["ps"]).ok().prints(&["(healthy)"]);
    sandbox.ok(&["exec", "box", "rm", "/ok"]);
    becomes(&sandbox, "box", "unhealthy");
    sandbox.img(&["ps"]).ok().prints(&["(unhealthy)"]);
    let now = health(&sandbox, "box");
    assert!(now["FailingStreak"].as_u64().unwrap() >= 2, "{now}");
    let log = now["Log"].as_array().unwrap();
    assert!((1..=5).contains(&log.len()), "{now}");
    assert_eq!((&log.last().unwrap()["ExitCode"], &log.last().unwrap()["Output"]), (&1.into(), &"asked\n".into()));
    sandbox.img(&["healthcheck", "run", "box"]).exits(1).prints_exactly("unhealthy\n");
    sandbox.ok(&["exec", "box", "touch", "/ok"]);
    becomes(&sandbox, "box", "healthy");
    sandbox.img(&["healthcheck", "run", "box"]).exits(0);
    let events = sandbox.img(&["events", "--since", "10m", "--until", "0s"]).ok().stdout();
    for word in ["health_status: healthy", "health_status: unhealthy"] {
        assert!(events.contains(word), "{events}");
    }
    sandbox.ok(&["stop", "box"]);
    assert_eq!(health(&sandbox, "box")["Status"], "unhealthy", "as docker has it");
    sandbox.img(&["healthcheck", "run", "box"]).refuses(1, &["not running"]);
    sandbox.ok(&["start", "box"]);
    assert_eq!(health(&sandbox, "box")["FailingStreak"], 0);
}

#[test]
fn the_images_check_and_how_flags_change_it() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("context")).unwrap();
    let file = "FROM busybox\nHEALTHCHECK --interval=100ms --retries=1 CMD [\"cat\", \"/health\"]\nCMD echo fine > /health; sleep 300\n";
    sandbox.write("context/Buildfile", file);
    sandbox.build("context", "checked", file).ok();
    let start = |name: &str, flags: &[&str]| {
        let mut words = vec!["run", "-d", "--name", name, "--network", "none"];
        words.extend(flags);
        words.push("checked");
        sandbox.img(&words).ok();
    };
    start("own", &[]);
    start("none", &["--no-healthcheck"]);
    start("other", &["--health-cmd", "exit 5"]);
    becomes(&sandbox, "own", "healthy");
    becomes(&sandbox, "other", "unhealthy");
    assert!(health(&sandbox, "none").is_null());
    assert_eq!(health(&sandbox, "own")["Log"][0]["Output"], "fine\n");
    assert_eq!(sandbox.inspect("own")["Config"]["Healthcheck"]["Test"][1], "cat");
    assert_eq!(sandbox.inspect("other")["Config"]["Healthcheck"]["Test"][1], "exit 5");
    sandbox.img(&["healthcheck", "run", "none"]).refuses(1, &["no health check"]).hints();
}

#[test]
fn a_check_that_takes_too_long_is_ended_whole() {
    let sandbox = Sandbox::new();
    let flags =
        ["--health-cmd", "echo before; sleep 77 & sleep 88", "--health-timeout", "300ms", "--health-retries", "1"];
    let flags = [&flags[..], &FAST].concat();
    run(&sandbox, "box", &flags, "sleep 300");
    becomes(&sandbox, "box", "unhealthy");
    let now = health(&sandbox, "box");
    let probe = &now["Log"][0];
    assert_eq!(probe["ExitCode"], -1);
    let output = probe["Output"].as_str().unwrap();
    assert!(output.contains("exceeded timeout (300ms)") && output.contains("before"), "{output}");
    // One may be under way; what was ended has left nothing.
    let sleeping = sandbox.ok(&["exec", "box", "sh", "-c", "ps | grep -c 'sleep [78][78]'; true"]);
    assert!(sleeping.parse::<u32>().unwrap() <= 3, "{sleeping}");
}

#[test]
fn what_follows_from_being_unhealthy() {
    let sandbox = Sandbox::new();
    let with = |name: &str, action: &str, more: &[&str]| {
        let flags = ["--health-cmd", "exit 1", "--health-retries", "1", "--health-on-failure", action];
        run(&sandbox, name, &[&flags[..], &FAST, more].concat(), "sleep 300");
    };
    with("killed", "kill", &[]);
    with("stopped", "stop", &["--restart=always"]);
    with("restarted", "restart", &[]);
    with("kept", "none", &[]);
    assert_eq!(sandbox.ok(&["wait", "killed"]), "137");
    sandbox.wait_until("it was stopped", || sandbox.inspect("stopped")["State"]["Status"] == "exited");
    assert_eq!(sandbox.inspect("stopped")["RestartCount"], 0, "a stop is not followed by a restart");
    sandbox.wait_until("it was started again", || sandbox.inspect("restarted")["RestartCount"].as_u64() >= Some(2));
    becomes(&sandbox, "kept", "unhealthy");
    assert_eq!(sandbox.inspect("kept")["State"]["Status"], "running");
}

#[test]
fn failures_of_the_start_period_do_not_count() {
    let sandbox = Sandbox::new();
    let check = ["--health-cmd", "test -e /ok", "--health-retries", "1", "--health-start-period", "60s"];
    let times = ["--health-start-interval", "50ms", "--health-interval", "60s"];
    run(&sandbox, "box", &[&check[..], &times].concat(), "sleep 1; touch /ok; sleep 300");
    sandbox.wait_until("it was asked", || !health(&sandbox, "box")["Log"].as_array().unwrap().is_empty());
    assert_eq!(health(&sandbox, "box")["Status"], "starting");
    sandbox.img(&["ps"]).ok().prints(&["(health: starting)"]);
    becomes(&sandbox, "box", "healthy");
}

#[test]
fn a_plain_foreground_run_is_asked_too() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let words = ["run", "--name", "box", "--network", "none", "--health-cmd", "exit 0", FAST[0], FAST[1]];
    let mut running = sandbox.spawn(&[&words[..], &["busybox", "sleep", "300"]].concat());
    sandbox
        .wait_until("it runs", || sandbox.img(&["inspect", "box"]).code() == 0 && !health(&sandbox, "box").is_null());
    becomes(&sandbox, "box", "healthy");
    sandbox.ok(&["kill", "box"]);
    assert_eq!(running.wait(), 137);
}

#[test]
fn a_check_has_the_containers_walls_and_its_answer_is_bounded() {
    let sandbox = Sandbox::new();
    let check = "id -u; echo $WHO; pwd; grep -E '^(CapEff|Seccomp):' /proc/self/status";
    let flags = ["--user", "1234", "-e", "WHO=me", "-w", "/tmp", "--health-cmd", check];
    run(&sandbox, "box", &[&flags[..], &FAST].concat(), "sleep 300");
    becomes(&sandbox, "box", "healthy");
    let probe = health(&sandbox, "box")["Log"][0].clone();
    let inside = sandbox.ok(&["exec", "box", "sh", "-c", check]);
    assert_eq!(probe["Output"].as_str().unwrap().trim(), inside);
    assert!(inside.starts_with("1234\nme\n/tmp\n") && inside.contains("Seccomp:\t2"), "{inside}");
    run(&sandbox, "loud", &[&["--health-cmd", "yes | head -c 300000"][..], &FAST].concat(), "sleep 300");
    becomes(&sandbox, "loud", "healthy");
    assert_eq!(health(&sandbox, "loud")["Log"][0]["Output"].as_str().unwrap().len(), 4096);
}

#[test]
fn a_monitor_with_nothing_to_ask_sleeps() {
    let sandbox = Sandbox::new();
    run(&sandbox, "box", &["--health-cmd", "exit 0", "--health-interval", "60s"], "sleep 300");
    let id = sandbox.inspect("box")["Id"].as_str().unwrap().to_owned();
    let state = std::fs::read_to_string(sandbox.path(format!("run/containers/{id}/state.json"))).unwrap();
    let monitor = serde_json::from_str::<serde_json::Value>(&state).unwrap()["monitor"]["pid"].to_string();
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap().trim();
        line.parse::<u64>().unwrap()
    };
    // What belongs to its start is over when nothing changes any more; after a second of that it gives memory back.
    sandbox.wait_until("it sleeps", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(1500));
        switches() == before
    });
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
}

#[test]
fn contradictions_and_nonsense_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for (flags, word) in [
        (&["--no-healthcheck", "--health-cmd", "x"][..], "contradict"),
        (&["--health-interval", "5"], "--health-interval"),
        (&["--health-timeout", "1s"], "there is none"),
        (&["--health-cmd", "x", "--health-on-failure", "reboot"], "reboot"),
        (&["--health-cmd", ""], "--health-cmd"),
    ] {
        let words = [&["run", "--network", "none"][..], flags, &["busybox", "true"]].concat();
        sandbox.img(&words).refuses(125, &[word]);
    }
}
