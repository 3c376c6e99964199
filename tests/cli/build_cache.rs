//! What a second `img build` does again and what it does not: steps are found by content, for exactly as long as nothing
//! that they depend on has changed.

use crate::support::{Out, Sandbox};

const CACHED: &str = "CACHED";

fn cached(out: &Out) -> usize {
    out.ok().stderr().lines().filter(|line| line.contains(CACHED)).count()
}

/// A step that is never the same twice, so that equal outputs mean that it was not run.
const STAMP: &str = "FROM busybox\nCOPY a /a\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nCOPY b /b\nRUN cat /proc/sys/kernel/random/uuid > /stamp2\n";

fn stamps(sandbox: &Sandbox, image: &str) -> Vec<String> {
    let out = sandbox.img(&["run", "--rm", "--network", "none", image, "cat", "/stamp", "/stamp2"]);
    out.ok().stdout().lines().map(str::to_owned).collect()
}

fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("context/a", "a\n");
    sandbox.write("context/b", "b\n");
    sandbox.build("context", "first", STAMP).ok();
    sandbox
}

#[test]
fn nothing_changed_nothing_runs() {
    let sandbox = prepared();
    let again = sandbox.build("context", "second", STAMP);
    assert_eq!(cached(&again), 4, "{again}");
    assert_eq!(stamps(&sandbox, "first"), stamps(&sandbox, "second"));
    assert_eq!(sandbox.inspect("first")["Id"], sandbox.inspect("second")["Id"]);
}

#[test]
fn a_changed_file_runs_what_comes_after_it_and_no_more() {
    let sandbox = prepared();
    sandbox.write("context/b", "changed\n");
    let again = sandbox.build("context", "second", STAMP);
    assert_eq!(cached(&again), 2, "{again}");
    let (one, two) = (stamps(&sandbox, "first"), stamps(&sandbox, "second"));
    assert!(one[0] == two[0] && one[1] != two[1], "{one:?} {two:?}");
}

#[test]
fn time_stamps_are_no_change_but_modes_are() {
    let sandbox = prepared();
    crate::support::tools::run("touch", ["-d", "@1234567890", &sandbox.text("context/a")]);
    assert_eq!(cached(&sandbox.build("context", "second", STAMP)), 4);
    crate::support::tools::run("chmod", ["0700", &sandbox.text("context/a")]);
    assert_eq!(cached(&sandbox.build("context", "second", STAMP)), 0);
}

#[test]
fn a_file_that_no_step_copies_is_no_change() {
    let sandbox = prepared();
    sandbox.write("context/unused", "new\n");
    assert_eq!(cached(&sandbox.build("context", "second", STAMP)), 4);
}

#[test]
fn no_cache_runs_everything() {
    let sandbox = prepared();
    let out = sandbox.img(&["build", "--no-cache", "-t", "second", &sandbox.text("context")]);
    assert_eq!(cached(&out), 0);
    let (one, two) = (stamps(&sandbox, "first"), stamps(&sandbox, "second"));
    assert!(one[0] != two[0] && one[1] != two[1]);
}

#[test]
fn an_argument_counts_where_it_is_used() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nARG WHO\nRUN echo $WHO > /who; cat /proc/sys/kernel/random/uuid > /stamp2\n";
    sandbox.write("context/Buildfile", text);
    let context = sandbox.text("context");
    sandbox.ok(&["build", "-t", "one", "--build-arg", "WHO=ann", &context]);
    sandbox.ok(&["build", "-t", "two", "--build-arg", "WHO=bob", &context]);
    sandbox.ok(&["build", "-t", "three", "--build-arg", "WHO=ann", &context]);
    let [one, two, three] = ["one", "two", "three"].map(|name| stamps(&sandbox, name));
    assert!(one[0] == two[0] && one[1] != two[1] && one == three, "{one:?} {two:?} {three:?}");
}

#[test]
fn a_moved_base_runs_everything() {
    let sandbox = prepared();
    sandbox.build("base", "busybox", "FROM busybox\nRUN echo moved > /moved\n").ok();
    let out = sandbox.build("context", "second", STAMP);
    assert_eq!(cached(&out), 0, "{out}");
}

#[test]
fn a_base_that_only_got_a_label_keeps_its_steps_and_passes_the_label_on() {
    let sandbox = prepared();
    sandbox.build("base", "busybox", "FROM busybox\nLABEL moved=yes\n").ok();
    let out = sandbox.build("context", "second", STAMP);
    assert_eq!(cached(&out), 4, "BuildKit too looks at a base image's files, not at its labels\n{out}");
    assert_eq!(sandbox.inspect("second")["Config"]["Labels"]["moved"], "yes");
    assert_eq!(stamps(&sandbox, "first"), stamps(&sandbox, "second"));
}

#[test]
fn another_process_and_an_emptied_image_list_find_the_cache() {
    let sandbox = prepared();
    let before = stamps(&sandbox, "first");
    sandbox.ok(&["rmi", "first"]);
    assert_eq!(cached(&sandbox.build("context", "second", STAMP)), 4);
    assert_eq!(stamps(&sandbox, "second"), before);
    sandbox.ok(&["rmi", "second"]);
    sandbox.ok(&["system", "prune", "--all", "--force"]);
    assert_eq!(cached(&sandbox.build("context", "third", STAMP)), 0);
}

#[test]
fn two_builds_at_once_both_succeed() {
    let sandbox = Sandbox::new();
    sandbox.write("context/a", "a\n");
    sandbox.write("context/b", "b\n");
    sandbox.write("context/Buildfile", STAMP);
    let context = sandbox.text("context");
    let mut both = [sandbox.spawn(&["build", "-t", "x", &context]), sandbox.spawn(&["build", "-t", "y", &context])];
    for one in &mut both {
        assert_eq!(one.wait(), 0);
    }
    assert_eq!((stamps(&sandbox, "x").len(), stamps(&sandbox, "y").len()), (2, 2));
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn a_cache_mount_keeps_its_content_between_builds_and_out_of_the_image() {
    let sandbox = Sandbox::new();
    let step = |n: u32| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/cache,id=counter echo {n} >> /cache/log; cp /cache/log /seen\n"
        )
    };
    sandbox.build("context", "one", &step(1)).ok();
    sandbox.build("context", "two", &step(2)).ok();
    let seen = |image| sandbox.img(&["run", "--rm", "--network", "none", image, "cat", "/seen"]).ok().stdout();
    assert_eq!((seen("one").as_str(), seen("two").as_str()), ("1\n", "1\n2\n"));
    let inside = sandbox.img(&["run", "--rm", "--network", "none", "two", "ls", "-A", "/cache"]);
    assert_eq!(inside.stdout(), "", "{inside}");
}

#[test]
fn mounts_of_a_step_leave_nothing_in_the_layer() {
    let sandbox = Sandbox::new();
    sandbox.write("context/file", "from the context\n");
    let text = "FROM busybox AS tools\nRUN echo from a stage > /tool\nFROM busybox\nRUN --mount=type=bind,source=file,target=/in/file --mount=type=bind,from=tools,source=/tool,target=/in/tool --mount=type=tmpfs,target=/scratch cat /in/file /in/tool > /out && touch /scratch/x && ! touch /in/file 2>/dev/null\n";
    sandbox.build("context", "mounts", text).ok();
    let out = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "mounts",
        "sh",
        "-c",
        "cat /out; ls -A /scratch /in/file 2>/dev/null",
    ]);
    assert!(out.stdout().starts_with("from the context\nfrom a stage\n"), "{out}");
    assert!(!out.stdout().contains("x\n"), "{out}");
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let out = sandbox.build("context", "no", "FROM busybox\nRUN --device=vendor/gpu true\n");
    out.refuses(1, &["Buildfile:2", "--device", "not supported"]);
}
