//! Debian's sysvinit as the init of a container: it boots, takes a login at its console, restarts, and is powered off by
//! its pipe, for its inittab does nothing at a signal.

use crate::support::{Sandbox, skip};

/// The tools for the package are made ready but its own setup, which waits half a minute for a running init.
const BUILDFILE: &str = "FROM updated\nENV DEBIAN_FRONTEND=noninteractive\n\
    RUN apt-get install -y --no-install-recommends initscripts && cd /tmp && \\\n\
        apt-get download sysvinit-core && dpkg --unpack sysvinit-core*.deb && \\\n\
        sed 's/^[1-6]:.*tty[1-6]$//' /usr/share/sysvinit/inittab > /etc/inittab && \\\n\
        echo 'co:2345:respawn:/sbin/getty --noclear 38400 console' >> /etc/inittab\n";

/// Whether the image could be made.
fn image(sandbox: &Sandbox) -> bool {
    let update = "FROM debian\nRUN apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update\n";
    sandbox.write("sysvinit/Buildfile", update);
    let context = sandbox.text("sysvinit");
    let out = sandbox.img(&["build", "--network", "host", "-t", "updated", &context]);
    if ["Failed to fetch", "Temporary failure"].iter().any(|sign| out.stderr().contains(sign)) {
        return false;
    }
    out.ok();
    sandbox.write("sysvinit/Buildfile", BUILDFILE);
    sandbox.img(&["build", "--network", "host", "-t", "sysvinit", &context]).ok();
    true
}

fn up(sandbox: &Sandbox, times: usize) {
    sandbox.wait_until("it takes logins", || {
        sandbox.img(&["logs", "s"]).stdout().matches("INIT: Entering runlevel: 2").count() == times
            && sandbox.img(&["top", "s"]).stdout().contains("getty")
    });
}

#[test]
fn it_boots_restarts_and_is_powered_off_from_outside_and_inside() {
    let sandbox = Sandbox::new();
    if !image(&sandbox) {
        skip!("no Debian mirror is reachable");
    }
    sandbox.ok(&["run", "-d", "--system", "--name", "s", "--hostname", "old", "--network", "none", "sysvinit"]);
    up(&sandbox, 1);
    assert_eq!(sandbox.ok(&["exec", "s", "runlevel"]), "N 2");
    let mut terminal = sandbox.terminal(&["console", "s"]);
    terminal.line("");
    terminal.expect("old login:");
    terminal.send("\u{1}q");
    assert_eq!(terminal.finish().0, 0);

    sandbox.img(&["exec", "s", "reboot"]);
    up(&sandbox, 2);
    assert_eq!(sandbox.inspect("s")["RestartCount"], 1);
    let began = std::time::Instant::now();
    sandbox.ok(&["stop", "-t", "60", "s"]);
    assert!(began.elapsed() < std::time::Duration::from_secs(50), "it was not killed: {:?}", began.elapsed());
    let about = sandbox.inspect("s");
    assert_eq!((&about["State"]["ExitCode"], &about["State"]["Status"]), (&0.into(), &"exited".into()), "{about}");
    assert!(sandbox.ok(&["logs", "s"]).contains("Will now halt."), "its last words are in the log");

    sandbox.ok(&["start", "s"]);
    up(&sandbox, 3);
    sandbox.img(&["exec", "s", "shutdown", "-h", "now"]);
    assert_eq!(sandbox.ok(&["wait", "s"]), "0");
}
