//! Logs in files under load: rotation, followers that are slower than the program, compressed files, Podman's form.

use std::io::{BufRead, BufReader};

use crate::support::Sandbox;

/// A program that writes so many lines of 100 bytes, each with its number.
fn numbered(lines: u32) -> String {
    format!(
        "awk 'BEGIN {{ pad = sprintf(\"%91s\", \"\"); for (i = 0; i < {lines}; i++) printf \"%08d%s\\n\", i, pad }}'"
    )
}

/// Lets a program go on, follows it and takes `rest` after every thousand lines: what was read, and the gaps that were told of.
fn follow_slowly(sandbox: &Sandbox, name: &str, rest: std::time::Duration) -> (Vec<u64>, Vec<u64>) {
    let mut follower = sandbox.spawn(&["logs", "--follow", name]);
    let attached = sandbox.spawn(&["attach", name]);
    std::io::Write::write_all(&mut attached.0.stdin.as_ref().unwrap(), b"\n").unwrap();
    let mut numbers = Vec::new();
    for line in BufReader::new(follower.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        assert_eq!(line.len(), 99, "a torn line: {line:?}");
        numbers.push(line.trim_end().parse().unwrap());
        if numbers.len() % 1000 == 0 {
            std::thread::sleep(rest);
        }
    }
    let said = follower.said();
    assert_eq!(follower.wait(), 0, "{said}");
    let told = said.lines().map(|line| {
        assert!(line.contains("lines of the log of container") && line.contains("were deleted"), "{line}");
        line.split(' ').find_map(|word| word.parse().ok()).expect("a count")
    });
    (numbers, told.collect())
}

#[test]
fn a_slow_follower_gets_every_line_or_is_told_how_many_are_gone() {
    let sandbox = Sandbox::new();
    // As many bytes as the default rotation keeps only part of; small files that are gone at once.
    for (limit, lines) in [("max-size=10m", 200_000), ("max-size=64k", 200_000)] {
        let script = format!("read go; {}", numbered(lines));
        let words = ["run", "-d", "-i", "--log-opt", limit, "--network", "none", "busybox", "sh", "-c", &script];
        let id = sandbox.ok(&words);
        let (numbers, told) = follow_slowly(&sandbox, &id, std::time::Duration::from_millis(5));
        let mut gaps = Vec::new();
        // What was gone before it began to read, nobody promised it.
        let mut next = numbers[0];
        for number in numbers {
            assert!(number >= next, "{limit}: {number} after {next}");
            gaps.extend((number > next).then(|| number - next));
            next = number + 1;
        }
        assert_eq!(next, u64::from(lines), "{limit}: the end is always read");
        assert_eq!(gaps, told, "{limit}: what is missing is told");
        assert!(limit != "max-size=64k" || !gaps.is_empty(), "the follower was not slow");
        sandbox.ok(&["rm", "--force", &id]);
    }
}

#[test]
fn a_follower_reads_on_in_files_that_became_old() {
    let sandbox = Sandbox::new();
    let script = format!("read go; {}; read go; {}", numbered(1000), numbered(1000));
    let flags = ["run", "-d", "-i", "--name", "box", "--log-opt", "max-size=64k", "--log-opt", "max-file=20"];
    sandbox.ok(&[&flags[..], &["--network", "none", "busybox", "sh", "-c", &script]].concat());
    let mut follower = sandbox.spawn(&["logs", "--follow", "box"]);
    let mut out = BufReader::new(follower.0.stdout.take().unwrap());
    let attached = sandbox.spawn(&["attach", "box"]);
    let mut input = attached.0.stdin.as_ref().unwrap();
    std::io::Write::write_all(&mut input, b"\n").unwrap();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // The follower is blocked by now, with 2,000 lines in more than two files before it.
    std::io::Write::write_all(&mut input, b"\n").unwrap();
    sandbox.ok(&["wait", "box"]);
    let count = out.lines().map(Result::unwrap).count();
    assert_eq!((line.trim_end(), count), ("00000000", 1999));
    assert_eq!(follower.said(), "");
}

#[test]
fn full_files_are_compressed_and_read_back() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = numbered(20_000);
    for (name, flags) in [
        ("json", &["--log-opt", "compress=true", "--log-opt", "max-file=20"][..]),
        ("k8s", &["--log-driver=k8s-file", "--log-opt", "compress=true", "--log-opt", "max-file=20"]),
        // Compressed unless told otherwise, as docker's is.
        ("local", &["--log-driver=local", "--log-opt", "max-file=20"]),
    ] {
        let words = [&["run", "--name", name, "--log-opt", "max-size=256k", "--network", "none"], flags].concat();
        let printed = sandbox.img(&[&words[..], &["busybox", "sh", "-c", &script]].concat());
        let log = sandbox.inspect(name)["LogPath"].as_str().unwrap().to_owned();
        let dir = std::path::Path::new(&log).parent().unwrap();
        let names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let (packed, plain): (Vec<_>, Vec<_>) =
            names.iter().filter(|name| name.starts_with("log.")).partition(|name| name.ends_with(".gz"));
        assert!(packed.len() >= 6 && plain.len() == 1, "{name}: {names:?}");
        let list = crate::support::tools::run("gzip", ["-t", dir.join(packed[0]).to_str().unwrap()]);
        assert_eq!(list.code(), 0, "gzip takes it: {list}");
        assert!(sandbox.img(&["logs", name]).ok().bytes() == printed.bytes(), "{name}");
        let tail = sandbox.img(&["logs", "-n", "15000", name]);
        assert!(printed.bytes().ends_with(tail.bytes()) && tail.stdout().lines().count() == 15_000, "{name}");
    }
    let bad = ["run", "--log-opt", "compress=true", "--log-opt", "max-file=1", "busybox", "true"];
    sandbox.img(&bad).refuses(125, &["compress=true", "max-file=1"]);
    sandbox.img(&["run", "--log-opt", "compress=yes", "busybox", "true"]).refuses(125, &["compress=yes"]);
}

#[test]
fn the_form_of_podman_and_kubernetes() {
    let sandbox = Sandbox::new();
    let script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf '\\377end'";
    let words = ["run", "--name", "box", "--log-driver=k8s-file", "--network", "none", "busybox", "sh", "-c", script];
    sandbox.img(&words).ok();
    let out = sandbox.img(&["logs", "box"]);
    assert_eq!((out.ok().bytes(), out.stderr()), (&b"one\n\xffend"[..], "two\n".to_owned()));
    let text = std::fs::read(sandbox.inspect("box")["LogPath"].as_str().unwrap()).unwrap();
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(|line| line.splitn(2, |byte| *byte == b' ')).collect();
    let rest: Vec<_> = lines.into_iter().filter_map(|mut parts| parts.nth(1)).collect();
    assert_eq!(rest, [&b"stdout F one"[..], b"stderr F two", b"stdout P \xffend"]);
    let stamped = sandbox.ok(&["logs", "-t", "-n", "1", "box"]);
    assert!(stamped.starts_with("20") && stamped.contains("Z "), "{stamped}");
}

#[test]
fn passthrough_gives_the_program_our_own_descriptors() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let own = ["--log-driver=passthrough", "--network", "none", "busybox", "sh", "-c"];
    let script = "cat; readlink /proc/self/fd/1; echo err >&2; exit 3";
    let written = sandbox.path("written");
    let mut command = sandbox.command(&[&["run", "--name", "box"][..], &own, &[script]].concat());
    command.stdin(std::fs::File::open(sandbox.write("given", "given\n")).unwrap());
    command.stdout(std::fs::File::create(&written).unwrap());
    let ended = command.output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(3), "err\n"));
    let text = std::fs::read_to_string(&written).unwrap();
    // The very file, not a pipe that somebody relays.
    assert!(text.starts_with("given\n") && text.trim_end().ends_with("written"), "{text}");
    sandbox.img(&["logs", "box"]).refuses(1, &["passthrough"]).hints();

    // In the background too, also when it is started again by its policy.
    let flags = ["run", "-d", "--name", "back", "--restart=on-failure:1"];
    let mut command = sandbox.command(&[&flags[..], &own, &["sleep 0.3; echo run; exit 1"]].concat());
    command.stdin(std::process::Stdio::null()).stdout(std::fs::File::create(&written).unwrap());
    assert!(command.status().unwrap().success());
    sandbox.img(&["attach", "back"]).refuses(1, &["passthrough"]).hints();
    sandbox.ok(&["wait", "back"]);
    sandbox.wait_until("both runs", || std::fs::read_to_string(&written).unwrap().matches("run\n").count() == 2);

    sandbox.img(&[&["run", "-t"][..], &own, &["true"]].concat()).refuses(125, &["passthrough", "-t"]).hints();
}
