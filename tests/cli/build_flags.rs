//! Flags of a build about how its steps run and what it says of them: limits, arguments from files, logs, progress.

use crate::support::Sandbox;

#[test]
fn limits_and_arguments_from_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nARG A\nARG B\nRUN echo \"n=$(ulimit -n) A=$A B=$B\" > /out\n");
    let file = sandbox.write("args", "# a remark\nA=from file\n\nB=file\n");
    let words = ["build", "-t", "app", "--ulimit", "nofile=77:99", "--build-arg-file", &file, "--build-arg", "B=flag"];
    let context = sandbox.text("context");
    sandbox.img(&[&words[..], &[&context]].concat()).ok();
    let seen = sandbox.img(&["run", "--rm", "--network", "none", "app", "cat", "/out"]);
    seen.ok().prints_exactly("n=77 A=from file B=flag\n");
    // A limit decides nothing about the result.
    let again = ["build", "--build-arg-file", &file, "--build-arg", "B=flag", &context];
    assert!(sandbox.img(&again).ok().stderr().contains("CACHED"));
    sandbox.img(&["build", "--ulimit", "nofile=x", &context]).refuses(125, &["nofile=x"]).hints();
    let wrong = sandbox.write("wrong", "A=1\nnothing\n");
    sandbox.img(&["build", "--build-arg-file", &wrong, &context]).refuses(125, &["wrong:2"]);
    sandbox.img(&["build", "--build-arg-file", "/no/such", &context]).refuses(1, &["/no/such"]);
}

#[test]
fn no_cache_filter_runs_these_stages_alone() {
    let sandbox = Sandbox::new();
    // Equal steps of two stages would run once for both.
    let uuid = "RUN cat /proc/sys/kernel/random/uuid > /u\n";
    let buildfile = format!(
        "FROM busybox AS one\n{uuid}FROM busybox AS two\nRUN true\n{uuid}RUN true\nFROM busybox\nCOPY --from=one /u /one\nCOPY --from=two /u /two\n"
    );
    sandbox.build("context", "first", &buildfile).ok();
    let out = sandbox.img(&["build", "-t", "second", "--no-cache-filter", "two", &sandbox.text("context")]);
    out.ok();
    let read = |image: &str| {
        let out = sandbox.img(&["run", "--rm", "--network", "none", image, "cat", "/one", "/two"]);
        out.ok().stdout().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, second) = (read("first"), read("second"));
    assert!(first[0] == second[0] && first[1] != second[1], "{first:?} {second:?}");
}

#[test]
fn the_whole_log_is_kept_and_named_when_a_step_fails() {
    let sandbox = Sandbox::new();
    let buildfile = "FROM busybox\nRUN i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done\nRUN echo last words >&2; exit 3\n";
    sandbox.write("context/Buildfile", buildfile);
    let context = sandbox.text("context");
    let out = sandbox.img(&["build", "--progress", "quiet", &context]);
    out.refuses(1, &["exited with code 3", "Buildfile:3:1", "last words", "the whole log is"]).hints();
    let stderr = out.stderr();
    let path = stderr.split("the whole log is ").nth(1).unwrap().split(';').next().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    for line in ["| line 0\n", "| line 2999\n", "! last words\n", "RUN echo last words", "error: "] {
        assert!(text.contains(line), "{line:?} is not in the log:\n{}", &text[text.len() - 500..]);
    }
    assert_eq!(sandbox.img(&["builder", "log"]).ok().stdout(), text);
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(sandbox.img(&["builder", "log", &id[..14]]).ok().stdout(), text);
    sandbox.img(&["builder", "log", "--list"]).ok().prints(&[id, "BUILD"]);
    sandbox.img(&["builder", "log", "ffffffffff"]).refuses(1, &["no", "ffffffffff"]);

    // The same build, fixed: what is cached needs no log, what runs gets one, which its metadata names.
    sandbox.write("context/Buildfile", buildfile.replace("exit 3", "true"));
    let facts = sandbox.text("facts");
    sandbox.img(&["build", "--metadata-file", &facts, &context]).ok();
    let read = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(&facts).unwrap()).unwrap();
    let reference = read()["buildx.build.ref"].as_str().unwrap().to_owned();
    sandbox.img(&["builder", "log", &reference]).ok().prints(&["CACHED", "last words", "built"]);
    sandbox.img(&["build", "--metadata-file", &facts, &context]).ok();
    assert!(read()["buildx.build.ref"].is_null());
    assert_eq!(sandbox.img(&["builder", "log", "--list"]).ok().stdout().lines().count(), 3);
}

#[test]
fn rawjson_is_what_buildkits_client_prints() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nRUN echo out; echo err >&2\nRUN exit 9\n");
    let out = sandbox.img(&["build", "--progress", "rawjson", &sandbox.text("context")]);
    out.exits(1);
    let stderr = out.stderr();
    let lines: Vec<serde_json::Value> =
        stderr.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = |key: &str| -> Vec<serde_json::Value> {
        lines.iter().filter_map(|line| line[key].as_array()).flatten().cloned().collect()
    };
    let vertexes = all("vertexes");
    let run =
        vertexes.iter().find(|v| v["name"] == "[stage-0 1/2] RUN echo out; echo err >&2" && v["completed"].is_string());
    let run = run.unwrap_or_else(|| panic!("no such vertex in\n{stderr}"));
    assert!(run["started"].as_str().unwrap() <= run["completed"].as_str().unwrap());
    assert!(vertexes.iter().any(|v| v["name"].as_str().unwrap().contains("exit 9") && v["error"].is_string()));
    assert!(vertexes.iter().any(|v| v["name"].as_str().unwrap().contains("busybox")));
    let logs = all("logs");
    let said: Vec<(i64, String)> = logs
        .iter()
        .filter(|log| log["vertex"] == run["digest"])
        .map(|log| (log["stream"].as_i64().unwrap(), log["data"].as_str().unwrap().to_owned()))
        .collect();
    assert!(said.contains(&(1, "b3V0Cg==".into())) && said.contains(&(2, "ZXJyCg==".into())), "{said:?}");
    assert!(stderr.lines().filter(|line| line.starts_with('{')).count() > 5);
}

#[test]
fn quiet_and_none_say_nothing_of_what_goes_well() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nRUN echo words\n");
    for kind in ["quiet", "none"] {
        let out = sandbox.img(&["build", "--no-cache", "--progress", kind, &sandbox.text("context")]);
        assert_eq!(out.ok().stderr(), "", "{kind}");
        assert!(out.word().starts_with("sha256:"));
    }
}

#[test]
fn a_failed_step_can_be_looked_into_on_a_terminal() {
    let sandbox = Sandbox::new();
    let buildfile = "FROM busybox\nRUN --mount=type=cache,target=/c VAR=x; export VAR; echo made > /made; echo kept > /c/f; exit 5\n";
    sandbox
        .write("context/Buildfile", format!("{}ENV E=env\n{}", "FROM busybox\n", &buildfile["FROM busybox\n".len()..]));
    let context = sandbox.text("context");
    // Without a terminal it says so, and fails as usual.
    let out = sandbox.img(&["build", "--debug-on-error", &context]);
    out.refuses(1, &["there is none", "exited with code 5"]);
    let mut terminal = sandbox.terminal(&["build", "--debug-on-error", &context]);
    terminal.expect("this is a shell");
    terminal.line("cat /made /c/f; echo E=$E; echo done-$((40+2))");
    let seen = terminal.expect("done-42");
    assert!(seen.contains("made") && seen.contains("kept") && seen.contains("E=env"), "{seen}");
    terminal.line("exit");
    terminal.expect("exited with code 5");
    assert_eq!(terminal.finish().0, 1);
}
