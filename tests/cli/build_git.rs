//! Repositories over the network as contexts and in ADD: git's own daemon, git's HTTP backend with and without TLS, and
//! OpenSSH, each on loopback; branches, tags, commits, directories, submodules.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Out, Sandbox, skip, tools};

/// Serves the repositories below a directory by git-http-backend(1): directory, and a file with key and certificate or
/// nothing. Prints its port.
const WEB: &str = r#"
import http.server, os, ssl, subprocess, sys

class Git(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        env = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, REMOTE_ADDR="127.0.0.1", CONTENT_TYPE=self.headers.get("Content-Type", ""),
                   HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
                   GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, body = said.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = [value for name, value in fields if name == "Status"]
        self.send_response(int(status[0].split()[0]) if status else 200)
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Git)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn web(sandbox: &Sandbox, certificate: Option<&str>) -> (Self, u16) {
        let script = sandbox.write("web.py", WEB);
        let mut command = Command::new("python3");
        command.args([&script, &sandbox.text("served")]).args(certificate).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().parse().unwrap())
    }

    fn daemon(sandbox: &Sandbox) -> (Self, u16) {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let own = tools::run("git", ["--exec-path"]).ok().word();
        let mut command = Command::new(Path::new(&own).join("git-daemon"));
        command.args(["--listen=127.0.0.1", "--reuseaddr", "--export-all", &format!("--port={port}")]);
        command.arg(format!("--base-path={}", sandbox.text("served"))).stderr(Stdio::null());
        let server = Self(command.spawn().unwrap());
        sandbox.wait_until("git's daemon", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        (server, port)
    }
}

/// `served/main.git` with a tag, a branch, a directory, and a submodule `dep` at the first of two commits of
/// `served/lib.git`, named by a relative address. Gives the commit of the tag.
fn repositories(sandbox: &Sandbox) -> String {
    let git = |directory: &str, words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-C", &sandbox.text(directory), "-c", "user.name=a", "-c", "user.email=a@b"]);
        command.args(["-c", "protocol.file.allow=always", "-c", "tag.gpgSign=false"]).args(words);
        let out = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(out.status.success(), "{words:?} {out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let bare = |work: &str, name: &str| {
        tools::run("git", ["clone", "-q", "--bare", &sandbox.text(work), &sandbox.text(name)]).ok();
    };
    sandbox.write("lib/code", "of the first commit\n");
    git("lib", &["init", "-q", "-b", "main"]);
    git("lib", &["add", "-A"]);
    git("lib", &["commit", "-q", "-m", "one"]);
    let pinned = git("lib", &["rev-parse", "HEAD"]);
    sandbox.write("lib/code", "of the second commit\n");
    git("lib", &["commit", "-q", "-a", "-m", "two"]);
    bare("lib", "served/lib.git");
    sandbox.write("main/Buildfile", "FROM busybox\nCOPY . /all/\nRUN cat /all/sub/file /all/dep/code > /out\n");
    sandbox.write("main/sub/Buildfile", "FROM busybox\nCOPY file /out\n");
    sandbox.write("main/sub/file", "tagged\n");
    git("main", &["init", "-q", "-b", "main"]);
    git("main", &["submodule", "add", "-q", &sandbox.text("served/lib.git"), "dep"]);
    git("main", &["config", "-f", ".gitmodules", "submodule.dep.url", "../lib.git"]);
    git("main/dep", &["checkout", "-q", &pinned]);
    git("main", &["add", "-A"]);
    git("main", &["commit", "-q", "-m", "one"]);
    git("main", &["tag", "-a", "-m", "t", "v1"]);
    sandbox.write("main/sub/file", "later\n");
    git("main", &["commit", "-q", "-a", "-m", "two"]);
    bare("main", "served/main.git");
    git("main", &["rev-parse", "v1^{commit}"])
}

fn out(sandbox: &Sandbox, image: &str) -> String {
    sandbox.img(&["run", "--rm", "--network", "none", image, "cat", "/out"]).ok().stdout()
}

/// Builds with these variables for git.
fn build(sandbox: &Sandbox, variables: &[(&str, &str)], words: &[&str]) -> Out {
    let mut command = sandbox.command(&[&["build"], words].concat());
    command.envs(variables.iter().copied());
    if let Ok(own) = std::env::var("PATH") {
        // Git may be anywhere.
        command.env("PATH", own);
    }
    Out::of(command, None, Duration::from_secs(120))
}

/// Everything that a repository at `url` (without `.git`) is good for.
fn all_of_it(sandbox: &Sandbox, url: &str, commit: &str, variables: &[(&str, &str)], more: &[&str]) {
    let build = |words: &[&str]| build(sandbox, variables, &[more, words].concat());
    let both = "later\nof the first commit\n";
    for (context, expected) in [
        (format!("{url}.git"), both),
        (format!("{url}.git#v1"), "tagged\nof the first commit\n"),
        (format!("{url}.git#{commit}"), "tagged\nof the first commit\n"),
        (format!("{url}.git?branch=main"), both),
        (format!("{url}.git#main:sub"), "later\n"),
        (format!("{url}.git?tag=v1&subdir=sub&checksum={commit}"), "tagged\n"),
    ] {
        build(&["-t", "x", &context]).ok();
        assert_eq!(out(sandbox, "x"), expected, "{context}");
    }
    // The submodule is left out where that is asked for, so the step that reads it fails.
    build(&["-t", "no", &format!("{url}.git?submodules=false")]).refuses(1, &["Buildfile:3"]);
    let text = format!(
        "FROM busybox\nADD --checksum={commit} {url}.git#v1 /a/\nADD {url}.git#main:sub /b/\n\
         ADD --keep-git-dir {url}.git /c/\nRUN cat /a/sub/file /a/dep/code /b/file > /out && test -d /c/.git && test ! -e /a/.git\n"
    );
    sandbox.write("context/Buildfile", text);
    let at = sandbox.text("context");
    build(&["-t", "add", &at]).ok();
    assert_eq!(out(sandbox, "add"), "tagged\nof the first commit\nlater\n");
    sandbox.write("context/Buildfile", format!("FROM busybox\nADD --checksum={commit} {url}.git#main /a/\n"));
    build(&["-t", "no", &at]).refuses(1, &["Buildfile:2:1", "is at commit"]);
    let begun = std::time::Instant::now();
    let none = build(&["-t", "no", &format!("{url}-none.git")]);
    assert!(none.code() == 1 && begun.elapsed() < Duration::from_secs(60), "{none}");
}

#[test]
fn over_git_and_http_and_https() {
    if !tools::has("git") {
        skip!("there is no git here");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let commit = repositories(&sandbox);
    {
        let (_server, port) = Server::daemon(&sandbox);
        all_of_it(&sandbox, &format!("git://127.0.0.1:{port}/main"), &commit, &[], &[]);
    }
    {
        let (_server, port) = Server::web(&sandbox, None);
        all_of_it(&sandbox, &format!("http://127.0.0.1:{port}/main"), &commit, &[], &[]);
    }
    if !tools::has("openssl") {
        skip!("there is no openssl here");
    }
    let (key, certificate) = (sandbox.text("tls.pem"), sandbox.text("tls.crt"));
    let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2"];
    let more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate];
    tools::run("openssl", [&words[..], &more].concat()).ok();
    let both = [std::fs::read(&key).unwrap(), std::fs::read(&certificate).unwrap()].concat();
    std::fs::write(&key, both).unwrap();
    let (_server, port) = Server::web(&sandbox, Some(&key));
    let url = format!("https://127.0.0.1:{port}/main");
    all_of_it(&sandbox, &url, &commit, &[("GIT_SSL_CAINFO", &certificate)], &[]);
    let unknown = build(&sandbox, &[], &[&format!("{url}.git")]);
    assert!(unknown.code() == 1 && unknown.stderr().contains("certificate"), "{unknown}");
}

#[test]
fn over_ssh_with_a_key() {
    if !["git", "ssh", "ssh-keygen"].iter().all(|program| tools::has(program)) {
        skip!("there is no git or no OpenSSH here");
    }
    let sandbox = Sandbox::new();
    let text = "FROM debian:bookworm-slim\nRUN apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update && \
                apt-get install -y --no-install-recommends openssh-server git && apt-get clean && mkdir /run/sshd\n\
                COPY --chmod=0600 key.pub /root/.ssh/authorized_keys\nCOPY --chown=0:0 served /srv/git\n";
    let commit = repositories(&sandbox);
    let key = sandbox.text("key");
    tools::run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &key]).ok();
    let at = sandbox.text(".");
    sandbox.write(".dockerignore", "*\n!key.pub\n!served\n");
    sandbox.write("Buildfile", text);
    let made = sandbox.img(&["build", "--network", "host", "-t", "server", &at]);
    if ["Failed to fetch", "Temporary failure"].iter().any(|sign| made.stderr().contains(sign)) {
        skip!("no Debian mirror is reachable from a build");
    }
    made.ok();
    sandbox.pull("busybox");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let listen = format!("ListenAddress=127.0.0.1:{port}");
    let server = ["run", "-d", "--network", "host", "--name", "sshd", "server", "/usr/sbin/sshd", "-D", "-o", &listen];
    sandbox.img(&server).ok();
    let greets = || {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
    };
    sandbox.wait_until("sshd", greets);
    let ssh = "ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentityFile=/none";
    let variables = [("GIT_SSH_COMMAND", ssh)];
    let url = format!("ssh://root@127.0.0.1:{port}/srv/git/main");
    let given = format!("default={key}");
    all_of_it(&sandbox, &url, &commit, &variables, &["--ssh", &given]);
    // Without the key, and with a host that nobody knows, it fails and asks nobody.
    for (variables, part) in [
        (&variables[..], "Permission denied"),
        (&[("GIT_SSH_COMMAND", "ssh -F /dev/null -o UserKnownHostsFile=/dev/null")], "Host key verification failed"),
    ] {
        let refused = build(&sandbox, variables, &[&format!("{url}.git")]);
        assert!(refused.code() == 1 && refused.stderr().contains(part), "{refused}");
    }
    sandbox.img(&["rm", "-f", "sshd"]).ok();
}
