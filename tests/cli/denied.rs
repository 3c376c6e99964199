//! `run --explain-denied`: the layer that refused is the right one, and with the flag that is named the same command works.

use crate::support::{Out, Sandbox};

fn explained(sandbox: &Sandbox, image: &str, flags: &[&str], script: &str) -> Out {
    let mut words = vec!["run", "--rm", "--network", "none", "--explain-denied"];
    words.extend(flags);
    words.extend([image, "sh", "-c", script]);
    sandbox.img(&words)
}

/// The flag of the line that has all of `words`.
#[track_caller]
fn flag_of(out: &Out, words: &[&str]) -> String {
    let text = out.stderr();
    let line = text.lines().find(|line| line.starts_with("denied: ") && words.iter().all(|word| line.contains(word)));
    let line = line.unwrap_or_else(|| panic!("no line with {words:?}\n{out}"));
    line.rsplit_once("; allowed ").unwrap_or_else(|| panic!("no flag: {line}")).1.to_owned()
}

/// Image, flags, script, words of the line, the flag that is named. Without it the script fails, with it it works.
type Case = (&'static str, &'static [&'static str], &'static str, &'static [&'static str], &'static str);

const PERL: &str = "exit(syscall(250, 0, -3, 0, 0, 0) == -1 ? 1 : 0)";

const CASES: &[Case] = &[
    ("busybox", &[], "mount -t tmpfs x /home", &["mount: EPERM", "seccomp"], "--cap-add SYS_ADMIN"),
    ("busybox", &[], "unshare -u true", &["unshare: EPERM", "seccomp"], "--cap-add SYS_ADMIN"),
    ("busybox", &[], "hostname other", &["sethostname: EPERM", "seccomp"], "--cap-add SYS_ADMIN"),
    ("busybox", &[], "dmesg | grep -q .", &["syslog: EPERM", "seccomp"], "--cap-add SYSLOG"),
    ("busybox", &["--cap-drop", "SYS_CHROOT"], "chroot / true", &["chroot: EPERM", "seccomp"], "--cap-add SYS_CHROOT"),
    (
        "debian",
        &[],
        "KEYCTL",
        &["keyctl: EPERM", "seccomp", "refused to everybody"],
        "--security-opt seccomp=unconfined",
    ),
    (
        "busybox",
        &["--cap-drop", "CHOWN"],
        "touch /x; chown 5 /x",
        &["chown: EPERM /x", "CAP_CHOWN is lacking"],
        "--cap-add CHOWN",
    ),
    (
        "debian",
        &[],
        "perl -e 'setpriority(0, 0, -5) or exit 1'",
        &["setpriority: E", "CAP_SYS_NICE"],
        "--cap-add SYS_NICE",
    ),
    ("busybox", &[], "ifconfig lo down", &["ioctl: EPERM", "CAP_NET_ADMIN"], "--cap-add NET_ADMIN"),
    (
        "debian",
        &[],
        "perl -MSocket -e 'socket(S, PF_INET, SOCK_RAW, 1) or exit 1'",
        &["socket: EPERM", "CAP_NET_RAW"],
        "--cap-add NET_RAW",
    ),
    ("busybox", &["--cap-drop", "MKNOD"], "mknod /n c 1 3", &["mknod", "EPERM", "/n", "CAP_MKNOD"], "--cap-add MKNOD"),
    (
        "debian",
        &["--cap-drop", "SETUID"],
        "perl -e '$< = $> = 5; exit($> != 5)'",
        &["uid: EPERM", "CAP_SETUID"],
        "--cap-add SETUID",
    ),
    (
        "busybox",
        &["--cap-drop", "DAC_OVERRIDE"],
        "chmod 600 /etc/group; chown 5 /etc/group; cat /etc/group",
        &["EACCES /etc/group", "file mode", "0600"],
        "--cap-add DAC_OVERRIDE",
    ),
    (
        "busybox",
        &["-u", "1000"],
        "echo x >> /etc/passwd",
        &["EACCES /etc/passwd", "file mode", "user 1000 asks"],
        "--user 0",
    ),
    (
        "busybox",
        &[],
        "mknod /dev/x c 10 237 && { : < /dev/x; }",
        &["open", "EPERM /dev/x", "device rule", "c 10:237"],
        "--device-cgroup-rule 'c 10:237 rwm'",
    ),
    (
        "busybox",
        &["--read-only"],
        "touch /x",
        &["EROFS /x", "read-only mount", "the root file system"],
        "without --read-only",
    ),
    (
        "busybox",
        &[],
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        &["EROFS /proc/sys/net/ipv4/ip_forward", "read-only path"],
        "--sysctl net.ipv4.ip_forward=VALUE",
    ),
    (
        "busybox",
        &[],
        "echo 5000 > /proc/sys/vm/stat_interval || exit 1",
        &["EROFS /proc/sys/vm/stat_interval", "read-only path"],
        "--security-opt unmask=/proc/sys",
    ),
    (
        "busybox",
        &["--pids-limit", "5"],
        "for i in 1 2 3 4 5 6 7; do sleep 0.2 & done; wait",
        &["EAGAIN", "pids limit: 5"],
        "--pids-limit 10",
    ),
    (
        "debian",
        &["--ulimit", "nofile=20"],
        "perl -e 'for (1..30) { open($f[$_], q(<), q(/etc/hostname)) or exit 1 }'",
        &["EMFILE", "ulimit: nofile is 20"],
        "--ulimit nofile=80:80",
    ),
    (
        "busybox",
        &["--tmpfs", "/t:size=64k"],
        "head -c 100000 /dev/zero > /t/x",
        &["write: ENOSPC /t/x", "size of a tmpfs"],
        "--tmpfs /t:size=131072",
    ),
    (
        "busybox",
        &["--shm-size", "65536"],
        "head -c 100000 /dev/zero > /dev/shm/x",
        &["ENOSPC /dev/shm/x"],
        "--shm-size 131072",
    ),
    (
        "busybox",
        &["--storage-opt", "size=2m"],
        "head -c 3000000 /dev/zero > /x",
        &["write: ENOSPC /x", "storage limit", "bytes and they are used"],
        "--storage-opt size=",
    ),
    (
        "busybox",
        &["--storage-opt", "size=8m", "--storage-opt", "inodes=1024"],
        "i=0; while [ $i -lt 1050 ]; do i=$((i+1)); mkdir /d$i || exit 1; done",
        &["mkdir: ENOSPC /d", "storage limit", "files and they are there"],
        "--storage-opt inodes=20",
    ),
    (
        "busybox",
        &["--userns", "auto"],
        "touch /x && chown 70000:0 /x",
        &["chown: EINVAL /x", "user namespace", "the user 70000 is not in its map, which has 0 to 65535"],
        "--userns auto:size=70001",
    ),
    (
        "debian",
        &["--uidmap", "0:300000:100", "--gidmap", "0:300000:1000"],
        "perl -e '$< = $> = 100; exit($> != 100)'",
        &["uid: EINVAL", "user namespace", "the user 100 is not in its map, which has 0 to 99"],
        "--userns auto:size=101",
    ),
    (
        "busybox",
        &["--userns", "auto"],
        "mknod /n c 1 3",
        &["mknod", "EPERM /n", "user namespace", "CAP_MKNOD holds inside of it"],
        "--userns host",
    ),
    (
        "busybox",
        &["--userns", "auto", "--cap-drop", "CHOWN"],
        "touch /x; chown 5 /x",
        &["chown: EPERM /x", "CAP_CHOWN is lacking (user 0)"],
        "by --cap-add CHOWN",
    ),
    (
        "busybox",
        &["--ulimit", "fsize=1000"],
        "trap '' XFSZ; head -c 3000 /dev/zero > /x",
        &["EFBIG /x", "fsize is 1000"],
        "--ulimit fsize=4000:4000",
    ),
    (
        "busybox",
        &["--security-opt", "mask=/etc/group"],
        "grep root /etc/group",
        &["open", "/etc/group", "masked path"],
        "--security-opt unmask=/etc/group",
    ),
];

/// The words of the command line with what the flag says.
fn with<'a>(flags: &[&'a str], flag: &'a str) -> Vec<&'a str> {
    let flag = flag.split(", or").next().unwrap();
    if let Some(words) = flag.strip_prefix("without ") {
        return flags.iter().copied().filter(|word| *word != words.split(' ').next().unwrap()).collect();
    }
    // A later value of the same flag is what holds; a mask that is named again is given up.
    let flag = flag.strip_prefix("by ").unwrap();
    if flag.starts_with("--storage-opt") {
        let size: &[&str] = if flag.contains("inodes=") { &["--storage-opt", "size=8m"] } else { &[] };
        return size.iter().copied().chain(flag.split(' ')).collect();
    }
    let (name, value) = flag.split_once(' ').unwrap();
    let mut words: Vec<&str> = Vec::new();
    let mut rest = flags.iter();
    while let Some(word) = rest.next() {
        let replaced = *word == name
            || name == "--userns" && word.ends_with("idmap")
            || (*word == "--cap-drop" && name == "--cap-add")
            || (*word == "-u" && name == "--user");
        if replaced || *word == "--security-opt" {
            rest.next();
        } else {
            words.push(word);
        }
    }
    words.extend([name, value.trim_matches('\'')]);
    words
}

#[test]
fn the_layer_that_refused_and_the_flag_that_allows() {
    let sandbox = Sandbox::new();
    let failed: Vec<&str> = CASES
        .iter()
        .filter(|case| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&sandbox, case))).is_err())
        .map(|case| case.2)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Without the flag it is refused, and the flag is named; with the flag it is not.
fn check(sandbox: &Sandbox, (image, flags, script, words, wanted): &Case) {
    let script = if *script == "KEYCTL" { format!("perl -e '{PERL}'") } else { (*script).to_owned() };
    let out = explained(sandbox, image, flags, &script);
    if flags.iter().any(|flag| ["--userns", "--uidmap"].contains(flag)) && out.stderr().contains("needs Linux 6.15") {
        return eprintln!("skip: {}", out.stderr());
    }
    let flag = flag_of(&out, words);
    assert!(flag.contains(wanted), "{wanted} is not {flag}\n{out}");
    let counts = !["trap", "for i"].iter().any(|start| script.starts_with(start));
    assert!(out.code() != 0 || !counts, "it was refused\n{out}");
    let flag = flag.replace("VALUE", "1");
    let mut again = vec!["run", "--rm", "--network", "none", "--explain-denied"];
    again.extend(with(flags, &flag));
    again.extend([*image, "sh", "-c", &script]);
    let out = sandbox.img(&again);
    if wanted.contains("seccomp=unconfined") || wanted.contains("--sysctl") {
        // The key is not there, and the file is still read-only: what the call was for is allowed, or done by the flag.
        assert!(!out.stderr().contains("seccomp:"), "{out}");
    } else {
        out.ok();
    }
}

#[test]
fn a_read_only_volume_and_privileges_that_do_not_come() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("data")).unwrap();
    let bind = format!("{}:/data:ro", sandbox.text("data"));
    let out = explained(&sandbox, "busybox", &["-v", &bind], "touch /data/x");
    assert_eq!(
        flag_of(&out, &["EROFS /data/x", "/data is mounted read-only"]),
        "without ro in the option that mounts /data"
    );
    explained(&sandbox, "busybox", &["-v", bind.trim_end_matches(":ro")], "touch /data/x")
        .ok()
        .says(&["denied: nothing"]);
    let lines = "FROM debian\nRUN cp /usr/bin/id /usr/bin/id2 && chmod 4755 /usr/bin/id2\n";
    sandbox.build("context", "setuid", lines).ok();
    let flags = ["-u", "1000", "--security-opt", "no-new-privileges"];
    let out = explained(&sandbox, "setuid", &flags, "test $(id2 -u) = 0");
    assert_eq!(flag_of(out.exits(1), &["no_new_privs", "/usr/bin/id2"]), "without --security-opt no-new-privileges");
    explained(&sandbox, "setuid", &["-u", "1000"], "test $(id2 -u) = 0").ok();
}

#[test]
fn what_belongs_to_nobody_in_a_user_namespace() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("data/file", "text");
    let bind = format!("{}:/data", sandbox.text("data"));
    let run = |mount: &str, script: &str| explained(&sandbox, "busybox", &["--userns", "auto", "-v", mount], script);
    let out = run(&bind, "chown 5 /data/file");
    if out.stderr().contains("needs Linux 6.15") {
        return eprintln!("skip: {}", out.stderr());
    }
    let words = ["chown: EPERM /data/file", "user namespace", "it belongs to 0:0 of the host"];
    assert_eq!(flag_of(&out, &words), "by idmap in the option that mounts /data");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let out = run(&bind, "cat /data/file");
    assert_eq!(flag_of(&out, &["EACCES /data/file", "user namespace"]), "by idmap in the option that mounts /data");
    run(&format!("{bind}:idmap"), "chown 5 /data/file && cat /data/file").exits(0).says(&["denied: nothing"]);
    // Nobody can be made the owner where the map of the mount has no id for him.
    let mount = format!("type=bind,src={},dst=/data,idmap=uids=0-5000-1#gids=0-5000-1", sandbox.text("data"));
    let out = explained(&sandbox, "busybox", &["--mount", &mount], "touch /data/new");
    assert!(flag_of(&out, &["EOVERFLOW /data/new", "no id for user 0"]).contains("mounts /data"));
}

#[test]
fn memory_and_a_profile_of_ones_own() {
    let sandbox = Sandbox::new();
    let eat = "head -c 60000000 /dev/zero | tail | wc -c";
    let out = explained(&sandbox, "busybox", &["--memory", "16m", "--memory-swap", "16m"], &format!("{eat}; exit 0"));
    if !out.stderr().contains("swap") {
        assert_eq!(flag_of(&out, &["memory limit"]), "by --memory 67108864");
    }
    let profile =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    let option = format!("seccomp={}", sandbox.write("profile.json", profile));
    let out = explained(&sandbox, "busybox", &["--security-opt", &option], "mkdir /x");
    assert!(flag_of(&out, &["mkdir: EPERM /x", "the profile refuses it"]).contains("seccomp=unconfined"));
    explained(&sandbox, "busybox", &["--security-opt", "seccomp=unconfined"], "mkdir /x").ok();
}

#[test]
fn the_program_is_not_changed_by_being_watched() {
    let sandbox = Sandbox::new();
    let out = explained(&sandbox, "busybox", &[], "echo out; echo err >&2; (sleep 0.1; exit 3); exit $?");
    out.exits(3).prints_exactly("out\n").says(&["err", "denied: nothing"]);
    explained(&sandbox, "busybox", &["--init"], "kill -TERM $$").exits(143);
    explained(
        &sandbox,
        "busybox",
        &[],
        "kill -STOP $$ & sleep 0.1; kill -CONT $$; trap 'exit 9' USR1; kill -USR1 $$; sleep 5",
    )
    .exits(9);
    sandbox.img(&["run", "--rm", "--network", "none", "--explain-denied", "busybox", "none"]).exits(127);
    sandbox.img(&["run", "-d", "--explain-denied", "busybox", "true"]).refuses(125, &["--explain-denied", "-d"]);
}
