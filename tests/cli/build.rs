//! `img build`: instructions, stages, files from the context, and what the image is told to do.

use crate::support::{Sandbox, tools, tree};

fn run(sandbox: &Sandbox, image: &str, words: &[&str]) -> String {
    let mut all = vec!["run", "--rm", "--network", "none", image];
    all.extend(words);
    sandbox.img(&all).ok().stdout()
}

#[test]
fn an_image_from_a_buildfile() {
    let sandbox = Sandbox::new();
    sandbox.write("context/greeting", "hello\n");
    let out = sandbox.build(
        "context",
        "app:1",
        "FROM busybox\nENV NAME=world\nWORKDIR /app\nCOPY greeting .\nRUN cat greeting > both && echo $NAME >> both\nUSER alice\nCMD [\"cat\", \"both\"]\n",
    );
    out.ok();
    assert_eq!(run(&sandbox, "app:1", &[]), "hello\nworld\n");
    assert_eq!(run(&sandbox, "app:1", &["pwd"]), "/app\n");
    assert_eq!(run(&sandbox, "app:1", &["id", "-un"]), "alice\n");
}

#[test]
fn quiet_prints_the_id_and_iidfile_holds_it() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nLABEL a=b\n");
    let file = sandbox.text("id");
    let out = sandbox.img(&["build", "-q", "--iidfile", &file, "-t", "x", &sandbox.text("context")]);
    let id = out.ok().word();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{out}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), id);
    assert_eq!(sandbox.inspect("x")["Id"], id.as_str());
}

#[test]
fn buildfile_containerfile_dockerfile_in_that_order() {
    let sandbox = Sandbox::new();
    let context = sandbox.text("context");
    for name in ["Dockerfile", "Containerfile", "Buildfile"] {
        sandbox.write(&format!("context/{name}"), format!("FROM busybox\nLABEL from={name}\n"));
        sandbox.ok(&["build", "-q", "-t", "which", &context]);
        assert_eq!(sandbox.inspect("which")["Config"]["Labels"]["from"], name);
    }
    sandbox.write("elsewhere/Other", "FROM busybox\nLABEL from=other\n");
    sandbox.ok(&["build", "-q", "-t", "which", "-f", &sandbox.text("elsewhere/Other"), &context]);
    assert_eq!(sandbox.inspect("which")["Config"]["Labels"]["from"], "other");
    sandbox
        .img_with_input(&["build", "-q", "-t", "which", "-f", "-", &context], "FROM busybox\nLABEL from=input\n")
        .ok();
    assert_eq!(sandbox.inspect("which")["Config"]["Labels"]["from"], "input");
}

#[test]
fn every_metadata_instruction_reaches_the_config() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox\nMAINTAINER Ann <ann@example.org>\nLABEL one=1 two=\"2 3\"\nEXPOSE 80 53/udp\nENV A=1 B=\"two words\"\nENV OLD form of it\nENTRYPOINT [\"/bin/echo\"]\nCMD [\"x\"]\nVOLUME /data\nUSER 33:100\nWORKDIR /a\nWORKDIR b\nSTOPSIGNAL SIGUSR1\nHEALTHCHECK --interval=5s --timeout=2s --retries=4 CMD true\nSHELL [\"/bin/sh\", \"-ec\"]\nONBUILD RUN echo later\n";
    sandbox.build("context", "meta", text).ok();
    let facts = sandbox.inspect("meta");
    let config = &facts["Config"];
    assert_eq!(facts["Author"], "Ann <ann@example.org>");
    assert_eq!((&config["Labels"]["one"], &config["Labels"]["two"]), (&"1".into(), &"2 3".into()));
    assert!(config["ExposedPorts"]["80/tcp"].is_object() && config["ExposedPorts"]["53/udp"].is_object());
    let env: Vec<&str> = config["Env"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(env.contains(&"A=1") && env.contains(&"B=two words") && env.contains(&"OLD=form of it"), "{env:?}");
    assert_eq!((&config["Entrypoint"][0], &config["Cmd"][0]), (&"/bin/echo".into(), &"x".into()));
    assert!(config["Volumes"]["/data"].is_object());
    assert_eq!((&config["User"], &config["WorkingDir"]), (&"33:100".into(), &"/a/b".into()));
    assert_eq!(config["StopSignal"], "SIGUSR1");
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD-SHELL", "true"]));
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
    assert_eq!(config["Shell"][1], "-ec");
    assert_eq!(config["OnBuild"][0], "RUN echo later");
    let layers = |name: &str| sandbox.inspect(name)["RootFS"]["Layers"].as_array().unwrap().len();
    let added = layers("meta") - layers("busybox");
    assert_eq!(added, 2, "each WORKDIR makes its folder, as in BuildKit, and no other metadata becomes a layer");
}

#[test]
fn entrypoint_and_cmd_in_both_forms() {
    let sandbox = Sandbox::new();
    let cases = [
        ("ENTRYPOINT [\"echo\", \"e\"]\nCMD [\"c\"]", "e c\n"),
        ("ENTRYPOINT echo e\nCMD [\"c\"]", "e\n"),
        ("CMD echo c", "c\n"),
        ("CMD [\"echo\", \"c\"]", "c\n"),
        // A CMD of this file stays whatever comes after it; the base image's is dropped by an ENTRYPOINT.
        ("CMD [\"c\"]\nENTRYPOINT [\"echo\", \"e\"]", "e c\n"),
        ("ENTRYPOINT [\"echo\", \"e\"]", "e\n"),
    ];
    for (lines, expected) in cases {
        sandbox.build("context", "forms", &format!("FROM busybox\n{lines}\n")).ok();
        assert_eq!(run(&sandbox, "forms", &[]), expected, "{lines}");
    }
}

#[test]
fn stages_copy_from_each_other_and_unused_ones_never_run() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox AS unused\nRUN exit 9\n\nFROM busybox AS maker\nRUN mkdir /out && echo made > /out/file && chmod 751 /out/file\n\nFROM scratch AS bare\nCOPY --from=maker /bin/busybox /cat\nCOPY --from=maker --chown=5:6 /out /data/\nENTRYPOINT [\"/cat\"]\nCMD [\"/data/file\"]\n\nFROM bare\nCOPY --from=busybox /etc/passwd /passwd\n";
    sandbox.build("context", "last", text).ok();
    assert_eq!(run(&sandbox, "last", &[]), "made\n");
    assert!(run(&sandbox, "last", &["/passwd"]).contains("alice"));
    let tree = sandbox.flatten("last", "tree");
    let file = std::fs::metadata(tree.join("data/file")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (5, 6, 0o751));

    sandbox.img(&["build", "-t", "bare", "--target", "bare", &sandbox.text("context")]).ok();
    assert_eq!(sandbox.inspect("bare")["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    sandbox.img(&["build", "--target", "unused", &sandbox.text("context")]).exits(1).says(&["exit 9", "9"]);
    sandbox.img(&["build", "--target", "nope", &sandbox.text("context")]).refuses(1, &["nope"]);
}

#[test]
fn independent_stages_run_side_by_side() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let stage = |n: u32| format!("FROM busybox AS s{n}\nRUN sleep 2 && echo {n} > /{n}\n");
    let text: String = (0..3).map(stage).collect();
    let copies: String = (0..3).map(|n| format!("COPY --from=s{n} /{n} /\n")).collect();
    let out = sandbox.build("context", "par", &format!("{text}FROM busybox\n{copies}"));
    out.ok();
    assert!(out.took.as_secs_f64() < 4.5, "three sleeps of two seconds took {:?}", out.took);
    assert_eq!(run(&sandbox, "par", &["cat", "/0", "/1", "/2"]), "0\n1\n2\n");
}

#[test]
fn arguments_have_their_scopes() {
    let sandbox = Sandbox::new();
    let text = "ARG BASE=nothing\nARG SHARED=global\nFROM ${BASE}\nARG SHARED\nARG OWN=default\nARG NEVER\nRUN echo \"$SHARED $OWN ${NEVER:-unset}\" > /args\nENV OWN=env\nRUN echo $OWN >> /args\n";
    sandbox.write("context/Buildfile", text);
    let words =
        ["build", "-t", "args", "--build-arg", "BASE=busybox", "--build-arg", "OWN=given", "--build-arg", "TYPO=1"];
    let context = sandbox.text("context");
    let mut all = words.to_vec();
    all.push(&context);
    sandbox.img(&all).ok().says(&["TYPO"]);
    assert_eq!(run(&sandbox, "args", &["cat", "/args"]), "global given unset\nenv\n");
    let env = sandbox.inspect("args")["Config"]["Env"].to_string();
    assert!(!env.contains("SHARED") && env.contains("OWN=env"), "{env}");
}

#[test]
fn expansion_quoting_continuation_comments_and_directives() {
    let sandbox = Sandbox::new();
    let text = "# escape=`\nFROM busybox\nENV A=abc.tar.gz\n# a comment\nLABEL d=${X:-def} p=${A:+alt} q='$A' r=\"$A\" s=${A%.*} t=${A%%.*} u=${A#*.} v=${A/tar/zip}\nRUN echo one > /f && `\n    # inside\n    echo two >> /f\n";
    sandbox.build("context", "exp", text).ok();
    let labels = sandbox.inspect("exp")["Config"]["Labels"].clone();
    let expected = [
        ("d", "def"),
        ("p", "alt"),
        ("q", "$A"),
        ("r", "abc.tar.gz"),
        ("s", "abc.tar"),
        ("t", "abc"),
        ("u", "tar.gz"),
        ("v", "abc.zip.gz"),
    ];
    for (key, value) in expected {
        assert_eq!(labels[key], value, "{labels}");
    }
    assert_eq!(run(&sandbox, "exp", &["cat", "/f"]), "one\ntwo\n");
}

#[test]
fn heredocs() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox\nARG V=seen\nRUN <<EOF\nset -e\necho first > /out\necho $V >> /out\nEOF\nCOPY <<ONE <<-\"TWO\" /files/\nvalue is $V\nONE\n\tvalue is $V\n\tTWO\nRUN <<SCRIPT /bin/sh -e\necho third >> /out\nSCRIPT\n";
    sandbox.build("context", "here", text).ok();
    assert_eq!(run(&sandbox, "here", &["cat", "/out"]), "first\nseen\nthird\n");
    assert_eq!(run(&sandbox, "here", &["cat", "/files/ONE", "/files/TWO"]), "value is seen\nvalue is $V\n");
}

#[test]
fn copy_keeps_trees_and_changes_only_what_it_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("context/tree/a/deep/file", "deep\n");
    sandbox.write("context/tree/run", "#!/bin/sh\n");
    sandbox.write("context/tree/.hidden", "hidden\n");
    let tree_path = sandbox.path("context/tree");
    std::os::unix::fs::symlink("a/deep/file", tree_path.join("link")).unwrap();
    std::fs::hard_link(tree_path.join("run"), tree_path.join("run2")).unwrap();
    tools::run("chmod", ["0750", &tree_path.join("run").to_string_lossy()]);
    tools::run("setfattr", ["-n", "user.kept", "-v", "1", &tree_path.join("run").to_string_lossy()]);
    tools::run("touch", ["-d", "@1000000000", &tree_path.join("a/deep/file").to_string_lossy()]);
    sandbox
        .build(
            "context",
            "copied",
            "FROM scratch\nCOPY tree /to/\nCOPY --chown=12:34 --chmod=600 tree/run /owned\nCMD [\"x\"]\n",
        )
        .ok();
    let out = sandbox.flatten("copied", "out");
    let differing = tree::differences(&tree_path, &out.join("to"), &[]);
    // Docker's builder splits hard links and drops user attributes; keeping either is no fault.
    let other: Vec<_> = differing.iter().filter(|line| !line.starts_with("run")).collect();
    assert!(other.is_empty(), "{other:?}");
    use std::os::unix::fs::MetadataExt;
    let owned = std::fs::metadata(out.join("owned")).unwrap();
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (12, 34, 0o600));
}

#[test]
fn copy_patterns_and_the_ignore_file() {
    let sandbox = Sandbox::new();
    for name in ["a.txt", "b.txt", "c.log", "keep.log", "node_modules/x", "sub/d.txt", "sub/e.log"] {
        sandbox.write(&format!("context/{name}"), name);
    }
    sandbox.write("context/.dockerignore", "# a comment\n**/*.log\n!keep.log\nnode_modules\n");
    sandbox
        .build(
            "context",
            "ign",
            "FROM busybox\nCOPY *.txt /one/\nCOPY . /all/\nRUN cd /all && find . -type f | sort > /list\n",
        )
        .ok();
    assert_eq!(run(&sandbox, "ign", &["ls", "/one"]), "a.txt\nb.txt\n");
    assert_eq!(
        run(&sandbox, "ign", &["cat", "/list"]),
        "./.dockerignore\n./Buildfile\n./a.txt\n./b.txt\n./keep.log\n./sub/d.txt\n"
    );
    sandbox.write("context/Buildfile.dockerignore", "*\n!a.txt\n");
    sandbox.build("context", "ign", "FROM busybox\nCOPY . /all/\nRUN cd /all && find . -type f | sort > /list\n").ok();
    assert_eq!(run(&sandbox, "ign", &["cat", "/list"]), "./a.txt\n");
}

#[test]
fn add_unpacks_archives_and_copy_does_not() {
    let sandbox = Sandbox::new();
    sandbox.write("pack/x/file", "packed\n");
    std::fs::create_dir_all(sandbox.path("context")).unwrap();
    let archive = sandbox.text("context/files.tar.gz");
    tools::run("tar", ["-czf", &archive, "-C", &sandbox.text("pack"), "x"]);
    sandbox.build("context", "add", "FROM busybox\nADD files.tar.gz /unpacked/\nCOPY files.tar.gz /copied/\n").ok();
    assert_eq!(run(&sandbox, "add", &["cat", "/unpacked/x/file"]), "packed\n");
    assert_eq!(run(&sandbox, "add", &["ls", "/copied"]), "files.tar.gz\n");
}

#[test]
fn onbuild_triggers_run_in_the_child() {
    let sandbox = Sandbox::new();
    sandbox
        .build("base", "framework", "FROM busybox\nONBUILD COPY src /src\nONBUILD RUN wc -c < /src/main > /size\n")
        .ok();
    sandbox.write("app/src/main", "12345");
    sandbox.build("app", "child", "FROM framework\n").ok();
    assert_eq!(run(&sandbox, "child", &["cat", "/size"]), "5\n");
    assert!(sandbox.inspect("child")["Config"]["OnBuild"].as_array().is_none_or(|list| list.is_empty()));
}

#[test]
fn a_build_inside_a_build_step_is_sandboxed_like_a_run() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox\nRUN grep -E '^(CapEff|CapInh|CapAmb|Seccomp):' /proc/self/status > /status; mount -t tmpfs x /mnt 2>/dev/null && touch /mounted; exit 0\n";
    sandbox.build("context", "box", text).ok();
    let inside = run(&sandbox, "box", &["cat", "/status"]);
    let outside = run(&sandbox, "box", &["grep", "-E", "^(CapEff|CapInh|CapAmb|Seccomp):", "/proc/self/status"]);
    assert_eq!(inside, outside);
    assert!(inside.contains("Seccomp:\t2"), "{inside}");
    run(&sandbox, "box", &["test", "!", "-e", "/mounted"]);
}

#[test]
fn what_a_step_prints_is_seen_and_a_failing_step_is_named() {
    let sandbox = Sandbox::new();
    let out = sandbox.build("context", "fails", "FROM busybox\nRUN echo working\nRUN echo about to fail; exit 42\n");
    out.exits(1).says(&["working", "about to fail", "42", "Buildfile:3"]);
    assert_eq!(out.stdout(), "", "a build writes its progress to standard error\n{out}");
    assert_eq!(sandbox.ok(&["images", "-q", "fails"]), "");
}
