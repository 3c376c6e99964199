//! Named contexts, and sources of ADD on the net.

use std::fs;

use super::{Bench, config};
use crate::inputs::{ContextSource, NamedContext};

fn named(bench: &mut Bench, name: &str, context: NamedContext) {
    bench.options.inputs.contexts.push((name.to_owned(), context));
}

/// A directory beside the context, as a named context.
fn directory(bench: &mut Bench, name: &str, files: &[(&str, &str)]) {
    let path = bench.directory.path().join(format!("named-{name}"));
    for (file, text) in files {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    named(bench, name, NamedContext::Files(ContextSource::Directory(path)));
}

#[test]
fn a_directory_is_copied_from_mounted_and_built_upon() {
    let mut bench = Bench::new(&[("a", "main")]);
    directory(&mut bench, "src", &[("a", "named"), ("hidden", "h"), (".dockerignore", "hidden"), ("d/x", "X")]);
    let text = "FROM base\nCOPY a /main\nCOPY --from=src a d /named/\n\
        RUN --mount=from=src,source=d,target=/m read /m x /mounted\nFROM src\nCOPY --from=0 /main /named/ /mounted /all/\n";
    let output = bench.build(text);
    assert_eq!(bench.look(&output, "/all/main"), "main");
    assert_eq!((bench.look(&output, "/all/a"), bench.look(&output, "/all/mounted")), ("named".into(), "X".into()));
    assert_eq!((bench.look(&output, "/d/x"), bench.look(&output, "/hidden")), ("X".into(), "nothing".into()));
    assert_eq!(config(&output)["history"][0]["created_by"], "FROM src");
    assert_eq!(bench.build(text).executed, 0);
    // Only the file that is copied counts.
    fs::write(bench.directory.path().join("named-src/other"), "new").unwrap();
    assert_eq!(bench.build("FROM base\nCOPY a /main\nCOPY --from=src a d /named/\n").executed, 0);
    let error = bench.fail("FROM base\nCOPY --from=src missing /x\n");
    assert!(error.to_string().contains("the context src"), "{error}");
}

#[test]
fn an_archive_is_a_context_like_a_directory() {
    let mut bench = Bench::new(&[]);
    let layer = bench.layer(&[("a", "A"), ("keep/yes", "y"), (".dockerignore", "keep\n")]);
    bench.options.context = Some(ContextSource::Archive(layer));
    let output = bench.build("FROM base\nCOPY . /c/\nRUN --mount=target=/m read /m a /out\n");
    assert_eq!((bench.look(&output, "/c/a"), bench.look(&output, "/out")), ("A".into(), "A".into()));
    assert_eq!(bench.look(&output, "/c/keep/yes"), "y", "as BuildKit has it, ignore files do not speak in a tar");
    let error = bench.fail("FROM base\nCOPY keeep /x\n");
    assert!(error.diagnostic().unwrap().hint.as_deref().is_some_and(|hint| hint.contains("keep")), "{error}");
}

#[test]
fn contexts_stand_in_the_place_of_images_and_stages() {
    let mut bench = Bench::new(&[]);
    directory(&mut bench, "tools", &[("t", "context")]);
    named(&mut bench, "docker.io/library/alpine:latest", NamedContext::Image("base".to_owned()));
    let text = "FROM nowhere AS tools\nRUN exit 1\nONBUILD RUN exit 2\nFROM alpine\nCOPY --from=tools /t /t\n\
        COPY --from=alpine /bin/sh /sh\n";
    let output = bench.build(text);
    assert_eq!((bench.look(&output, "/t"), bench.look(&output, "/sh")), ("context".into(), "#!".into()));
    assert!(bench.resolved.lock().unwrap().iter().all(|line| line.starts_with("base ")));
    let output = bench.build("FROM nowhere AS tools\nRUN exit 1\nONBUILD RUN exit 2\nFROM tools\n");
    assert_eq!(bench.look(&output, "/t"), "context");

    named(&mut bench, "other", NamedContext::Stage("first".to_owned()));
    let output = bench.build("FROM base AS first\nRUN write /f F\nFROM other\nCOPY --from=other /f /g\n");
    assert_eq!((bench.look(&output, "/f"), bench.look(&output, "/g")), ("F".into(), "F".into()));
    let error = bench.fail("FROM other\n");
    assert!(error.to_string().contains("the stage first"), "{error}");
}

#[test]
fn files_from_the_net() {
    let mut bench = Bench::new(&[]);
    let file = |name: Option<&str>, text: &str| (name.map(str::to_owned), text.to_owned());
    bench.remote_files.insert("https://h/d/x.txt?q".to_owned(), file(None, "one"));
    bench.remote_files.insert("http://h/y".to_owned(), file(Some("named"), "two"));
    let text = "FROM base\nADD https://h/d/x.txt?q http://h/y /to/\nADD --chmod=755 --chown=5 http://h/y /z\n";
    let output = bench.build(text);
    assert_eq!((bench.look(&output, "/to/x.txt"), bench.look(&output, "/to/named")), ("one".into(), "two".into()));
    assert_eq!(bench.attributes(&output, "/to/x.txt"), "0:0 600");
    assert_eq!(bench.attributes(&output, "/z"), "5:5 755");
    assert_eq!(bench.build(text).executed, 0);
    bench.remote_files.insert("http://h/y".to_owned(), file(Some("named"), "changed"));
    assert_eq!(bench.build(text).executed, 2);
    let right = store::Digest::of(b"one");
    bench.build(&format!("FROM base\nADD --checksum={right} https://h/d/x.txt?q /to/\n"));
    for (line, part) in [
        (format!("ADD --checksum={right} http://h/y /to"), "cannot fetch http://h/y"),
        ("ADD --checksum=sha256:1 http://h/y /to".to_owned(), "is no checksum"),
        (format!("ADD --checksum={right} x /to"), "sources on the net"),
        (format!("ADD --checksum={right} http://h/y http://h/y /to/"), "for one source"),
        ("ADD http://user:secret@h/gone /to".to_owned(), "cannot fetch http://h/gone"),
        ("COPY http://h/y /to".to_owned(), "COPY takes no URL"),
    ] {
        let error = bench.fail(&format!("FROM base\n{line}\n"));
        assert_eq!(error.diagnostic().unwrap().span.start.line, 2, "{error}");
        assert!(error.to_string().contains(part), "{line}: {error}");
        assert!(!error.diagnostic().unwrap().message.contains("secret"), "{error}");
    }
}

#[test]
fn files_of_repositories() {
    let mut bench = Bench::new(&[]);
    let text = "FROM base\nADD https://h/x.git#v1:sub /a/\nADD --keep-git-dir=true --exclude=sub git://h/x /b/\n";
    let output = bench.build(text);
    assert_eq!((bench.look(&output, "/a/deep/file"), bench.look(&output, "/a/top")), ("v1".into(), "nothing".into()));
    assert_eq!((bench.look(&output, "/b/top"), bench.look(&output, "/b/sub")), ("t".into(), "nothing".into()));
    assert_eq!(bench.build(text).executed, 0);
    assert_eq!(*bench.checkouts.lock().unwrap(), 2, "a cached step checks nothing out");
    let other = bench.build(&text.replace("v1", "v2"));
    assert_eq!(bench.look(&other, "/a/deep/file"), "v2");
    let error = bench.fail("FROM base\nADD --checksum=0123456789 git://h/x /a/\n");
    assert!(error.to_string().contains("is at commit"), "{error}");
    let error = bench.fail("FROM base\nADD git://h/x#main:../.. /a/\n");
    assert!(error.to_string().contains("leads out"), "{error}");
}

#[test]
fn a_cache_begins_with_what_it_is_told() {
    let mut bench = Bench::new(&[]);
    directory(&mut bench, "seed", &[("d/a", "seeded")]);
    let text = |seed: &str, to: &str| {
        format!(
            "FROM base AS maker\nRUN write /warm/a {seed}\nFROM base\nRUN --mount=type=cache,target=/c,id=x,from=maker,source=/warm \
             --mount=type=cache,target=/d,id=x,from=seed,source=d read /c a /{to}; append /c a +; read /d a /d{to}\n"
        )
    };
    let output = bench.build(&text("one", "o"));
    assert_eq!((bench.look(&output, "/o"), bench.look(&output, "/do")), ("one".into(), "seeded".into()));
    let output = bench.build(&text("one", "p"));
    assert_eq!(bench.look(&output, "/p"), "one+", "a cache that is there is kept");
    let output = bench.build(&text("two", "q"));
    assert_eq!(bench.look(&output, "/q"), "two", "another beginning is another cache");
    let error = bench.fail("FROM base\nRUN --mount=type=cache,target=/c,from=base,source=/bin/sh true\n");
    assert!(error.to_string().contains("no directory"), "{error}");
    let error = bench.fail("FROM base\nRUN --mount=type=cache,target=/c,source=/x true\n");
    assert!(error.to_string().contains("from="), "{error}");
}
