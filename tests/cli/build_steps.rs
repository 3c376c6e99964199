//! What surrounds a RUN step: its network, hosts and proxies, how its failure is told, and that nothing of it outlives the
//! `img` that was interrupted or killed.

use rustix::process::Signal;

use crate::support::leaks::{Picture, assert_no_process, assert_nothing_left};
use crate::support::{Out, Sandbox, tools};

fn cat(sandbox: &Sandbox, image: &str, file: &str) -> String {
    sandbox.img(&["run", "--rm", "--network", "none", image, "cat", file]).ok().stdout()
}

#[test]
fn a_mistake_is_drawn_once_with_its_line_and_a_caret() {
    let sandbox = Sandbox::new();
    let out = sandbox.build("context", "x", "FROM busybox\n\nCOPI a b\n");
    out.refuses(1, &["Buildfile:3:1: ", "COPI"]).hints();
    let errors = out.stderr();
    assert_eq!(errors.matches("COPI a b").count(), 1, "{out}");
    assert!(errors.contains("\n 3 | COPI a b\n   | ^^^^\nhint: "), "{out}");

    let out = sandbox.build("context", "x", "FROM busybox\nCOPY missing /x\n");
    out.refuses(1, &["Buildfile:2:1: COPY failed", "missing"]);
    assert_eq!(out.stderr().matches("COPY failed").count(), 1, "{out}");

    let out = sandbox.build("context", "x", "FROM busybox\nRUN echo last words; exit 3\n");
    out.refuses(1, &["Buildfile:2:1: RUN failed: the command exited with code 3", "last words"]);
    let said = out.stderr();
    let lines: Vec<&str> = said.lines().collect();
    let [.., caret, hint] = lines[..] else { panic!("{out}") };
    assert!(caret.trim_start().starts_with("| ^^^"), "nothing stands behind the caret\n{out}");
    assert!(hint.starts_with("hint: the whole log is /"), "{out}");

    let out = sandbox.build("context", "x", "FROM no.such.registry.invalid/x\n");
    out.refuses(1, &["Buildfile:1:", "no.such.registry.invalid/x"]);
    assert!(out.stderr().lines().next_back().is_some_and(|line| !line.contains("^: ")), "{out}");
}

#[test]
fn a_quiet_build_that_fails_shows_what_the_step_wrote_last() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nRUN seq 1 500; exit 1\n");
    let out = sandbox.img(&["build", "--quiet", &sandbox.text("context")]);
    out.exits(1).says(&["| 500", "Buildfile:2:1"]);
    assert!(!out.stderr().contains("| 1\n"), "only the last lines are kept\n{out}");
}

#[test]
fn proxies_of_the_host_reach_a_step_and_neither_cache_nor_image() {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", "FROM busybox\nRUN echo $http_proxy $NO_PROXY > /proxy\n");
    let build = |proxy: &str, tag: &str| {
        let context = sandbox.text("context");
        let mut command = sandbox.command(&["build", "-t", tag, &context]);
        command.env("http_proxy", proxy).env("NO_PROXY", "127.0.0.1");
        Out::of(command, None, std::time::Duration::from_secs(60))
    };
    sandbox.pull("busybox");
    build("http://proxy.invalid:1", "one").ok();
    assert_eq!(cat(&sandbox, "one", "/proxy"), "http://proxy.invalid:1 127.0.0.1\n");
    let again = build("http://other.invalid:2", "two");
    again.ok().says(&["cached"]);
    assert_eq!(sandbox.inspect("one")["Id"], sandbox.inspect("two")["Id"], "a proxy is no part of a cache key");
    let facts = sandbox.img(&["inspect", "one"]).ok().stdout() + &sandbox.ok(&["history", "--no-trunc", "one"]);
    assert!(!facts.contains("proxy.invalid"), "{facts}");
}

#[test]
fn network_hosts_labels_and_shared_memory() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "context/Buildfile",
        "FROM busybox\nRUN ls /sys/class/net > /nets; cat /etc/hosts > /known; df -k /dev/shm | tail -n 1 > /shm\n",
    );
    let context = sandbox.text("context");
    let build = |tag: &str, network: &str| {
        let words = ["build", "--no-cache", "-t", tag, "--network", network, "--add-host", "db:10.9.8.7"];
        let more = ["--label", "one=1", "--label", "two=2=2", "--shm-size", "1m", context.as_str()];
        sandbox.img(&[&words[..], &more[..]].concat())
    };
    build("none", "none").ok();
    assert_eq!(cat(&sandbox, "none", "/nets"), "lo\n");
    assert!(cat(&sandbox, "none", "/known").contains("10.9.8.7\tdb"));
    assert!(cat(&sandbox, "none", "/shm").contains(" 1024 "));
    let labels = &sandbox.inspect("none")["Config"]["Labels"];
    assert_eq!((&labels["one"], &labels["two"]), (&"1".into(), &"2=2".into()));
    build("default", "default").ok();
    assert_eq!(cat(&sandbox, "default", "/nets"), "eth0\nlo\n");
    build("host", "host").ok();
    let mut here: Vec<String> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("veth"))
        .collect();
    here.sort();
    let there = cat(&sandbox, "host", "/nets");
    assert!(here.iter().any(|name| name != "lo") || there.contains("lo"), "{here:?} {there}");
    for name in here.iter().filter(|name| *name == "lo" || name.starts_with("eth")) {
        assert!(there.lines().any(|line| line == name), "{name} of the host is not in {there}");
    }
    build("bad", "nonsense").refuses(125, &["nonsense"]).hints();
    // What img mounts into a step is no part of the image.
    let tree = sandbox.flatten("none", "tree");
    assert!(!tree.join("etc/hosts").exists() || std::fs::metadata(tree.join("etc/hosts")).unwrap().len() == 0);
}

#[test]
fn the_buildfile_on_standard_input_and_from_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.img_with_input(&["build", "-q", "-t", "one", "-"], "FROM busybox\nRUN echo no context > /f\n").ok();
    assert_eq!(cat(&sandbox, "one", "/f"), "no context\n");
    let out = sandbox.img_with_input(&["build", "-"], "FROM busybox\nCOPY a /a\n");
    out.refuses(1, &["-:2:1: COPY failed", "no context"]).hints();
    sandbox.write("context/a", "from the context\n");
    let context = sandbox.text("context");
    sandbox.img_with_input(&["build", "-t", "two", "-f", "-", &context], "FROM busybox\nCOPY a /a\n").ok();
    assert_eq!(cat(&sandbox, "two", "/a"), "from the context\n");
    let elsewhere = sandbox.write("elsewhere/My.file", "FROM busybox\nCOPY a /b\nRUN exit 1\n");
    sandbox.img(&["build", "-f", &elsewhere, &context]).refuses(1, &["My.file:3:1"]);
    sandbox.img(&["build", "-f", "none", &context]).refuses(1, &["none"]);
    sandbox.img(&["build", &sandbox.text("elsewhere")]).refuses(1, &["Buildfile"]).hints();
    sandbox.img(&["build", &sandbox.text("nowhere")]).refuses(1, &["nowhere"]);
    sandbox.img(&["build", "--platform", "nonsense/nonsense/x/y", &context]).refuses(1, &["platform"]);
}

#[test]
fn pull_asks_the_registry_again() {
    let sandbox = Sandbox::new();
    sandbox.build("base", "busybox", "FROM busybox\nLABEL local=yes\n").ok();
    sandbox.build("context", "kept", "FROM busybox\n").ok();
    assert_eq!(sandbox.inspect("kept")["Config"]["Labels"]["local"], "yes", "an image that is here is not asked for");
    sandbox.ok(&["build", "--pull", "-t", "fresh", &sandbox.text("context")]);
    assert!(sandbox.inspect("fresh")["Config"]["Labels"]["local"].is_null());
}

/// A build whose step has begun; its process carries `mark` in its environment.
fn sleeping(sandbox: &Sandbox, mark: &str) -> crate::support::sandbox::Running {
    let text = format!("FROM busybox\nENV MARK={mark}\nRUN touch /begun; sleep 300\n");
    sandbox.write("context/Buildfile", text);
    let build = sandbox.spawn(&["build", "-t", "never", &sandbox.text("context")]);
    sandbox.wait_until("the step to begin", || !crate::support::leaks::processes(mark).is_empty());
    build
}

#[test]
fn an_interrupted_or_killed_build_leaves_nothing() {
    let sandbox = Sandbox::alone();
    sandbox.build("warm", "warm", "FROM busybox\nRUN true\n").ok();
    sandbox.ok(&["ps"]);
    let before = Picture::now();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 137)] {
        let mark = format!("build-{code}-{}", std::process::id());
        let mut build = sleeping(&sandbox, &mark);
        let began = std::time::Instant::now();
        build.signal(signal);
        assert_eq!(build.wait(), code, "{signal:?}");
        assert!(began.elapsed().as_secs_f64() < 2.5, "{signal:?} took {:?}", began.elapsed());
        assert_no_process(&mark);
        // After SIGKILL the next command takes back what is no process.
        sandbox.ok(&["ps"]);
        assert_nothing_left(&before, |_| false);
        let states = std::fs::read_dir(sandbox.path("run/containers")).map_or(0, |entries| entries.count());
        assert_eq!(states, 0, "state directories after {signal:?}");
        assert_eq!(sandbox.ok(&["images", "-q", "never"]), "");
    }
    // The store is whole, and scratch directories of the dead are swept.
    sandbox.img(&["system", "check"]).ok();
    sandbox.build("warm", "warm", "FROM busybox\nRUN echo again\n").ok();
    let left = tools::run("find", [&*sandbox.root().join("tmp").to_string_lossy(), "-name", "begun"]);
    assert_eq!(left.ok().stdout(), "", "changes of a killed step");
}
