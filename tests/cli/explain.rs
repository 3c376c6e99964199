//! Why a step ran: the progress, `--explain` and `img why` name the file, the variable, the base or the step that was
//! the first to change, and nothing else.

use crate::support::{Sandbox, tools};

const TEXT: &str =
    "FROM busybox\nCOPY src/ /src/\nARG WHO=nobody\nRUN cat /src/f000 > /one; echo $WHO >> /one\nCOPY last /last\n";

/// A context of a thousand files, built once.
fn built() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..1000 {
        sandbox.write(&format!("context/src/f{number:03}"), format!("{number}\n"));
    }
    sandbox.write("context/last", "last\n");
    sandbox.build("context", "app", TEXT).ok();
    sandbox
}

/// The lines of the progress that say why.
fn why(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let context = sandbox.text("context");
    let words = [&["build", "--tag", "app"], flags, &[&context]].concat();
    let out = sandbox.img(&words);
    out.ok().stderr().lines().filter(|line| line.contains(" why: ")).map(str::to_owned).collect()
}

#[test]
fn one_byte_of_one_file_among_a_thousand() {
    let sandbox = built();
    assert_eq!(why(&sandbox, &[]), [""; 0], "nothing changed, nothing to explain");
    sandbox.write("context/src/f512", "x12\n");
    let lines = why(&sandbox, &[]);
    assert_eq!(lines[0], "#1 why: src/f512 (content), 1 of 1000 files");
    let first = "COPY src/ /src/ (line 2) ran again: src/f512 (content), 1 of 1000 files";
    assert_eq!(lines[1..], [format!("#2 why: {first}"), format!("#3 why: {first}")]);
    // The very same is there afterwards, for one step and as JSON.
    let one = sandbox.img(&["why", "1"]);
    assert_eq!(
        one.ok().stdout(),
        "#1 [stage-0 1/3] line 2: COPY src/ /src/\n  ran: src/f512 (content), 1 of 1000 files\n    src/f512 (content)\n"
    );
    let json = sandbox.img(&["why", "--format", "json", "COPY src"]).ok().json();
    let difference = &json["build"]["steps"][0]["reason"]["differences"][0];
    assert_eq!((&difference["what"], &difference["total"]), (&"files".into(), &1000.into()), "{json}");
    assert_eq!(difference["changes"], serde_json::json!([{ "path": "src/f512", "how": ["content"] }]));
    assert_eq!(sandbox.img(&["why", "nonesuch"]).exits(1).stderr().lines().count(), 2);
}

#[test]
fn what_happened_to_each_file() {
    let sandbox = built();
    tools::run("chmod", ["0700", &sandbox.text("context/src/f001")]);
    std::fs::rename(sandbox.path("context/src/f002"), sandbox.path("context/src/moved")).unwrap();
    std::fs::remove_file(sandbox.path("context/src/f003")).unwrap();
    sandbox.write("context/src/fresh", "fresh\n");
    assert_eq!(
        why(&sandbox, &[])[0],
        "#1 why: src/f001 (mode), src/f003 (removed), src/fresh (added), and 1 more, 4 of 1000 files"
    );
    let whole = sandbox.ok(&["why", "1"]);
    assert!(whole.ends_with("    src/f002 renamed to src/moved"), "{whole}");
}

#[test]
fn arguments_by_name_and_never_by_value() {
    let sandbox = built();
    assert_eq!(
        why(&sandbox, &["--build-arg", "WHO=hunter2"]),
        [
            "#2 why: ARG WHO changed",
            "#3 why: RUN cat /src/f000 > /one; echo $WHO >> /one (line 4) ran again: ARG WHO changed"
        ]
    );
    let notes = std::fs::read_dir(sandbox.root().join("cache/notes")).unwrap();
    for note in notes {
        let text = String::from_utf8_lossy(&std::fs::read(note.unwrap().path()).unwrap()).into_owned();
        // The shown instruction has its variables replaced where the language replaces them; RUN leaves that to its shell.
        assert!(!text.contains("hunter2") || text.contains("\"outcome\""), "{text}");
    }
}

#[test]
fn instructions_settings_and_steps_that_came_between() {
    let sandbox = built();
    let changed = TEXT.replace("/one;", "/one; true;");
    sandbox.write("context/Buildfile", &changed);
    let lines = why(&sandbox, &[]);
    assert_eq!(lines[0], "#2 why: the instruction was RUN cat /src/f000 > /one; echo $WHO >> /one");
    assert_eq!(lines.len(), 2);
    sandbox.write("context/Buildfile", TEXT.replace("COPY last", "RUN true > /new\nCOPY last"));
    let lines = why(&sandbox, &[]);
    assert_eq!(lines[0], "#3 why: not built here before");
    assert_eq!(lines[1], "#4 why: RUN true > /new (line 5) ran again: not built here before");
    sandbox.write("context/Buildfile", TEXT.replace("ARG WHO", "WORKDIR /src\nARG WHO"));
    assert_eq!(why(&sandbox, &[])[0], "#2 why: not built here before");
}

#[test]
fn a_base_that_moved_names_both_digests() {
    let sandbox = Sandbox::new();
    let id = |tag: &str| sandbox.inspect(tag)["Id"].as_str().unwrap()[7..19].to_owned();
    sandbox.build("base", "base", "FROM busybox\nRUN echo 1 > /base\n").ok();
    let before = id("base");
    sandbox.write("context/Buildfile", "FROM base\nRUN true > /x\n");
    why(&sandbox, &[]);
    sandbox.build("base", "base", "FROM busybox\nRUN echo 2 > /base\n").ok();
    let expected = format!("#1 why: base base moved from {before} to {}", id("base"));
    assert_eq!(why(&sandbox, &[]), [expected]);
}

#[test]
fn no_cache_and_eviction() {
    let sandbox = built();
    assert_eq!(why(&sandbox, &["--no-cache"]), ["#1 why: --no-cache", "#2 why: --no-cache", "#3 why: --no-cache"]);
    // One entry alone.
    for record in std::fs::read_dir(sandbox.root().join("cache/steps")).unwrap() {
        let path = record.unwrap().path();
        if std::fs::read_to_string(&path).unwrap().contains("\"instruction\":\"COPY last /last\"") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let lines = why(&sandbox, &[]);
    assert!(lines.len() == 1 && lines[0].starts_with("#3 why: its result was removed from the cache"), "{lines:?}");
    sandbox.ok(&["rmi", "app"]);
    sandbox.ok(&["system", "prune", "--all", "--force"]);
    let lines = why(&sandbox, &[]);
    let year = this_year();
    assert!(lines[0].starts_with(&format!("#1 why: its result was removed from the cache on {year}-")), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_step_that_made_the_same_again_is_no_cause() {
    let sandbox = Sandbox::new();
    sandbox.write("context/a", "a\n");
    sandbox.write("context/b", "b\n");
    sandbox.build("context", "app", "FROM busybox\nCOPY a /a\nCOPY b /b\nRUN true\n").ok();
    sandbox.ok(&["rmi", "app"]);
    sandbox.ok(&["system", "prune", "--all", "--force"]);
    sandbox.write("context/b", "B\n");
    let lines = why(&sandbox, &[]);
    assert!(lines[0].starts_with("#1 why: its result was removed"), "{lines:?}");
    assert_eq!(lines[1], "#2 why: b (content), 1 of 1 file");
    assert_eq!(lines[2], "#3 why: COPY b /b (line 3) ran again: b (content), 1 of 1 file");
}

/// The year, as `date` has it.
fn this_year() -> String {
    tools::run("date", ["-u", "+%Y"]).word()
}

#[test]
fn a_copy_from_a_stage_names_what_changed_in_the_stage() {
    let sandbox = Sandbox::new();
    sandbox.write("context/in", "1\n");
    let text = "FROM busybox AS make\nCOPY in /in\nRUN cp /in /out\nFROM busybox\nCOPY --from=make /out /out\n";
    sandbox.build("context", "app", text).ok();
    sandbox.write("context/in", "2\n");
    let lines = why(&sandbox, &[]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].starts_with("#3 why: /out (content), 1 of 1 file from make"), "{lines:?}");
    let mounted = text.replace("COPY --from=make /out /out", "RUN --mount=type=bind,from=make,target=/m cat /m/out");
    sandbox.write("context/Buildfile", &mounted);
    why(&sandbox, &[]);
    sandbox.write("context/in", "3\n");
    let lines = why(&sandbox, &[]);
    assert_eq!(lines[2], "#3 why: COPY in /in (line 2) ran again: in (content), 1 of 1 file");
}

#[test]
fn the_whole_explanation_of_a_build() {
    let sandbox = built();
    sandbox.write("context/last", "changed\n");
    let context = sandbox.text("context");
    let report = sandbox.img(&["build", "--explain", "json", &context]).ok().json();
    let outcomes: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["cached", "cached", "ran"]);
    assert_eq!(report["steps"][2]["text"], "last (content), 1 of 1 file");
    assert_eq!(report["image"], sandbox.ok(&["build", "-q", &context]).as_str());
    let text = sandbox.ok(&["build", "--explain", "text", &context]);
    assert!(text.starts_with("#1 [stage-0 1/3] line 2: COPY src/ /src/\n  cached\n"), "{text}");
}

#[test]
fn a_build_that_failed_can_be_asked_about() {
    let sandbox = Sandbox::new();
    assert!(sandbox.img(&["why"]).exits(1).stderr().contains("nothing was built"));
    sandbox.write("context/a", "a\n");
    assert_ne!(sandbox.build("context", "app", "FROM busybox\nCOPY a /a\nRUN false\n").code(), 0);
    let text = sandbox.ok(&["why"]);
    assert!(text.ends_with("RUN false\n  did not finish; it ran: not built here before"), "{text}");
}
