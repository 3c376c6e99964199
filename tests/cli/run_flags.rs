//! The flags of `run` that say what a program finds around it: variables, names, namespaces, secrets, streams.

use crate::support::Sandbox;

/// Runs this script in busybox with these flags, with no network.
fn run(sandbox: &Sandbox, flags: &[&str], script: &str) -> crate::support::Out {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend_from_slice(flags);
    words.extend_from_slice(&["busybox", "sh", "-c", script]);
    sandbox.img(&words)
}

#[test]
fn variables_from_files_globs_and_others() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let file = sandbox.write("vars", "\u{feff}A=1\r\n# comment\n\n  B=\"q x\"\nHOME\nNOTSET\n");
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--env-file",
        &file,
        "-e",
        "GLOB_*",
        "-e",
        "A=2",
        "--env-merge",
        "C=<${B}>",
        "--unsetenv",
        "HOSTNAME",
        "busybox",
        "env",
    ];
    let mut command = sandbox.command(&words);
    command.env("GLOB_1", "one").env("GLOB_2", "two").env("OTHER", "no");
    let out = String::from_utf8(command.output().expect("img runs").stdout).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    // Docker keeps the quotes of a file of variables, and the command line wins over the file.
    for line in ["A=2", "B=\"q x\"", "C=<\"q x\">", "GLOB_1=one", "GLOB_2=two"] {
        assert!(lines.contains(&line), "no {line:?} in\n{out}");
    }
    assert!(lines.iter().any(|line| line.starts_with("HOME=") && line.contains("home")), "the caller's HOME\n{out}");
    for absent in ["OTHER", "NOTSET", "HOSTNAME"] {
        assert!(!lines.iter().any(|line| line.starts_with(absent)), "{absent} in\n{out}");
    }
    run(&sandbox, &["--env-file", &sandbox.write("bad", "export A=1\n")], "env").refuses(125, &["line 1", "export A"]);
    run(&sandbox, &["--env-file", "/nowhere"], "env").refuses(125, &["/nowhere"]);
    run(&sandbox, &["--env-merge", "x"], "env").refuses(125, &["--env-merge x"]);
}

#[test]
fn the_callers_environment_and_proxies() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let env = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend_from_slice(flags);
        words.extend_from_slice(&["busybox", "env"]);
        let mut command = sandbox.command(&words);
        command.env("http_proxy", "http://10.0.0.1:1").env("MINE", "1");
        String::from_utf8(command.output().expect("img runs").stdout).expect("text")
    };
    assert!(!env(&[]).contains("proxy"));
    let proxies = env(&["--http-proxy"]);
    assert!(proxies.contains("http_proxy=http://10.0.0.1:1") && !proxies.contains("MINE"), "{proxies}");
    assert!(env(&["--env-host"]).contains("MINE=1"));
    let bare = env(&["--unsetenv-all", "-e", "X=1"]);
    assert!(bare.contains("X=1") && bare.contains("PATH="), "{bare}");
}

#[test]
fn names_masks_zones_and_labels() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    run(&sandbox, &["--umask", "0027", "--domainname", "lab"], "umask; cat /proc/sys/kernel/domainname")
        .ok()
        .prints_exactly("0027\nlab\n");
    run(&sandbox, &["--umask", "99"], "true").refuses(125, &["--umask 99"]);
    if std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        let tokyo = std::fs::read("/usr/share/zoneinfo/Asia/Tokyo").expect("a zone");
        let out = run(&sandbox, &["--tz", "Asia/Tokyo"], "cat /etc/localtime");
        assert_eq!(out.ok().bytes(), tokyo);
    } else {
        eprintln!("skip the zone: there is none of Asia/Tokyo here");
    }
    for zone in ["No/Where", "../../../etc/passwd", "/etc/passwd"] {
        run(&sandbox, &["--tz", zone], "true").refuses(125, &[zone]);
    }
    let file = sandbox.write("labels", "a=file\n# no\nb=2\n\n");
    let id = sandbox.ok(&["create", "--label-file", &file, "-l", "a=flag", "--annotation", "k=v", "busybox", "true"]);
    let about = sandbox.inspect(&id);
    assert_eq!(about["Config"]["Labels"], serde_json::json!({ "a": "flag", "b": "2" }));
    assert_eq!(about["Config"]["Annotations"], serde_json::json!({ "k": "v" }));
    run(&sandbox, &["--annotation", "img.process.groups=0"], "true").refuses(125, &["img."]);
}

#[test]
fn files_of_hosts_and_the_name() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let file = sandbox.write("hosts", "10.9.8.7 one two # three\n");
    let hosts = run(&sandbox, &["--hosts-file", &file], "cat /etc/hosts").ok().stdout();
    assert!(hosts.contains("10.9.8.7\tone") && hosts.contains("10.9.8.7\ttwo") && !hosts.contains("three"), "{hosts}");
    run(&sandbox, &["--hosts-file", &sandbox.write("nohosts", "here x\n")], "true").refuses(125, &["here"]);
    run(&sandbox, &["--hosts-file", "image"], "true").refuses(125, &["image"]);
    let mounts = run(&sandbox, &["--no-hosts", "--no-hostname"], "cat /proc/mounts").ok().stdout();
    assert!(!mounts.contains("/etc/host") && mounts.contains("/etc/resolv.conf"), "{mounts}");
}

#[test]
fn secrets_are_mounted_from_memory_and_kept_nowhere() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let secret = "correct horse battery";
    let file = sandbox.write("secret", secret);
    let flag = format!("id=key,src={file}");
    let mode = format!("id=other,src={file},target=/x/key,uid=5,gid=6,mode=0400");
    let words = [
        "run",
        "--name",
        "s",
        "--network",
        "none",
        "--secret",
        &flag,
        "--secret",
        &mode,
        "--secret",
        "id=V,env=FROM,type=env",
        "busybox",
        "sh",
        "-c",
        "rev /run/secrets/key; echo; echo $V | rev; stat -c '%a %u %g' /x/key; grep -c ' /run/secrets/key tmpfs ro' /proc/mounts",
    ];
    let mut command = sandbox.command(&words);
    command.env("FROM", "by the environment");
    let out = command.output().expect("img runs");
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    let expected = format!("{}\n{}\n400 5 6\n1\n", reversed(secret), reversed("by the environment"));
    assert_eq!(String::from_utf8_lossy(&out.stdout), expected);
    let inspected = sandbox.img(&["inspect", "s"]).ok().stdout();
    for text in [secret, "by the environment"] {
        assert!(!inspected.contains(text), "{inspected}");
        let mut grep = std::process::Command::new("grep");
        grep.args(["-rlF", text]).arg(sandbox.root()).arg(sandbox.path("run"));
        let found = grep.output().expect("grep runs").stdout;
        assert!(found.is_empty(), "{text:?} in {}", String::from_utf8_lossy(&found));
    }
    // Started again it reads the file again, and lacks the variable.
    sandbox.img(&["start", "-a", "s"]).refuses(125, &["FROM", "not set"]);
    run(&sandbox, &["--secret", "hunter2"], "true").refuses(125, &["KEY=VALUE"]);
    run(&sandbox, &["--secret", "id=x,src=/nowhere"], "true").refuses(125, &["/nowhere"]);
}

#[test]
fn a_read_only_root_with_room_in_memory() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    run(&sandbox, &["--read-only"], "touch /tmp/x").says(&["read-only"]);
    run(&sandbox, &["--read-only", "--read-only-tmpfs"], "touch /tmp/x /run/x /var/tmp/x && ! touch /x 2>/dev/null")
        .ok();
}

#[test]
fn namespaces_of_the_host() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let own =
        |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace").display().to_string();
    for kind in ["pid", "ipc", "uts"] {
        let flag = format!("--{kind}");
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(run(&sandbox, &[&flag, "host"], &script).ok().word(), own(kind));
        assert_ne!(run(&sandbox, &[&flag, "private"], &script).ok().word(), own(kind));
        run(&sandbox, &[&flag, "sideways"], "true").refuses(125, &[&flag, "sideways"]);
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    run(&sandbox, &["--uts", "host"], "hostname; cat /etc/hostname").ok().prints_exactly(&format!("{name}\n{name}\n"));
    run(&sandbox, &["--uts", "host", "-h", "other"], "true").refuses(125, &["--uts host"]);
    run(&sandbox, &["--ipc", "none"], "! test -e /dev/shm").ok();
    run(&sandbox, &["--ipc", "host", "--sysctl", "kernel.msgmax=10000"], "true").refuses(125, &["--ipc"]);
    // All of it ends with the container, though the host's init would take orphans in.
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--pid",
        "host",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "sleep 4711 & exec sleep 4712",
    ]);
    sandbox.wait_until("both run", || processes("4711") + processes("4712") == 2);
    sandbox.ok(&["stop", "-t", "0", &id]);
    assert_eq!(processes("4711") + processes("4712"), 0);
}

/// How many programs have this word as their last argument.
fn processes(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).rfind(|part| !part.is_empty()) == Some(word.as_bytes())).count()
}

#[test]
fn namespaces_of_another_container() {
    let sandbox = Sandbox::new();
    let script = "echo shared > /dev/shm/f; exec sleep 100";
    sandbox.ok(&["run", "-d", "--name", "a", "--ipc", "shareable", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.ok(&["run", "-d", "--name", "alone", "--network", "none", "busybox", "sleep", "100"]);
    sandbox.wait_until("the file is there", || sandbox.img(&["exec", "a", "cat", "/dev/shm/f"]).stdout() == "shared\n");
    run(&sandbox, &["--ipc", "container:a"], "cat /dev/shm/f; echo back > /dev/shm/g").ok().prints_exactly("shared\n");
    assert_eq!(sandbox.ok(&["exec", "a", "cat", "/dev/shm/g"]), "back");
    let shared = sandbox.ok(&["exec", "a", "readlink", "/proc/self/ns/ipc"]);
    assert_eq!(run(&sandbox, &["--ipc", "container:a"], "readlink /proc/self/ns/ipc").ok().word(), shared);
    run(&sandbox, &["--ipc", "container:alone"], "true").refuses(125, &["alone", "does not share"]);
    let seen = run(&sandbox, &["--pid", "container:a"], "ps").ok().stdout();
    assert!(seen.contains("sleep 100"), "{seen}");
    run(&sandbox, &["--pid", "container:nobody"], "true").refuses(125, &["nobody"]);
    sandbox.ok(&["stop", "-t", "0", "a"]);
    run(&sandbox, &["--pid", "container:a"], "true").refuses(125, &["not running"]);
}

#[test]
fn streams_that_are_not_attached_are_dropped() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let both = "echo out; echo err >&2";
    let out = run(&sandbox, &["-a", "stdout"], both);
    assert_eq!((out.stdout().as_str(), out.stderr().as_str()), ("out\n", ""));
    let out = run(&sandbox, &["--attach", "STDERR"], both);
    assert_eq!((out.stdout().as_str(), out.stderr().as_str()), ("", "err\n"));
    let words = ["run", "--rm", "--network", "none", "-a", "stdin", "-a", "stdout", "busybox", "cat"];
    sandbox.img_with_input(&words, "through").ok().prints_exactly("through");
    // Our own errors are said all the same.
    sandbox.img(&["run", "--rm", "--network", "none", "-a", "stdout", "busybox", "nosuch"]).refuses(127, &["nosuch"]);
    sandbox.img(&["run", "-d", "-a", "stdout", "busybox", "true"]).refuses(125, &["-a and -d"]);
}

#[test]
fn replace_pull_newer_and_unknown_flags() {
    let sandbox = Sandbox::new();
    let first = sandbox.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "100"]);
    sandbox.img(&["create", "--name", "one", "busybox", "true"]).refuses(125, &["already in use"]);
    let second = sandbox.ok(&["create", "--replace", "--name", "one", "busybox", "true"]);
    assert_ne!(first, second);
    assert_eq!(sandbox.ok(&["ps", "-aq", "--no-trunc"]), second);
    sandbox.img(&["run", "--rm", "--network", "none", "--pull", "newer", "busybox", "true"]).ok();
    sandbox.ok(&["tag", "busybox", "nowhere.invalid/x:1"]);
    let out =
        sandbox.img(&["run", "--rm", "--network", "none", "--pull", "newer", "nowhere.invalid/x:1", "echo", "here"]);
    out.ok().prints_exactly("here\n");
    sandbox.img(&["run", "--rm", "--nosuch", "busybox", "true"]).refuses(125, &["--nosuch"]);
}

#[test]
fn privileged_says_what_it_opens() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let out = run(&sandbox, &["--privileged"], "true");
    out.ok();
    assert!(out.stderr().contains("all capabilities") && out.stderr().contains("devices"), "{out}");
    let quiet = run(&sandbox, &["--privileged", "-q"], "true");
    assert_eq!(quiet.ok().stderr(), "");
}

#[test]
fn security_options_one_by_one() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let option = |option: &str, script: &str| run(&sandbox, &["--security-opt", option], script);
    option("mask=/etc/group:/bin/busybox.d:/var", "wc -c < /etc/group; ls /var | wc -l").ok().prints_exactly("0\n0\n");
    option("unmask=/proc/keys", "! grep -q ' /proc/keys ' /proc/mounts && grep -q ' /proc/timer_list ' /proc/mounts")
        .ok();
    // The user is looked up before the file is hidden.
    let masked = ["run", "-d", "--rm", "--network", "none", "--security-opt", "mask=/etc/passwd"];
    let id = sandbox.ok(&[&masked[..], &["-u", "daemon", "busybox", "sleep", "600"]].concat());
    sandbox.img(&["exec", &id, "id", "-u"]).refuses(125, &["daemon"]);
    sandbox.img(&["exec", "-u", "7", &id, "sh", "-c", "id -u; wc -c < /etc/passwd"]).ok().prints_exactly("7\n0\n");
    option("mask=/etc/passwd", "id -u").ok().prints_exactly("0\n");
    for all in ["unmask=ALL", "systempaths=unconfined"] {
        option(all, "! grep -q ' /proc/' /proc/mounts").ok();
    }
    option("proc-opts=hidepid=2", "grep ' /proc ' /proc/mounts").ok().prints(&["hidepid=invisible"]);
    let groups = "d=$(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2); mkdir $d/below";
    option("writable-cgroups", groups).ok();
    run(&sandbox, &[], groups).says(&["read-only"]);
    option("label=disable", "true").ok();
    option("apparmor=unconfined", "true").ok();
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        option("apparmor=some", "true").refuses(125, &["some", "AppArmor"]);
    }
    option("bogus=1", "true").refuses(125, &["bogus"]);
    run(&sandbox, &["--sysctl", "vm.swappiness=1"], "true").refuses(125, &["vm.swappiness", "whole machine"]);
    let both = ["--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.msgmax=9000"];
    run(&sandbox, &both, "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax").ok().prints_exactly("77\n9000\n");
}
