//! Limits: what the kernel was told, what it then does, and how an end by the out-of-memory killer is told apart.

use crate::support::Sandbox;
use crate::support::leaks::hierarchies;

/// The content of the first of these files in the control group of container `id`, whichever hierarchy has it.
pub fn group_file(id: &str, names: &[&str]) -> String {
    let groups = crate::support::leaks::groups_of(id);
    assert!(!groups.is_empty(), "no control group of {id} below {:?}", hierarchies());
    let found = groups.iter().flat_map(|group| names.iter().map(move |name| group.join(name)));
    let mut content = found.filter_map(|path| std::fs::read_to_string(path).ok());
    content.next().unwrap_or_else(|| panic!("none of {names:?} in {groups:?}")).trim().to_owned()
}

/// A container `box` of busybox that sleeps, with more flags; gives its id.
pub fn sleeper(sandbox: &Sandbox, more: &[&str]) -> String {
    sandbox.pull("busybox");
    let mut arguments = vec!["run", "-d", "--name", "box", "--network", "none"];
    arguments.extend(more);
    arguments.extend(["busybox", "sleep", "1000"]);
    sandbox.ok(&arguments)
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
    let cases: [(&str, &str); 14] = [
        ("--memory", "12q"),
        ("--memory", "-5m"),
        ("--memory", "1k"),
        ("--cpus", "many"),
        ("--cpus", "9999"),
        ("--cpuset-cpus", "512"),
        ("--pids-limit", "x"),
        ("--cpu-shares", "-1"),
        ("--cpu-period", "5"),
        ("--blkio-weight", "5"),
        ("--device-read-bps", "/dev/null:1mb"),
        ("--hugetlb-limit", "100=1m"),
        ("--cpuset-mems", "700"),
        ("--oom-score-adj", "2000"),
    ];
    for (flag, value) in cases {
        sandbox.img(&["run", "--rm", flag, value, "busybox", "true"]).refuses(125, &[value]);
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "", "a refused run leaves no container");
}

/// Waits for nothing: the container has been started when `run -d` returns, with all limits written before.
fn started(sandbox: &Sandbox, flags: &[&str]) -> String {
    let mut words = vec!["run", "-d", "--network", "none"];
    words.extend_from_slice(flags);
    words.extend_from_slice(&["busybox", "sleep", "100"]);
    sandbox.ok(&words)
}

/// Whether a controller is on cgroup v1 here.
fn version1(controller: &str) -> bool {
    std::fs::read_to_string("/proc/cgroups").is_ok_and(|text| {
        text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&controller) && words.get(1).is_some_and(|hierarchy| *hierarchy != "0")
        })
    })
}

#[test]
fn period_and_quota_memory_nodes_and_reservation() {
    let sandbox = Sandbox::new();
    let flags = [
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "25000",
        "--cpuset-mems",
        "0",
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "96m",
    ];
    let id = started(&sandbox, &flags);
    let quota = group_file(&id, &["cpu.max", "cpu.cfs_quota_us"]);
    assert!(
        quota == "25000 50000" || quota == "25000" && group_file(&id, &["cpu.cfs_period_us"]) == "50000",
        "{quota}"
    );
    assert_eq!(group_file(&id, &["cpuset.mems"]), "0");
    assert_eq!(group_file(&id, &["memory.low", "memory.soft_limit_in_bytes"]), (32 << 20).to_string());
    let swap = group_file(&id, &["memory.swap.max", "memory.memsw.limit_in_bytes"]);
    assert!(swap == (96 << 20).to_string() || swap == (32 << 20).to_string(), "{swap}");
    let host = &sandbox.inspect(&id)["HostConfig"];
    assert_eq!(host["CpuPeriod"], 50000);
    assert_eq!(host["MemorySwap"], 96 << 20);
    assert_eq!(host["CpusetMems"], "0");
}

#[test]
fn block_io_by_device() {
    let sandbox = Sandbox::new();
    let device = "/dev/loop0";
    if !std::path::Path::new(device).exists() {
        eprintln!("skip: there is no {device}");
        return;
    }
    let rates = [
        ("--device-read-bps", "1mb", "blkio.throttle.read_bps_device", "rbps", "1048576"),
        ("--device-write-bps", "2mb", "blkio.throttle.write_bps_device", "wbps", "2097152"),
        ("--device-read-iops", "100", "blkio.throttle.read_iops_device", "riops", "100"),
        ("--device-write-iops", "200", "blkio.throttle.write_iops_device", "wiops", "200"),
    ];
    let values: Vec<String> = rates.iter().map(|(_, rate, ..)| format!("{device}:{rate}")).collect();
    let mut flags = Vec::new();
    for ((flag, ..), value) in rates.iter().zip(&values) {
        flags.extend([*flag, value.as_str()]);
    }
    let id = started(&sandbox, &flags);
    for (_, _, file, key, number) in rates {
        let content = group_file(&id, &[file, "io.max"]);
        let expected = [format!("7:0 {number}"), format!("{key}={number}")];
        assert!(expected.iter().any(|expected| content.contains(expected)), "{file}: {content}");
    }
}

#[test]
fn shares_keep_their_proportion() {
    let sandbox = Sandbox::new();
    let weight = |shares: &str| -> f64 {
        let id = started(&sandbox, &["--cpu-shares", shares]);
        group_file(&id, &["cpu.shares", "cpu.weight"]).parse().expect("a number")
    };
    let ratio = weight("1024") / weight("512");
    assert!((1.95..=2.05).contains(&ratio), "1024 to 512 is {ratio}");
}

#[test]
fn what_only_one_version_of_control_groups_has() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let run = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend_from_slice(flags);
        words.extend_from_slice(&["busybox", "true"]);
        sandbox.img(&words)
    };
    if version1("memory") {
        let id = started(&sandbox, &["--memory-swappiness", "10", "--oom-kill-disable", "-m", "64m"]);
        assert_eq!(group_file(&id, &["memory.swappiness"]), "10");
        assert!(group_file(&id, &["memory.oom_control"]).contains("oom_kill_disable 1"));
        run(&["--cgroup-conf", "memory.high=1000000"]).refuses(125, &["memory.high", "not on cgroup v2"]);
    } else {
        run(&["--memory-swappiness", "10"]).refuses(125, &["swappiness", "cgroup v2"]);
        run(&["--oom-kill-disable"]).refuses(125, &["OOM", "cgroup v2"]);
        let id = started(&sandbox, &["--cgroup-conf", "memory.high=100000000"]);
        assert_eq!(group_file(&id, &["memory.high"]), "99999744");
    }
    if version1("cpu") {
        let id = started(&sandbox, &["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "0"]);
        assert_eq!(group_file(&id, &["cpu.rt_period_us"]), "1000000");
    } else {
        run(&["--cpu-rt-runtime", "1000"]).refuses(125, &["real-time", "cgroup v2"]);
    }
    // -1 says nothing, on either.
    run(&["--memory-swappiness", "-1"]).ok();
}

#[test]
fn parent_group_and_view_of_groups() {
    let sandbox = Sandbox::new();
    let parent = format!("img-test-{}", std::process::id());
    let id = started(&sandbox, &["--cgroup-parent", &format!("/{parent}/a"), "--cgroupns", "host"]);
    let view = sandbox.ok(&["exec", &id, "cat", "/proc/self/cgroup"]);
    assert!(view.contains(&format!("/{parent}/a/{id}")), "{view}");
    sandbox.ok(&["rm", "-f", &id]);
    let private = sandbox.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--cgroup-parent",
        &parent,
        "busybox",
        "cat",
        "/proc/self/cgroup",
    ]);
    assert!(!private.contains(&parent), "{private}");
    sandbox.img(&["run", "--rm", "--cgroup-parent", "../up", "busybox", "true"]).refuses(125, &["leads upwards"]);
    for hierarchy in hierarchies() {
        for group in [hierarchy.join(&parent).join("a"), hierarchy.join(&parent)] {
            // Empty by now, and made in some of the hierarchies only.
            match std::fs::remove_dir(&group) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", group.display()),
                _ => {}
            }
        }
    }
}

#[test]
fn devices_by_number() {
    let sandbox = Sandbox::new();
    let script = "mknod /d/loop b 7 0 && head -c 0 /d/loop && dd if=/d/loop count=0 2>/dev/null && echo open";
    let run = |rule: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none", "--tmpfs", "/d:dev"];
        words.extend_from_slice(rule);
        words.extend_from_slice(&["busybox", "sh", "-c", script]);
        sandbox.img(&words)
    };
    let denied = run(&[]);
    assert!(denied.code() != 0 && denied.stderr().to_lowercase().contains("not permitted"), "{denied}");
    if std::path::Path::new("/dev/loop0").exists() {
        run(&["--device-cgroup-rule", "b 7:* rm"]).ok().prints_exactly("open\n");
    }
    run(&["--device-cgroup-rule", "x 7:0 r"]).refuses(125, &["x 7:0 r"]);
}

#[test]
fn limits_of_the_process() {
    let sandbox = Sandbox::new();
    let out = sandbox.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--oom-score-adj",
        "500",
        "--ulimit",
        "nofile=512:1024",
        "--ulimit",
        "host",
        "busybox",
        "sh",
        "-c",
        "cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn",
    ]);
    assert_eq!(out, "500\n512\n1024");
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line of capabilities");
    let may_raise = u64::from_str_radix(capabilities.trim(), 16).expect("a set") & 1 << 24 != 0;
    if may_raise {
        eprintln!("skip the refusals: there is CAP_SYS_RESOURCE here");
        return;
    }
    let run =
        |flag: &str, value: &str| sandbox.img(&["run", "--rm", "--network", "none", flag, value, "busybox", "true"]);
    run("--ulimit", "nofile=999999999").refuses(125, &["RLIMIT_NOFILE", "CAP_SYS_RESOURCE"]);
    run("--oom-score-adj", "-900").refuses(125, &["-900", "CAP_SYS_RESOURCE"]);
}

#[test]
fn flags_that_mean_nothing_here_say_why() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let cases: [(&str, &str); 10] = [
        ("--cpu-count=2", "Windows"),
        ("--cpu-percent=50", "Windows"),
        ("--io-maxbandwidth=1m", "Windows"),
        ("--io-maxiops=10", "Windows"),
        ("--isolation=hyperv", "Windows"),
        ("--runtime=runsc", "by img itself"),
        ("--gpus=all", "CDI"),
        ("--pod=p", "no pods"),
        ("--cgroups=disabled", "control group"),
        ("--kernel-memory=10m", "--memory"),
    ];
    for (flag, reason) in cases {
        sandbox.img(&["run", "--rm", flag, "busybox", "true"]).refuses(125, &[reason]);
    }
    sandbox.ok(&["run", "--rm", "--network", "none", "--isolation=default", "--cgroups=enabled", "busybox", "true"]);
}
