//! The same bundles with runc and with img-runtime: what the program prints and how it ends must be the same, and so
//! must be the form of what the commands print.

use serde_json::{Value, json};

use crate::fixture::{Lab, Said, can_run, runc};

/// Runs one configuration with both.
fn both(script: &str, more: &Value) -> Option<(Said, Said)> {
    let runc = runc().filter(|_| can_run())?;
    let ours = Lab::new().run(script, more.clone());
    let theirs = Lab::with(&runc).run(script, more.clone());
    Some((ours, theirs))
}

/// Both must end with the same code and print the same.
fn same(cases: &[(&str, &str, Value)]) {
    for (rule, script, more) in cases {
        let Some((ours, theirs)) = both(script, more) else { return };
        assert_eq!((ours.code, &ours.out), (theirs.code, &theirs.out), "{rule}\nours: {ours:?}\nrunc: {theirs:?}");
        assert!(!ours.out.is_empty() || ours.code != 0, "{rule}: it proves nothing");
    }
}

#[test]
fn processes() {
    same(&[
        ("exit code", "echo x; exit 7", json!({})),
        ("a signal is 128 and its number", "sh -c 'kill -9 $$'; echo $?; exit 137", json!({})),
        ("variables", "env | sort", json!({"process": {"env": ["PATH=/bin", "A=1", "HOME=/x"]}})),
        ("home comes from passwd", "echo $HOME", json!({"process": {"user": {"uid": 1000, "gid": 1000}}})),
        ("working directory", "pwd", json!({"process": {"cwd": "/tmp"}})),
        ("a working directory that is missing is made", "pwd", json!({"process": {"cwd": "/a/b"}})),
        (
            "user and groups",
            "id -u; id -g; grep Groups /proc/self/status",
            json!({"process": {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}}}),
        ),
        ("umask", "umask", json!({"process": {"user": {"umask": 0o77}}})),
        ("capabilities of root", "grep Cap /proc/self/status", json!({})),
        (
            "capabilities of a user",
            "grep Cap /proc/self/status",
            json!({"process": {"user": {"uid": 5}, "capabilities": {
                "ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}}}),
        ),
        (
            "no capabilities",
            "grep Cap /proc/self/status",
            json!({"process": {"capabilities": {
            "bounding": [], "effective": [], "permitted": []}}}),
        ),
        ("no new privileges", "grep NoNewPrivs /proc/self/status", json!({"process": {"noNewPrivileges": true}})),
        (
            "limits",
            "ulimit -n; ulimit -Hc; ulimit -Sc",
            json!({"process": {"rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 600}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 1024}]}}),
        ),
        ("OOM score", "cat /proc/self/oom_score_adj", json!({"process": {"oomScoreAdj": 444}})),
        ("descriptors", "ls /proc/self/fd | wc -l", json!({})),
    ]);
}

#[test]
fn file_systems() {
    let tmpfs = |options: Value| json!({"+mounts": [{"destination": "/mnt", "type": "tmpfs", "source": "t", "options": options}]});
    // runc changes the mode afterwards, here it is an option: that alone may show.
    let mounted = "grep ' /mnt ' /proc/mounts | cut -d' ' -f1-4 | sed s/,mode=755//; stat -c %a /mnt";
    same(&[
        ("nodes of /dev", "ls /dev; ls -l /dev/null /dev/tty | cut -c1-10", json!({})),
        ("links of /dev", "readlink /dev/fd /dev/stdin /dev/ptmx", json!({})),
        ("a root that cannot be written", "touch /x 2>/dev/null || echo no", json!({"root": {"readonly": true}})),
        ("masked files are empty", "cat /proc/kcore | wc -c", json!({})),
        ("masked directories are empty", "ls /etc | wc -l", json!({"linux": {"maskedPaths": ["/etc"]}})),
        ("read-only paths", "touch /tmp/x 2>/dev/null || echo no", json!({"linux": {"readonlyPaths": ["/tmp"]}})),
        ("kernel parameters cannot be written", "echo 1 > /proc/sys/net/ipv4/ip_forward || echo no", json!({})),
        ("a tmpfs with a size, and the mode of the image's directory", mounted, tmpfs(json!(["size=1m", "nosuid"]))),
        ("flags of a mount", mounted, tmpfs(json!(["nosuid", "nodev", "noexec", "noatime", "ro", "size=64k"]))),
        (
            "a bind mount of a file, read-only",
            "cat /mnt/f; echo x > /mnt/f || echo no",
            json!({"+mounts": [{"destination": "/mnt/f", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]}]}),
        ),
        (
            "a relative source lies in the bundle",
            "ls /mnt | head -3",
            json!({"+mounts": [{"destination": "/mnt", "type": "bind", "source": "rootfs", "options": ["rbind"]}]}),
        ),
        (
            "propagation of a mount",
            "grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f7 | cut -d: -f1",
            tmpfs(json!(["rshared", "size=64k"])),
        ),
        (
            "a device of the configuration",
            "ls -l /dev/mine | cut -c1-10; stat -c '%t %T %u %g' /dev/mine",
            json!({"linux": {"devices": [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640,
                                          "uid": 3, "gid": 4}]}}),
        ),
        (
            "devices that are not allowed",
            "mknod /dev/sda b 8 0 && (cat /dev/sda 2>&1 | sed 's/.*: //'); echo x > /dev/null && echo fine",
            json!({}),
        ),
    ]);
}

#[test]
fn namespaces_and_limits() {
    let limits = |more: Value| json!({"linux": {"resources": more}});
    // The groups of version 1 are looked at through the host's mount.
    let seen = |more: Value, name: &str| {
        let mut more = more;
        crate::fixture::merge(
            &mut more,
            json!({"+mounts": [
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]}),
        );
        (format!("cat /sys/fs/cgroup/*/{name} /sys/fs/cgroup/{name} 2>/dev/null; true"), more)
    };
    let (memory, memory_config) = seen(limits(json!({"memory": {"limit": 33_554_432}})), "memory.limit_in_bytes");
    let (pids, pids_config) = seen(limits(json!({"pids": {"limit": 77}})), "pids.max");
    let (cpu, cpu_config) =
        seen(limits(json!({"cpu": {"quota": 50_000, "period": 100_000, "shares": 512}})), "cpu.[cs]*[sh][_a]*");
    same(&[
        ("host name", "hostname", json!({"hostname": "other"})),
        ("a network of its own has loopback, up", "ip -o link | cut -d' ' -f2-3", json!({})),
        ("the first process is 1", "echo $$", json!({})),
        (
            "kernel parameters of its own",
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced",
            json!({"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}}}),
        ),
        ("memory", &memory, memory_config),
        ("number of processes", &pids, pids_config),
        ("CPU time", &cpu, cpu_config),
        (
            "a user namespace",
            "id -u; tr -s ' ' < /proc/self/uid_map; touch /tmp/x 2>/dev/null || echo no; ls /dev",
            json!({"linux": {"+namespaces": [{"type": "user"}],
                "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
                "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}]}}),
        ),
    ]);
}

#[test]
fn system_call_filters() {
    let filter = |rules: Value| {
        json!({"process": {"noNewPrivileges": true}, "linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}}})
    };
    same(&[
        (
            "an error of one's own",
            "mkdir /tmp/x 2>&1 | sed 's/.*: //'; grep Seccomp: /proc/self/status",
            filter(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}])),
        ),
        (
            "a call kills",
            "sh -c 'mkdir /tmp/x'; echo $?",
            filter(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}])),
        ),
        (
            "arguments decide",
            "kill -0 1 && echo lives; kill -5 99999 2>&1 | sed 's/.*: //'",
            filter(json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                           "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}]}])),
        ),
        (
            "without no_new_privs",
            "mkdir /tmp/x 2>&1 | sed 's/.*: //'; id -u",
            json!({"process": {"user": {"uid": 5}}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}}}),
        ),
    ]);
}

#[test]
fn what_cannot_work_fails_with_both() {
    for (rule, more) in [
        ("a program that is missing", json!({"process": {"args": ["/nosuch"]}})),
        ("a program not in PATH", json!({"process": {"args": ["nosuch"]}})),
        ("a program that is a directory", json!({"process": {"args": ["/etc"]}})),
        ("a program that may not be executed", json!({"process": {"args": ["/etc/passwd"]}})),
        ("no arguments", json!({"process": {"args": []}})),
        ("a relative working directory", json!({"process": {"cwd": "tmp"}})),
        ("an unknown limit", json!({"process": {"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}})),
        ("a kernel parameter of the machine", json!({"linux": {"sysctl": {"kernel.pid_max": "100000"}}})),
        (
            "a source that is missing",
            json!({"+mounts": [{"destination": "/mnt", "type": "bind", "source": "/nosuch", "options": ["bind"]}]}),
        ),
        (
            "a file system that is unknown",
            json!({"+mounts": [{"destination": "/mnt", "type": "nosuchfs", "source": "x"}]}),
        ),
        (
            "a mount over /proc's files",
            json!({"+mounts": [{"destination": "/proc/sysrq-trigger", "type": "bind", "source": "/dev/null", "options": ["bind"]}]}),
        ),
        ("a root that is missing", json!({"root": {"path": "nosuch"}})),
        ("ids without a user namespace", json!({"linux": {"+namespaces": [{"type": "user"}]}})),
        ("an unknown namespace", json!({"linux": {"+namespaces": [{"type": "nosuch"}]}})),
        ("a namespace twice", json!({"linux": {"+namespaces": [{"type": "pid"}]}})),
    ] {
        let Some((ours, theirs)) = both("echo ran", &more) else { return };
        assert_eq!((ours.code, ours.out.as_str()), (1, ""), "{rule}: {ours:?}");
        assert_eq!((theirs.code, theirs.out.as_str()), (1, ""), "{rule}: {theirs:?}");
    }
}

#[test]
fn commands_end_and_print_alike() {
    let Some(runc) = runc().filter(|_| can_run()) else { return };
    let (ours, theirs) = (Lab::new(), Lab::with(&runc));
    let mut seen = Vec::new();
    for lab in [&ours, &theirs] {
        let id = lab.id.as_str();
        let mut codes = Vec::new();
        let mut note = |words: &[&str]| codes.push((words.join(" ").replace(id, "ID"), lab.call(words).code));
        for words in [&["state", id][..], &["start", id], &["kill", id], &["delete", id], &["delete", "-f", id]] {
            note(words);
        }
        note(&["exec", id, "true"]);
        note(&["state"]);
        note(&["state", "--nosuch", id]);
        note(&["list", "--format", "nosuch"]);
        lab.create("exec sleep 1000", json!({})).ok();
        note(&["resume", id]);
        note(&["start", id]);
        note(&["start", id]);
        note(&["delete", id]);
        note(&["kill", id, "NOSUCH"]);
        note(&["exec", id, "sh", "-c", "exit 5"]);
        note(&["exec", id, "nosuch"]);
        note(&["exec", "--cwd", "/nosuch", id, "true"]);
        note(&["pause", id]);
        note(&["exec", id, "true"]);
        note(&["resume", id]);
        note(&["update", "--pids-limit", "50", id]);
        let keys =
            |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let state = lab.state();
        let stats = lab.call(&["events", "--stats", id]).json();
        let usage = keys(&stats["data"]["memory"]["usage"]);
        let shapes = [keys(&state), keys(&stats), keys(&stats["data"]["cpu"]), usage];
        let list = lab.call(&["list", "--format", "json"]).json();
        let entry = keys(&list[0]);
        let header = lab.call(&["list"]).ok().lines().next().unwrap().split_whitespace().collect::<String>();
        let processes = lab.call(&["ps", "--format", "json", id]).json().as_array().unwrap().len();
        let mut note = |words: &[&str]| codes.push((words.join(" ").replace(id, "ID"), lab.call(words).code));
        note(&["kill", id, "9"]);
        lab.wait_for("stopped");
        note(&["kill", id, "9"]);
        note(&["kill", "-a", id, "9"]);
        note(&["pause", id]);
        note(&["exec", id, "true"]);
        note(&["delete", id]);
        seen.push((codes, shapes, entry, header, processes));
    }
    assert_eq!(seen[0], seen[1]);
}
