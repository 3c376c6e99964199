//! Bad input of every kind: each a clear error with a hint, Docker's exit status, and a store that is as it was.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::{Registry, Sandbox, tools};

/// A store with one image in it, to see afterwards that nothing happened to it.
fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox
}

#[test]
fn an_unknown_image_and_an_unknown_tag() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    sandbox.img(&["pull", "no-such-image-here"]).refuses(1, &["no-such-image-here", "not found"]).hints();
    sandbox.img(&["pull", "busybox:nope"]).refuses(1, &["nope", "not found"]);
    sandbox.img(&["run", "--rm", "no-such-image-here"]).refuses(125, &["no-such-image-here", "not found"]);
    assert_eq!(sandbox.store_picture(), before);
}

#[test]
fn names_that_are_no_names_are_refused_before_the_network() {
    let sandbox = prepared();
    let long = "a".repeat(300);
    for bad in [
        "UPPER",
        "a b",
        "a:b:c",
        "../../etc/passwd",
        "a//b",
        "http://x/y",
        "x@sha256:12",
        "user@host/x",
        "-",
        "",
        "a\nb",
        "é",
        &long,
    ] {
        let out = sandbox.img(&["pull", "--", bad]);
        assert!(out.took.as_secs() < 2, "{out}");
        out.refuses(1, &["reference"]);
        assert!(!out.stderr().contains("a\nb"), "a line break from outside came through\n{out}");
    }
}

#[test]
fn a_dead_registry() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    let dead = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let out = sandbox.img(&["pull", &format!("{dead}/x:1")]);
    out.refuses(1, &[&dead.to_string(), "refused"]).hints();
    assert!(out.took.as_secs() < 30, "{out}");
    let unknown = sandbox.img(&["pull", "registry.invalid/x:1"]);
    unknown.refuses(1, &["registry.invalid"]).hints();
    assert!(unknown.took.as_secs() < 60, "{unknown}");
    assert_eq!(sandbox.store_picture(), before);
}

#[test]
fn a_registry_that_answers_nonsense_or_nothing() {
    let answers: [(&str, &[u8], &[&str]); 4] = [
        ("not HTTP", b"\x00\x01\x02 hello", &[]),
        ("an error page", b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", &["503"]),
        ("HTML for a manifest", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", &[]),
        ("a body cut short", b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 5000\r\n\r\n{\"schema", &[]),
    ];
    let sandbox = prepared();
    let good = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    let before = sandbox.store_picture();
    for (what, answer, words) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(100) {
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                // However the client takes it: that is what the test looks at.
                drop(stream.read(&mut request));
                drop(stream.write_all(answer));
            }
        });
        sandbox.write("config.toml", format!("[registries.\"{address}\"]\ninsecure = true\n"));
        let out = sandbox.img(&["pull", &format!("{address}/x:1")]);
        out.refuses(1, &[&address]).says(words);
        assert!(out.took.as_secs() < 60, "{what}: {out}");
    }
    sandbox.write("config.toml", good);
    assert_eq!(sandbox.store_picture(), before);
    sandbox.assert_usable();
}

#[test]
fn wrong_and_truncated_blobs() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage, &str); 3] = [
        (
            "one bit flipped",
            |bytes| {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
            },
            "sha256",
        ),
        ("cut short", |bytes| bytes.truncate(bytes.len() - 1000), ""),
        ("longer than said", |bytes| bytes.extend([0; 1000]), ""),
    ];
    for (what, damage, word) in damages {
        let registry = Registry::fresh();
        let name = registry.put("busybox", "broken:1");
        let largest = registry.blobs()[0].clone();
        let mut bytes = std::fs::read(&largest).unwrap();
        damage(&mut bytes);
        std::fs::write(&largest, bytes).unwrap();
        let mut sandbox = Sandbox::new();
        sandbox.trust(&registry);
        sandbox.pull("odd");
        let before = sandbox.store_picture();
        // The layer is already here under its real digest: a fresh store must fetch the damaged one.
        let mut other = sandbox.sibling();
        other.trust(&registry);
        let out = other.img(&["pull", &name]);
        out.refuses(1, &[word]);
        assert!(out.took.as_secs() < 60, "{what}: {out}");
        assert_eq!(other.ok(&["images", "-aq"]), "", "{what}: a damaged image shows");
        other.assert_usable();
        assert_eq!(sandbox.store_picture(), before);
    }
}

#[test]
fn a_malformed_buildfile_is_shown_with_line_and_caret() {
    let sandbox = prepared();
    let cases: [(&str, &str, &[&str]); 9] = [
        ("FROM busybox\nRUM echo x\n", "Buildfile:2", &["RUM", "RUN"]),
        ("RUN echo x\n", "Buildfile:1", &["FROM"]),
        ("", "Buildfile", &["empty"]),
        ("FROM busybox\n\n\nCOPY onlyone\n", "Buildfile:4", &["COPY"]),
        ("FROM busybox\nENV\n", "Buildfile:2", &["ENV"]),
        ("FROM busybox\nCMD [\"unclosed\n", "Buildfile:2", &[]),
        ("FROM busybox AS a\nCOPY --from=nosuchstage /x /y\n", "Buildfile:2", &["nosuchstage"]),
        ("FROM busybox\nRUN --mount=type=warp true\n", "Buildfile:2", &["warp"]),
        ("FROM busybox\nRUN <<EOF\nnever ended\n", "Buildfile:2", &["EOF"]),
    ];
    for (text, place, words) in cases {
        let before = sandbox.store_picture();
        let out = sandbox.build("context", "bad", text);
        if text.contains("CMD [") || text.contains("nosuchstage") {
            // An unclosed bracket is shell form to Docker, and a stage name may be an image's: either answer is fine, a
            // wrong place is not.
            if out.code() == 0 || !out.stderr().contains(place) {
                continue;
            }
        }
        out.refuses(1, &[place]).says(words);
        if !text.is_empty() {
            assert!(
                out.stderr().lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^')),
                "no caret\n{out}"
            );
        }
        assert_eq!(sandbox.store_picture(), before, "{text:?}");
    }
}

#[test]
fn sources_that_are_missing_or_lead_outside() {
    let sandbox = prepared();
    sandbox.write("outside/secret", "secret\n");
    sandbox.write("context/inside", "inside\n");
    let outside = sandbox.text("outside");
    std::os::unix::fs::symlink(&outside, sandbox.path("context/link")).unwrap();
    std::os::unix::fs::symlink("../outside/secret", sandbox.path("context/up")).unwrap();
    for source in ["missing", "../outside/secret", "link/secret", "/etc/passwd2"] {
        let out = sandbox.build("context", "bad", &format!("FROM busybox\nCOPY {source} /x\n"));
        out.refuses(1, &["Buildfile:2", "not found"]);
    }
    // A pattern may match nothing, as BuildKit has it; the builder says so.
    sandbox.build("context", "none", "FROM busybox\nCOPY *.nothing /x/\n").ok().says(&["warning", "*.nothing"]);
    let out = sandbox.build("context", "up", "FROM busybox\nCOPY up /x\n");
    if out.code() == 0 {
        let seen = sandbox.img(&["run", "--rm", "--network", "none", "up", "cat", "/x"]);
        assert!(!seen.stdout().contains("secret"), "a link led out of the context\n{seen}");
    }
    sandbox.img(&["build", &sandbox.text("no/such/folder")]).refuses(1, &["no/such/folder", "no such file"]);
    sandbox.img(&["build", &sandbox.text("outside")]).refuses(1, &["Buildfile"]).hints();
    assert_eq!(sandbox.img(&["images", "-q", "bad"]).stdout(), "");
}

#[test]
fn hostile_layers_touch_nothing_outside_the_store() {
    let sandbox = prepared();
    let before = sandbox.store_picture();
    let script = r#"
import sys, tarfile, io
kind, out, target = sys.argv[1:4]
t = tarfile.open(out, "w", format=tarfile.PAX_FORMAT)
def file(name, data=b"planted\n", **more):
    i = tarfile.TarInfo(name); i.size = len(data)
    for k, v in more.items(): setattr(i, k, v)
    t.addfile(i, io.BytesIO(data))
def link(name, to, kind=tarfile.SYMTYPE):
    i = tarfile.TarInfo(name); i.type = kind; i.linkname = to; t.addfile(i)
if kind == "dotdot": file("../../../../../../../.." + target + "/planted")
elif kind == "absolute": file(target + "/planted")
elif kind == "through-link": link("d", target); file("d/planted")
elif kind == "hard-link": link("h", "../../../../.." + target + "/victim", tarfile.LNKTYPE); file("h")
elif kind == "whiteout-up": file("a/.wh...", b""); file("a/.wh..", b"")
elif kind == "pax-size": file("x", pax_headers={"size": "99999999999999999999"})
elif kind == "overlay-xattr": file("d/x", pax_headers={"SCHILY.xattr.trusted.overlay.redirect": target, "SCHILY.xattr.trusted.overlay.metacopy": "y"})
elif kind == "long-name": file("n" * 256)
elif kind == "nul": file("a", pax_headers={"path": "a\x00b"})
t.close()
"#;
    let maker = sandbox.write("maker.py", script);
    sandbox.write("target/victim", "victim\n");
    let target = sandbox.text("target");
    for kind in [
        "dotdot",
        "absolute",
        "through-link",
        "hard-link",
        "whiteout-up",
        "pax-size",
        "overlay-xattr",
        "long-name",
        "nul",
    ] {
        let archive = sandbox.text("evil.tar");
        tools::run("python3", [&maker, kind, &archive, &target]);
        let out = sandbox.img(&["import", &archive, "evil"]);
        assert!([0, 1].contains(&out.code()), "{kind}\n{out}");
        if out.code() == 0 {
            sandbox.img(&["run", "--rm", "--network", "none", "evil", "/bin/true"]).exits(127);
            sandbox.ok(&["rmi", "-f", "evil"]);
        } else {
            out.refuses(1, &["import"]);
        }
        assert!(!sandbox.path("target/planted").exists(), "{kind} wrote on the host");
        assert_eq!(std::fs::read_to_string(sandbox.path("target/victim")).unwrap(), "victim\n", "{kind}");
        let must_be_refused = ["dotdot", "pax-size", "long-name", "nul", "whiteout-up"];
        assert!(out.code() == 1 || !must_be_refused.contains(&kind), "{kind} was taken\n{out}");
    }
    assert_eq!(sandbox.store_picture(), before);
    sandbox.assert_usable();
}

#[test]
fn a_store_that_may_not_be_written() {
    let sandbox = prepared();
    let root = sandbox.text("root");
    tools::run("mount", ["--bind", &root, &root]);
    tools::run("mount", ["-o", "remount,bind,ro", &root]);
    let listed = sandbox.img(&["images"]);
    let pulled = sandbox.img(&["pull", "odd"]);
    tools::run("umount", [&root]);
    listed.ok().prints(&["busybox"]);
    pulled.refuses(1, &["read-only file system"]);
    sandbox.assert_usable();
}

#[test]
fn an_ordinary_user_is_told_what_is_needed() {
    let sandbox = Sandbox::new();
    let binary = sandbox.text("img");
    std::fs::copy(sandbox.command(&[]).get_program(), &binary).unwrap();
    tools::run("chmod", ["755", &sandbox.text(""), &binary]);
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", &binary]).args(words).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").current_dir("/");
        crate::support::Out::of(command, None, std::time::Duration::from_secs(20))
    };
    run(&["run", "--rm", "busybox", "true"]).refuses(125, &["root"]).hints();
    run(&["--help"]).ok();
    run(&["version"]).ok();
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let sandbox = prepared();
    let good = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", "[registries\nnonsense");
    sandbox.img(&["pull", "busybox"]).refuses(1, &["config.toml", "line 1"]);
    sandbox.write("config.toml", "[registries.\"docker.io\"]\nmirors = []\n");
    sandbox.img(&["pull", "busybox"]).refuses(1, &["config.toml", "mirors"]);
    sandbox.write("config.toml", good);
    sandbox.assert_usable();
}

#[test]
fn a_kernel_without_erofs_still_works() {
    let sandbox = Sandbox::new();
    let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", format!("storage-driver = \"dir\"\n\n{config}"));
    sandbox.ok(&["pull", "odd"]);
    let script = "cat plain dir/kept private/implied; test ! -e dir/removed";
    let out = sandbox.img(&["run", "--rm", "-u", "0", "--network", "none", "odd", "sh", "-c", script]);
    out.ok().prints_exactly("plain\nkept, newer\nimplied\n");
    sandbox.img(&["info"]).ok().prints(&["dir"]);
    sandbox.write("config.toml", format!("storage-driver = \"floppy\"\n\n{config}"));
    sandbox.img(&["pull", "odd"]).refuses(1, &["floppy"]);
    sandbox.write("config.toml", config);
}

#[test]
fn a_mount_into_procfs_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for target in ["/proc", "/proc/bus", "/proc/self/environ"] {
        let volume = format!("/tmp:{target}");
        sandbox.img(&["run", "--network", "none", "-v", &volume, "busybox", "true"]).refuses(125, &[target]).hints();
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    let replaced = ["run", "--rm", "--network", "none", "-v", "/etc/hostname:/proc/uptime", "busybox", "true"];
    sandbox.img(&replaced).ok();
}
