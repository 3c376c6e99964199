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
