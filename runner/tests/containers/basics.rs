//! Exit codes, the sandbox as seen from inside, mounts of all kinds, hostile images, and what a start leaves behind: nothing.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::fixture::*;

pub const TESTS: &[(&str, fn())] = &[
    ("exit_codes", exit_codes),
    ("sees_its_own_world", sees_its_own_world),
    ("leaks_no_descriptors", leaks_no_descriptors),
    ("sandbox", sandbox),
    ("devices_and_terminals", devices_and_terminals),
    ("binds", binds),
    ("hostile_mount_targets", hostile_mount_targets),
    ("hostile_working_directories", hostile_working_directories),
    ("users", users),
    ("limits_and_kernel_parameters", limits_and_kernel_parameters),
    ("read_only_root", read_only_root),
    ("stubs_are_taken_back", stubs_are_taken_back),
    ("shared_namespaces", shared_namespaces),
    ("nothing_is_left_on_the_host", nothing_is_left_on_the_host),
    ("threads_may_run_build_steps", threads_may_run_build_steps),
];

fn exit_codes() {
    let lab = Lab::new();
    assert_eq!(lab.run("exit 0", json!({})).1.code, Some(0));
    assert_eq!(lab.run("exit 42", json!({})).1.code, Some(42));
    assert_eq!(lab.run("kill -KILL $$; sh -c 'kill -9 $$'; exit $?", json!({})).1.code, Some(137));
    for (args, code, words) in [
        (&["no-such-program"][..], 127, "not found in $PATH"),
        (&["/bin/none"], 127, "no such file"),
        (&["/etc/passwd"], 126, "is not executable: its mode is 0644"),
        (&["/etc"], 126, "is a directory"),
        (&["/bin/script"], 127, "/bin/perl"),
        (&["/bin/text"], 126, "neither a program nor a script"),
    ] {
        use std::os::unix::fs::PermissionsExt;
        for (name, text) in [("script", "#!/bin/perl\n"), ("text", "hello\n")] {
            let path = lab.path("rootfs/bin").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let error = try_collect(&lab.container_of(args, json!({}))).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = try_collect(&lab.container_of(&["true"], json!({"process": {"cwd": "/nowhere"}}))).unwrap_err();
    assert_eq!(error.exit_code(), 125, "{error}");
    let mut container = lab.container("pwd", json!({"process": {"cwd": "/made/on/demand"}}));
    container.create_cwd = true;
    assert_eq!(collect(&container).0, "/made/on/demand\n");
}

fn sees_its_own_world() {
    let lab = Lab::new();
    let output = lab.output("echo $$; hostname; echo $HOME; pwd; umask; ls /proc/sys/kernel/hostname", json!({}));
    assert_eq!(output, "1\nlab\n/root\n/\n0022\n/proc/sys/kernel/hostname\n");
    let mounts = lab.output("cat /proc/self/mountinfo", json!({}));
    assert!(!mounts.contains(lab.dir.path().to_str().unwrap()), "no host path shows: {mounts}");
    assert!(mounts.lines().all(|line| !line.contains("shared:") && !line.contains("master:")), "{mounts}");
    assert_eq!(lab.output("ls /sys/class/net", json!({})).trim(), "lo");
}

fn leaks_no_descriptors() {
    let lab = Lab::new();
    let _extra = std::fs::File::open("/etc").unwrap();
    // Neither by pipes nor into files: the shell itself holds descriptors for those.
    let output = lab.output("ls /proc/self/fd; ls /proc/1/fd; :", json!({}));
    assert_eq!(output.split_whitespace().collect::<String>(), "0123012", "3 is the directory that ls reads");
}

fn sandbox() {
    let lab = Lab::new();
    let policy = serde_json::to_value(runner::security::seccomp::policy::default(
        &runner::security::seccomp::policy::default_capabilities(),
    ))
    .unwrap();
    let more = json!({"linux": {"seccomp": policy}});
    let output = lab.output("grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status", more.clone());
    assert!(output.contains("CapInh:\t0000000000000000") && output.contains("CapAmb:\t0000000000000000"), "{output}");
    assert!(output.contains("Seccomp:\t2") && output.contains("NoNewPrivs:\t0"), "{output}");
    for (script, why) in [
        ("mount -t tmpfs x /tmp", "mount"),
        ("unshare -U true", "user namespace"),
        ("echo 1 > /proc/sys/kernel/sysrq", "read-only /proc/sys"),
        ("echo b > /proc/sysrq-trigger", "sysrq"),
        ("mkdir /sys/fs/cgroup/pids/x", "cgroups are read-only"),
        ("echo x > /sys/kernel/uevent_helper", "read-only /sys"),
        ("hostname other", "no CAP_SYS_ADMIN"),
        ("chroot / true && mknod /tmp/sda b 8 0 && cat /tmp/sda", "nodev root"),
    ] {
        let (output, exit) = lab.run(script, more.clone());
        assert_ne!(exit.code, Some(0), "{why}: {output}");
    }
    let output = lab.output("cat /proc/keys /proc/timer_list; ls -A /proc/acpi /sys/firmware", json!({}));
    assert!(!output.contains("keyring") && !output.contains("Timer"), "masked: {output}");
    let output = lab.output("grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status", {
        let mut more = more;
        more["process"] = json!({"noNewPrivileges": true});
        more
    });
    assert_eq!(output, "NoNewPrivs:\t1\nSeccomp:\t2\n");
}

fn devices_and_terminals() {
    let lab = Lab::new();
    let output = lab.output("cd /dev; ls | tr '\\n' ' '; stat -c '%n %t:%T %a' null tty; readlink fd; readlink ptmx; head -c 4 zero | od -An -tx1", json!({}));
    assert!(
        output.starts_with("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "),
        "{output}"
    );
    assert!(output.contains("null 1:3 666\ntty 5:0 666\n/proc/self/fd\npts/ptmx\n 00 00 00 00"), "{output}");
    let more = json!({"linux": {"devices": [{"path": "/dev/sub/own", "type": "c", "major": 1, "minor": 5, "fileMode": 384, "uid": 1000}]}});
    assert_eq!(lab.output("stat -c '%t:%T %a %u' /dev/sub/own", more), "1:5 600 1000\n");
}

fn binds() {
    let lab = Lab::new();
    let host = lab.path("host");
    std::fs::create_dir_all(host.join("dir/sub")).unwrap();
    std::fs::write(host.join("file"), "content\n").unwrap();
    let source = |name: &str| host.join(name).display().to_string();
    let more = json!({"extraMounts": [
        {"destination": "/data", "source": source("dir"), "options": ["rbind"]},
        {"destination": "/frozen", "source": source("dir"), "options": ["rbind", "ro", "rro"]},
        {"destination": "/etc/new/file", "source": source("file"), "options": ["bind", "ro"]},
        {"destination": "/memory", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "noexec", "mode=1777"]}
    ]});
    let output = lab.output(
        "cat /etc/new/file; touch /data/made; touch /frozen/x 2>&1; echo y 2>&1 > /etc/new/file; grep -c memory.*noexec /proc/mounts; \
         dd if=/dev/zero of=/memory/big bs=1M count=2 2>&1 | grep -c space",
        more,
    );
    assert!(output.starts_with("content\n") && output.contains("Read-only file system"), "{output}");
    assert!(output.ends_with("1\n1\n"), "{output}");
    assert!(host.join("dir/made").exists());
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "content\n");
    let error = try_collect(&lab.container(
        "true",
        json!({"extraMounts": [{"destination": "/x", "source": source("none"), "options": ["bind"]}]}),
    ))
    .unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    let onto = json!({"extraMounts": [{"destination": "/etc/passwd", "source": source("dir"), "options": ["bind"]}]});
    let error = try_collect(&lab.container("true", onto)).unwrap_err();
    assert!(error.to_string().contains("which is a file"), "{error}");
}

fn hostile_mount_targets() {
    let lab = Lab::new();
    let (root, victim) = (lab.path("rootfs"), lab.path("victim"));
    std::fs::create_dir_all(&victim).unwrap();
    symlink(&victim, root.join("absolute")).unwrap();
    symlink("../../../../../../../../etc", root.join("up")).unwrap();
    symlink("/run/gone/stub.conf", root.join("etc/resolv.conf")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    let file = lab.path("file");
    std::fs::write(&file, "mine\n").unwrap();
    let bind = |to: &str| json!({"extraMounts": [{"destination": to, "source": file, "options": ["bind"]}]});
    lab.output("test -f /absolute/deep/x", bind("/absolute/deep/x"));
    assert!(std::fs::read_dir(&victim).unwrap().next().is_none(), "nothing was made on the host");
    assert_eq!(lab.output("cat /etc/inner", bind("/up/inner")), "mine\n", "up leads to the container's own /etc");
    assert_eq!(lab.output("cat /etc/resolv.conf /run/gone/stub.conf", bind("/etc/resolv.conf")), "mine\nmine\n");
    for to in ["/magic/etc/x", "/proc/self/environ", "/proc/sys/kernel/x", "/proc/1/attr"] {
        let error = try_collect(&lab.container("true", bind(to))).unwrap_err();
        assert_eq!(error.exit_code(), 125, "{to}: {error}");
    }
    assert_eq!(lab.output("cat /proc/uptime", bind("/proc/uptime")), "mine\n", "as lxcfs does");
    for name in ["proc", "sys"] {
        std::fs::remove_dir(root.join(name)).unwrap();
        symlink("/tmp", root.join(name)).unwrap();
        let error = try_collect(&lab.container("true", json!({}))).unwrap_err();
        assert!(error.to_string().contains("not a real directory"), "{error}");
        std::fs::remove_file(root.join(name)).unwrap();
        std::fs::create_dir(root.join(name)).unwrap();
    }
    std::fs::remove_dir(root.join("dev")).unwrap();
    symlink("/tmp", root.join("dev")).unwrap();
    let (output, _) = lab.run("ls -d /tmp/null", json!({}));
    assert!(std::fs::read_dir(root.join("tmp")).unwrap().next().is_none(), "{output}");
}

fn hostile_working_directories() {
    let lab = Lab::new();
    for number in 0..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let result = try_collect(&lab.container("pwd -P; ls ..", json!({"process": {"cwd": cwd}})));
        assert!(result.is_err(), "{cwd}: {result:?}");
    }
    symlink("/proc/self/fd/7", lab.path("rootfs/work")).unwrap();
    assert!(try_collect(&lab.container("pwd", json!({"process": {"cwd": "/work"}}))).is_err());
}

fn users() {
    let lab = Lab::new();
    let id = |user: &str| {
        lab.output(
            "id -u; id -g; id -G; echo $HOME",
            json!({"process": {"user": {"uid": 0, "gid": 0, "username": user}}}),
        )
    };
    assert_eq!(id("app"), "1000\n1000\n1000 2000\n/home/app\n");
    assert_eq!(id("1234"), "1234\n0\n0\n/\n");
    assert_eq!(id("app:0"), "1000\n0\n0\n/home/app\n");
    let (output, _) = lab.run(
        "grep -E '^(CapEff|CapPrm|Groups)' /proc/self/status; echo x > /dev/stdout",
        json!({"process": {"user": {"uid": 0, "gid": 0, "username": "app"}}}),
    );
    assert!(output.contains("Groups:\t1000 2000 \n") && output.ends_with("x\n"), "{output}");
    let user = json!({"process": {"user": {"uid": 0, "gid": 0, "username": "stranger"}}});
    let error = try_collect(&lab.container("true", user.clone())).unwrap_err();
    assert!(error.to_string().contains("unable to find user stranger"), "{error}");
    std::fs::remove_file(lab.path("rootfs/etc/passwd")).unwrap();
    symlink("/proc/kmsg", lab.path("rootfs/etc/passwd")).unwrap();
    assert!(try_collect(&lab.container("true", user)).is_err(), "a device is not read");
}

fn limits_and_kernel_parameters() {
    let lab = Lab::new();
    let more = json!({
        "process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}], "oomScoreAdj": 500, "user": {"uid": 0, "gid": 0, "umask": 0o27}},
        "linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345"}}
    });
    let output = lab.output("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax; umask", more);
    assert_eq!(output, "100\n200\n500\n1\n12345\n0027\n");
    let memory = json!({"linux": {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}});
    let (_, exit) = lab.run("head -c 64m /dev/zero | tail > /dev/null; exit 3", memory.clone());
    assert!(exit.oom, "{exit:?}");
    let seen = lab.output("cat /sys/fs/cgroup/memory/memory.limit_in_bytes", memory);
    assert_eq!(seen.trim(), (16 << 20).to_string());
}

fn read_only_root() {
    let lab = Lab::new();
    let more = json!({"root": {"path": "rootfs", "readonly": true}, "extraMounts": [{"destination": "/late", "type": "tmpfs"}]});
    let output = lab.output("touch /x 2>&1; touch /late/y && echo fine; touch /dev/shm/z && echo fine", more);
    assert!(output.contains("Read-only file system") && output.ends_with("fine\nfine\n"), "{output}");
    let mut container = lab.container("touch /x 2>&1; ls /bin/sh", json!({}));
    container.rootfs = runner::Rootfs::Directory { path: lab.path("rootfs"), readonly: true, ids: None };
    let output = collect(&container).0;
    assert!(output.contains("Read-only") && output.ends_with("/bin/sh\n"), "{output}");
    let mut container = lab.container("touch /x && ls /x", json!({}));
    let lower = runner::layers::LayerMount::Directory { id: "b".into(), path: lab.path("rootfs") };
    container.rootfs = runner::Rootfs::TmpfsOverlay { lowers: vec![lower], size: Some(1 << 20) };
    assert_eq!(collect(&container).0, "/x\n");
    assert!(!lab.path("rootfs/x").exists());
}

fn stubs_are_taken_back() {
    let lab = Lab::new();
    let file = lab.path("file");
    std::fs::write(&file, "").unwrap();
    let more = json!({"extraMounts": [
        {"destination": "/opt/a/b", "source": file, "options": ["bind"]}, {"destination": "/mnt/kept", "type": "tmpfs"}
    ]});
    std::fs::remove_dir(lab.path("rootfs/sys")).unwrap();
    let container = lab.container("echo data > /mnt/data", more);
    let runner::Rootfs::Overlay { upper, .. } = container.rootfs.clone() else { unreachable!() };
    assert_eq!(collect(&container).1.code, Some(0));
    let mut left: Vec<_> = std::fs::read_dir(&upper).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["mnt"], "what was mounted leaves no stub behind");
    let left: Vec<_> = std::fs::read_dir(upper.join("mnt")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data"]);
    assert!(!container.state_dir.exists(), "no record of a build step");
}

fn shared_namespaces() {
    let lab = Lab::new();
    let list = |more: serde_json::Value| {
        let mut spec =
            spec(&["sh", "-c", "echo $$; readlink /proc/self/ns/net; readlink /proc/self/ns/pid"], json!({}));
        let namespaces: Vec<oci_spec::runtime::LinuxNamespace> = serde_json::from_value(more).unwrap();
        spec.linux_mut().as_mut().unwrap().set_namespaces(Some(namespaces));
        let mut container = lab.container("true", json!({}));
        container.spec = spec;
        collect(&container).0
    };
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    let output = list(json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}]));
    assert!(output.contains(&own("net")) && output.contains(&own("pid")) && !output.starts_with("1\n"), "{output}");
    let me = std::process::id();
    let path = |name: &str| format!("/proc/{me}/ns/{name}");
    let output = list(
        json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid", "path": path("pid")}, {"type": "network", "path": path("net")}]),
    );
    assert!(output.contains(&own("net")) && output.contains(&own("pid")), "{output}");
    let output = list(json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid"}, {"type": "cgroup"}]));
    assert!(output.starts_with("1\n"), "{output}");
    // A number that is another process's by now, or nobody's: what was opened is not what was meant.
    let process = runner::ProcessId::of(me as i32).unwrap().unwrap();
    let mut container = lab.container("readlink /proc/self/ns/net", json!({}));
    let namespaces = json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": path("net")}]);
    container.spec.linux_mut().as_mut().unwrap().set_namespaces(serde_json::from_value(namespaces).unwrap());
    container.lenders = vec![process];
    assert!(collect(&container).0.contains(&own("net")));
    container.lenders = vec![runner::ProcessId { start_time: process.start_time + 1, ..process }];
    let error = try_collect(&container).unwrap_err().to_string();
    assert!(error.contains("has ended"), "{error}");
    let gone = json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/proc/4194305/ns/net"}]);
    container.spec.linux_mut().as_mut().unwrap().set_namespaces(serde_json::from_value(gone).unwrap());
    container.lenders = vec![runner::ProcessId { pid: 4_194_305, ..process }];
    let error = try_collect(&container).unwrap_err().to_string();
    assert!(error.contains("has ended"), "{error}");
    let output = list(json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid"}, {"type": "cgroup"}]));
    assert!(output.starts_with("1\n"), "{output}");
}

fn nothing_is_left_on_the_host() {
    let lab = Lab::new();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let seen = lab.run("sleep 0.1", json!({})).0;
    assert_eq!((mounts(), seen.as_str()), (before, ""));
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let count = descriptors();
    for _ in 0..3 {
        lab.output("true", json!({}));
        try_collect(&lab.container_of(&["none"], json!({}))).unwrap_err();
    }
    assert_eq!(descriptors(), count);
    assert!(std::fs::read_dir(lab.path("run/containers")).unwrap().next().is_none());
}

fn threads_may_run_build_steps() {
    let lab = Lab::new();
    let containers: Vec<_> =
        (0..4).map(|number| lab.container(&format!("echo {number}; sleep 0.05"), json!({}))).collect();
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = containers.iter().map(|container| scope.spawn(|| collect(container).0)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outputs, ["0\n", "1\n", "2\n", "3\n"]);
}
