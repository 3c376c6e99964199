//! Where a build's files come from beside a local directory: tars and Buildfiles on standard input and by URL, git
//! repositories, named contexts, ADD of URLs and repositories, and what hostile ones among them may not do.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::leaks::{Picture, assert_nothing_left};
use crate::support::{Sandbox, tools};

fn cat(sandbox: &Sandbox, image: &str, file: &str) -> String {
    sandbox.img(&["run", "--rm", "--network", "none", image, "cat", file]).ok().stdout()
}

/// Files by their path.
type Files = Vec<(String, Vec<u8>)>;

/// A web server on loopback for files in memory, which knows validators and keeps what it was asked.
struct Web {
    address: String,
    files: Arc<Mutex<Files>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (files, asked) = (Arc::<Mutex<Files>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (own_files, own_asked) = (Arc::clone(&files), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, asked) = (Arc::clone(&own_files), Arc::clone(&own_asked));
                std::thread::spawn(move || answer(stream, &files, &asked));
            }
        });
        Self { address, files, asked }
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) -> String {
        let mut files = self.files.lock().unwrap();
        files.retain(|(known, _)| known != path);
        files.push((path.to_owned(), bytes.as_ref().to_vec()));
        format!("{}{path}", self.address)
    }

    /// What was answered since the last time: path and status.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(stream: TcpStream, files: &Mutex<Files>, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut none_match = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("if-none-match:") {
                none_match = Some(value.trim().to_owned());
            }
        }
        let found = files.lock().unwrap().iter().find(|(known, _)| *known == path).map(|(_, bytes)| bytes.clone());
        let note = |status: u16| asked.lock().unwrap().push(format!("{path} {status}"));
        let head = |status: &str, more: &str, length: usize| {
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n")
        };
        let out = if let Some(to) = path.strip_prefix("/redirect/") {
            note(302);
            let slash = if to.contains("://") { "" } else { "/" };
            head("302 Found", &format!("Location: {slash}{to}\r\n"), 0).into_bytes()
        } else if path == "/loop" {
            note(302);
            head("302 Found", "Location: /loop\r\n", 0).into_bytes()
        } else if let Some(bytes) = found {
            let sum = bytes.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let etag = format!("\"{sum:x}\"");
            let facts = format!("ETag: {etag}\r\nLast-Modified: Thu, 29 Feb 2024 00:00:00 GMT\r\n");
            let named = path.starts_with("/named/");
            let facts =
                if named { format!("{facts}Content-Disposition: attachment; filename=\"given\"\r\n") } else { facts };
            if none_match.as_deref() == Some(&etag) {
                note(304);
                format!("HTTP/1.1 304 Not Modified\r\n{facts}\r\n").into_bytes()
            } else {
                note(200);
                [head("200 OK", &facts, bytes.len()).as_bytes(), &bytes].concat()
            }
        } else {
            note(404);
            head("404 Not Found", "", 0).into_bytes()
        };
        if writer.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn add_of_urls() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let web = Web::start();
    let plain = web.put("/dir/file%20name", "hello\n");
    let named = web.put("/named/x", "named\n");
    sandbox.write("tar/inner", "unpacked\n");
    tools::run("tar", ["-czf", &*sandbox.text("a.tgz"), "-C", &*sandbox.text("tar"), "inner"]).ok();
    let archive = web.put("/a.tgz", std::fs::read(sandbox.path("a.tgz")).unwrap());
    let text = format!(
        "FROM busybox\nADD {plain} {named} {archive} /to/\nADD --chmod=0755 --chown=7:8 {plain} /direct\n\
         ADD --unpack=true {archive} /unpacked/\nADD {}/redirect/dir/file%20name /redirected\n\
         RUN cd /to && stat -c '%a %u:%g %Y %n' * /direct > /facts\n",
        web.address
    );
    sandbox.build("context", "x", &text).ok();
    let facts = cat(&sandbox, "x", "/facts");
    for line in [
        "600 0:0 1709164800 file name",
        "600 0:0 1709164800 given",
        "600 0:0 1709164800 a.tgz",
        "755 7:8 1709164800 /direct",
    ] {
        assert!(facts.lines().any(|found| found == line), "{line}: {facts}");
    }
    assert_eq!(cat(&sandbox, "x", "/unpacked/inner"), "unpacked\n");
    assert_eq!(cat(&sandbox, "x", "/redirected"), "hello\n");
    web.taken();
    sandbox.build("context", "y", &text).ok().says(&["cached"]);
    assert_eq!(sandbox.inspect("x")["Id"], sandbox.inspect("y")["Id"]);
    let asked = web.taken();
    assert!(asked.iter().all(|line| line.ends_with(" 304") || line.ends_with(" 302")), "{asked:?}");
    // Not cached, and still not sent again.
    sandbox.build("context", "z", &text.replace("FROM busybox\n", "FROM busybox\nRUN touch /new\n")).ok();
    let asked = web.taken();
    assert!(asked.iter().all(|line| !line.ends_with(" 200")), "{asked:?}");
    web.put("/dir/file%20name", "changed\n");
    sandbox.build("context", "w", &text).ok();
    assert_eq!(cat(&sandbox, "w", "/direct"), "changed\n");
}

#[test]
fn checksums_and_what_servers_may_not_do() {
    let sandbox = Sandbox::alone();
    sandbox.pull("busybox");
    let web = Web::start();
    let url = web.put("/f", "hello\n");
    let sum = tools::run("sha256sum", [&*sandbox.write("f", "hello\n")]).ok().stdout();
    let right = format!("sha256:{}", sum.split_whitespace().next().unwrap());
    let wrong = right.replace(['0', '1', '2', '3'], "4");
    let line = |checksum: &str| format!("FROM busybox\nADD --checksum={checksum} {url} /f\n");
    sandbox.build("context", "x", &line(&right)).ok();
    web.taken();
    sandbox.build("context", "x", &line(&right)).ok();
    assert_eq!(web.taken(), Vec::<String>::new(), "with a checksum nothing needs to be asked");
    let before = Picture::now();
    for (line, part) in [
        (format!("ADD --checksum={wrong} {url} /f"), "checksum"),
        (format!("ADD {}/none /f", web.address), "not found"),
        (format!("ADD {}/loop /f", web.address), "redirects"),
        (format!("ADD {}/redirect/file:///etc/passwd /f", web.address), "redirect"),
        (format!("ADD {}/ /dir/", web.address), "not found"),
        ("ADD --checksum=sha256:12 http://127.0.0.1:1/f /f".to_owned(), "no checksum"),
        ("ADD http://127.0.0.1:1/f /f".to_owned(), "127.0.0.1:1"),
        ("ADD --cheksum=sha256:12 http://127.0.0.1:1/f /f".to_owned(), "did you mean --checksum?"),
        (format!("COPY {url} /f"), "COPY takes no URL"),
    ] {
        let out = sandbox.build("context", "no", &format!("FROM busybox\n{line}\n"));
        out.refuses(1, &["Buildfile:2:", part]);
        assert!(out.stderr().lines().any(|line| line.starts_with("   | ") && line.ends_with('^')), "a caret\n{out}");
    }
    assert_nothing_left(&before, |line| line.contains("/run/layers"));
    assert_eq!(sandbox.ok(&["images", "-q", "no"]), "");
}

/// A repository with two branches, an annotated tag and a link that leads out of it.
fn repository(sandbox: &Sandbox) -> String {
    sandbox.write("work/Buildfile", "FROM busybox\nCOPY . /all/\nRUN cat /all/sub/file > /out\n");
    sandbox.write("work/sub/file", "first\n");
    sandbox.write("work/sub/Buildfile", "FROM busybox\nCOPY file /sub-out\n");
    std::os::unix::fs::symlink("/etc", sandbox.path("work/escape")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("work/Leak")).unwrap();
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args([
            "-C",
            &sandbox.text("work"),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "tag.gpgSign=false",
        ]);
        command.args(words).env("GIT_AUTHOR_DATE", "1700000000 +0000").env("GIT_COMMITTER_DATE", "1700000000 +0000");
        let out = command.output().unwrap();
        assert!(out.status.success(), "{words:?} {out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["tag", "-a", "-m", "t", "v1"]);
    sandbox.write("work/sub/file", "second\n");
    git(&["commit", "-q", "-a", "-m", "two"]);
    git(&["branch", "side"]);
    tools::run("git", ["clone", "-q", "--bare", &sandbox.text("work"), &sandbox.text("repo.git")]).ok();
    git(&["rev-parse", "v1^{commit}"])
}

#[test]
fn git_contexts_and_add_of_repositories() {
    if !tools::has("git") {
        eprintln!("skip: there is no git here");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let first = repository(&sandbox);
    let path = sandbox.text("repo.git");
    let url = format!("file://{path}");
    for (context, expected) in [
        (path.clone(), "second\n"),
        (format!("{path}#v1"), "first\n"),
        (format!("{url}#{first}"), "first\n"),
        (format!("{url}?branch=side"), "second\n"),
    ] {
        sandbox.img(&["build", "-t", "x", &context]).ok();
        assert_eq!(cat(&sandbox, "x", "/out"), expected, "{context}");
    }
    assert!(
        sandbox.img(&["run", "--rm", "--network", "none", "x", "ls", "-a", "/all"]).ok().stdout().contains("escape")
    );
    assert!(
        !sandbox.img(&["run", "--rm", "--network", "none", "x", "ls", "-a", "/all"]).ok().stdout().contains(".git\n")
    );
    sandbox.img(&["build", "-t", "sub", &format!("{url}#main:sub")]).ok();
    assert_eq!(cat(&sandbox, "sub", "/sub-out"), "second\n");
    let text = format!(
        "FROM busybox\nADD {url}#v1 /r/\nADD --keep-git-dir=true {url}#side:sub /s/\nADD --keep-git-dir --checksum={} {url}#v1 /k/\n\
         RUN cat /r/sub/file /s/file > /out; stat -c %Y /r/sub/file >> /out; ls -d /r/.git /k/.git >> /out 2>/dev/null; true\n",
        &first[..12]
    );
    sandbox.build("context", "add", &text).ok();
    assert_eq!(cat(&sandbox, "add", "/out"), "first\nsecond\n1700000000\n/k/.git\n");
    let again = sandbox.build("context", "again", &text);
    again.ok();
    assert_eq!(sandbox.inspect("add")["Id"], sandbox.inspect("again")["Id"]);
    for (context, part) in [
        (format!("{url}#nowhere"), "no branch or tag nowhere"),
        (format!("{url}#main:escape"), "leads out"),
        (format!("{url}#main:../.."), "leads out"),
        (format!("{url}#main:none"), "no directory none"),
        (format!("{url}#--upload-pack=x"), "cannot be a branch"),
        (format!("file://{}", sandbox.text("none.git")), "none.git"),
        (format!("{url}?checksum=0123456789"), "is at commit"),
    ] {
        let out = sandbox.img(&["build", &context]);
        assert!(out.code() != 0 && out.stderr().contains(part), "{context}\n{out}");
    }
    let out = sandbox.img(&["build", "-f", "Leak", &url]);
    assert!(out.code() != 0 && out.stderr().contains("leads out"), "{out}");
    let out = sandbox.build("context", "no", &format!("FROM busybox\nADD --checksum=0123456789 {url} /x/\n"));
    out.refuses(1, &["Buildfile:2:1", "is at commit"]);
    let left = tools::run("find", [&*sandbox.root().join("tmp").to_string_lossy(), "-name", "Leak"]);
    assert_eq!(left.ok().stdout(), "", "checkouts that stay behind");
    let mut command = sandbox.command(&["build", &url]);
    command.env("PATH", "/nowhere");
    let out = crate::support::Out::of(command, None, std::time::Duration::from_secs(60));
    out.refuses(1, &["no git"]).hints();
}

#[test]
fn tars_on_standard_input_and_by_url() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("c/Dockerfile", "FROM busybox\nCOPY . /c/\nRUN cat /c/d/f > /out\n");
    sandbox.write("c/other", "FROM busybox\nCOPY d/f /other\n");
    sandbox.write("c/d/f", "file\n");
    sandbox.write("c/hidden", "no\n");
    sandbox.write("c/.dockerignore", "hidden\n");
    tools::run("chown", ["-R", "7:8", &*sandbox.text("c")]).ok();
    let web = Web::start();
    for (flag, name) in [("-cf", "plain"), ("-czf", "gzip"), ("-cJf", "xz"), ("-cjf", "bzip2"), ("--zstd", "zstd")] {
        let file = sandbox.text(name);
        let flags: &[&str] = if flag == "--zstd" { &[flag, "-cf", &file] } else { &[flag, &file] };
        if flag == "--zstd" && !tools::has("zstd") {
            continue;
        }
        tools::run("tar", [flags, &["-C", &sandbox.text("c"), "."]].concat()).ok();
        let bytes = std::fs::read(&file).unwrap();
        sandbox.img_with_input(&["build", "-t", name, "-"], &bytes).ok();
        assert_eq!(cat(&sandbox, name, "/out"), "file\n");
        let url = web.put(&format!("/{name}"), &bytes);
        sandbox.img(&["build", "-t", "by-url", &url]).ok();
        assert_eq!(sandbox.inspect("by-url")["Id"], sandbox.inspect(name)["Id"]);
    }
    let listed = sandbox.img(&["run", "--rm", "--network", "none", "plain", "ls", "-lan", "/c"]).ok().stdout();
    assert!(listed.contains("hidden"), "an ignore file is for directories, as BuildKit has it: {listed}");
    assert!(listed.lines().any(|line| line.ends_with(" hidden") && line.contains(" 7        8 ")), "{listed}");
    let bytes = std::fs::read(sandbox.path("gzip")).unwrap();
    sandbox.img_with_input(&["build", "-t", "other", "-f", "./other", "-"], &bytes).ok();
    assert_eq!(cat(&sandbox, "other", "/other"), "file\n");
    sandbox.img_with_input(&["build", "-f", "none", "-"], &bytes).refuses(1, &["no Buildfile"]).hints();
    let url = web.put("/Buildfile", "FROM busybox\nRUN echo alone > /out\n");
    sandbox.img(&["build", "-t", "alone", &url]).ok();
    assert_eq!(cat(&sandbox, "alone", "/out"), "alone\n");
    sandbox.img(&["build", &format!("{}/none", web.address)]).refuses(1, &["not found"]);
    let cut = &bytes[..bytes.len() / 2];
    assert_ne!(sandbox.img_with_input(&["build", "-"], cut).code(), 0);
}

#[test]
fn hostile_tars_do_not_escape() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let victim = sandbox.write("victim", "untouched\n");
    let script = r#"
import sys, tarfile, io
kind, victim, out = sys.argv[1:]
t = tarfile.open(out, "w")
def file(name, text):
    i = tarfile.TarInfo(name); i.size = len(text); t.addfile(i, io.BytesIO(text))
def link(name, to, kind):
    i = tarfile.TarInfo(name); i.type = kind; i.linkname = to; t.addfile(i)
file("Buildfile", b"FROM busybox\nCOPY . /c/\nCOPY x /x\n" if kind != "leak" else b"FROM busybox\nCOPY x/secret /x\n")
if kind == "dotdot": file("../../../../../../.." + victim, b"x"); file("x", b"")
elif kind == "through": link("d", victim.rsplit("/", 1)[0], tarfile.SYMTYPE); file("d/victim", b"x"); file("x", b"")
elif kind == "hard": link("x", "../../../../../../.." + victim, tarfile.LNKTYPE)
elif kind == "leak": link("x", victim.rsplit("/", 1)[0], tarfile.SYMTYPE)
elif kind == "file": link("x", victim, tarfile.SYMTYPE)
t.close()
"#;
    let script = sandbox.write("make.py", script);
    for kind in ["dotdot", "through", "hard", "leak", "file"] {
        let tar = sandbox.text(&format!("{kind}.tar"));
        tools::run("python3", [&script, kind, &victim, &tar]).ok();
        let out = sandbox.img_with_input(&["build", "-t", kind, "-"], std::fs::read(&tar).unwrap());
        assert_ne!(out.code(), 0, "{kind}\n{out}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched\n", "{kind}");
        assert_eq!(sandbox.ok(&["images", "-q", kind]), "", "{kind}");
    }
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn named_contexts() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("lib/a", "from lib\n");
    sandbox.write("lib/skip", "no\n");
    sandbox.write("lib/.dockerignore", "skip\n.dockerignore\n");
    sandbox.build("base", "own-base", "FROM busybox\nRUN echo own > /own\n").ok();
    let text = "FROM nowhere.invalid/image AS pre\nRUN exit 1\nFROM alpine:latest\n\
        COPY --from=lib . /lib/\nCOPY --from=pre /own /own2\nRUN --mount=from=lib,target=/m cat /m/a > /mounted; ls /lib > /list\n";
    sandbox.write("context/Buildfile", text);
    let (context, lib) = (sandbox.text("context"), sandbox.text("lib"));
    let build = |more: &[&str]| {
        let mut words = vec!["build", "-t", "x"];
        words.extend(more.iter().flat_map(|value| ["--build-context", value]));
        words.push(&context);
        sandbox.img(&words)
    };
    let from_directory = format!("lib={lib}");
    let own = "alpine=docker-image://own-base";
    let pre = "pre=docker-image://own-base";
    build(&[&from_directory, own, pre]).ok();
    assert_eq!((cat(&sandbox, "x", "/mounted"), cat(&sandbox, "x", "/own2")), ("from lib\n".into(), "own\n".into()));
    assert_eq!(cat(&sandbox, "x", "/list"), "a\n");
    let first = sandbox.inspect("x")["Id"].clone();
    // The same files another way are the same steps; nothing is ignored in a tar.
    let tgz = sandbox.text("lib.tgz");
    let only = ["-czf", &tgz, "-C", &lib, "--owner=0", "--group=0", "--exclude=skip", "--exclude=.dockerignore", "."];
    tools::run("tar", only).ok();
    let from_tar = format!("lib={}", sandbox.text("lib.tgz"));
    build(&[&from_tar, own, pre]).ok();
    assert_eq!(sandbox.inspect("x")["Id"], first, "a tar is a directory");
    let web = Web::start();
    let from_url = format!("lib={}", web.put("/lib.tgz", std::fs::read(sandbox.path("lib.tgz")).unwrap()));
    build(&[&from_url, own, pre]).ok();
    assert_eq!(sandbox.inspect("x")["Id"], first);

    if tools::has("skopeo") {
        sandbox.ok(&["save", "-o", &sandbox.text("own.tar"), "own-base"]);
        let to = format!("oci:{}:v1", sandbox.text("layout"));
        tools::run(
            "skopeo",
            ["copy", "-q", "--insecure-policy", &format!("docker-archive:{}", sandbox.text("own.tar")), &to],
        )
        .ok();
        let layout = format!("alpine=oci-layout://{}:v1", sandbox.text("layout"));
        build(&[&from_directory, &layout, pre]).ok();
        assert_eq!(cat(&sandbox, "x", "/own"), "own\n");
        let missing = format!("alpine=oci-layout://{}:v2", sandbox.text("layout"));
        build(&[&from_directory, &missing, pre]).refuses(1, &["no image v2"]).hints();
    }
    sandbox.write("upon/Buildfile", "FROM lib\nCOPY --from=busybox /bin/busybox /bin/cat\n");
    sandbox.img(&["build", "-t", "upon", "--build-context", &from_directory, &sandbox.text("upon")]).ok();
    assert_eq!(cat(&sandbox, "upon", "/a"), "from lib\n");
    for (value, part) in [
        ("lib=/nowhere", "/nowhere"),
        ("lib", "NAME=CONTEXT"),
        ("=x", "NAME=CONTEXT"),
        ("lib=ftp://x/y", "ftp://"),
        ("lib=oci-layout:///nowhere", "/nowhere"),
        ("lib=docker-image://UPPER CASE", "UPPER"),
    ] {
        let out = build(&[value]);
        assert!(out.code() != 0 && out.stderr().contains(part), "{value}\n{out}");
    }
    let plain = sandbox.write("plain", "no archive\n");
    build(&[&format!("lib={plain}")]).refuses(1, &["no archive"]);
}
