//! Limits: what the kernel was told, what it then does, and how an end by the out-of-memory killer is told apart.

use crate::support::Sandbox;
use crate::support::leaks::hierarchies;

/// The content of the first of these files in the control group of container `id`, whichever hierarchy has it.
fn group_file(id: &str, names: &[&str]) -> String {
    let groups = crate::support::leaks::groups_of(id);
    assert!(!groups.is_empty(), "no control group of {id} below {:?}", hierarchies());
    let found = groups.iter().flat_map(|group| names.iter().map(move |name| group.join(name)));
    let mut content = found.filter_map(|path| std::fs::read_to_string(path).ok());
    content.next().unwrap_or_else(|| panic!("none of {names:?} in {groups:?}")).trim().to_owned()
}

#[test]
fn each_flag_reaches_its_file() {
    let sandbox = Sandbox::new();
    let words = [
        "run",
        "-d",
        "--network",
        "none",
        "-m",
        "64m",
        "--cpus",
        "0.25",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "33",
        "busybox",
        "sleep",
        "100",
    ];
    let id = sandbox.ok(&words);
    assert_eq!(group_file(&id, &["memory.max", "memory.limit_in_bytes"]), (64_u64 << 20).to_string());
    assert_eq!(group_file(&id, &["pids.max"]), "33");
    assert_eq!(group_file(&id, &["cpuset.cpus"]), "0");
    let quota = group_file(&id, &["cpu.max", "cpu.cfs_quota_us"]);
    assert!(quota == "25000 100000" || quota == "25000", "{quota}");
    let shares = group_file(&id, &["cpu.shares", "cpu.weight"]);
    assert!(shares == "512" || shares == "20" || shares == "59", "{shares}");
}

#[test]
fn there_is_a_limit_of_processes_without_asking() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "100"]);
    assert_eq!(group_file(&id, &["pids.max"]), "4096");
    let out = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--pids-limit",
        "10",
        "busybox",
        "sh",
        "-c",
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done; wait",
    ]);
    out.says(&["resource temporarily unavailable"]);
}

#[test]
fn out_of_memory_is_told_apart_from_a_kill() {
    let sandbox = Sandbox::new();
    let eat = "x=a; while :; do x=$x$x$x$x; done";
    let out = sandbox.img(&["run", "--name", "eater", "--network", "none", "-m", "16m", "busybox", "sh", "-c", eat]);
    out.exits(137);
    assert_eq!(sandbox.inspect("eater")["State"]["OOMKilled"], true);
    let out = sandbox.img(&[
        "run",
        "--name",
        "killed",
        "--network",
        "none",
        "-m",
        "16m",
        "busybox",
        "sh",
        "-c",
        "sh -c 'kill -9 $$'; exit $?",
    ]);
    out.exits(137);
    assert_eq!(sandbox.inspect("killed")["State"]["OOMKilled"], false);
}

#[test]
fn a_quarter_of_a_cpu_is_a_quarter() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    // The loop's own CPU time against the wall: two seconds of burning at a quarter.
    let script = "timeout 2 sh -c 'while :; do :; done'; awk '{print $14+$15+$16+$17}' /proc/1/stat";
    let out = sandbox.img(&["run", "--rm", "--network", "none", "--cpus", "0.25", "busybox", "sh", "-c", script]);
    let ticks: f64 = out.stdout().trim().lines().last().unwrap().parse().unwrap();
    assert!(ticks < 90.0, "two seconds at a quarter are 50 ticks of 100 a second, not {ticks}\n{out}");
}

#[test]
fn nonsense_is_refused_with_the_flag_that_holds_it() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let cases: [(&str, &str); 8] = [
        ("--memory", "12q"),
        ("--memory", "-5m"),
        ("--memory", "1k"),
        ("--cpus", "many"),
        ("--cpus", "9999"),
        ("--cpuset-cpus", "512"),
        ("--pids-limit", "x"),
        ("--cpu-shares", "-1"),
    ];
    for (flag, value) in cases {
        sandbox.img(&["run", "--rm", flag, value, "busybox", "true"]).refuses(125, &[value]);
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "", "a refused run leaves no container");
}
