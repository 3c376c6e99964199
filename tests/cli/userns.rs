//! Containers in user namespaces of their own: root inside, nobody outside, and the same files on the disk.

use crate::support::Sandbox;

/// The outer ids of a running container: first and how many.
fn outer(sandbox: &Sandbox, id: &str) -> (u64, u64) {
    let pid = sandbox.inspect(id)["State"]["Pid"].as_u64().expect("it runs");
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("a map");
    let numbers: Vec<u64> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    (numbers[1], numbers[2])
}

/// Whether this kernel takes layers with mapped ids.
fn supported(sandbox: &Sandbox) -> bool {
    sandbox.pull("busybox");
    let out = sandbox.img(&["run", "--rm", "--network", "none", "--userns", "auto", "busybox", "true"]);
    if out.stderr().contains("needs Linux") || out.stderr().contains("does not allow that") {
        eprintln!("skip: {}", out.stderr());
        return false;
    }
    out.ok();
    true
}

#[test]
fn root_inside_is_nobody_outside() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let script = "id -u; touch /new && ls -ln /new /etc/hosts /bin | awk 'NF>8{print $3\":\"$4}' | sort -u; \
                  chown 5:6 /new && stat -c %u:%g /new; cat /proc/sys/kernel/hostname; exec sleep 100";
    let id = sandbox.ok(&["run", "-d", "--userns", "auto", "-h", "box", "busybox", "sh", "-c", script]);
    sandbox.wait_until("it has said all", || sandbox.img(&["logs", &id]).stdout().contains("box"));
    assert_eq!(sandbox.ok(&["logs", &id]), "0\n0:0\n5:6\nbox");
    let (first, count) = outer(&sandbox, &id);
    assert!(first >= 100_000 && count == 65_536, "{first} {count}");
    let pid = sandbox.inspect(&id)["State"]["Pid"].as_u64().expect("it runs");
    use std::os::unix::fs::MetadataExt;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    assert!(status.lines().any(|line| line.starts_with("Uid:") && line.contains(&first.to_string())), "{status}");
    // On the disk it has the container's ids, so nothing depends on the range.
    let upper = sandbox.root().join("containers").join(&id).join("rw/upper/new");
    let about = std::fs::metadata(&upper).expect("what it wrote");
    assert_eq!((about.uid(), about.gid()), (5, 6));
    // Nothing of the host's root can be touched, though it is root.
    let mine = sandbox.write("mine", "host");
    let mount = format!("{mine}:/mine");
    sandbox
        .img(&["run", "--rm", "--userns", "auto", "--network", "none", "-v", &mount, "busybox", "chown", "0", "/mine"])
        .says(&["not permitted"]);
    // All capabilities hold inside only: what is the machine's stays as it is.
    let script = "mount -o remount,rw /proc/sys; echo 1 > /proc/sys/vm/swappiness";
    let words =
        ["run", "--rm", "--userns", "auto", "--network", "none", "--cap-add", "ALL", "busybox", "sh", "-c", script];
    sandbox.img(&words).says(&["permission denied"]);
}

#[test]
fn exec_cp_diff_commit_and_a_second_start_see_its_ids() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let script =
        "test -e /first || { touch /first; chown 7:8 /first; sed -i s/root/wurzel/ /etc/group; }; exec sleep 100";
    sandbox.ok(&["run", "-d", "--name", "u", "--userns", "auto", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.wait_until("it has written", || sandbox.img(&["exec", "u", "test", "-e", "/first"]).code() == 0);
    assert_eq!(sandbox.ok(&["exec", "u", "sh", "-c", "id -u; touch /exec; stat -c %u /exec"]), "0\n0");
    // A user that is not root can open what its output goes to.
    assert_eq!(sandbox.ok(&["exec", "-u", "1000", "u", "sh", "-c", "echo again > /dev/stdout"]), "again");
    let file = sandbox.write("file", "x");
    sandbox.ok(&["cp", &file, "u:/copied"]);
    std::os::unix::fs::chown(&file, Some(1000), Some(33)).expect("root may");
    sandbox.ok(&["cp", "-a", &file, "u:/kept"]);
    assert_eq!(sandbox.ok(&["exec", "u", "stat", "-c", "%u:%g", "/copied", "/kept"]), "0:0\n1000:33");
    sandbox.ok(&["cp", "-a", "u:/first", &sandbox.text("out")]);
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(sandbox.path("out")).expect("the copy");
    assert_eq!((about.uid(), about.gid()), (7, 8));
    let changes = sandbox.ok(&["diff", "u"]);
    assert!(changes.contains("A /first") && changes.contains("C /etc"), "{changes}");
    sandbox.ok(&["commit", "u", "kept:1"]);
    let plain = ["run", "--rm", "--network", "none", "kept:1", "stat", "-c", "%u:%g", "/first", "/kept"];
    assert_eq!(sandbox.ok(&plain), "7:8\n1000:33");
    sandbox.ok(&["stop", "-t", "0", "u"]);
    sandbox.ok(&["cp", "-a", "u:/first", &sandbox.text("stopped")]);
    assert_eq!(std::fs::metadata(sandbox.path("stopped")).expect("the copy").uid(), 7);
    sandbox.ok(&["start", "u"]);
    assert_eq!(sandbox.ok(&["exec", "u", "stat", "-c", "%u:%g", "/first"]), "7:8");
}

#[test]
fn automatic_ranges_never_meet() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let start = |_| {
        let words = ["run", "-d", "--userns", "auto:size=1000", "--network", "none", "busybox", "sleep", "100"];
        sandbox.spawn(&words)
    };
    // All at once, from several processes.
    let mut starting: Vec<_> = (0..6).map(start).collect();
    for one in &mut starting {
        assert_eq!(one.wait(), 0, "{}", one.said());
    }
    let ids = sandbox.ok(&["ps", "-q", "--no-trunc"]);
    let ids: Vec<&str> = ids.lines().collect();
    let mut ranges: Vec<(u64, u64)> = ids.iter().map(|id| outer(&sandbox, id)).collect();
    ranges.sort_unstable();
    assert_eq!(ranges.len(), 6);
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:?}");
    // The range of one that was killed with its monitor is free again, whoever might have noted it.
    let (first, _) = outer(&sandbox, ids[0]);
    sandbox.ok(&["kill", ids[0]]);
    sandbox.ok(&["rm", "-f", ids[0]]);
    let again =
        sandbox.ok(&["run", "-d", "--userns", "auto:size=1000", "--network", "none", "busybox", "sleep", "100"]);
    assert!(outer(&sandbox, &again).0 <= first, "a free range is taken again");
    sandbox.img(&["run", "--rm", "--userns", "auto:size=4000000000", "busybox", "true"]).refuses(125, &["4000000000"]);
}

#[test]
fn maps_of_ones_own_and_of_another_container() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let map = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend_from_slice(flags);
        words.extend(["busybox", "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ' | sed 's/^ //'"]);
        sandbox.img(&words).ok().stdout()
    };
    assert_eq!(
        map(&["--uidmap", "0:100000:1000", "--uidmap", "1000:5000:1"]),
        "0 100000 1000\n1000 5000 1\n".repeat(2)
    );
    assert_eq!(map(&["--uidmap", "0:100000:1000", "--gidmap", "0:200000:10"]), "0 100000 1000\n0 200000 10\n");
    assert_eq!(map(&["--gidmap", "0:200000:10"]), "0 200000 10\n0 200000 10\n", "as podman has it");
    assert_eq!(map(&["--userns", "keep-id"]), "0 0 4294967295\n".repeat(2));
    assert_eq!(map(&["--userns", "host"]), "0 0 4294967295\n".repeat(2));
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "o",
        "--uidmap",
        "0:300000:500",
        "--network",
        "none",
        "busybox",
        "sleep",
        "100",
    ]);
    assert_eq!(map(&["--userns", "container:o"]), "0 300000 500\n".repeat(2));
    let run = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend_from_slice(flags);
        words.extend(["busybox", "true"]);
        sandbox.img(&words)
    };
    // One that shares the host's ids is joined like any other.
    sandbox.ok(&["run", "-d", "--name", "plain", "--network", "none", "busybox", "sleep", "100"]);
    run(&["--userns", "container:plain", "-v", "vol:/vol"]).ok();
    // Whose ids mounts are given and shown by is what the other container has.
    let owner = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|about| (about.uid(), about.gid())).expect("a folder")
    };
    std::fs::create_dir(sandbox.path("given")).expect("a folder");
    std::os::unix::fs::chown(sandbox.path("given"), Some(77), Some(78)).expect("root may");
    let given = format!("type=bind,src={},dst=/given", sandbox.text("given"));
    for other in ["container:plain", "container:o"] {
        let seen = |option: &str| {
            let mount = format!("{given},{option}");
            let words = ["run", "--rm", "--network", "none", "--userns", other, "-u", "7:8", "--mount", &mount];
            let script = "stat -c %u:%g /given; touch /given/new && stat -c %u:%g /given/new; rm /given/new";
            sandbox.ok(&[&words[..], &["busybox", "sh", "-c", script]].concat())
        };
        // With ids of its own the mapping is that of its namespace; with the host's, the owner is swapped with the user.
        if other == "container:plain" {
            assert_eq!(seen("idmap"), "7:8\n7:8");
        }
        assert_eq!(owner(&sandbox.path("given")), (77, 78), "{other}");
        assert_eq!(seen("U"), "7:8\n7:8", "{other}");
        assert_eq!(owner(&sandbox.path("given")), (7, 8), "{other}");
        assert_eq!(seen("idmap"), "7:8\n7:8", "{other}");
        std::os::unix::fs::chown(sandbox.path("given"), Some(77), Some(78)).expect("root may");
    }
    run(&["--uidmap", "1:100000:1000"]).refuses(125, &["root"]);
    run(&["--uidmap", "0:1:2:3"]).refuses(125, &["0:1:2:3"]);
    run(&["--uidmap", "0:100000:10", "--uidmap", "5:900:1"]).refuses(125, &["overlap"]);
    run(&["--userns", "nomap"]).refuses(125, &["ordinary users"]);
    run(&["--userns", "sideways"]).refuses(125, &["sideways"]);
    run(&["--userns", "container:nobody"]).refuses(125, &["nobody"]);
    run(&["--userns", "auto", "--privileged"]).refuses(125, &["--privileged"]);
    run(&["--subuidname", "nobody-has-this-name"]).refuses(125, &["nobody-has-this-name"]);
}

#[test]
fn volumes_secrets_terminals_and_shared_namespaces() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let run = |flags: &[&str], script: &str| {
        let mut words = vec!["run", "--rm"];
        words.extend_from_slice(flags);
        words.extend(["busybox", "sh", "-c", script]);
        sandbox.img(&words).ok().word()
    };
    let auto = ["--userns", "auto", "--network", "none", "-v", "data:/data"];
    assert_eq!(run(&auto, "touch /data/f; chown 3:4 /data/f; stat -c %u:%g /data /data/f"), "0:0\n3:4");
    assert_eq!(
        run(&["--network", "none", "-v", "data:/data"], "stat -c %u:%g /data/f"),
        "3:4",
        "the same without a map"
    );
    let file = sandbox.write("secret", "s");
    let secret = format!("id=s,src={file},uid=9,mode=0400");
    let with =
        ["--userns", "auto", "--network", "none", "--secret", &secret, "--tmpfs", "/t:uid=7", "--shm-size", "1m"];
    assert_eq!(run(&with, "stat -c %u /run/secrets/s /t; cat /run/secrets/s"), "9\n7\ns");
    std::os::unix::fs::chown(&file, Some(0), Some(0)).expect("root may");
    let bind = format!("{file}:/f:idmap");
    assert_eq!(run(&["--userns", "auto", "--network", "none", "-v", &bind], "stat -c %u:%g /f"), "0:0");
    for share in [["--network", "host"], ["--pid", "host"], ["--ipc", "host"]] {
        let flags =
            [&["--userns", "auto"][..], &share, if share[0] == "--network" { &[] } else { &["--network", "none"] }]
                .concat();
        assert_eq!(run(&flags, "test -d /sys/class && test -d /proc/1 && id -u"), "0", "{share:?}");
    }
    let mut terminal =
        sandbox.terminal(&["run", "--rm", "-it", "--userns", "auto", "--network", "none", "busybox", "tty"]);
    assert!(terminal.finish().1.contains("/dev/pts/0"));
    let clocks = run(&["--network", "none", "--timens-offset", "boottime=10d"], "cut -d. -f1 /proc/uptime");
    assert!(clocks.parse::<u64>().expect("seconds") > 864_000, "{clocks}");
}

#[test]
fn a_namespace_is_joined_by_its_file() {
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    let box_of = |name: &str, more: &[&str]| {
        let words = [&["run", "-d", "--name", name, "--network", "none"], more, &["busybox", "sleep", "1000"]].concat();
        sandbox.ok(&words);
        format!("/proc/{}/ns", sandbox.inspect(name)["State"]["Pid"])
    };
    let spaces = box_of("other", &["--uidmap", "0:300000:5000"]);
    let mode = format!("ns:{spaces}/user");
    let run = |more: &[&str], script: &str| {
        let words = [&["run", "--rm", "--userns", &mode], more, &["busybox", "sh", "-c", script]].concat();
        sandbox.img(&words)
    };
    let link = std::fs::read_link(format!("{spaces}/user")).expect("a namespace").display().to_string();
    let script =
        "readlink /proc/self/ns/user; cat /proc/self/uid_map; touch /vol/new; stat -c %u:%g / /bin /vol/new; id -u";
    let seen = run(&["--network", "none", "-v", "vol:/vol"], script).ok().stdout();
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words, [&link, "0", "300000", "5000", "0:0", "0:0", "0:0", "0"], "joined, and its files are its own");
    run(&[], "ip -4 addr show eth0").ok().prints(&["inet "]);
    // What belongs to that namespace can be shared with it; its processes are shown, and not the machine's.
    let net = run(&["--network", "container:other"], "readlink /proc/self/ns/net").ok().word();
    assert_eq!(net, std::fs::read_link(format!("{spaces}/net")).expect("a namespace").display().to_string());
    for mode in [mode.as_str(), "container:other"] {
        let words = ["run", "--rm", "--network", "none", "--pid", "container:other", "--userns", mode, "busybox"];
        let listed = sandbox.ok(&[&words[..], &["ps", "-o", "pid,args"]].concat());
        assert!(listed.contains("1 sleep 1000") && listed.lines().count() == 3, "{mode}: {listed}");
    }
    // exec and a second start see the same.
    sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "--userns", &mode, "busybox", "sleep", "1000"]);
    for _ in 0..2 {
        assert_eq!(sandbox.ok(&["exec", "box", "readlink", "/proc/self/ns/user"]), link);
        sandbox.ok(&["exec", "box", "sh", "-c", "echo x > /file && test $(stat -c %u /file) = 0"]);
        sandbox.ok(&["restart", "-t", "0", "box"]);
    }
    let refuses = |mode: &str, words: &[&str]| {
        sandbox.img(&["run", "--rm", "--network", "none", "--userns", mode, "busybox", "true"]).refuses(125, words);
    };
    refuses(&format!("ns:{spaces}/net"), &["is no user namespace"]);
    refuses("ns:/no/such", &["/no/such"]);
    refuses("ns:relative", &["no such mode"]);
    let host = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--userns",
        "ns:/proc/self/ns/user",
        "busybox",
        "cat",
        "/proc/self/uid_map",
    ]);
    host.ok().prints(&["0          0 4294967295"]);
    let mut alone = std::process::Command::new("unshare").args(["-U", "sleep", "1000"]).spawn().expect("unshare");
    let file = format!("/proc/{}/ns/user", alone.id());
    let own = std::fs::read_link("/proc/self/ns/user").ok();
    sandbox.wait_until("it is in its namespace", || std::fs::read_link(&file).ok() != own);
    refuses(&format!("ns:{file}"), &["no root"]);
    alone.kill().and_then(|()| alone.wait()).expect("it ends");
}

#[test]
fn a_directory_shows_its_ids_as_the_containers_or_as_it_is_said() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    if !supported(&sandbox) {
        return;
    }
    sandbox.flatten("busybox", "root");
    let owner = |path: &str| std::fs::metadata(sandbox.path(path)).map(|about| about.uid()).expect("a file");
    let run = |options: &str, more: &[&str], script: &str| {
        let root = format!("{}{options}", sandbox.text("root"));
        sandbox.img(&[&["run", "--rm", "--network", "none"], more, &["--rootfs", &root, "sh", "-c", script]].concat())
    };
    let script = "stat -c %u:%g /bin; touch /made; stat -c %u:%g /made";
    for options in ["", ":idmap", ":O,idmap"] {
        run(options, &["--userns", "auto"], script).ok().prints_exactly("0:0\n0:0\n");
        assert_eq!(sandbox.path("root/made").exists(), !options.contains('O'), "{options}");
        if sandbox.path("root/made").exists() {
            assert_eq!(owner("root/made"), 0, "{options}");
            std::fs::remove_file(sandbox.path("root/made")).expect("it was made");
        }
    }
    let map = ":idmap=uids=0-7000-10#gids=0-8000-10";
    run(map, &[], "stat -c %u:%g /bin").ok().prints_exactly("7000:8000\n");
    run(map, &["--uidmap", "0:7000:10", "--gidmap", "0:8000:10"], script).ok().prints_exactly("0:0\n0:0\n");
    assert_eq!(owner("root/made"), 0);
    run(":idmap", &[], "true").refuses(125, &["there is none"]).hints();
    run(":O,idmap=uids=0-1-1#gids=0-1-1", &["--userns", "auto"], "true").refuses(125, &["exclude each other"]);
    run(":idmap=nonsense", &[], "true").refuses(125, &["nonsense"]);
}
