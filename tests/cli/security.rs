//! The sandbox, from inside: at least as tight as Docker's in each property, for `run`, and each switch that opens it.

use crate::support::Sandbox;

/// Docker's default capabilities, the most that a container may have by default.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

fn inside(sandbox: &Sandbox, flags: &[&str], script: &str) -> crate::support::Out {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", script]);
    sandbox.img(&words)
}

fn status(sandbox: &Sandbox, flags: &[&str], key: &str) -> String {
    let out = inside(sandbox, flags, &format!("grep '^{key}:' /proc/self/status"));
    out.ok().stdout().split_whitespace().nth(1).unwrap().to_owned()
}

fn capabilities(sandbox: &Sandbox, flags: &[&str], key: &str) -> u64 {
    u64::from_str_radix(&status(sandbox, flags, key), 16).unwrap()
}

#[test]
fn capabilities_by_default_and_by_flag() {
    let sandbox = Sandbox::new();
    for key in ["CapEff", "CapPrm", "CapBnd"] {
        let set = capabilities(&sandbox, &[], key);
        assert_eq!(set & !DEFAULT_CAPABILITIES, 0, "{key} is {set:x}: more than Docker gives");
        assert_ne!(set & 1, 0, "CHOWN is needed by every package manager");
    }
    assert_eq!((capabilities(&sandbox, &[], "CapInh"), capabilities(&sandbox, &[], "CapAmb")), (0, 0));
    assert_eq!(capabilities(&sandbox, &["--cap-drop", "ALL"], "CapBnd"), 0);
    assert_eq!(capabilities(&sandbox, &["--cap-drop", "all", "--cap-add", "CAP_NET_ADMIN"], "CapEff"), 1 << 12);
    assert_eq!(capabilities(&sandbox, &["--cap-add", "sys_time"], "CapEff") & (1 << 25), 1 << 25);
    assert_eq!(capabilities(&sandbox, &["-u", "1000"], "CapEff"), 0, "a plain user has none");
    sandbox.img(&["run", "--rm", "--cap-add", "CAP_FLY", "busybox", "true"]).refuses(125, &["CAP_FLY"]);
}

#[test]
fn the_system_call_filter_is_on_and_refuses_what_docker_refuses() {
    let sandbox = Sandbox::new();
    assert_eq!(status(&sandbox, &[], "Seccomp"), "2");
    assert_eq!(status(&sandbox, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    inside(&sandbox, &[], "unshare -U true").exits(1).says(&["operation not permitted"]);
    inside(&sandbox, &[], "mount -t tmpfs x /mnt").exits(1);
    inside(&sandbox, &[], "swapoff -a; echo x > /proc/sysrq-trigger").exits(1);
    inside(&sandbox, &[], "chroot / true").ok();
}

#[test]
fn no_new_privileges_is_a_switch() {
    let sandbox = Sandbox::new();
    assert_eq!(status(&sandbox, &[], "NoNewPrivs"), "0");
    assert_eq!(status(&sandbox, &["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
    sandbox.img(&["run", "--rm", "--security-opt", "nonsense=1", "busybox", "true"]).refuses(125, &["nonsense"]);
}

#[test]
fn kernel_files_are_masked_or_read_only() {
    let sandbox = Sandbox::new();
    let masked = "for f in kcore keys timer_list sched_debug latency_stats; do test -e /proc/$f && head -c 1 /proc/$f 2>/dev/null; done; ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v ':$'; true";
    assert_eq!(inside(&sandbox, &[], masked).ok().stdout().trim(), "");
    for path in
        ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/kernel/mm/ksm/run"]
    {
        inside(&sandbox, &[], &format!("test -e {path} || exit 1; echo 1 > {path}")).exits(1);
    }
    inside(&sandbox, &[], "mkdir /sys/fs/cgroup/x 2>/dev/null || mkdir /sys/fs/cgroup/memory/x").exits(1);
}

#[test]
fn devices_are_the_harmless_ones() {
    let sandbox = Sandbox::new();
    let out = inside(&sandbox, &[], "cd /dev; find . -type c -o -type b | sort | tr '\\n' ' '");
    let names: Vec<String> =
        out.ok().stdout().split_whitespace().map(|n| n.trim_start_matches("./").to_owned()).collect();
    let harmless = ["console", "full", "null", "ptmx", "pts/ptmx", "random", "tty", "urandom", "zero"];
    for name in &names {
        assert!(harmless.contains(&name.as_str()), "{name} among {names:?}");
    }
    // A node of the host's disk may be made, and must not open.
    let out = inside(&sandbox, &[], "mknod /dev/disk b 8 0 && head -c 1 /dev/disk; mknod /mem c 1 1 && head -c 1 /mem");
    assert!(out.code() != 0 && out.stdout().is_empty(), "{out}");
    inside(&sandbox, &[], "echo x > /dev/null; head -c 4 /dev/zero /dev/urandom | wc -c; test -w /dev/shm && mount | grep -q ' /dev/mqueue '").ok();
}

#[test]
fn namespaces_are_its_own() {
    let sandbox = Sandbox::new();
    let script = "for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done";
    for line in inside(&sandbox, &[], script).ok().stdout().lines() {
        let (kind, _) = line.split_once(':').unwrap();
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(own.to_string_lossy(), line);
    }
    inside(&sandbox, &[], "echo $$; echo /proc/[0-9]*").ok().prints_exactly("1\n/proc/1\n");
}

#[test]
fn nothing_of_the_host_came_along() {
    let sandbox = Sandbox::new();
    let out = inside(&sandbox, &[], "ls /proc/self/fd | wc -l; cat /proc/mounts");
    let text = out.ok().stdout();
    let (files, mounts) = text.split_once('\n').unwrap();
    assert!(files.trim().parse::<u32>().unwrap() <= 4, "descriptors: {files}");
    assert!(!mounts.contains("img-test."), "the store's path shows:\n{mounts}");
    inside(&sandbox, &[], "cat /proc/1/environ | tr '\\0' '\\n' | grep IMG_").exits(1);
}

#[test]
fn the_hosts_binary_cannot_be_opened_for_writing_from_inside() {
    let sandbox = Sandbox::new();
    // The classic way: be started as the run-time itself, by way of /proc/self/exe, and write to what that names.
    sandbox.write("context/evil", "#!/proc/self/exe\n");
    sandbox.build("context", "evil", "FROM busybox\nCOPY --chmod=755 evil /evil\nENTRYPOINT [\"/evil\"]\n").ok();
    let binary = sandbox.command(&[]).get_program().to_owned();
    let sum = || crate::support::tools::run("sha256sum", [&binary]).word();
    let before = sum();
    sandbox.img(&["run", "--rm", "--network", "none", "evil"]);
    let exec = "for p in /proc/[0-9]*; do (echo x >> $p/exe) 2>/dev/null; done; true";
    let id =
        sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", &format!("while :; do {exec}; done")]);
    for _ in 0..20 {
        sandbox.img(&["exec", &id, "true"]);
    }
    assert_eq!(sum(), before);
}

#[test]
fn a_hostile_image_cannot_lead_mounts_outside() {
    let sandbox = Sandbox::new();
    let cases = [
        ("proc is a link", "RUN rm -rf /mnt2; ln -s /etc /mnt2", vec!["-v", "/tmp:/mnt2/inside"]),
        ("etc is a link", "RUN mv /etc /e && ln -s ../../../../../../../../../../../tmp /etc", vec![]),
        ("dev is a link", "RUN rmdir /dev 2>/dev/null; true", vec![]),
    ];
    for (what, line, flags) in cases {
        sandbox.build("context", "hostile", &format!("FROM busybox\n{line}\n"));
        let marker = std::path::Path::new("/etc/inside");
        let hosts = std::fs::metadata("/tmp/hosts").is_ok();
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(flags);
        words.extend(["hostile", "/bin/busybox", "true"]);
        let out = sandbox.img(&words);
        assert!([0, 125, 126, 127].contains(&out.code()), "{what}\n{out}");
        assert!(!marker.exists(), "{what}: a folder was made on the host");
        assert_eq!(std::fs::metadata("/tmp/hosts").is_ok(), hosts, "{what}: a file was made on the host");
    }
}

#[test]
fn the_store_is_rootes_alone() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(sandbox.root()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(sandbox.path("run")).unwrap().mode() & 0o077, 0);
}

#[test]
fn privileged_opens_and_says_nothing_by_accident() {
    let sandbox = Sandbox::new();
    let all = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = all.lines().find(|l| l.starts_with("CapBnd")).unwrap().split_whitespace().nth(1).unwrap();
    let own = u64::from_str_radix(bounding, 16).unwrap();
    assert_eq!(capabilities(&sandbox, &["--privileged"], "CapEff"), own);
    assert_eq!(status(&sandbox, &["--privileged"], "Seccomp"), "0");
    inside(&sandbox, &["--privileged"], "mount -t tmpfs x /home && ls /dev | wc -l").ok();
}
