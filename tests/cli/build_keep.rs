//! What builds leave behind: `builder du` and `prune`, the budget that is kept while building, cache mounts as tars; and
//! equal bytes from builds in different places.

use crate::support::{Sandbox, tools};

fn parts(sandbox: &Sandbox, filter: &str) -> Vec<serde_json::Value> {
    let mut words = vec!["builder", "du", "--format", "json"];
    if !filter.is_empty() {
        words.extend(["--filter", filter]);
    }
    sandbox.img(&words).ok().json().as_array().unwrap().clone()
}

fn total(sandbox: &Sandbox) -> u64 {
    parts(sandbox, "").iter().map(|part| part["Bytes"].as_u64().unwrap()).sum()
}

/// Runs one build of a single step that leaves a layer of a megabyte with `name` in it.
fn megabyte(sandbox: &Sandbox, name: &str, flags: &[&str]) -> crate::support::Out {
    let run = format!("RUN head -c 1000000 /dev/urandom > /{name}\n");
    sandbox.write(&format!("{name}/Buildfile"), format!("FROM busybox\n{run}"));
    let context = sandbox.text(name);
    let out = sandbox.img(&[&["build", "-o", "type=cacheonly"][..], flags, &[&context]].concat());
    out.ok();
    out
}

#[test]
fn du_and_prune_know_steps_and_mounts() {
    let sandbox = Sandbox::new();
    let buildfile = "FROM busybox\nRUN --mount=type=cache,target=/c,id=my-cache head -c 300000 /dev/zero > /c/f; echo 1 > /one\nRUN echo 2 > /two\n";
    sandbox.build("context", "app", buildfile).ok();
    let mounts = parts(&sandbox, "type=mount");
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0]["ID"], "my-cache");
    assert!(mounts[0]["Bytes"].as_u64().unwrap() >= 300_000);
    let steps = parts(&sandbox, "type=step");
    let described = |word: &str| steps.iter().any(|part| part["Description"].as_str().unwrap().contains(word));
    assert!(described("RUN --mount") && described("RUN echo 2"), "{steps:?}");
    sandbox.img(&["builder", "du"]).ok().prints(&["my-cache", "LAST USED", "Total:"]);
    assert!(parts(&sandbox, "until=1h").is_empty());

    // A look changes nothing; without --all, what the image has stays known.
    sandbox.img(&["builder", "prune", "--dry-run"]).ok().prints(&["my-cache", "Would reclaim"]);
    assert_eq!(parts(&sandbox, "type=mount").len(), 1);
    sandbox.img(&["builder", "prune"]).refuses(125, &["terminal"]).hints();
    sandbox.img(&["builder", "prune", "--force"]).ok().prints(&["my-cache", "Total reclaimed space"]);
    assert!(parts(&sandbox, "type=mount").is_empty());
    assert_eq!(sandbox.build("context", "app", buildfile).ok().stderr().matches("CACHED").count(), 2);
    sandbox.img(&["builder", "prune", "--force", "--all"]).ok();
    assert!(parts(&sandbox, "").is_empty());
    assert_eq!(sandbox.build("context", "app", buildfile).ok().stderr().matches("CACHED").count(), 0);
    sandbox.img(&["builder", "prune", "--filter", "color=red"]).refuses(125, &["color=red"]).hints();
    sandbox.img(&["builder"]).refuses(125, &["needs a command"]).hints();
}

#[test]
fn keep_storage_lets_the_oldest_go_first() {
    let sandbox = Sandbox::new();
    for (name, age) in [("a", 3000), ("b", 2000), ("c", 1000)] {
        megabyte(&sandbox, name, &[]);
        age_steps(&sandbox, age);
    }
    // Nothing but the cache names these layers.
    for id in sandbox.ok(&["images", "--quiet", "--filter", "dangling=true"]).split_whitespace() {
        sandbox.img(&["rmi", id]).ok();
    }
    assert!(total(&sandbox) > 3_000_000, "{}", total(&sandbox));
    sandbox.img(&["builder", "prune", "--force", "--keep-storage", "2500k"]).ok();
    let left = total(&sandbox);
    assert!(left > 1_900_000 && left <= 2_560_000, "{left}");
    assert!(megabyte(&sandbox, "b", &[]).stderr().contains("CACHED"));
    assert!(!megabyte(&sandbox, "a", &[]).stderr().contains("CACHED"));
}

/// Lets all steps that are younger than that look as if they were last used so many seconds ago.
fn age_steps(sandbox: &Sandbox, seconds: u64) {
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    for entry in std::fs::read_dir(sandbox.root().join("cache/steps")).unwrap() {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        if file.metadata().unwrap().modified().unwrap() > past {
            file.set_modified(past).unwrap();
        }
    }
}

#[test]
fn the_budget_is_kept_while_building() {
    let sandbox = Sandbox::new();
    for (name, age) in [("old", 9000), ("older", 5000)] {
        megabyte(&sandbox, name, &[]);
        age_steps(&sandbox, age);
    }
    for id in sandbox.ok(&["images", "--quiet", "--filter", "dangling=true"]).split_whitespace() {
        sandbox.img(&["rmi", id]).ok();
    }
    // While the last step runs, what the first has made is there and what nobody used for the longest time is gone.
    sandbox.write(
        "context/Buildfile",
        "FROM busybox\nRUN head -c 1000000 /dev/urandom > /new\nRUN sleep 3; echo x > /x\n",
    );
    let mut running =
        sandbox.spawn(&["build", "--cache-budget", "2500k", "-o", "type=cacheonly", &sandbox.text("context")]);
    let steps = || {
        let found = parts(&sandbox, "type=step");
        let names: Vec<String> = found.iter().map(|part| part["Description"].as_str().unwrap().to_owned()).collect();
        names.join(";")
    };
    sandbox.wait_until("the oldest step goes while the build runs", || {
        let steps = steps();
        steps.contains("/new") && !steps.contains("> /old;") && !steps.ends_with("> /old")
    });
    assert!(running.0.try_wait().unwrap().is_none(), "the build still runs");
    assert!(steps().contains("/older"), "only as much goes as must: {}", steps());
    assert_eq!(running.wait(), 0);
    assert!(total(&sandbox) <= 2_560_000 + 1_000_000);
    // The build's own steps are worth keeping even when they alone are too much.
    let out = megabyte(&sandbox, "large", &["--cache-budget", "10k"]);
    out.says(&["over its budget"]);
    sandbox.img(&["build", "--cache-budget", "1x", &sandbox.text("context")]).refuses(125, &["1x"]).hints();
}

#[test]
fn a_directory_of_a_cache_is_mounted_and_nothing_outside_of_it() {
    let sandbox = Sandbox::new();
    let whole = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c mkdir -p /c/a/b && echo in > /c/a/b/f && \
                 ln -s / /c/top && ln -s /proc /c/out && ln -s ../../../.. /c/up\n";
    let inside = |source: &str, command: &str| {
        let line = format!("RUN --mount=type=cache,id=c,source={source},target=/s,sharing=locked {command}\n");
        sandbox.build("context", "app", &format!("{whole}{line}"))
    };
    inside("a/b", "test \"$(cat /s/f)\" = in && echo out > /s/g").ok();
    inside("/a//../a/./b/", "cat /s/f /s/g").ok();
    // Links are those of the cache: the top is the cache's own.
    for source in ["top", "up", "../.."] {
        inside(source, "test -f /s/a/b/g && test ! -e /s/passwd").ok();
    }
    for source in ["out", "none", "a/b/f"] {
        inside(source, "true").refuses(1, &["Buildfile:3:1", "the cache c has no directory"]).hints();
    }
}

#[test]
fn a_cache_mount_travels_as_a_tar() {
    let one = Sandbox::new();
    let make = "FROM busybox\nRUN --mount=type=cache,target=/c mkdir -p /c/d && echo data > /c/d/f && ln -s d/f /c/l && chown 5:6 /c/d/f\n";
    one.build("context", "app", make).ok();
    let tar = one.text("c.tar");
    one.img(&["builder", "export", "/c", "-o", &tar]).ok();
    tools::run("tar", ["--numeric-owner", "-tvf", &tar]).prints(&["5/6", "d/f", "l -> d/f"]);
    let two = one.sibling();
    two.img(&["builder", "import", "/c", "-i", &tar]).ok();
    let read =
        "FROM busybox\nRUN --mount=type=cache,target=/c test \"$(stat -c %u:%g /c/d/f)\" = 5:6 && cp /c/l /out\n";
    two.build("context", "app", read).ok();
    two.img(&["run", "--rm", "--network", "none", "app", "cat", "/out"]).ok().prints_exactly("data\n");
    one.img(&["builder", "export", "/none", "-o", &tar]).refuses(1, &["/none"]).hints();

    // What leads out is refused.
    one.write("evil/x", "x");
    let evil = one.text("evil.tar");
    tools::run("tar", ["-C", &one.text("evil"), "--transform", "s,^x,../../../x,", "-Pcf", &evil, "x"]);
    two.img(&["builder", "import", "/c", "-i", &evil]).refuses(1, &[".."]);
    assert!(!two.root().join("cache/x").exists() && !two.root().join("x").exists());
}

#[test]
fn builds_in_different_places_give_equal_digests() {
    let one = Sandbox::new();
    let two = one.sibling();
    let buildfile = "FROM busybox\nCOPY . /src\nWORKDIR /w/x\nRUN echo a > /made && mkdir -p /d/e && ln -s a /d/l && touch /d/e/f\nADD --chown=3 a /b/\n";
    let mut found = Vec::new();
    for (sandbox, folder) in [(&one, "here"), (&two, "some/where/else")] {
        sandbox.write(&format!("{folder}/a"), "a\n");
        sandbox.write(&format!("{folder}/sub/b"), "b\n");
        sandbox.write(&format!("{folder}/Buildfile"), buildfile);
        tools::run(
            "touch",
            ["-d", &format!("@{}", 1_700_000_100 + found.len()), &sandbox.text(&format!("{folder}/a"))],
        );
        let facts = sandbox.text("facts");
        let archive = sandbox.text("app.tar");
        let mut command = sandbox.command(&[
            "build",
            "-o",
            &format!("type=oci,dest={archive},compression=gzip,rewrite-timestamp=true"),
            "--load",
            "--metadata-file",
            &facts,
            &sandbox.text(folder),
        ]);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        let out = crate::support::Out::of(command, None, std::time::Duration::from_secs(60));
        let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&facts).unwrap()).unwrap();
        found.push((out.ok().word(), facts["containerimage.digest"].as_str().unwrap().to_owned()));
    }
    assert_eq!(found[0], found[1]);
    // The base's layer is the base's, its times too; ours have no time but that one.
    let image = one.inspect(&found[0].0);
    let base = one.inspect("busybox");
    let layers = image["RootFS"]["Layers"].as_array().unwrap();
    assert_eq!(layers[0], base["RootFS"]["Layers"][0]);
    for layer in &layers[1..] {
        let hex = layer.as_str().unwrap().trim_start_matches("sha256:");
        let tar = one.root().join("layers/sha256").join(hex).join("tar");
        let listed = tools::run("tar", ["--full-time", "--utc", "-tvf", &tar.to_string_lossy()]);
        for line in listed.stdout().lines() {
            let old = line.contains("2023-11-14 22:13:20");
            assert!(old || base_has(&one, line), "{line}");
        }
    }
}

/// Whether a line of a tar listing is about a directory of the base image, which keeps its own time.
fn base_has(sandbox: &Sandbox, line: &str) -> bool {
    let name = line.rsplit(' ').next().unwrap().trim_end_matches('/');
    line.starts_with('d') && {
        let out = sandbox.img(&["run", "--rm", "--network", "none", "busybox", "test", "-d", &format!("/{name}")]);
        out.code() == 0
    }
}
