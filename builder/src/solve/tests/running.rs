//! RUN: command lines, mounts, failures, threads.

use super::*;
use crate::buildfile::NetworkMode;
use crate::event::Event;
use crate::op::OpError;

#[test]
fn command_lines() {
    let mut bench = Bench::new(&[]);
    bench.build(
        "FROM base\nRUN say shell\nRUN [\"say\", \"exec\", \"say done\"]\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN say bash\n\
         RUN <<EOF\nsay one\nsay two\nEOF\nRUN <<-X\n\tsay tabs\nX\n",
    );
    let args: Vec<Vec<String>> = bench.ran.lock().unwrap().iter().map(|ran| ran.args.clone()).collect();
    assert_eq!(
        args,
        [
            vec!["/bin/sh", "-c", "say shell"],
            vec!["say", "exec", "say done"],
            vec!["/bin/bash", "-ec", "say bash"],
            vec!["/bin/bash", "-ec", "say one\nsay two\n"],
            vec!["/bin/bash", "-ec", "say tabs\n"],
        ]
    );
    let output = bench.fail("FROM base\nRUN <<EOF cat - <<'E2'\nhi $x\nEOF\nthere\nE2\n");
    assert!(output.to_string().contains("RUN failed"));
    let ran = bench.ran.lock().unwrap();
    assert_eq!(ran[0].args[2], "<<EOF cat - <<'E2'\nhi $x\nEOF\nthere\nE2");
}

#[test]
fn a_heredoc_with_its_own_interpreter_is_a_program() {
    let mut bench = Bench::new(&[]);
    let error = bench.fail("FROM base\nRUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF\n");
    assert!(matches!(error, BuildError::Step { .. }));
    let ran = bench.ran.lock().unwrap();
    assert_eq!(ran[0].args, ["/dev/pipes/EOF"]);
    assert_eq!(ran[0].mounts[0].target, "/dev/pipes");
    assert!(ran[0].mounts[0].read_only);
    assert_eq!(bench.mounted(&ran[0].mounts[0], "EOF"), "#!/usr/bin/env python3\nprint()\n");
}

#[test]
fn environment_user_and_network() {
    let mut bench = Bench::new(&[]);
    bench.options.network = NetworkMode::None;
    bench.build(
        "FROM base\nENV A=1 B=$FROM_BASE\nARG C=3\nUSER web:staff\nWORKDIR /etc\nRUN true\nRUN --network=host true\n",
    );
    let ran = bench.ran.lock().unwrap();
    assert_eq!(ran[0].env, ["PATH=/bin", "FROM_BASE=1", "A=1", "B=1", "C=3"]);
    assert_eq!((ran[0].user.as_str(), ran[0].cwd.as_str()), ("web:staff", "/etc"));
    assert_eq!((ran[0].network, ran[1].network), (NetworkMode::None, NetworkMode::Host));
}

#[test]
fn mounts_of_context_stages_and_caches() {
    let mut bench = Bench::new(&[("src/a", "A"), ("src/hidden", "H"), (".dockerignore", "**/hidden"), ("one", "1")]);
    let text = "FROM base AS tools\nRUN write /tool T\nFROM base\nARG WHERE=/mnt\n\
        RUN --mount=target=$WHERE,source=src --mount=type=bind,from=tools,source=/tool,target=/t \
        --mount=type=bind,source=one,target=/one --mount=type=cache,target=/cache,id=c \
        --mount=type=tmpfs,target=/tmp,size=1m \
        read /mnt a /got/a; read /mnt hidden /got/hidden; read /t . /got/tool; read /one . /got/one; \
        append /cache log x; read /cache log /got/log\n";
    let output = bench.build(text);
    for (path, expected) in [("a", "A"), ("hidden", "nothing"), ("tool", "T"), ("one", "1"), ("log", "x")] {
        assert_eq!(bench.look(&output, &format!("got/{path}")), expected, "{path}");
    }
    assert_eq!(bench.build(text).executed, 0);
    bench.context_file("src/hidden", "changed, but nobody sees it");
    assert_eq!(bench.build(text).executed, 0);
    bench.context_file("src/a", "B");
    let output = bench.build(text);
    assert_eq!(bench.scripts().len(), 1);
    assert_eq!((bench.look(&output, "got/a"), bench.look(&output, "got/log")), ("B".into(), "xx".into()));
    let error = bench.fail("FROM base\nRUN --mount=from=base,source=/none,target=/x true\n");
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[test]
fn locked_caches_are_used_one_at_a_time() {
    let mut bench = Bench::new(&[]);
    let run = |sharing: &str, n: usize| {
        format!(
            "FROM base AS s{n}\nRUN --mount=type=cache,target=/c,id={sharing},sharing={sharing} wait 60; \
             append /c log {n}; write /{n} {n}\n"
        )
    };
    let join = |sharing: &str| {
        format!("{}{}FROM base\nCOPY --from=s1 /1 /1\nCOPY --from=s2 /2 /2\n", run(sharing, 1), run(sharing, 2))
    };
    bench.options.jobs = Some(4);
    bench.build(&join("locked"));
    let path = bench.store.cache().use_mount("locked").unwrap().path;
    assert_eq!(fs::read_to_string(path.join("log")).unwrap().len(), 2);
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o755);
    bench.build(&join("private"));
    let mounts: Vec<_> = bench.ran.lock().unwrap().iter().map(|ran| ran.mounts[0].source.clone()).collect();
    assert_eq!(mounts.len(), 2);
    assert_ne!(mounts[0], mounts[1]);
}

#[test]
fn a_failure_says_what_where_and_shows_the_last_words() {
    let mut bench = Bench::new(&[]);
    let error = bench.fail("FROM base AS x\nRUN say hello; \\\n    warn oops; exit 3\nRUN say never\n");
    assert_eq!(error.exit_code(), Some(3));
    let BuildError::Step { diagnostic, step, output, .. } = &error else { panic!("{error}") };
    assert_eq!(output, &["hello", "oops"]);
    assert_eq!((step.stage.as_str(), step.index, step.count), ("x", 1, 2));
    assert_eq!(diagnostic.message, "RUN failed: the command exited with code 3");
    assert_eq!((diagnostic.span.start.line, diagnostic.excerpt.len()), (2, 2));
    let events = bench.events.lock().unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Failed(_))));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Output { line, stream: Stream::Stderr, .. } if line == b"oops"))
    );
    drop(events);
    let error = bench.fail("FROM base\nRUN broken\n");
    assert!(
        matches!(&error, BuildError::Step { source: OpError::Port { source, .. }, .. } if source.to_string().contains("broken"))
    );
    // Nothing is left of a failed step: it runs again, and no scratch directory stays.
    assert_eq!(bench.build("FROM base\nRUN write /x 1\n").executed, 1);
    let scratch: Vec<_> =
        walk(&bench.store.root().join("tmp")).into_iter().filter(|path| path.contains("scratch")).collect();
    assert!(scratch.is_empty(), "{scratch:?}");
}

fn walk(path: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[test]
fn independent_stages_run_side_by_side() {
    let mut bench = Bench::new(&[]);
    bench.options.jobs = Some(3);
    let stage = |n: usize| format!("FROM base AS s{n}\nRUN together 3; write /{n} {n}\n");
    let text = format!(
        "{}{}{}FROM scratch\nCOPY --from=s1 /1 /1\nCOPY --from=s2 /2 /2\nCOPY --from=s3 /3 /3\n",
        stage(1),
        stage(2),
        stage(3)
    );
    let output = bench.build(&text);
    assert_eq!(bench.most.load(Ordering::SeqCst), 3);
    assert_eq!(bench.look(&output, "2"), "2");
    assert_eq!(output.layers.len(), 3);
}

#[test]
fn jobs_bound_what_runs_at_once() {
    let mut bench = Bench::new(&[]);
    bench.options.jobs = Some(1);
    let stage = |n: usize| format!("FROM base AS s{n}\nRUN wait 20; write /{n} {n}\n");
    bench.build(&format!("{}{}FROM scratch\nCOPY --from=s1 /1 /1\nCOPY --from=s2 /2 /2\n", stage(1), stage(2)));
    assert_eq!(bench.most.load(Ordering::SeqCst), 1);
}

#[test]
fn the_same_step_in_two_stages_runs_once() {
    let mut bench = Bench::new(&[]);
    bench.options.jobs = Some(4);
    let output = bench.build(
        "FROM base AS one\nRUN wait 50; write /x 1\nFROM base AS two\nRUN wait 50; write /x 1\nRUN write /y 2\n\
         FROM scratch\nCOPY --from=one /x /x\nCOPY --from=two /y /y\n",
    );
    assert_eq!(bench.scripts(), ["wait 50; write /x 1", "write /y 2"]);
    assert_eq!((output.executed, output.cached), (4, 1));
}

#[test]
fn one_failure_stops_the_others() {
    let mut bench = Bench::new(&[]);
    bench.options.jobs = Some(4);
    let started = std::time::Instant::now();
    let error = bench.fail(
        "FROM base AS slow\nRUN wait 20000; write /x 1\nFROM base AS bad\nRUN wait 30; exit 7\nFROM scratch\n\
         COPY --from=slow /x /x\nCOPY --from=bad /y /y\n",
    );
    assert_eq!(error.exit_code(), Some(7), "{error}");
    assert!(started.elapsed().as_secs() < 10);
    let stopped = bench.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Stopped(_))).count();
    assert!(stopped >= 1);
    assert!(!bench.options.cancel.is_cancelled(), "the caller's flag is the caller's");
}

#[test]
fn a_cancelled_build_ends() {
    let mut bench = Bench::new(&[]);
    let cancel = bench.options.cancel.clone();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        cancel.cancel();
    });
    let error = bench.fail("FROM base\nRUN wait 20000; write /x 1\n");
    timer.join().unwrap();
    assert!(matches!(error, BuildError::Cancelled), "{error}");
}
