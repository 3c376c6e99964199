//! Nothing is left behind: not by two hundred runs, not by a killed `img`, not by the end of a container, once the next
//! command has run. These tests run alone on the machine and compare it before and after.

use rustix::process::Signal;

use crate::support::Sandbox;
use crate::support::leaks::{Picture, assert_no_process, assert_nothing_left};

/// A store with busybox in it that has run a container before, so that what is made once (the bridge, its table, the pin
/// of the shared layer mounts) is there in the first picture already.
fn warmed() -> (Sandbox, Picture) {
    let sandbox = Sandbox::alone();
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    sandbox.ok(&["ps"]);
    let before = Picture::now();
    (sandbox, before)
}

#[test]
fn two_hundred_runs() {
    let (sandbox, before) = warmed();
    let mark = format!("two-hundred-{}", std::process::id());
    let variable = format!("MARK={mark}");
    for n in 0..200 {
        let network = if n % 4 == 0 { "bridge" } else { "none" };
        sandbox.img(&["run", "--rm", "-e", &variable, "--network", network, "busybox", "true"]).ok();
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    assert_nothing_left(&before, |_| false);
    assert_no_process(&mark);
    // Beside the containers there is the folder of their names.
    let containers = std::fs::read_dir(sandbox.root().join("containers")).unwrap().flatten();
    assert_eq!(containers.filter(|entry| entry.file_name().len() == 64).count(), 0);
}

#[test]
fn the_pin_is_the_only_mount_and_unmount_removes_it() {
    let sandbox = Sandbox::alone();
    let before = Picture::now();
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    let place = sandbox.text("");
    let left = Picture::now().beyond(&before, |_| false);
    let mounts: Vec<_> = left.iter().filter(|line| line.starts_with("mount: ")).collect();
    // The pin is bound in a folder that is a private mount of itself, since the kernel wants it so.
    let pins = mounts.iter().filter(|mount| mount.contains("/run/layers/pin ")).count();
    let folders = mounts.iter().filter(|mount| mount.contains("/run/layers ")).count();
    assert!(pins <= 1 && folders <= 1 && pins + folders == mounts.len(), "at most the one pin: {mounts:?}");
    assert!(mounts.iter().all(|mount| mount.contains(&place)), "{mounts:?}");
    sandbox.ok(&["system", "unmount"]);
    assert!(!Picture::now().beyond(&before, |_| false).iter().any(|line| line.starts_with("mount: ")));
    sandbox.img(&["run", "--rm", "--network", "none", "busybox", "echo", "again"]).ok().prints_exactly("again\n");
}

#[test]
fn a_foreground_img_killed_at_any_moment() {
    let (sandbox, before) = warmed();
    let mark = format!("killed-run-{}", std::process::id());
    let variable = format!("MARK={mark}");
    for microseconds in (0..40).map(|n| n * 400).chain([20_000, 40_000, 100_000, 300_000]) {
        let network = if microseconds % 800 == 0 { "none" } else { "bridge" };
        let mut run = sandbox.spawn(&["run", "--rm", "-e", &variable, "--network", network, "busybox", "sleep", "100"]);
        std::thread::sleep(std::time::Duration::from_micros(microseconds));
        run.signal(Signal::KILL);
        run.wait();
    }
    sandbox.ok(&["ps"]);
    sandbox.wait_until("all are gone", || {
        let ids = sandbox.ok(&["ps", "-aq"]);
        if !ids.is_empty() {
            let running = sandbox.ok(&["ps", "-q"]);
            assert!(running.is_empty() || ids.len() < 4000, "{ids}");
            let mut words = vec!["rm", "-f"];
            words.extend(ids.split_whitespace());
            sandbox.img(&words);
        }
        ids.is_empty()
    });
    assert_nothing_left(&before, |_| false);
    assert_no_process(&mark);
    sandbox.img(&["run", "--rm", "busybox", "true"]).ok();
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn a_killed_build_leaves_no_process_and_no_mount() {
    let (sandbox, before) = warmed();
    let mark = format!("killed-build-{}", std::process::id());
    sandbox.write("context/Buildfile", format!("FROM busybox\nENV MARK={mark}\nRUN echo start; sleep 100\nRUN true\n"));
    let context = sandbox.text("context");
    for milliseconds in [0, 2, 5, 10, 20, 50, 200, 500] {
        let mut build = sandbox.spawn(&["build", "-t", "never", &context]);
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        build.signal(Signal::KILL);
        build.wait();
    }
    sandbox.ok(&["ps"]);
    assert_nothing_left(&before, |_| false);
    assert_no_process(&mark);
    assert_eq!(sandbox.ok(&["images", "-q", "never"]), "");
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn detached_containers_that_end_and_are_removed() {
    let (sandbox, before) = warmed();
    let ids: Vec<String> = (0..10)
        .map(|n| sandbox.ok(&["run", "-d", "busybox", "sleep", if n % 2 == 0 { "0.2" } else { "100" }]))
        .collect();
    for id in &ids {
        sandbox.ok(&["rm", "-f", id]);
    }
    sandbox.ok(&["ps"]);
    assert_nothing_left(&before, |_| false);
}

#[test]
fn nobody_stays_resident() {
    let (sandbox, _) = warmed();
    sandbox.build("context", "x", "FROM busybox\nRUN true\n").ok();
    sandbox.ok(&["pull", "odd"]);
    assert_no_process(&sandbox.text(""));
}

#[test]
fn fifty_side_by_side() {
    let (sandbox, before) = warmed();
    let mut all: Vec<_> =
        (0..50).map(|n| (n, sandbox.spawn(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {n}")]))).collect();
    for (n, one) in &mut all {
        assert_eq!(one.wait(), *n);
    }
    sandbox.ok(&["ps"]);
    assert_nothing_left(&before, |_| false);
}
