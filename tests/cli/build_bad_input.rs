//! Builds that must be refused, or must not get out: each at once, with its place, and with nothing left behind.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use crate::support::{Out, Sandbox, tools};

/// A store with the base image, and a context with files that lead astray.
fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("context/one", "1\n");
    sandbox.write("secret", "outside the context\n");
    let at = sandbox.path("context");
    symlink(sandbox.path("secret"), at.join("absolute")).unwrap();
    symlink("../secret", at.join("relative")).unwrap();
    symlink("/", at.join("rootlink")).unwrap();
    symlink("circle", at.join("circle")).unwrap();
    sandbox
}

/// Asserts that it was quick and left no image, container or half layer.
#[track_caller]
fn refused(sandbox: &Sandbox, before: &std::collections::BTreeSet<String>, out: &Out, words: &[&str]) {
    out.refuses(1, words);
    assert!(out.took < Duration::from_secs(5), "{out}");
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "", "{out}");
    let images = |picture: &std::collections::BTreeSet<String>| -> Vec<String> {
        picture.iter().filter(|line| !line.contains("/layers/")).cloned().collect()
    };
    assert_eq!(images(&sandbox.store_picture()), images(before), "{out}");
}

#[test]
fn each_mistake_with_its_line_and_a_caret() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    let cases: [(&str, u32, &[&str]); 24] = [
        ("FROM busybox\nCOPY ../secret /x\n", 2, &["secret"]),
        ("FROM busybox\nCOPY ../../../../../etc/passwd /x\n", 2, &["etc/passwd"]),
        ("FROM busybox\nCOPY absolute /x\n", 2, &["absolute"]),
        ("FROM busybox\nCOPY relative /x\n", 2, &["relative"]),
        ("FROM busybox\nCOPY rootlink/etc/passwd /x\n", 2, &["passwd"]),
        ("FROM busybox\nCOPY circle /x\n", 2, &["circle"]),
        ("FROM busybox AS a\nCOPY --from=b /x /x\nFROM busybox AS b\nCOPY --from=a /x /x\n", 2, &["stage b", "before"]),
        ("FROM busybox AS a\nCOPY --from=a /x /x\n", 2, &["stage a", "before"]),
        ("FROM busybox\nCOPY --from=1 /x /x\n", 2, &["stage 1"]),
        ("FROM busybox\nRUN --mount=type=bind,from=1,target=/m true\n", 2, &["stage 1"]),
        ("FROM busybox\n\nUSER nobody-here\nRUN true\n", 4, &["nobody-here"]),
        ("FROM busybox\nCOPY --chown=nobody-here one /x\n", 2, &["nobody-here"]),
        ("FROM busybox\nCOPY --nope one /x\n", 2, &["--nope", "it has"]),
        ("FROM busybox\nCOPY --chmod=999 one /x\n", 2, &["999"]),
        ("FROM busybox\nRUN --mount=type=cache,target=/c,sharing=all true\n", 2, &["sharing"]),
        ("FROM busybox\nRUN --mount=type=bind,target=/c,source=no/such true\n", 2, &["no/such"]),
        ("FROM busybox\nRUN --mount=type=cache true\n", 2, &["target"]),
        ("FROM busybox\nRUN --network=lan true\n", 2, &["lan"]),
        ("FROM busybox\nHEALTHCHECK --interval=soon CMD true\n", 2, &["soon"]),
        ("FROM busybox\nEXPOSE 99999\n", 2, &["99999"]),
        ("FROM busybox\nSTOPSIGNAL SIGNOPE\n", 2, &["SIGNOPE"]),
        ("FROM busybox\nENV a=${b\n", 2, &[]),
        ("FROM --platform=amiga busybox\n", 1, &["amiga"]),
        ("FROM busybox\nONBUILD FROM scratch\n", 2, &["ONBUILD"]),
    ];
    for (text, line, words) in cases {
        let out = sandbox.build("context", "bad", text);
        refused(&sandbox, &before, &out, words);
        let stderr = out.stderr();
        assert!(stderr.contains(&format!("Buildfile:{line}:")), "line {line} is not named\n{out}");
        let has_caret = stderr.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^'));
        assert!(has_caret, "no caret\n{out}");
        assert!(!stderr.contains("outside the context"), "{out}");
    }
}

#[test]
fn a_cache_by_any_name_stays_inside_the_store() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    for id in ["../..", "..", "a/../../b"] {
        let text = format!("FROM busybox\nRUN --mount=type=cache,id={id},target=/c touch /c/escaped\n");
        refused(&sandbox, &before, &sandbox.build("context", "cached", &text), &["cannot be an id", "Buildfile:2:"]);
    }
    for (number, id) in ["/etc", "/root/.cache", ".", "a b"].into_iter().enumerate() {
        let marker = format!("escaped-{number}-{}", std::process::id());
        let text = format!("FROM busybox\nRUN --mount=type=cache,\"id={id}\",target=/c touch /c/{marker}\n");
        sandbox.build("context", "cached", &text).ok();
        let found = tools::run("find", [&sandbox.text(""), "-name", &marker]).word();
        let caches = sandbox.path("root/cache");
        assert!(found.lines().count() == 1 && Path::new(&found).starts_with(&caches), "{id:?} became {found:?}");
        assert!(!Path::new("/etc").join(&marker).exists());
    }
}

#[test]
fn the_source_of_a_mount_never_leaves_its_tree() {
    let sandbox = prepared();
    let host = sandbox.text("secret");
    // A link to the root is the root of the tree it lies in.
    let of_stage = format!(
        "FROM busybox AS a\nRUN ln -s / /r && echo inside > /mark\nFROM busybox\n\
         RUN --mount=type=bind,from=a,source=/r,target=/m test -f /m/mark && test ! -e /m{host} && ls /m > /listing\n"
    );
    sandbox.build("context", "stage", &of_stage).ok();
    let of_context =
        format!("FROM busybox\nRUN --mount=type=bind,source=rootlink,target=/m test -f /m/one && test ! -e /m{host}\n");
    sandbox.build("context", "context", &of_context).ok();
    // Links inside what is mounted point nowhere outside either.
    let links = "FROM busybox\nRUN --mount=type=bind,target=/m ! cat /m/absolute && ! cat /m/relative\n";
    sandbox.build("context", "links", links).ok();
    // A link in the image does not lead the mount onto the host.
    let target = "FROM busybox\nRUN ln -s / /t\nRUN --mount=type=tmpfs,target=/t/mnt/deep touch /t/mnt/deep/x\n";
    sandbox.build("context", "target", target);
    assert!(!Path::new("/mnt/deep").exists());
}

#[test]
fn sockets_pipes_and_devices_in_the_context() {
    let sandbox = prepared();
    let at = sandbox.path("context/odd");
    std::fs::create_dir(&at).unwrap();
    std::fs::write(at.join("file"), "1\n").unwrap();
    let _socket = UnixListener::bind(at.join("socket")).unwrap();
    tools::run("mkfifo", [at.join("pipe")]);
    tools::run("mknod", [at.join("device").as_os_str(), "c".as_ref(), "1".as_ref(), "5".as_ref()]);
    // None is opened: a pipe without a writer would be waited for without end, a device read without end.
    for name in ["socket", "pipe", "device", "."] {
        let out = sandbox.build("context", "odd", &format!("FROM scratch\nCOPY odd/{name} /x/\n"));
        assert!(out.took < Duration::from_secs(5), "{out}");
        if out.code() != 0 {
            out.refuses(1, &["Buildfile:2:", "odd"]);
        }
    }
    sandbox.build("context", "fine", "FROM scratch\nCOPY odd/file /x/\n").ok();
}

#[test]
fn a_buildfile_of_a_hundred_megabytes() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    let text = "RUN true\n".repeat((100 << 20) / 9);
    let file = sandbox.write("context/Buildfile", format!("FROM busybox\n{text}"));
    let out = sandbox.img(&["build", &sandbox.text("context")]);
    refused(&sandbox, &before, &out, &["Buildfile", "larger"]);
    let line = "x".repeat(6 << 20);
    std::fs::write(&file, format!("FROM busybox\nRUN {line}\n")).unwrap();
    refused(&sandbox, &before, &sandbox.img(&["build", &sandbox.text("context")]), &["Buildfile", "limit"]);
    // As standard input it is not read to its end.
    let out = sandbox.img_with_input(&["build", "-"], text);
    refused(&sandbox, &before, &out, &["larger"]);
    std::fs::write(&file, "FROM busybox\n".to_owned() + &"RUN true\n".repeat(200_000)).unwrap();
    refused(&sandbox, &before, &sandbox.img(&["build", &sandbox.text("context")]), &["100000", "Buildfile:1000"]);
}
