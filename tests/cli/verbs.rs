//! `pause`, `unpause`, `restart`, `rename`, `wait --condition`, `kill --all`, `clone`, `container prune` and `exists`: verbs
//! that take one container, many, or all that fit.

use crate::support::Sandbox;
use crate::support::leaks::hierarchies;

/// A container that sleeps, under this name.
fn sleeper(sandbox: &Sandbox, name: &str, more: &[&str]) {
    let mut arguments = vec!["run", "-d", "--name", name, "--network", "none"];
    arguments.extend(more);
    arguments.extend(["busybox", "sleep", "1000"]);
    sandbox.ok(&arguments);
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    sandbox.inspect(name)["State"]["Status"].as_str().unwrap().to_owned()
}

#[test]
fn removed_by_three_at_once() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for round in 0..30 {
        sleeper(&sandbox, "box", &[]);
        if round % 2 == 0 {
            sandbox.ok(&["pause", "box"]);
        }
        let all = [(); 3].map(|()| sandbox.spawn(&["rm", "--force", "box"]));
        for mut one in all {
            let said = one.said();
            assert_eq!((one.wait(), said.as_str()), (0, ""), "round {round}");
        }
    }
}

/// Whatever is missing of a container at the instant of its end, it is told that the container does not run, by its name.
#[test]
fn asked_for_at_the_instant_of_its_end() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let verbs: [&[&str]; 6] = [
        &["exec", "box", "true"],
        &["kill", "--all", "--signal", "CONT", "box"],
        &["top", "box"],
        &["update", "--memory", "64m", "box"],
        &["cp", "box:/etc", "-"],
        &["ps", "--all", "--size"],
    ];
    for round in 0..15 {
        sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "0.05"]);
        for (verb, mut one) in verbs.map(|verb| (verb, sandbox.spawn(verb))) {
            let said = one.said();
            let code = one.wait();
            let is_true = said.is_empty() || said.starts_with("error: container box is not running");
            assert!(is_true, "round {round}: {verb:?} ended with {code} and said {said}");
        }
        sandbox.ok(&["rm", "--force", "box"]);
    }
}

#[test]
fn removed_while_it_is_renamed() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for round in 0..12 {
        sleeper(&sandbox, "box", &[]);
        let words: [&[&str]; 2] = [&["rename", "box", "other"], &["rm", "--force", "box"]];
        for (words, mut one) in words.map(|words| (words, sandbox.spawn(words))) {
            let said = one.said();
            let code = one.wait();
            let is_true = words[0] != "rm" && said.starts_with("error: no such container: box");
            assert!(code == 0 || is_true, "round {round}: {words:?} ended with {code} and said {said}");
        }
        sandbox.ok(&["rm", "--force", "box", "other"]);
    }
}

#[test]
fn paused_means_that_nothing_moves() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done",
    ]);
    let count = sandbox.inspect("box")["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap().to_owned() + "/count";
    let read = || std::fs::read_to_string(&count).unwrap_or_default();
    sandbox.img(&["freeze", "box"]).ok().prints_exactly("box\n");
    assert_eq!(status(&sandbox, "box"), "paused");
    let before = read();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(read(), before);
    sandbox.img(&["pause", "box"]).refuses(1, &["paused already"]);
    sandbox.img(&["unpause", "--all"]).ok();
    assert_eq!(status(&sandbox, "box"), "running");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while read() == before {
        assert!(std::time::Instant::now() < deadline, "it does not go on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    sandbox.img(&["unpause", "box"]).refuses(1, &["not paused"]);
    // Stopped out of the freezer, too.
    sandbox.img(&["pause", "box"]).ok();
    sandbox.img(&["stop", "-t", "1", "box"]).ok();
    sandbox.img(&["pause", "box"]).refuses(1, &["not running"]);
}

#[test]
fn frozen_by_somebody_who_was_killed_before_he_wrote_it_down() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let parent = format!("img-test-frozen-{}", std::process::id());
    sleeper(&sandbox, "box", &["--cgroup-parent", &parent]);
    let id = sandbox.inspect("box")["Id"].as_str().unwrap().to_owned();
    let groups = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&parent));
    let groups: Vec<_> = groups.filter(|group| group.exists()).collect();
    let Some(above) = groups.iter().find(|group| group.join("cgroup.freeze").exists()) else {
        println!("skip: no freezer of version 2");
        return;
    };
    let own = above.join(&id);
    std::fs::write(own.join("cgroup.freeze"), "1").unwrap();
    assert_eq!(status(&sandbox, "box"), "running");
    for more in [&["-d"][..], &[], &["-i"]] {
        let words = [&["exec"], more, &["box", "true"]].concat();
        sandbox.img(&words).refuses(125, &["is paused"]);
    }
    sandbox.img(&["unpause", "box"]).ok();
    sandbox.ok(&["exec", "box", "true"]);
    std::fs::write(own.join("cgroup.freeze"), "1").unwrap();
    sandbox.img(&["pause", "box"]).ok();
    assert_eq!(status(&sandbox, "box"), "paused");
    // And the other way round: written down, and not frozen.
    std::fs::write(own.join("cgroup.freeze"), "0").unwrap();
    sandbox.img(&["pause", "box"]).ok();
    assert_eq!(std::fs::read_to_string(own.join("cgroup.freeze")).unwrap(), "1\n");
    sandbox.img(&["unpause", "box"]).ok();
    // Frozen from above nothing says so; who waits for the program can be told not to.
    std::fs::write(above.join("cgroup.freeze"), "1").unwrap();
    for (signal, number) in [(rustix::process::Signal::TERM, "15"), (rustix::process::Signal::INT, "2")] {
        let mut exec = sandbox.spawn(&["exec", "box", "true"]);
        let processes = || std::fs::read_to_string(own.join("cgroup.procs")).unwrap().lines().count();
        sandbox.wait_until("the child is there", || processes() == 2);
        exec.signal(signal);
        assert_eq!(exec.wait(), 125);
        assert!(exec.said().contains(&format!("interrupted by signal {number}")));
        assert_eq!(processes(), 1);
    }
    std::fs::write(above.join("cgroup.freeze"), "0").unwrap();
    // Frozen or not, it takes its stop signal.
    std::fs::write(own.join("cgroup.freeze"), "1").unwrap();
    sandbox.ok(&["rm", "--force", "box"]);
    for group in groups {
        std::fs::remove_dir(group).unwrap();
    }
}

#[test]
fn restart_keeps_what_was_written_even_with_rm() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sleeper(&sandbox, "box", &["--rm"]);
    let pid = sandbox.inspect("box")["State"]["Pid"].clone();
    sandbox.img(&["exec", "box", "touch", "/kept"]).ok();
    sandbox.img(&["restart", "-t", "0", "box"]).ok().prints_exactly("box\n");
    assert_ne!(sandbox.inspect("box")["State"]["Pid"], pid);
    sandbox.img(&["exec", "box", "test", "-e", "/kept"]).ok();
    sandbox.img(&["stop", "-t", "0", "box"]).ok();
    sandbox.img(&["wait", "-s", "removed", "box"]).ok();
    sandbox.img(&["container", "exists", "box"]).exits(1).prints_exactly("");
    sandbox.ok(&["create", "--name", "idle", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.img(&["restart", "idle", "nobody"]).exits(1).says(&["no such container: nobody"]).prints_exactly("idle\n");
    assert_eq!(status(&sandbox, "idle"), "running");
}

#[test]
fn a_restart_that_is_killed_leaves_no_container_with_rm() {
    use rustix::process::Signal;
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let gone = |when: &str| {
        sandbox.wait_until(when, || sandbox.img(&["ps", "-aq"]).ok().stdout().is_empty());
    };
    // Deaf to SIGTERM, so that the restart waits for its end.
    let deaf = || {
        let script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done";
        sandbox.ok(&[
            "run",
            "-d",
            "--rm",
            "--name",
            "box",
            "--network",
            "none",
            "-v",
            "/kept",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        sandbox.wait_until("it is deaf", || sandbox.img(&["logs", "box"]).stdout().contains("deaf"));
        let restart = sandbox.spawn(&["restart", "-t", "100", "box"]);
        let marker = sandbox.path("run/containers").join(sandbox.ok(&["ps", "-q", "--no-trunc"])).join("restarting");
        sandbox.wait_until("the restart waits", || std::fs::read(&marker).is_ok_and(|run| !run.is_empty()));
        restart
    };
    // Killed before the end: that is an end as any other.
    let mut restart = deaf();
    restart.signal(Signal::KILL);
    restart.wait();
    sandbox.img(&["ps", "-q"]).ok().prints(&[""]);
    assert_eq!(status(&sandbox, "box"), "running");
    sandbox.ok(&["kill", "box"]);
    gone("the monitor removed it");
    // Killed between the end and the start: kept while the restart is there, removed by the next command after it.
    let mut restart = deaf();
    restart.signal(Signal::STOP);
    sandbox.ok(&["kill", "box"]);
    sandbox.wait_until("it has ended", || status(&sandbox, "box") == "exited");
    sandbox.img(&["create", "--name", "box", "busybox"]).refuses(125, &["box", "in use"]);
    restart.signal(Signal::KILL);
    restart.wait();
    sandbox.ok(&["create", "--rm", "--name", "box", "busybox", "true"]);
    sandbox.img(&["volume", "ls", "-q"]).ok().prints_exactly("");
    // One that was never started has not ended.
    assert_eq!(status(&sandbox, "box"), "created");
    sandbox.ok(&["rm", "box"]);
    // A restart that cannot be finished ends the container for good.
    let source = sandbox.write("source", "");
    let mount = format!("{source}:/source");
    sandbox.ok(&["run", "-d", "--rm", "--name", "box", "--network", "none", "-v", &mount, "busybox", "sleep", "1000"]);
    std::fs::remove_file(&source).unwrap();
    sandbox.img(&["restart", "-t", "0", "box"]).refuses(1, &["source"]);
    gone("what cannot be started is removed");
}

#[test]
fn states_on_the_way_are_waited_for_in_lxcs_words() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let wait = |state: &str| sandbox.spawn(&["wait", "-s", state, "-t", "60", "box"]);
    // Whoever waits has the journal open before anything can happen.
    let watched = |wait: &crate::support::sandbox::Running| {
        let folder = format!("/proc/{}/fd", wait.0.id());
        sandbox.wait_until("it watches", || {
            let links = std::fs::read_dir(&folder).unwrap().flatten();
            links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|to| to.ends_with("journal"))
        });
    };
    let reached = |wait: &mut crate::support::sandbox::Running, word: &str| {
        assert_eq!(wait.wait(), 0, "{word}: {}", wait.said());
        let mut text = String::new();
        std::io::Read::read_to_string(wait.0.stdout.as_mut().unwrap(), &mut text).unwrap();
        assert_eq!(text.trim(), word);
    };
    let script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done";
    sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    let mut starting = wait("STARTING");
    watched(&starting);
    sandbox.ok(&["start", "box"]);
    reached(&mut starting, "starting");
    sandbox.wait_until("it is deaf", || sandbox.img(&["logs", "box"]).stdout().contains("deaf"));
    let (mut freezing, mut thawed) = (wait("FREEZING|ABORTING"), wait("thawed"));
    watched(&freezing);
    watched(&thawed);
    sandbox.ok(&["pause", "box"]);
    reached(&mut freezing, "freezing");
    sandbox.ok(&["unpause", "box"]);
    reached(&mut thawed, "thawed");
    // As long as it will not end, it is stopping.
    let mut stop = sandbox.spawn(&["stop", "-t", "100", "box"]);
    reached(&mut wait("stopping"), "stopping");
    sandbox.img(&["wait", "-s", "STOPPED", "-t", "0.1", "box"]).exits(1);
    sandbox.ok(&["kill", "box"]);
    assert_eq!(stop.wait(), 0);
    sandbox.ok(&["rm", "box"]);
    sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "/no/such"]);
    let mut aborting = wait("ABORTING");
    watched(&aborting);
    sandbox.img(&["start", "box"]).exits(127);
    reached(&mut aborting, "aborting");
    sandbox.img(&["wait", "-s", "STARTED", "box"]).refuses(125, &["started"]).hints();
}

#[test]
fn a_name_is_given_and_taken() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for name in ["one", "two"] {
        sandbox.ok(&["create", "--name", name, "busybox"]);
    }
    sandbox.img(&["rename", "one", "two"]).refuses(1, &["already in use"]).hints();
    sandbox.img(&["rename", "one", "../x"]).refuses(1, &["name"]);
    sandbox.img(&["rename", "one", "three"]).ok().prints_exactly("");
    sandbox.img(&["container", "exists", "one"]).exits(1);
    assert_eq!(sandbox.inspect("three")["Name"], "/three");
    sandbox.ok(&["create", "--name", "one", "busybox"]);
}

#[test]
fn wait_knows_states() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sleeper(&sandbox, "box", &[]);
    sandbox.img(&["wait", "--condition", "running", "box"]).ok().prints_exactly("running\n");
    sandbox.img(&["wait", "-s", "paused|stopped", "-t", "0.1", "box"]).refuses(1, &["in time"]);
    let waiting = |arguments: &[&str]| sandbox.spawn(arguments);
    let end = |mut running: crate::support::sandbox::Running| {
        let mut text = String::new();
        std::io::Read::read_to_string(running.0.stdout.as_mut().unwrap(), &mut text).unwrap();
        (running.0.wait().unwrap().code(), text)
    };
    let paused = waiting(&["wait", "-s", "paused|removed", "box"]);
    sandbox.img(&["pause", "box"]).ok();
    assert_eq!(end(paused), (Some(0), "paused\n".into()));
    sandbox.img(&["unpause", "box"]).ok();
    let ended = waiting(&["wait", "box"]);
    sandbox.img(&["kill", "-s", "KILL", "box"]).ok();
    assert_eq!(end(ended), (Some(0), "137\n".into()));
    sandbox.img(&["wait", "--condition", "stopped", "box"]).ok().prints_exactly("137\n");
    let removed = waiting(&["wait", "--condition", "removed", "box"]);
    sandbox.img(&["rm", "box"]).ok();
    assert_eq!(end(removed).0, Some(0));
    sandbox.img(&["wait", "box"]).refuses(1, &["no such container"]);
    sandbox.img(&["wait", "--ignore", "box"]).ok().prints_exactly("-1\n");
    sandbox.img(&["wait", "-s", "nonsense", "box"]).refuses(125, &["nonsense"]).hints();
}

#[test]
fn kill_reaches_every_process() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "trap 'echo parent' USR1; sh -c 'trap \"echo child\" USR1; echo ready; while :; do sleep 0.05; done' & \
                  while :; do wait; sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    let logged = |words: &[&str]| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let log = sandbox.img(&["logs", "box"]).ok().stdout();
            if words.iter().all(|word| log.contains(word)) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{words:?} are not all in {log:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    logged(&["ready"]);
    // The sleeps know no trap and end by it; the shells go on.
    sandbox.img(&["kill", "--all", "-s", "USR1", "box"]).ok();
    logged(&["parent", "child"]);
    sleeper(&sandbox, "other", &[]);
    let mut killed: Vec<String> = sandbox.ok(&["kill", "--all"]).lines().map(str::to_owned).collect();
    killed.sort();
    assert_eq!(killed.len(), 2);
    sandbox.img(&["wait", "box", "other"]).ok().prints_exactly("137\n137\n");
}

#[test]
fn verbs_choose_by_filter_and_by_age() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sleeper(&sandbox, "one", &["--label", "tier=front"]);
    sleeper(&sandbox, "two", &["--label", "tier=back"]);
    sandbox.img(&["pause", "--filter", "label=tier=back"]).ok();
    assert_eq!((status(&sandbox, "one"), status(&sandbox, "two")), ("running".into(), "paused".into()));
    sandbox.img(&["stop", "-t", "0", "--latest"]).ok();
    assert_eq!((status(&sandbox, "one"), status(&sandbox, "two")), ("running".into(), "exited".into()));
    sandbox.img(&["stop", "nobody", "one", "-t", "0"]).exits(1).prints_exactly("one\n");
    sandbox.img(&["stop", "--ignore", "nobody"]).ok();
    sandbox.img(&["start", "--all"]).ok();
    sandbox.img(&["rm", "-f", "--filter", "label=tier"]).ok();
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    sandbox.img(&["stop"]).refuses(125, &["required"]);
}

#[test]
fn a_clone_has_the_flags_and_the_files() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sleeper(&sandbox, "old", &["-m", "64m", "-e", "A=1"]);
    sandbox.img(&["exec", "old", "sh", "-c", "rm /bin/vi; echo text > /new; ln /new /link"]).ok();
    sandbox.ok(&["clone", "-o", "old", "-n", "copy"]);
    sandbox.img(&["start", "copy"]).ok();
    let look = "cat /link; stat -c %h /new; test ! -e /bin/vi; echo $A";
    sandbox.img(&["exec", "copy", "sh", "-c", look]).ok().prints_exactly("text\n2\n1\n");
    sandbox.img(&["exec", "copy", "rm", "/new"]).ok();
    sandbox.img(&["exec", "old", "test", "-e", "/new"]).ok();
    assert_eq!(sandbox.inspect("copy")["Config"]["Image"], sandbox.inspect("old")["Config"]["Image"]);
    let id = sandbox.ok(&["container", "clone", "--run", "--config-only", "-m", "32m", "old"]);
    let clone = sandbox.inspect("old-clone");
    assert_eq!((clone["Id"].as_str(), &clone["HostConfig"]["Memory"]), (Some(id.as_str()), &(32 << 20).into()));
    sandbox.img(&["exec", "old-clone", "test", "-e", "/new"]).exits(1);
    sandbox.img(&["clone", "old", "copy"]).refuses(125, &["already in use"]).hints();
    sandbox.img(&["clone", "nobody"]).refuses(1, &["no such container"]);
}

#[test]
fn prune_takes_what_does_not_run() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sleeper(&sandbox, "runs", &[]);
    let keep = sandbox.ok(&["create", "--label", "keep=1", "busybox"]);
    let made = sandbox.ok(&["create", "busybox"]);
    sandbox.img(&["container", "prune"]).refuses(125, &["cannot ask"]).hints();
    sandbox
        .img(&["container", "prune", "-f", "--filter", "until=1h"])
        .ok()
        .prints_exactly("Total reclaimed space: 0B\n");
    let out = sandbox.ok(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert!(out.starts_with(&format!("Deleted Containers:\n{made}\n\nTotal reclaimed space: ")), "{out}");
    assert_eq!(sandbox.ok(&["ps", "-aq", "--no-trunc"]).lines().count(), 2);
    sandbox.img(&["container", "exists", &keep]).ok();
    sandbox.img(&["image", "exists", "busybox"]).ok().prints_exactly("");
    sandbox.img(&["image", "exists", "nothing"]).exits(1).prints_exactly("");
}
