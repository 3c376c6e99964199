//! COPY, ADD and WORKDIR.

use super::*;
use crate::op::OpError;

#[test]
fn copies_come_out_as_asked() {
    let mut bench = Bench::new(&[("app/main.c", "int"), ("app/lib/x.h", "h"), ("README.md", "read"), ("conf", "c")]);
    let output = bench.build(
        "FROM base\nARG DIR=/srv\nCOPY app $DIR/app\nCOPY --chown=web:staff --chmod=600 conf README.md /etc/app/\n\
         WORKDIR /srv\nCOPY conf .\nCOPY conf renamed\n",
    );
    assert_eq!(bench.look(&output, "srv/app/main.c"), "int");
    assert_eq!(bench.look(&output, "srv/app/lib/x.h"), "h");
    assert_eq!(bench.attributes(&output, "etc/app/conf"), "33:50 600");
    assert_eq!(bench.attributes(&output, "etc/app"), "33:50 755");
    assert_eq!(bench.attributes(&output, "etc"), "0:0 755");
    assert_eq!((bench.look(&output, "srv/conf"), bench.look(&output, "srv/renamed")), ("c".into(), "c".into()));
    assert_eq!(bench.look(&output, "etc/passwd").lines().count(), 2, "what was there is there");
    let info = bench.store.layers().info(output.layers.last().unwrap()).unwrap();
    assert!(info.is_self_contained(), "existing directories on the way are part of the layer");
    assert_eq!(bench.top_layer(&output), ["/srv", "/srv/renamed"]);
    assert_eq!((output.executed, output.layers.len()), (5, 5), "the working directory was there: no layer");
}

#[test]
fn heredocs_become_files() {
    let mut bench = Bench::new(&[]);
    let output = bench.build(
        "FROM scratch\nARG NAME=you\nCOPY <<a.txt <<-\"b\" /in/\nhello $NAME \"quoted\"\na.txt\n\t$NAME\n\tb\n\
         ADD --chmod=755 <<EOF /bin/run\n#!/bin/sh\nEOF\n",
    );
    assert_eq!(bench.look(&output, "in/a.txt"), "hello you \"quoted\"\n");
    assert_eq!(bench.look(&output, "in/b"), "$NAME\n");
    assert_eq!(bench.attributes(&output, "bin/run"), "0:0 755");
}

#[test]
fn working_directories_are_made_for_their_user() {
    let mut bench = Bench::new(&[]);
    let output = bench.build("FROM base\nUSER web\nWORKDIR /a\nWORKDIR b/../c\nRUN true\n");
    assert_eq!(bench.attributes(&output, "a"), "33:44 755");
    assert_eq!(bench.attributes(&output, "a/c"), "33:44 755");
    assert_eq!(bench.look(&output, "a/b"), "nothing");
    assert_eq!(config(&output)["config"]["WorkingDir"], json!("/a/c"));
    let ran = bench.ran.lock().unwrap();
    assert_eq!((ran[0].cwd.as_str(), ran[0].user.as_str()), ("/a/c", "web"));
}

#[test]
fn stages_and_images_are_sources() {
    let mut bench = Bench::new(&[]);
    let layer = bench.layer(&[("tool/bin", "tool"), ("etc/passwd", "other")]);
    bench.image("example/tool:1", vec![layer], &json!({ "os": "linux", "architecture": "amd64", "config": {} }));
    let output = bench.build(
        "FROM base AS one\nRUN write /out/a A; write /out/b B; remove /etc/group\nFROM scratch\n\
         COPY --from=one /out/ /from-name/\nCOPY --from=0 /out/a /from-number\nCOPY --from=example/tool:1 /tool /tool\n\
         COPY --from=one /etc /etc\n",
    );
    assert_eq!(bench.look(&output, "from-name/b"), "B");
    assert_eq!(bench.look(&output, "from-number"), "A");
    assert_eq!(bench.look(&output, "tool/bin"), "tool");
    assert_eq!(bench.look(&output, "etc/group"), "nothing", "what a layer removed is not copied");
    assert_eq!(bench.look(&output, "etc/passwd").lines().count(), 2);
    assert_eq!(bench.resolved.lock().unwrap().len(), 2);
}

#[test]
fn links_lead_nowhere_else_and_layers_stand_alone() {
    let mut bench = Bench::new(&[("a", "1")]);
    let output = bench.build("FROM base\nCOPY --link a /etc/deep/a\n");
    assert_eq!(bench.top_layer(&output), ["/etc", "/etc/deep", "/etc/deep/a"]);
    // Linked, the copy is found whatever is below it.
    let output = bench.build("FROM base\nRUN write /x 1\nCOPY --link a /etc/deep/a\n");
    assert_eq!(output.cached, 1);
    let error = bench.fail("FROM scratch\nCOPY --chown=web a /a\n");
    assert!(error.to_string().contains("there is no user web"), "{error}");
}

#[test]
fn archives_are_unpacked_by_add_only() {
    let mut bench = Bench::new(&[("plain.gz", "not compressed at all")]);
    let context = bench.directory.path().join("context");
    let tree = bench.directory.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/file"), "packed").unwrap();
    for (name, flag) in [
        ("t.tar", "--no-auto-compress"),
        ("t.tar.gz", "-z"),
        ("t.tar.bz2", "-j"),
        ("t.tar.xz", "-J"),
        ("t.tar.zst", "--zstd"),
    ] {
        let made = std::process::Command::new("tar")
            .args(["--owner=7", "--group=8", "-C"])
            .arg(&tree)
            .args([flag, "-cf"])
            .arg(context.join(name))
            .arg("sub")
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: tar cannot make {name} here");
            continue;
        }
        let output =
            bench.build(&format!("FROM base\nADD {name} /to\nADD --unpack=false {name} /kept\nCOPY {name} /copy\n"));
        assert_eq!(bench.look(&output, "to/sub/file"), "packed", "{name}");
        assert_eq!(bench.attributes(&output, "to/sub/file"), "7:8 644");
        let files = bench.files(&output);
        let size = fs::metadata(context.join(name)).unwrap().len();
        for path in ["kept", "copy"] {
            let node = files.node(&LayerPath::parse(path.as_bytes()).unwrap()).unwrap().unwrap();
            assert_eq!(node.kind, NodeKind::File(size), "{name}");
        }
    }
    let output = bench.build("FROM scratch\nADD plain.gz /x/\n");
    assert_eq!(bench.look(&output, "x/plain.gz"), "not compressed at all");
    // Cut in the middle, it is an archive that cannot be read, not a file to copy.
    let whole = fs::read(context.join("t.tar.gz")).unwrap();
    fs::write(context.join("cut.tar.gz"), &whole[..whole.len() - 20]).unwrap();
    let error = bench.fail("FROM scratch\nADD cut.tar.gz /x/\n");
    assert!(matches!(error, BuildError::Step { .. }), "{error}");
}

#[test]
fn mistakes_point_at_their_line() {
    let mut bench = Bench::new(&[("main.c", ""), (".dockerignore", "hidden\n"), ("hidden", "")]);
    for (text, part, hint) in [
        ("COPY man.c /", "man.c not found in the build context", "did you mean main.c?"),
        ("COPY hidden /", "hidden not found", "the ignore file leaves /hidden out"),
        ("COPY --from=nope / /x", "cannot resolve the image nope", ""),
        ("COPY --from=7 / /x", "there is no stage 7", "numbered from 0"),
        ("COPY main.c /etc/passwd/x", "not a directory", ""),
        ("ADD https://example.com/x /x", "cannot fetch https://example.com/x", ""),
        ("ADD git@example.com:x.git#a..b /x", "cannot be a branch", ""),
        ("COPY https://example.com/x /x", "COPY takes no URL", "ADD fetches"),
        ("COPY main.c hidden /x", "is a directory", "/x/"),
        ("COPY $nothing /x", "is empty", ""),
        ("COPY --chmod=999 main.c /x", "invalid mode", ""),
        ("COPY --from=$x main.c /x", "variables are not replaced", ""),
        ("STOPSIGNAL SIGFOO", "not a signal", ""),
        ("EXPOSE 99999", "not a port", ""),
        ("ENV a=\"${b:?must be given}\"", "b: must be given", ""),
        ("USER $none", "user is empty", ""),
    ] {
        let error = bench.fail(&format!("FROM base\n\n{text}\n"));
        let diagnostic = error.diagnostic().unwrap_or_else(|| panic!("{text}: {error:?}"));
        assert!(diagnostic.message.contains(part), "{text}: {error}");
        assert_eq!(diagnostic.span.start.line, 3, "{text}");
        assert!(diagnostic.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {error}");
    }
    bench.options.context = None;
    assert!(bench.fail("FROM base\nCOPY main.c /x\n").to_string().contains("no context"));
}

#[test]
fn doubtful_things_are_told() {
    let mut bench = Bench::new(&[("a", "1")]);
    bench.options.build_args = vec![("UNKNOWN".into(), "1".into())];
    let output = bench.build("FROM base\nCOPY none* a /x/\nCOPY ../a /y\nENV p=$pathh\n");
    let messages: Vec<&str> = output.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(messages.contains(&"none* matches nothing"), "{messages:?}");
    assert!(messages.contains(&"../a leads out of its root, where it is cut off"));
    assert!(messages.contains(&"the build argument UNKNOWN is used by no ARG"));
    assert!(messages.iter().any(|message| message.starts_with("Usage of undefined variable '$pathh'")));
    assert_eq!(bench.look(&output, "y"), "1");
    let error = bench.fail("# check=error=true\nFROM base\nCMD x\n");
    assert!(matches!(error, BuildError::Warnings { .. }), "{error}");
}

#[test]
fn a_file_that_changes_during_the_build_ends_it() {
    let mut bench = Bench::new(&[("a", "1")]);
    // The command changes the context between the two copies' selection and their writing cannot be timed here, so the
    // operation is driven directly: selected with one content, written with another.
    let path = bench.directory.path().join("context");
    bench.build("FROM scratch\nCOPY a /a\n");
    let context: std::sync::Arc<dyn Files> =
        std::sync::Arc::new(crate::context::BuildContext::open(&bench.store, &path, "Buildfile", None).unwrap());
    let mut selected = crate::op::select::select(&context, "a", crate::op::select::How::default()).unwrap();
    crate::op::select::hash(&mut selected, &crate::Cancel::new()).unwrap();
    for other in ["2", "longer", ""] {
        bench.context_file("a", other);
        let below = LayerFiles::new(&bench.store, "nothing", &[]).unwrap();
        let mut draft = crate::op::place::Draft::new(&below, crate::op::place::Attributes::default());
        draft.copy(&selected[0], "/a").unwrap();
        let error = crate::op::layer::write(&bench.store, draft, &crate::Cancel::new()).unwrap_err();
        assert!(matches!(&error, OpError::Message(message) if message.contains("changed")), "{error:?}");
    }
}
