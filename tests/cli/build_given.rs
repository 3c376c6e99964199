//! What a build is given from outside: secrets that leave no trace, and ssh agents that end with their step.

use std::os::unix::net::UnixListener;

use crate::support::leaks::{Picture, assert_nothing_left};
use crate::support::{Out, Sandbox, tools};

const SECRET: &str = "hunter2-is-no-good-password";

fn cat(sandbox: &Sandbox, image: &str, file: &str) -> String {
    sandbox.img(&["run", "--rm", "--network", "none", image, "cat", file]).ok().stdout()
}

/// Files below the store and the run directory that hold the secret, by grep.
fn traces(sandbox: &Sandbox) -> String {
    let places = [sandbox.root(), sandbox.path("run/containers")].map(|path| path.display().to_string());
    let places = places.iter().filter(|path| std::path::Path::new(path).exists());
    let out = std::process::Command::new("grep").args(["-r", "-l", "-a", SECRET]).args(places).output().unwrap();
    assert!(out.status.code().is_some_and(|code| code < 2), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_secret_is_seen_by_its_step_and_by_nothing_else() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("secret", SECRET);
    let text = "FROM busybox\n\
        RUN --mount=type=secret,id=one --mount=type=secret,id=two,env=TWO \
        --mount=type=secret,id=one,target=/deep/er/file,uid=7,gid=8,mode=0440 \
        md5sum < /run/secrets/one > /one; echo -n $TWO | md5sum > /two; \
        stat -c '%a %u %g' /run/secrets/one /deep/er/file > /modes; \
        ls -la /proc/self/fd > /dev/null; grep -c 'tmpfs /run/secrets/one tmpfs ro' /proc/mounts > /memory; \
        if echo x > /run/secrets/one; then exit 9; fi\n\
        RUN ls -d /run/secrets /deep > /left 2>&1; env > /env\n";
    sandbox.write("context/Buildfile", text);
    let context = sandbox.text("context");
    let from_file = format!("id=one,src={file}");
    let build = |value: &str, tag: &str| {
        let words = ["build", "-t", tag, "--secret", &from_file, "--secret", "id=two,env=THE_SECRET", &context];
        let mut command = sandbox.command(&words);
        command.env("THE_SECRET", value);
        Out::of(command, None, std::time::Duration::from_secs(120))
    };
    sandbox.pull("busybox");
    let out = build(SECRET, "x");
    out.ok();
    assert!(!out.stderr().contains(SECRET) && !out.stdout().contains(SECRET), "{out}");
    let sum = tools::run("md5sum", [&*file]).ok().stdout();
    let sum = sum.split_whitespace().next().unwrap().to_owned();
    assert!(cat(&sandbox, "x", "/one").starts_with(&sum) && cat(&sandbox, "x", "/two").starts_with(&sum));
    assert_eq!(cat(&sandbox, "x", "/modes"), "400 0 0\n440 7 8\n");
    assert_eq!(cat(&sandbox, "x", "/memory"), "1\n");
    let left = cat(&sandbox, "x", "/left");
    assert_eq!(left.matches("No such file").count(), 2, "mount points stay behind: {left}");
    assert!(!cat(&sandbox, "x", "/env").contains("TWO"));
    let facts = sandbox.img(&["inspect", "x"]).ok().stdout() + &sandbox.ok(&["history", "--no-trunc", "x"]);
    assert!(!facts.contains(SECRET), "{facts}");
    assert_eq!(traces(&sandbox), "", "files with the secret");
    build("another", "y").ok();
    assert_eq!(sandbox.inspect("x")["Id"], sandbox.inspect("y")["Id"], "a secret is no part of a cache key");
    // Nor of a cached step's needs.
    sandbox.img(&["build", &context]).ok();
}

#[test]
fn no_trace_while_the_step_runs_nor_after_it_was_killed() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let file = sandbox.write("secret", SECRET);
    let mark = format!("given-{}", std::process::id());
    let text = format!(
        "FROM busybox\nENV MARK={mark}\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S sleep 300\n"
    );
    sandbox.write("context/Buildfile", text);
    let secret = format!("id=s,src={file}");
    let mut build = sandbox.spawn(&["build", "--secret", &secret, &sandbox.text("context")]);
    sandbox.wait_until("the step to begin", || !crate::support::leaks::processes(&mark).is_empty());
    assert_eq!(traces(&sandbox), "", "files with the secret while the step runs");
    for (pid, words) in crate::support::leaks::processes(&mark) {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(SECRET), "{words}");
    }
    build.signal(rustix::process::Signal::KILL);
    build.wait();
    assert_eq!(traces(&sandbox), "", "files with the secret after the kill");
    sandbox.ok(&["ps"]);
}

#[test]
fn an_agent_is_there_for_the_step_only() {
    let sandbox = Sandbox::alone();
    sandbox.pull("busybox");
    let before = Picture::now();
    let path = sandbox.path("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let text = "FROM busybox\n\
        RUN --mount=type=ssh --mount=type=ssh,id=work,target=/w,mode=0666,uid=7 --mount=type=ssh,id=absent \
        echo $SSH_AUTH_SOCK > /where; stat -c '%a %u %F' $SSH_AUTH_SOCK /w > /what\n\
        RUN echo \"<$SSH_AUTH_SOCK>\" > /later; ls /run/buildkit /w >> /later 2>&1; true\n";
    sandbox.write("context/Buildfile", text);
    let work = format!("work={}", path.display());
    let words = ["build", "-t", "x", "--ssh", "default", "--ssh", &work, &sandbox.text("context")];
    let mut command = sandbox.command(&words);
    command.env("SSH_AUTH_SOCK", &path);
    Out::of(command, None, std::time::Duration::from_secs(120)).ok();
    assert_eq!(cat(&sandbox, "x", "/where"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!(cat(&sandbox, "x", "/what"), "600 0 socket\n666 7 socket\n");
    let later = cat(&sandbox, "x", "/later");
    assert!(later.starts_with("<>\n") && later.matches("No such file").count() == 2, "{later}");
    drop(listener);
    assert_nothing_left(&before, |line| line.contains("/run/layers"));
    let out = sandbox.img(&["build", "--no-cache", "--ssh", &work, &sandbox.text("context")]);
    out.refuses(1, &["Buildfile:2:1", "agent"]);
}

#[test]
fn ssh_add_speaks_to_the_agent_through_the_step() {
    if !["ssh-agent", "ssh-add", "ssh-keygen"].iter().all(|program| tools::has(program)) {
        eprintln!("skip: there is no OpenSSH here");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let socket = sandbox.text("agent.sock");
    let mut agent = std::process::Command::new("ssh-agent");
    agent.args(["-D", "-a", &socket]).stdout(std::process::Stdio::null());
    struct Killed(std::process::Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let _agent = Killed(agent.spawn().unwrap());
    sandbox.wait_until("the agent", || std::path::Path::new(&socket).exists());
    let key = sandbox.text("key");
    tools::run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "wanted", "-f", &key]).ok();
    tools::run("env", [&format!("SSH_AUTH_SOCK={socket}"), "ssh-add", "-q", &key]).ok();
    // The real ssh-add in the step, with the libraries it is linked to.
    let libraries = tools::run("ldd", ["/usr/bin/ssh-add"]).ok().stdout();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/ssh-add"]) {
        sandbox.write(&format!("context/files{file}"), std::fs::read(file).unwrap());
    }
    let text = "FROM busybox\nCOPY --chmod=0755 files /\nRUN --mount=type=ssh,required ssh-add -l > /keys\n";
    sandbox.write("context/Buildfile", text);
    let forwarded = format!("default={socket}");
    sandbox.img(&["build", "-t", "x", "--ssh", &forwarded, &sandbox.text("context")]).ok();
    assert!(cat(&sandbox, "x", "/keys").contains(" wanted (ED25519)"), "{}", cat(&sandbox, "x", "/keys"));
    // The same by the key's own file, without that agent; and what an agent of ours refuses.
    let text = "FROM busybox\nCOPY --chmod=0755 files /\nRUN --mount=type=ssh,required ssh-add -l > /keys; \
        if ssh-add -D; then exit 9; fi; ssh-add -l | cmp - /keys\n";
    sandbox.write("context/Buildfile", text);
    sandbox.img(&["build", "-t", "y", "--ssh", &format!("default={key}"), &sandbox.text("context")]).ok();
    assert_eq!(cat(&sandbox, "y", "/keys"), cat(&sandbox, "x", "/keys"));
    let locked = sandbox.text("locked");
    tools::run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "a phrase", "-f", &locked]).ok();
    let refused = sandbox.img(&["build", "--ssh", &format!("default={locked}"), &sandbox.text("context")]);
    refused.refuses(125, &["passphrase"]).hints();
    // What is in the key's file must not come into the image, however it is written there.
    let private = std::fs::read_to_string(&key).unwrap();
    let body: String = private.lines().filter(|line| !line.starts_with('-')).collect();
    sandbox.write("context/body", body);
    sandbox.write("context/Buildfile", "FROM busybox\nCOPY body /x/body\n");
    let leaked = sandbox.img(&["build", "--ssh", &format!("default={key}"), &sandbox.text("context")]);
    leaked.refuses(17, &["ssh key \"default\"", "/x/body", "Buildfile:2"]);
}

#[test]
fn mistakes_about_what_is_given() {
    let sandbox = Sandbox::alone();
    sandbox.build("warm", "warm", "FROM busybox\nRUN true\n").ok();
    let images = sandbox.ok(&["images", "-q"]);
    let before = Picture::now();
    for (line, part) in [
        ("RUN --mount=type=secret,id=../.. true", "cannot be an id"),
        ("RUN --mount=type=cache,id=../..,target=/c true", "cannot be an id"),
        ("RUN --mount=type=secret,id=x,requird true", "did you mean required?"),
        ("RUN --mount=type=ssh,id=.. true", "cannot be an id"),
        ("RUN --mount=type=secret,id=x,target=../.. true", "root"),
        ("RUN --mount=type=sceret,id=x true", "did you mean secret?"),
        ("RUN --mount=type=secret,id=x,required true", "needs the secret x"),
        ("RUN --mount=type=ssh,required true", "needs the ssh agent"),
        ("RUN --network=host true", "--allow network.host"),
        ("RUN --security=insecure true", "--allow security.insecure"),
    ] {
        let out = sandbox.build("context", "x", &format!("FROM busybox\n{line}\n"));
        out.refuses(1, &["Buildfile:2:", part]);
        assert!(out.stderr().contains("\n   | "), "a caret\n{out}");
    }
    let context = sandbox.text("context");
    for (words, part) in [
        (["--secret", "id=x,src=/nowhere"], "/nowhere"),
        (["--secret", "id=x,sorce=/nowhere"], "did you mean source?"),
        (["--secret", SECRET], "KEY=VALUE"),
        (["--secret", "id=x,env=UNSET"], "UNSET"),
        (["--ssh", "default"], "SSH_AUTH_SOCK"),
        (["--ssh", "x=/nowhere"], "/nowhere"),
        (["--allow", "network.hots"], "did you mean network.host?"),
    ] {
        let out = sandbox.img(&["build", words[0], words[1], &context]);
        assert_ne!(out.code(), 0, "{words:?}\n{out}");
        assert!(out.stderr().contains(part) && !out.stderr().contains(SECRET), "{words:?}\n{out}");
    }
    assert_nothing_left(&before, |_| false);
    assert_eq!(sandbox.ok(&["images", "-q"]), images, "half an image");
}

#[test]
fn an_insecure_step_is_privileged_and_others_are_not() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox\n\
        RUN grep CapEff /proc/self/status > /inside; if mount -t tmpfs x /mnt 2>/dev/null; then exit 9; fi\n\
        RUN --security=insecure grep CapEff /proc/self/status > /outside; mkdir -p /m && mount -t tmpfs x /m && umount /m\n";
    sandbox.write("context/Buildfile", text);
    sandbox.img(&["build", "-t", "x", "--allow", "security.insecure", &sandbox.text("context")]).ok();
    assert_ne!(cat(&sandbox, "x", "/inside"), cat(&sandbox, "x", "/outside"));
}
