//! The machine itself as a root file system, namespaces shared with it, and its programs in other namespaces.

use crate::support::Sandbox;

#[test]
fn the_machine_as_it_is_and_a_copy_to_throw_away() {
    let sandbox = Sandbox::new();
    let mark = sandbox.write("mark", "before");
    let run = |rootfs: &str, script: &str| {
        sandbox.img(&["run", "--rm", "--network", "none", "--rootfs", rootfs, "sh", "-c", script])
    };
    let seen = run("/", &format!("cat {mark}")).ok().stdout();
    assert_eq!(seen, "before", "the whole machine is there, whatever is mounted below its root");
    let script =
        format!("cat {mark} && echo after > {mark} && cat {mark} && rm -rf /etc/passwd && ! test -e /etc/passwd");
    run("/:O", &script).ok().prints_exactly("beforeafter\n");
    assert_eq!(std::fs::read_to_string(&mark).expect("the mark"), "before");
    assert!(std::path::Path::new("/etc/passwd").exists());
    // The store lies below that root: it is not shown to itself.
    run("/:O", &format!("find {} | wc -l", sandbox.root().display())).ok().prints_exactly("1\n");
    run("/nowhere", "true").refuses(125, &["/nowhere"]);
    let rest = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--rootfs",
        "/",
        "sh",
        "-c",
        &format!("echo x > {mark}"),
    ]);
    rest.says(&["read-only"]);
}

#[test]
fn namespaces_shared_with_the_machine() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let spaces = |share: &str| -> Vec<&'static str> {
        let mut words = vec!["run", "--rm"];
        words.extend(["--share", share]);
        if !share.contains("net") && !share.contains("all") {
            words.extend(["--network", "none"]);
        }
        let kinds = ["net", "pid", "ipc", "uts", "cgroup", "mnt"];
        words.extend([
            "busybox",
            "sh",
            "-c",
            "cd /proc/self/ns; for kind in net pid ipc uts cgroup mnt; do readlink $kind; done",
        ]);
        let said = sandbox.img(&words).ok().stdout();
        let own = |kind: &str| {
            std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace").display().to_string()
        };
        let shared = kinds.into_iter().filter(|kind| said.lines().any(|line| line == own(kind)));
        shared.collect()
    };
    assert_eq!(spaces("all"), ["net", "pid", "ipc", "uts", "cgroup"]);
    assert_eq!(spaces("all,-uts,-net"), ["pid", "ipc", "cgroup"]);
    assert_eq!(spaces("uts"), ["uts"]);
    sandbox.img(&["run", "--rm", "--share", "mount", "busybox", "true"]).refuses(125, &["mount"]);
    // Resources alone: the machine's programs, seen from outside as a group of their own.
    let words = ["run", "--rm", "--rootfs", "/", "--share=all", "-m", "64m", "sh", "-c", "cat /proc/self/cgroup"];
    assert!(sandbox.img(&words).ok().stdout().contains("/img/"), "a group of its own");
}

#[test]
fn programs_of_the_machine_in_fresh_namespaces() {
    let sandbox = Sandbox::new();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    sandbox.img(&["unshare", "--uts", "sh", "-c", "hostname inner; hostname"]).ok().prints_exactly("inner\n");
    assert_eq!(rustix::system::uname().nodename().to_string_lossy(), name);
    sandbox
        .img(&["unshare", "--pid", "--mount", "sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l"])
        .ok()
        .prints(&["1\n"]);
    sandbox.img(&["unshare", "-U", "id", "-u"]).ok().prints_exactly("0\n");
    sandbox.img(&["unshare", "--mount", "sh", "-c", "mount -t tmpfs x /mnt && grep -c ' /mnt ' /proc/mounts"]).ok();
    assert!(!std::fs::read_to_string("/proc/mounts").expect("mounts").contains("x /mnt tmpfs"));
    sandbox.img(&["unshare", "--net", "sh", "-c", "exit 7"]).exits(7);
    sandbox.img(&["unshare", "sh", "-c", "kill -9 $$"]).exits(137);
    sandbox.img(&["unshare", "--ipc", "nosuch"]).refuses(127, &["nosuch"]);
}

#[test]
fn programs_of_the_machine_in_a_container() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "c", "-h", "inbox", "--network", "none", "busybox", "sleep", "100"]);
    assert_eq!(sandbox.ok(&["nsenter", "--uts", "c", "--", "hostname"]), "inbox");
    // Without a kind the program is still the machine's.
    assert_eq!(sandbox.ok(&["nsenter", "c", "sh", "-c", "hostname; cat /etc/hostname"]).lines().next(), Some("inbox"));
    let pid = sandbox.ok(&["nsenter", "--pid", "c", "sh", "-c", "echo $$"]);
    assert!(pid.parse::<u32>().expect("a number") < 100, "{pid}");
    assert!(sandbox.ok(&["nsenter", "--all", "c", "ls", "/bin/busybox"]).contains("busybox"));
    sandbox.img(&["nsenter", "--net", "c", "false"]).exits(1);
    sandbox.ok(&["stop", "-t", "0", "c"]);
    sandbox.img(&["nsenter", "c", "true"]).refuses(125, &["not running"]);
}
