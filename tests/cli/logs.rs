//! `img logs` and `img attach`: what a container has said and says now, nobody resident in between.

use crate::support::Sandbox;

#[test]
fn both_streams_apart_and_in_order() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three",
    ]);
    assert_eq!(sandbox.ok(&["wait", &id]), "0");
    let out = sandbox.img(&["logs", &id]);
    out.ok().prints_exactly("one\nthree\n");
    assert_eq!(out.stderr(), "two\n");
    sandbox.img(&["logs", "--tail", "1", &id]).ok().prints_exactly("three\n");
    let stamped = sandbox.img(&["logs", "--timestamps", &id]).ok().stdout();
    for line in stamped.lines() {
        let stamp = line.split(' ').next().unwrap();
        assert!(stamp.starts_with("20") && stamp.ends_with('Z') && stamp.contains('T'), "{line}");
    }
}

#[test]
fn details_are_the_chosen_labels_and_variables() {
    let sandbox = Sandbox::new();
    let words =
        ["run", "--name", "box", "--network", "none", "--label", "tier=front", "--label", "other=1", "-e", "A=1"];
    let chosen = ["--log-opt", "labels=tier,none", "--log-opt", "env=A", "busybox", "echo", "said"];
    sandbox.ok(&[&words[..], &chosen].concat());
    sandbox.img(&["logs", "--details", "box"]).ok().prints_exactly("A=1,tier=front said\n");
    sandbox.img(&["logs", "box"]).ok().prints_exactly("said\n");
    let stamped = sandbox.ok(&["logs", "-t", "--details", "box"]);
    assert!(stamped.starts_with("20") && stamped.ends_with("Z A=1,tier=front said"), "{stamped}");
    sandbox.ok(&["run", "--name", "plain", "--network", "none", "busybox", "echo", "said"]);
    sandbox.img(&["logs", "--details", "plain"]).ok().prints_exactly("said\n");
}

#[test]
fn a_plain_foreground_run_is_kept_too() {
    let sandbox = Sandbox::new();
    sandbox
        .img(&["run", "--name", "plain", "--network", "none", "busybox", "echo", "seen"])
        .ok()
        .prints_exactly("seen\n");
    sandbox.img(&["logs", "plain"]).ok().prints_exactly("seen\n");
}

#[test]
fn follow_shows_lines_as_they_come_and_ends_with_the_container() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run",
        "-d",
        "-i",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "for n in 1 2 3; do echo $n; sleep 0.4; done",
    ]);
    let out = sandbox.img(&["logs", "--follow", &id]);
    out.ok().prints_exactly("1\n2\n3\n");
    let rest = sandbox.img(&["logs", "-f", "-n", "0", &id]);
    rest.ok().prints_exactly("");
    assert!(rest.took.as_secs() < 5);
}

#[test]
fn several_are_followed_at_once() {
    let sandbox = Sandbox::new();
    let script = "while read word; do echo $word; done";
    for name in ["one", "two"] {
        sandbox.ok(&["run", "-d", "-i", "--name", name, "--network", "none", "busybox", "sh", "-c", script]);
    }
    let mut follower = sandbox.spawn(&["logs", "-f", "--names", "one", "two"]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.0.stdout.take().unwrap()));
    // Whoever says something is heard, in whatever order.
    for (name, word) in [("two", "a"), ("one", "b"), ("two", "c")] {
        let attached = sandbox.spawn(&["attach", name]);
        std::io::Write::write_all(&mut attached.0.stdin.as_ref().unwrap(), format!("{word}\n").as_bytes()).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("{name} {word}"));
    }
    sandbox.ok(&["stop", "-t", "0", "one"]);
    let attached = sandbox.spawn(&["attach", "two"]);
    std::io::Write::write_all(&mut attached.0.stdin.as_ref().unwrap(), b"d\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two d");
    sandbox.ok(&["stop", "-t", "0", "two"]);
    assert!(lines.next().is_none());
    assert_eq!(follower.wait(), 0);
    let ended = sandbox.img(&["logs", "-f", "one", "nobody"]);
    assert_eq!((ended.code(), ended.stdout().as_str()), (1, "b\n"), "{ended}");
}

#[test]
fn since_and_until_choose_by_time() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", "echo old; sleep 2.2; echo new"]);
    sandbox.ok(&["wait", &id]);
    sandbox.img(&["logs", "--since", "1s", &id]).ok().prints_exactly("new\n");
    sandbox.img(&["logs", "--until", "1s", &id]).ok().prints_exactly("old\n");
    sandbox.img(&["logs", "--since", "soon", &id]).refuses(1, &["soon"]);
}

#[test]
fn what_is_no_line_or_no_text_comes_back_as_it_was() {
    let sandbox = Sandbox::new();
    let script = "printf 'no end'; printf '\\000\\377\\n'; head -c 200000 /dev/zero | tr '\\0' x; printf end";
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.ok(&["wait", &id]);
    let out = sandbox.img(&["logs", &id]);
    let mut expected = b"no end\0\xff\n".to_vec();
    expected.extend(vec![b'x'; 200_000]);
    expected.extend(b"end");
    assert!(
        out.ok().bytes() == expected,
        "{} bytes, first {:?}",
        out.bytes().len(),
        &out.bytes()[..20.min(out.bytes().len())]
    );
}

#[test]
fn attach_relays_and_gives_the_status() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run",
        "-d",
        "-i",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "read line; echo got $line; exit 4",
    ]);
    sandbox.img_with_input(&["attach", &id], "typed\n").exits(4).prints_exactly("got typed\n");
    sandbox.img(&["attach", &id]).refuses(1, &["not running"]);
}

#[test]
fn the_log_is_bounded() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "yes 0123456789012345678901234567890123456789 | head -c 149999976; echo last",
    ]);
    sandbox.ok(&["wait", &id]);
    let used: u64 = crate::support::tools::run("du", ["-sb", &sandbox.root().join("containers").to_string_lossy()])
        .word()
        .split('\t')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(used < 120_000_000, "150 MB of log took {used} bytes: logs are rotated by default");
    sandbox.img(&["logs", "-n", "1", &id]).ok().prints_exactly("last\n");
}

#[test]
fn nothing_is_lost_or_torn_under_load() {
    let sandbox = Sandbox::new();
    // 200 MB in lines that tell their number, both streams in turn.
    let script =
        "awk 'BEGIN { pad = sprintf(\"%190s\", \"\"); for (i = 0; i < 1000000; i++) printf \"%08d%s\\n\", i, pad }'";
    let words = ["run", "-d", "--log-opt", "max-size=1g", "--network", "none", "busybox", "sh", "-c", script];
    let id = sandbox.ok(&words);
    let followed = sandbox.path("followed");
    let mut command = sandbox.command(&["logs", "--follow", &id]);
    command.stdout(std::fs::File::create(&followed).unwrap());
    assert!(command.status().unwrap().success());
    let mut number = 0_u32;
    for line in std::io::BufRead::lines(std::io::BufReader::new(std::fs::File::open(&followed).unwrap())) {
        let line = line.unwrap();
        assert!(line.len() == 198 && line.trim_end() == format!("{number:08}"), "line {number}: {line:?}");
        number += 1;
    }
    assert_eq!(number, 1_000_000);
    sandbox.ok(&["rm", "--force", &id]);
}

#[test]
fn log_drivers_and_their_options() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let run = |flags: &[&str], name: &str| {
        let words = [&["run", "--name", name, "--network", "none"][..], flags, &["busybox", "echo", "seen"]].concat();
        sandbox.img(&words)
    };
    run(&["--log-driver", "none"], "none").ok().prints_exactly("seen\n");
    sandbox.img(&["logs", "none"]).refuses(1, &["none", "cannot be read"]).hints();
    run(&["--log-driver=local", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"], "local").ok();
    sandbox.img(&["logs", "local"]).ok().prints_exactly("seen\n");
    let config = sandbox.inspect("local")["HostConfig"]["LogConfig"].clone();
    assert_eq!((&config["Type"], &config["Config"]["max-size"]), (&"local".into(), &"1m".into()));
    for (flags, word) in [
        (&["--log-driver", "fluentd"][..], "fluentd"),
        (&["--log-opt", "max-sise=1m"], "max-sise"),
        (&["--log-opt", "max-file=none"], "max-file"),
        (&["--log-driver", "syslog", "--log-opt", "syslog-address=unixgram:///nowhere/log"], "/nowhere/log"),
        (&["--log-driver", "syslog", "--log-opt", "syslog-address=udp://host:514"], "syslog-address"),
    ] {
        run(flags, "refused").refuses(125, &[word]);
    }
    // Several at once, each line with its container's name.
    run(&[], "other").ok();
    sandbox.img(&["logs", "--names", "local", "other"]).ok().prints_exactly("local seen\nother seen\n");
    sandbox.img(&["logs", "--latest"]).ok().prints_exactly("seen\n");
    let coloured = "\u{1b}[36mlocal seen\u{1b}[0m\n\u{1b}[33mother seen\u{1b}[0m\n";
    sandbox.img(&["logs", "--names", "--color", "local", "other"]).ok().prints_exactly(coloured);
}

#[test]
fn syslog_gets_each_line_as_a_datagram() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let socket = sandbox.text("syslog");
    let service = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    service.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let address = format!("syslog-address=unixgram://{socket}");
    let words = [
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "--log-driver=syslog",
        "--log-opt",
        &address,
        "--log-opt",
        "tag={{.Name}}",
        "--log-opt",
        "syslog-facility=local0",
        "busybox",
        "sh",
        "-c",
        "echo out; sleep 0.2; echo err >&2",
    ];
    sandbox.img(&words).ok().prints_exactly("out\n");
    let mut buffer = [0; 1000];
    let mut next = || {
        let count = service.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let (out, err) = (next(), next());
    assert!(out.starts_with("<134>box[") && out.ends_with("]: out"), "{out}");
    assert!(err.starts_with("<131>box[") && err.ends_with("]: err"), "{err}");
    sandbox.img(&["logs", "box"]).refuses(1, &["syslog"]).hints();
}

#[test]
fn the_configuration_has_a_log_driver_for_all() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let path = sandbox.path("config.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{before}\n[log]\ndriver = \"none\"\n")).unwrap();
    sandbox.img(&["run", "--name", "quiet", "--network", "none", "busybox", "echo", "x"]).ok();
    sandbox.img(&["logs", "quiet"]).refuses(1, &["none"]);
    let words = ["run", "--name", "own", "--log-driver=json-file", "--network", "none", "busybox", "echo", "x"];
    sandbox.img(&words).ok();
    sandbox.img(&["logs", "own"]).ok().prints_exactly("x\n");
}
