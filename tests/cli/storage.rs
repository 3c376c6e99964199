//! `--storage-opt`: what a container writes is limited, in bytes and in files, and whatever reads its layer still does.

use crate::support::Sandbox;

/// `img run FLAGS busybox sh -c SCRIPT` with no network.
fn run(sandbox: &Sandbox, flags: &[&str], script: &str) -> crate::support::Out {
    sandbox.img(&[&["run", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat())
}

#[test]
fn a_container_that_writes_more_than_it_may_finds_no_space() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    if !std::path::Path::new("/dev/loop-control").exists() {
        return println!("skip: no loop devices");
    }
    let script =
        "dd if=/dev/zero of=/f bs=1M count=30 2>&1 | grep -o 'No space'; rm /f; rm /etc/group; stat -c %a:%u /";
    assert_eq!(run(&sandbox, &["--rm", "--storage-opt", "size=10m"], script).ok().stdout(), "No space\n755:0\n");
    let script = "i=0; while touch /$i 2>/dev/null && [ $i -lt 200 ]; do i=$((i+1)); done; [ $i -lt 150 ] && echo few";
    let few = ["--rm", "--storage-opt", "size=10m", "--storage-opt", "inodes=100"];
    assert_eq!(run(&sandbox, &few, script).ok().stdout(), "few\n");
    let volume = ["--rm", "--storage-opt", "size=2m", "-v", "big:/v"];
    run(&sandbox, &volume, "dd if=/dev/zero of=/v/f bs=1M count=5").ok();
}

#[test]
fn what_it_wrote_is_kept_and_found() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    if !std::path::Path::new("/dev/loop-control").exists() {
        return println!("skip: no loop devices");
    }
    run(&sandbox, &["--name", "box", "--storage-opt", "size=10m"], "echo 1 >> /own; wc -l < /own").ok().prints(&["1"]);
    assert_eq!(sandbox.ok(&["diff", "box"]), "A /own");
    sandbox.ok(&["system", "unmount"]);
    assert_eq!(sandbox.ok(&["start", "-a", "box"]), "2", "it is there again after it was unmounted");
    sandbox.ok(&["commit", "box", "made"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "--network", "none", "made", "cat", "/own"]), "1\n1");
    sandbox.ok(&["cp", "box:/own", &sandbox.path("own").display().to_string()]);
    assert_eq!(std::fs::read_to_string(sandbox.path("own")).unwrap(), "1\n1\n");
    let host = &sandbox.inspect("box")["HostConfig"];
    assert_eq!(host["StorageOpt"]["size"], "10m");
    sandbox.ok(&["rm", "box"]);
    let root = sandbox.root().display().to_string();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.lines().any(|line| line.contains(&root) && line.contains("ext4")), "{mounts}");
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for bad in ["size", "size=x", "size=10k", "inodes=5", "dm.basesize=1g"] {
        run(&sandbox, &["--rm", "--storage-opt", bad], "true").refuses(125, &[]);
    }
    sandbox.img(&["run", "--rm", "--storage-opt", "size=10m", "--rootfs", "/", "true"]).refuses(125, &["--rootfs"]);
}

#[test]
fn sizes_of_memory_file_systems_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "df -k /dev/shm /t | awk 'NR>1{print $2}'; stat -c %a:%u /t";
    let flags = ["--name", "box", "--shm-size", "1m", "--tmpfs", "/t:size=2m,mode=700,uid=5"];
    assert_eq!(run(&sandbox, &flags, script).ok().stdout(), "1024\n2048\n700:5\n");
    let host = &sandbox.inspect("box")["HostConfig"];
    assert_eq!((&host["ShmSize"], &host["Tmpfs"]["/t"]), (&(1 << 20).into(), &"size=2m,mode=700,uid=5".into()));
}
