//! `events`: what is written down by whoever does something, read afterwards and followed.

use std::io::{BufRead, BufReader};

use crate::support::Sandbox;

/// What happened to one container, in docker's words.
fn actions(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let filter = format!("container={name}");
    let out =
        sandbox.ok(&["events", "--since", "1h", "--stream=false", "--filter", &filter, "--format", "{{.Action}}"]);
    out.lines().map(str::to_owned).collect()
}

#[test]
fn a_life_is_written_down() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--label",
        "tier=front",
        "--network",
        "none",
        "busybox",
        "sleep",
        "100",
    ]);
    sandbox.img(&["exec", "box", "true"]).ok();
    sandbox.img(&["kill", "-s", "KILL", "box"]).ok();
    sandbox.img(&["wait", "box"]).ok().prints_exactly("137\n");
    sandbox.img(&["rm", "box"]).ok();
    assert_eq!(
        actions(&sandbox, "box"),
        ["create", "start", "exec_create: true", "exec_start: true", "exec_die", "kill", "die", "destroy"]
    );
    let json = sandbox.img(&["events", "--since", "1h", "--stream=false", "--filter", "event=die", "--format", "json"]);
    let die = &json.json_lines()[0];
    assert_eq!(die["Actor"]["ID"], id.as_str());
    assert_eq!(die["Type"], "container");
    let attributes = &die["Actor"]["Attributes"];
    assert_eq!(
        (&attributes["exitCode"], &attributes["name"], &attributes["tier"]),
        (&"137".into(), &"box".into(), &"front".into())
    );
    let plain = sandbox.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=start"]);
    assert!(plain.contains(&format!("container start {id} (image=busybox, name=box, tier=front)")), "{plain}");
    assert_eq!(sandbox.ok(&["events", "--until", "1h"]), "", "nothing is so old");
    sandbox.img(&["events", "--filter", "x=y"]).refuses(125, &["not known"]).hints();
}

#[test]
fn clients_that_come_and_go_and_what_they_execute() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-dit", "--name", "box", "--stop-signal", "KILL", "--network", "none", "busybox", "sh"]);
    let mut terminal = sandbox.terminal(&["attach", "box"]);
    terminal.send("echo rea''dy\r");
    terminal.expect("ready");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(actions(&sandbox, "box"), ["create", "start", "attach", "detach"]);
    // In the background, with a terminal, and with one that is left.
    sandbox.ok(&["exec", "-d", "box", "sh", "-c", "exit 5"]);
    let died = |count: usize| {
        let filter = ["events", "--since", "1h", "--stream=false", "--filter", "event=exec_die", "--format", "json"];
        sandbox.wait_until("it is told", || sandbox.img(&filter).json_lines().len() == count);
        sandbox.img(&filter).json_lines().pop().unwrap()["Actor"]["Attributes"].clone()
    };
    let last = died(1);
    assert_eq!((&last["exitCode"], last["execID"].as_str().map(str::len)), (&"5".into(), Some(64)));
    assert_eq!(sandbox.terminal(&["exec", "-it", "box", "sh", "-c", "exit 6"]).finish().0, 6);
    assert_eq!(died(2)["exitCode"], "6");
    let mut terminal = sandbox.terminal(&["exec", "-it", "box", "sh", "-c", "echo ready; read line; exit 7"]);
    terminal.expect("ready");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(actions(&sandbox, "box").last().map(String::as_str), Some("exec_detach"));
    sandbox.ok(&["kill", "box"]);
    assert_eq!(died(3)["exitCode"], "137");
}

#[test]
fn a_run_that_is_removed_leaves_its_story() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.img(&["run", "--rm", "--name", "fore", "--network", "none", "busybox", "sh", "-c", "exit 3"]).exits(3);
    sandbox.img(&["run", "--rm", "-i", "--name", "back", "--network", "none", "busybox", "true"]).ok();
    for name in ["fore", "back"] {
        assert_eq!(actions(&sandbox, name), ["create", "start", "die", "destroy"], "{name}");
    }
}

#[test]
fn images_and_volumes_are_told_of() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["tag", "busybox", "other:1"]);
    sandbox.ok(&["rmi", "other:1"]);
    sandbox.ok(&["volume", "create", "vol"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    let all = sandbox.ok(&["events", "--since", "1h", "--stream=false", "--format", "{{.Type}} {{.Action}} {{.Name}}"]);
    let all: Vec<&str> = all.lines().collect();
    assert_eq!(
        all,
        [
            "image pull busybox:latest",
            "image tag other:1",
            "image untag other:1",
            "volume create <nil>",
            "volume destroy <nil>"
        ]
    );
    let image = sandbox.ok(&[
        "events",
        "--since",
        "1h",
        "--stream=false",
        "--filter",
        "image=busybox",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(image, "pull");
}

#[test]
fn a_follower_sees_it_happen() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut follower = sandbox.spawn(&["monitor", "web*", "--format", "{{.Action}} {{.Name}}"]);
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    // Until it watches, nothing it could see may happen: it has the journal open then.
    let watches = || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", follower.0.id())).unwrap();
        links.flatten().any(|link| std::fs::read_link(link.path()).is_ok_and(|to| to.ends_with("journal")))
    };
    while !watches() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for name in ["db", "web1"] {
        sandbox.img(&["run", "--rm", "--name", name, "--network", "none", "busybox", "true"]).ok();
    }
    let seen: Vec<String> = lines.take(4).map(|line| line.unwrap()).collect();
    assert_eq!(seen, ["create web1", "start web1", "die web1", "destroy web1"]);
}

#[test]
fn monitor_speaks_of_states_as_lxc_does() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--stop-signal",
        "KILL",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    for words in [&["pause", "box"], &["unpause", "box"], &["stop", "box"], &["rm", "box"]] {
        sandbox.ok(words);
    }
    sandbox.img(&["run", "--rm", "--name", "bad", "--network", "none", "busybox", "/no/such"]).exits(127);
    sandbox.img(&["run", "--rm", "--name", "five", "--network", "none", "busybox", "sh", "-c", "exit 5"]).exits(5);
    let monitor = |words: &[&str]| sandbox.ok(&[&["monitor", "--since", "1h", "--stream=false"], words].concat());
    let states = |name: &str, list: &str| {
        let line = |word: &str| match word.parse::<u8>() {
            Ok(code) => format!("'{name}' exited with status [{code}]"),
            Err(_) => format!("'{name}' changed state to [{word}]"),
        };
        list.split(' ').map(line).collect::<Vec<_>>().join("\n")
    };
    let life = states("box", "STARTING RUNNING FREEZING FROZEN THAWED RUNNING 137 STOPPING STOPPED");
    assert_eq!(monitor(&["-n", "box"]), life);
    let failed = states("bad", "STARTING ABORTING STOPPING STOPPED");
    assert_eq!(monitor(&["bad"]), failed);
    let ended = states("five", "STARTING RUNNING 5 STOPPING STOPPED");
    assert_eq!(monitor(&[]), [life, failed, ended].join("\n"));
    assert_eq!(monitor(&["--format", "{{.Type}} {{.Action}}", "five"]).lines().next(), Some("container create"));
    // As docker tells of a stop: the signal first.
    let told = actions(&sandbox, "box");
    let at = |action: &str| told.iter().position(|told| told == action);
    assert!(at("kill").is_some() && at("kill") < at("die") && at("kill") < at("stop"), "{told:?}");
}
