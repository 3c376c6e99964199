//! `cgroup get`, `set` and `dump`, LXC's way of them, `priority`, `enter` and `info --cgroups`: control files by the names of
//! either version, held against the kernel's own.

use super::limits::{group_file, sleeper};
use crate::support::Sandbox;

#[test]
fn files_are_known_by_the_names_of_both_versions() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &["-m", "64m", "--cpu-shares", "1024"]);
    sandbox.img(&["cgroup", "-n", "box", "cpu.shares", "512"]).ok().prints_exactly("");
    assert!(["512", "50"].contains(&group_file(&id, &["cpu.shares", "cpu.weight"]).as_str()));
    sandbox.img(&["cgroup", "get", "box", "cpu.weight", "cpu.shares"]).ok().prints_exactly("50\n512\n");
    sandbox.img(&["cgroup", "-n", "box", "cpu.weight"]).ok().prints_exactly("50\n");
    sandbox
        .img(&["cgroup", "get", "box", "memory.max", "memory.limit_in_bytes"])
        .ok()
        .prints_exactly("67108864\n67108864\n");
    sandbox.img(&["cgroup", "set", "box", "memory.max", "33554432"]).ok();
    assert_eq!(group_file(&id, &["memory.max", "memory.limit_in_bytes"]), "33554432");
    sandbox.img(&["cgroup", "set", "box", "cpu.max", "20000 50000"]).ok();
    sandbox
        .img(&["cgroup", "get", "box", "cpu.cfs_quota_us", "cpu.cfs_period_us"])
        .ok()
        .prints_exactly("20000\n50000\n");
    let used = sandbox.ok(&["cgroup", "get", "box", "memory.current"]).parse::<u64>().unwrap();
    assert!(used > 0 && used < 32 << 20, "{used}");
    let dump = sandbox.ok(&["cgroup", "dump", "box"]);
    assert!(dump.lines().any(|line| line.contains(&id) && line.ends_with(": 33554432")), "{dump}");
}

#[test]
fn the_freezer_is_the_one_that_pause_uses() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, &[]);
    sandbox.img(&["cgroup", "get", "box", "freezer.state"]).ok().prints_exactly("THAWED\n");
    sandbox.img(&["cgroup", "set", "box", "freezer.state", "FROZEN"]).ok();
    assert_eq!(sandbox.inspect("box")["State"]["Status"], "paused");
    sandbox.img(&["cgroup", "get", "box", "freezer.state", "cgroup.freeze"]).ok().prints_exactly("FROZEN\n1\n");
    sandbox.img(&["unpause", "box"]).ok();
    sandbox.img(&["cgroup", "get", "box", "cgroup.freeze"]).ok().prints_exactly("0\n");
}

#[test]
fn what_is_no_control_file_is_refused() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, &[]);
    for name in ["../cpu.max", "/etc/passwd", "", ".", "a/b", "nothing.here"] {
        sandbox.img(&["cgroup", "get", "box", name]).refuses(1, &["control file"]);
        sandbox.img(&["cgroup", "set", "box", name, "1"]).refuses(1, &["control file"]);
    }
    sandbox.img(&["cgroup", "set", "box", "pids.max", "many"]).refuses(1, &["pids.max"]);
    sandbox.img(&["cgroup", "set", "box", "pids.max", "1\n2"]).refuses(1, &["one line"]);
    sandbox.img(&["cgroup", "get", "box", "nothing.here", "pids.max"]).exits(1).prints_exactly("4096\n");
    sandbox.img(&["stop", "-t", "0", "box"]).ok();
    sandbox.img(&["cgroup", "get", "box", "pids.max"]).refuses(1, &["not running"]).hints();
}

#[test]
fn priority_is_the_weight_of_the_group() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &[]);
    sandbox.img(&["priority", "box"]).ok().prints_exactly("0\n");
    sandbox.img(&["priority", "-p", "5", "box"]).ok();
    sandbox.img(&["priority", "box"]).ok().prints_exactly("5\n");
    let found = group_file(&id, &["cpu.weight.nice", "cpu.shares"]);
    assert!(found == "5" || found == "336", "{found}");
    sandbox.img(&["priority", "-p", "-3", "box"]).ok();
    sandbox.img(&["priority", "box"]).ok().prints_exactly("-3\n");
    sandbox.img(&["priority", "-p", "40", "box"]).refuses(1, &["40"]);
}

#[test]
fn words_of_lxc() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, &[]);
    sandbox.img(&["enter", "box", "--", "id", "-u"]).ok().prints_exactly("0\n");
    sandbox.img_with_input(&["enter", "box"], "echo inside; exit 4\n").exits(4).prints_exactly("inside\n");
    sandbox.img(&["info", "box", "--format", "{{.Name}}"]).ok().prints_exactly("/box\n");
    let table = sandbox.ok(&["info", "--cgroups"]);
    assert!(table.lines().any(|line| line.starts_with("memory ")), "{table}");
    assert!(sandbox.ok(&["ls", "--format", "{{.Names}}"]).contains("box"));
    sandbox.img(&["shutdown", "-t", "0", "box"]).ok().prints_exactly("box\n");
    sandbox.img(&["destroy", "box"]).ok().prints_exactly("box\n");
    sandbox.img(&["container", "exists", "box"]).exits(1);
}
