//! `update`: limits of a running container read back from the kernel's files, and mounts that come and go without a restart.

use super::limits::{group_file, sleeper};
use crate::support::Sandbox;

#[test]
fn limits_change_at_once_and_stay() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &["-m", "64m", "--cpu-shares", "512"]);
    let words = ["update", "-m", "128m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0", "box"];
    sandbox.img(&words).ok().prints_exactly("box\n");
    let check = |shares: &[&str]| {
        assert_eq!(group_file(&id, &["memory.max", "memory.limit_in_bytes"]), (128_u64 << 20).to_string());
        assert!(["50000 100000", "50000"].contains(&group_file(&id, &["cpu.max", "cpu.cfs_quota_us"]).as_str()));
        assert_eq!(group_file(&id, &["pids.max"]), "50");
        assert_eq!(group_file(&id, &["cpuset.cpus"]), "0");
        let found = group_file(&id, &["cpu.shares", "cpu.weight"]);
        assert!(shares.contains(&found.as_str()), "{found}");
    };
    // What was not named stays.
    check(&["512", "50"]);
    sandbox.img(&["update", "-c", "256", "box"]).ok();
    check(&["256", "25"]);
    sandbox.img(&["restart", "-t", "0", "box"]).ok();
    check(&["256", "25"]);
    assert_eq!(sandbox.inspect("box")["HostConfig"]["Memory"], 128 << 20);
    // One that holds its processes back: a loop cannot fork more than it may.
    sandbox.img(&["update", "--pids-limit", "3", "box"]).ok();
    assert_eq!(group_file(&id, &["pids.max"]), "3");
    let forks = sandbox.img(&["exec", "box", "sh", "-c", "sleep 5 & sleep 5 & sleep 5"]);
    forks.says(&["fork"]);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, &["-m", "64m"]);
    sandbox.img(&["update", "box"]).refuses(125, &["nothing to change"]).hints();
    sandbox.img(&["update", "-m", "1k", "box"]).refuses(125, &["too small"]).hints();
    sandbox.img(&["update", "--memory-swap", "32m", "box"]).refuses(125, &["less than"]).hints();
    sandbox.img(&["update", "--cpuset-cpus", "4000", "box"]).refuses(125, &["4000"]);
    assert_eq!(group_file(&id, &["memory.max", "memory.limit_in_bytes"]), (64_u64 << 20).to_string());
    assert_eq!(sandbox.inspect("box")["HostConfig"]["CpusetCpus"], "");
    sandbox.img(&["update", "-m", "128m", "nobody", "box"]).exits(1).prints_exactly("box\n");
}

#[test]
fn one_that_does_not_run_is_changed_for_its_next_start() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.img(&["update", "-m", "32m", "--mount-add", "type=tmpfs,target=/more", "box"]).ok();
    sandbox.img(&["start", "box"]).ok();
    assert_eq!(group_file(&id, &["memory.max", "memory.limit_in_bytes"]), (32_u64 << 20).to_string());
    sandbox.img(&["exec", "box", "grep", "-q", " /more tmpfs ", "/proc/mounts"]).ok();
}

#[test]
fn mounts_come_and_go_without_a_restart() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, &[]);
    sandbox.write("data/file", "text");
    let pid = sandbox.inspect("box")["State"]["Pid"].clone();
    let spec = format!("{}:/deep/data:ro", sandbox.text("data"));
    let add =
        ["update", "--mount-add", &spec, "--mount-add", "type=tmpfs,target=/scratch", "--mount-add", "vol:/vol", "box"];
    sandbox.img(&add).ok();
    sandbox.img(&["exec", "box", "cat", "/deep/data/file"]).ok().prints_exactly("text");
    sandbox.img(&["exec", "box", "touch", "/deep/data/new"]).exits(1);
    sandbox.img(&["exec", "box", "touch", "/scratch/new", "/vol/new"]).ok();
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains("/deep/data"), "the host sees nothing of it");
    sandbox.img(&["update", "--mount-add", &spec, "box"]).refuses(125, &["two mounts"]);
    sandbox.img(&["update", "--mount-rm", "/deep/data", "--mount-rm", "/scratch", "box"]).ok();
    sandbox.img(&["exec", "box", "test", "-e", "/deep/data/file"]).exits(1);
    sandbox.img(&["exec", "box", "grep", " /scratch ", "/proc/mounts"]).exits(1);
    assert_eq!(sandbox.inspect("box")["State"]["Pid"], pid);
    sandbox.img(&["restart", "-t", "0", "box"]).ok();
    sandbox.img(&["exec", "box", "sh", "-c", "test -e /vol/new && ! test -e /deep/data/file"]).ok();
    for own in ["/etc/hosts", "/proc", "/nowhere"] {
        sandbox.img(&["update", "--mount-rm", own, "box"]).refuses(1, &["nothing that can be taken away"]).hints();
    }
}

#[test]
fn a_link_of_the_container_leads_no_mount_out() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, &[]);
    sandbox.write("data/file", "text");
    let links = "ln -s /proc /to-proc; ln -s ../../../../../../../../tmp /to-tmp; ln -s /proc/1/root/tmp /magic";
    sandbox.img(&["exec", "box", "sh", "-c", links]).ok();
    let add =
        |place: &str| sandbox.img(&["update", "--mount-add", &format!("{}:{place}", sandbox.text("data")), "box"]);
    for link in ["/to-proc", "/to-proc/sys"] {
        add(link).refuses(1, &[link, "a part of the sandbox"]);
    }
    add("/magic").refuses(1, &["/magic", "a link of the container"]);
    add("/proc/sys").refuses(125, &["procfs"]);
    // Within the container's own root its links are followed, as on a start.
    add("/to-tmp/new").ok();
    sandbox.img(&["exec", "box", "cat", "/tmp/new/file"]).ok().prints_exactly("text");
    add("/to-tmp").ok();
    sandbox.img(&["exec", "box", "ls", "/tmp"]).ok().prints_exactly("file\n");
    // It is known again behind the link, and nothing else that this may lead to by then.
    let remove = || sandbox.img(&["update", "--mount-rm", "/to-tmp", "box"]);
    for target in ["/proc/sys", "/etc/hosts", "/dev/shm"] {
        sandbox.img(&["exec", "box", "sh", "-c", &format!("rm /to-tmp; ln -s {target} /to-tmp")]).ok();
        remove().refuses(1, &["/to-tmp", "a link of the container"]);
    }
    sandbox.img(&["exec", "box", "sh", "-c", "rm /to-tmp; ln -s tmp /to-tmp"]).ok();
    remove().ok();
    sandbox.img(&["exec", "box", "ls", "/tmp"]).ok().prints_exactly("new\n");
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.lines().any(|line| line.contains(&sandbox.text("data"))), "{host}");
}

#[test]
fn a_link_that_is_swapped_meanwhile_leads_no_mount_astray() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("data/file", "text");
    let script = "mkdir /a; ln -s /a /1; ln -s /proc/sys /2; ln -s /proc/kcore /3; \
                  while :; do for n in 1 2 3; do cp -P /$n /n && mv -fT /n /place; done; done";
    sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.wait_until("the link is there", || sandbox.img(&["exec", "box", "test", "-L", "/place"]).code() == 0);
    let (mut added, mut refused, mut number) = (0, 0, 0);
    sandbox.wait_until("the link led here and there", || {
        number += 1;
        let volume = format!("{}:/place/{number}", sandbox.text("data"));
        match sandbox.img(&["update", "--mount-add", &volume, "box"]).code() {
            0 => added += 1,
            _ => refused += 1,
        }
        added > 5 && refused > 5 && number > 40
    });
    let mounts = sandbox.ok(&["exec", "box", "cat", "/proc/mounts"]);
    let others = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|place| place.starts_with("/proc/"));
    let fresh = sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "cat", "/proc/mounts"]);
    let usual = fresh.lines().filter_map(|line| line.split(' ').nth(1)).filter(|place| place.starts_with("/proc/"));
    assert_eq!(others.collect::<Vec<_>>(), usual.collect::<Vec<_>>());
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.lines().any(|line| line.contains(&sandbox.text("data"))), "{host}");
}

#[test]
fn mounts_come_to_a_user_namespace_with_its_ids() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let made = sandbox.img(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "--userns",
        "auto",
        "busybox",
        "sleep",
        "1000",
    ]);
    if made.stderr().contains("needs Linux") || made.stderr().contains("does not allow that") {
        eprintln!("skip: {made}");
        return;
    }
    made.ok();
    sandbox.write("data/file", "text");
    let bind = format!("type=bind,src={},dst=/deep/data,ro", sandbox.text("data"));
    let mapped = format!("type=bind,src={},dst=/mapped,idmap", sandbox.text("data"));
    let tmpfs = "type=tmpfs,target=/scratch,tmpfs-size=1m";
    sandbox.img(&["update", "--mount-add", &bind, "--mount-add", &mapped, "--mount-add", tmpfs, "box"]).ok();
    sandbox.img(&["update", "--mount-add", "vol:/vol", "box"]).ok();
    sandbox.img(&["exec", "box", "cat", "/deep/data/file"]).ok().prints_exactly("text");
    let script = "touch /vol/new /scratch/new /mapped/new; chown 5:6 /vol/new /scratch/new; \
                  stat -c %u:%g /deep /deep/data /scratch /mapped /vol/new /scratch/new /mapped/new";
    let seen = sandbox.ok(&["exec", "box", "sh", "-c", script]);
    assert_eq!(seen, "0:0\n65534:65534\n0:0\n0:0\n5:6\n5:6\n0:0");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(sandbox.path("data/new")).unwrap().uid(), 0, "on the disk as in the container");
    sandbox.img(&["update", "--mount-rm", "/vol", "--mount-rm", "/scratch", "box"]).ok();
    sandbox.img(&["exec", "box", "grep", "-E", " /(vol|scratch) ", "/proc/mounts"]).exits(1);
    // What the next start makes of the same words is the same.
    sandbox.ok(&["restart", "-t", "0", "box"]);
    let again = sandbox.ok(&["exec", "box", "stat", "-c", "%u:%g", "/deep/data", "/mapped", "/mapped/new"]);
    assert_eq!(again, "65534:65534\n0:0\n0:0");
}

#[test]
fn a_link_of_the_container_takes_no_mount_of_the_sandbox_away() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", "text");
    let volume = |place: &str| format!("{}:{place}", sandbox.text("data"));
    sleeper(&sandbox, &["-v", &volume("/srv/data"), "-v", &volume("/sys/kernel")]);
    let mounts = || sandbox.ok(&["exec", "box", "cat", "/proc/mounts"]);
    let before = mounts();
    assert!(before.contains(" /proc/sys proc ro,"), "{before}");
    for target in ["/proc/sys", "/proc/kcore", "/proc", "/etc/hosts"] {
        let swap = format!("test -e /srv2 || mv /srv /srv2; rm -rf /srv; mkdir /srv; ln -s {target} /srv/data");
        sandbox.img(&["exec", "box", "sh", "-c", &swap]).ok();
        let refused = sandbox.img(&["update", "--mount-rm", "/srv/data", "box"]);
        refused.refuses(1, &["/srv/data", "a link of the container"]).hints();
        assert_eq!(mounts().replace("/srv2", "/srv"), before, "{target}");
    }
    sandbox.img(&["exec", "box", "sh", "-c", "rm -r /srv; ln -s proc /srv"]).ok();
    sandbox.img(&["update", "--mount-rm", "/srv/data", "box"]).refuses(1, &["a link of the container"]);
    // Once the volume is where it was said to be, it can go; what was refused is still recorded.
    sandbox.img(&["exec", "box", "sh", "-c", "rm /srv; mv /srv2 /srv"]).ok();
    sandbox.img(&["update", "--mount-rm", "/srv/data", "box"]).ok();
    assert!(!mounts().contains(" /srv/data "));
    sandbox.img(&["update", "--mount-rm", "/sys/kernel", "box"]).refuses(1, &["a part of the sandbox"]).hints();
}

#[test]
fn what_is_changed_side_by_side_is_all_recorded() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for network in ["one", "two", "three"] {
        sandbox.ok(&["network", "create", network]);
    }
    for round in 0..5 {
        let name = format!("box{round}");
        sandbox.ok(&["create", "--name", &name, "--network", "none", "busybox", "true"]);
        let changes = [
            vec!["update", "--memory", "64m", &name],
            vec!["update", "--pids-limit", "50", &name],
            vec!["update", "--mount-add", "type=tmpfs,target=/a", &name],
            vec!["update", "--mount-add", "type=tmpfs,target=/b", &name],
            vec!["network", "connect", "one", &name],
            vec!["network", "connect", "two", &name],
            vec!["network", "connect", "three", &name],
        ];
        let running = changes.map(|words| sandbox.command(&words).stdout(std::process::Stdio::null()).spawn().unwrap());
        assert!(running.into_iter().all(|mut child| child.wait().unwrap().success()));
        let found = sandbox.inspect(&name);
        assert_eq!(found["HostConfig"]["Memory"], 64 << 20, "{found}");
        assert_eq!(found["HostConfig"]["PidsLimit"], 50, "{found}");
        let text = std::fs::read_to_string(
            sandbox.root().join("containers").join(found["Id"].as_str().unwrap()).join("record.json"),
        )
        .unwrap();
        for words in ["target=/a", "target=/b", "one", "two", "three"] {
            assert!(text.contains(&format!("{words}\"")), "{words}: {text}");
        }
    }
}
