//! Containers that boot a system: its init as the first process, its console, and its own way to power off and restart.

use crate::support::Sandbox;

/// An image whose init is busybox's.
fn image(sandbox: &Sandbox) -> &'static str {
    image_with(sandbox, "")
}

/// One with these lines in its inittab too.
fn image_with(sandbox: &Sandbox, more: &str) -> &'static str {
    let inittab = "::sysinit:/bin/echo booted\\n::respawn:/bin/sleep 1000\\nconsole::askfirst:/bin/sh\\n::shutdown:/bin/echo going-down\\n";
    let buildfile = format!(
        "FROM busybox\nRUN mkdir -p /etc/init.d && ln -sf /bin/busybox /sbin/init && printf '{inittab}{more}' > /etc/inittab\n\
         CMD [\"echo\", \"not this\"]\n"
    );
    sandbox.build("system", "system:1", &buildfile).ok();
    "system:1"
}

fn up(sandbox: &Sandbox, name: &str, times: usize) {
    // The init has its signal handlers once it runs what it respawns.
    sandbox.wait_until("it has booted", || {
        sandbox.img(&["logs", name]).stdout().matches("booted").count() == times
            && sandbox.img(&["exec", name, "pidof", "sleep"]).code() == 0
    });
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    sandbox.inspect(name)["State"]["Status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_init_boots_and_is_stopped_by_its_own_signal() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    sandbox.ok(&["run", "-d", "--system", "--name", "s", "--network", "none", image]);
    up(&sandbox, "s", 1);
    let inside = |script: &str| sandbox.ok(&["exec", "s", "sh", "-c", script]);
    assert_eq!(
        inside("readlink /proc/1/exe; tr '\\0' '\\n' < /proc/1/environ | grep -c '^container'"),
        "/bin/busybox\n3"
    );
    assert_eq!(inside("grep -cE ' (/run|/run/lock|/tmp) tmpfs rw' /proc/mounts"), "3");
    assert_eq!(inside("test -e /dev/kmsg || echo none; test -c /dev/console && echo console"), "none\nconsole");
    let groups = "d=$(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2); mkdir $d/unit && echo 0 > $d/unit/cgroup.procs && echo made";
    assert_eq!(inside(groups), "made");
    sandbox.ok(&["stop", "-t", "30", "s"]);
    let about = sandbox.inspect("s");
    assert_eq!(about["State"]["ExitCode"], 0, "it powered itself off\n{about}");
    assert!(sandbox.ok(&["logs", "s"]).contains("going-down"));
}

#[test]
fn one_that_has_divided_its_group_is_entered_where_its_init_is() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    let id = sandbox.ok(&["run", "-d", "--system", "--name", "s", "--network", "none", image]);
    up(&sandbox, "s", 1);
    let script =
        "cd $(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2); head -1 cgroup.controllers | cut -d' ' -f1 > /one
        mkdir init; for p in $(cat cgroup.procs); do echo $p > init/cgroup.procs 2> /dev/null; done
        test ! -s /one || echo +$(cat /one) > cgroup.subtree_control; cat /one";
    let controller = sandbox.ok(&["exec", "s", "sh", "-c", script]);
    if controller.is_empty() {
        eprintln!("skip: cgroup2 has no controllers here");
        return;
    }
    assert!(sandbox.ok(&["exec", "s", "cat", "/proc/self/cgroup"]).lines().any(|line| line == "0::/init"));
    // It cannot see the group in which its limits are.
    let outer = super::limits::group_file(&id, &["cgroup.subtree_control"]);
    assert!(outer.split(' ').any(|name| name == controller), "{outer}");
    sandbox.ok(&["pause", "s"]);
    sandbox.ok(&["unpause", "s"]);
    sandbox.ok(&["stop", "-t", "30", "s"]);
    assert_eq!(sandbox.inspect("s")["State"]["ExitCode"], 0);
}

#[test]
fn reboot_and_poweroff_from_inside() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    sandbox.ok(&["run", "-d", "--system", "--name", "s", "--network", "none", "--restart", "always", image]);
    up(&sandbox, "s", 1);
    // The system may end it before it can say that it went well.
    sandbox.img(&["exec", "s", "reboot"]);
    up(&sandbox, "s", 2);
    assert_eq!(sandbox.inspect("s")["RestartCount"], 1);
    sandbox.img(&["exec", "s", "poweroff"]);
    assert_eq!(sandbox.ok(&["wait", "s"]), "0");
    // What powers itself off stays off, whatever the policy.
    sandbox.wait_until("it rests", || status(&sandbox, "s") == "exited");
    // Without a system around it the capability is not there, and nothing restarts.
    sandbox.img(&["run", "--rm", "--network", "none", "busybox", "reboot", "-f"]).says(&["not permitted"]);
}

#[test]
fn one_that_reboots_as_it_boots_is_given_time() {
    let sandbox = Sandbox::new();
    let buildfile =
        "FROM busybox\nRUN ln -sf /bin/busybox /sbin/init && echo '::sysinit:/bin/reboot -f' > /etc/inittab\n";
    sandbox.build("system", "restless", buildfile).ok();
    let began = std::time::Instant::now();
    sandbox.ok(&["run", "-d", "--system", "--name", "s", "--network", "none", "restless"]);
    let restarts = || sandbox.inspect("s")["RestartCount"].as_u64().unwrap();
    // 100, 200, 400 and 800 ms come before the fourth; it is told of a little later, when the fifth wait has begun at the latest.
    sandbox.wait_until("four restarts", || restarts() >= 4);
    assert!(began.elapsed() >= std::time::Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(restarts(), 4);
    sandbox.ok(&["rm", "--force", "s"]);
}

#[test]
fn the_console_and_its_way_out() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    sandbox.ok(&["run", "-d", "--system", "--name", "s", "--network", "none", image]);
    up(&sandbox, "s", 1);
    let mut terminal = sandbox.terminal(&["console", "s"]);
    terminal.expect("ctrl-a q leaves it");
    terminal.line("");
    terminal.expect("built-in shell");
    terminal.line("echo $((6*7))");
    terminal.expect("42");
    terminal.send("\u{1}q");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(status(&sandbox, "s"), "running");
    sandbox.img(&["console", "-t", "5", "s"]).refuses(1, &["terminal 5"]).hints();
    sandbox.ok(&["shutdown", "--reboot", "s"]);
    up(&sandbox, "s", 2);
    sandbox.ok(&["shutdown", "s"]);
    assert_eq!(status(&sandbox, "s"), "exited");
    sandbox.ok(&["run", "-d", "--name", "plain", "--network", "none", "busybox", "sleep", "100"]);
    sandbox.img(&["console", "plain"]).refuses(1, &["no console"]);
    sandbox.img(&["run", "--rm", "--system", "--pid", "host", image]).refuses(125, &["first process"]);
    sandbox.img(&["run", "--rm", "--system", "--init", image]).refuses(125, &["first process"]);
}

#[test]
fn a_system_has_terminals_beside_its_console() {
    let sandbox = Sandbox::new();
    let image = image_with(&sandbox, "tty1::askfirst:/bin/sh\\ntty2::respawn:/sbin/getty 38400 tty2\\n");
    let words = ["run", "-d", "--system", "--tty-count", "3", "--name", "s", "--network", "none"];
    sandbox.ok(&[&words[..], &[image]].concat());
    up(&sandbox, "s", 1);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.Config.TtyCount}}", "s"]), "3");
    let there = "cd /dev; ls tty[0-9]*; tr '\\0' '\\n' < /proc/1/environ | grep ^container_ttys";
    assert_eq!(sandbox.ok(&["exec", "s", "sh", "-c", there]), "tty1\ntty2\ntty3\ncontainer_ttys=pts/1 pts/2 pts/3");

    let mut one = sandbox.terminal(&["console", "-t", "1", "s"]);
    one.expect("terminal 1 of s; ctrl-a q leaves it");
    one.line("");
    one.expect("built-in shell");
    one.resize(33, 77);
    one.line("tty; stty size");
    one.expect("/dev/tty1");
    one.expect("33 77");
    // Each is for one at a time, and they know nothing of each other.
    sandbox.img(&["console", "-t", "1", "s"]).refuses(1, &["somebody", "terminal 1"]);
    let mut two = sandbox.terminal(&["console", "-t", "2", "s"]);
    two.expect("login:");
    two.send("\u{1}q");
    assert_eq!(two.finish().0, 0);
    let mut again = sandbox.terminal(&["console", "-t", "2", "s"]);
    again.line("");
    again.expect("login:");
    // Much at once arrives whole.
    one.line("i=0; while test $i -lt 20000; do echo line $i; i=$((i+1)); done; echo e''nd");
    let before = one.expect("end\r\n");
    assert_eq!((0..20000).filter(|number| !before.contains(&format!("line {number}\r\n"))).count(), 0);
    one.send("\u{1}q");
    assert_eq!(one.finish().0, 0);
    // What is written there meanwhile is read by the next one.
    sandbox.ok(&["exec", "s", "sh", "-c", "echo while you were away > /dev/tty1"]);
    let mut back = sandbox.terminal(&["console", "-t", "1", "s"]);
    back.expect("while you were away");
    // The end of the system ends the connections.
    sandbox.ok(&["shutdown", "s"]);
    assert_eq!((back.finish().0, again.finish().0), (0, 0));
    sandbox.img(&["console", "-t", "1", "s"]).refuses(1, &["not running"]).hints();
    sandbox.ok(&["start", "s"]);
    up(&sandbox, "s", 2);
    let mut anew = sandbox.terminal(&["console", "-t", "3", "s"]);
    anew.expect("terminal 3 of s");
    sandbox.img(&["console", "-t", "4", "s"]).refuses(1, &["terminal 4"]).says(&["it has 3"]);
    sandbox.img(&["run", "--rm", "--tty-count", "2", "busybox", "true"]).refuses(125, &["--system"]);
}

#[test]
fn the_mode_for_systemd_looks_at_the_program() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let count = |mode: &str, program: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none", mode, "busybox"];
        words.extend_from_slice(program);
        sandbox.ok(&words)
    };
    let shell = ["sh", "-c", "echo ${container:-none}"];
    assert_eq!(count("--systemd", &shell), "none");
    assert_eq!(count("--systemd=always", &shell), "img");
    assert_eq!(count("--systemd=false", &shell), "none");
    sandbox.img(&["run", "--rm", "--systemd=sometimes", "busybox", "true"]).refuses(125, &["sometimes"]);
}

#[test]
fn a_system_in_a_user_namespace_may_divide_its_group() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    let out = sandbox.img(&["run", "-d", "--system", "--userns", "auto", "--name", "s", "--network", "none", image]);
    if out.stderr().contains("needs Linux") {
        eprintln!("skip: {}", out.stderr());
        return;
    }
    out.ok();
    up(&sandbox, "s", 1);
    let groups = "d=$(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2); mkdir $d/unit && echo made";
    assert_eq!(sandbox.ok(&["exec", "s", "sh", "-c", groups]), "made");
    sandbox.img(&["exec", "s", "poweroff"]);
    assert_eq!(sandbox.ok(&["wait", "s"]), "0");
}

#[test]
fn a_time_limit_ends_it() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let began = std::time::Instant::now();
    sandbox.img(&["run", "--rm", "--network", "none", "--timeout", "1", "busybox", "sleep", "100"]).exits(137);
    assert!(began.elapsed() < std::time::Duration::from_secs(60));
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "--timeout",
        "1",
        "--restart",
        "always",
        "busybox",
        "sleep",
        "100",
    ]);
    assert_eq!(sandbox.ok(&["wait", &id]), "137");
    sandbox.wait_until("it rests", || status(&sandbox, &id) == "exited");
}
