//! Descriptors of the caller that a program is given: those that were named, and nothing else.

use std::process::Command;
use std::time::Duration;

use crate::support::{Out, Sandbox};

/// Runs img below a shell that opens descriptors: 3 is a pipe that is read, 4 and 6 are files.
fn below_a_shell(sandbox: &Sandbox, words: &[&str]) -> Out {
    let img = sandbox.command(words);
    let mut shell = Command::new("sh");
    let (four, six) = (sandbox.text("four"), sandbox.text("six"));
    shell.args(["-c", "echo through | { exec 3<&0 4>\"$FOUR\" 6>\"$SIX\" </dev/null; exec \"$@\"; }", "sh"]);
    shell.arg(img.get_program()).args(words).env_clear().current_dir(sandbox.path("."));
    for (name, value) in img.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("FOUR", four).env("SIX", six);
    Out::of(shell, None, Duration::from_secs(60))
}

/// What a program has open, itself aside: `ls` opens the directory.
const OPEN: &str = "ls /proc/self/fd | tr '\\n' ' '";

#[test]
fn those_from_three_on_or_of_a_list() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "600"]);
    let run = ["run", "--rm", "--network", "none"];
    let verbs: [(&[&str], &[&str]); 3] =
        [(&run, &["busybox"]), (&[&run[..], &["--init"]].concat(), &["busybox"]), (&["exec"], &[&id])];
    for (verb, target) in verbs {
        let out = |flags: &[&str], script: &str| {
            below_a_shell(&sandbox, &[verb, flags, target, &["sh", "-c", script]].concat())
        };
        // The pipe of `ls` to `tr` has 0 and 1; what ls opens gets the first free number.
        out(&[], OPEN).ok().prints_exactly("0 1 2 3 ");
        out(&["--preserve-fds", "2"], &format!("cat <&3; echo written >&4; {OPEN}"))
            .ok()
            .prints_exactly("through\n0 1 2 3 4 5 ");
        assert_eq!(std::fs::read_to_string(sandbox.path("four")).expect("a file"), "written\n");
        out(&["--preserve-fd", "3,6"], &format!("cat <&3; echo six >&6; {OPEN}"))
            .ok()
            .prints_exactly("through\n0 1 2 3 4 6 ");
        assert_eq!(std::fs::read_to_string(sandbox.path("six")).expect("a file"), "six\n");
        out(&["--preserve-fds", "3"], "true").refuses(125, &["descriptor 5", "not open"]);
        out(&["--preserve-fd", "9"], "true").refuses(125, &["descriptor 9", "not open"]);
        out(&["--preserve-fd", "2"], "true").refuses(125, &["from 3 on"]);
        out(&["-d", "--preserve-fds", "1"], "true").refuses(125, &["foreground"]);
    }
}

#[test]
fn a_directory_that_the_caller_left_open_reaches_no_program() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("outside/file", "secret");
    // Directories and files without close-on-exec, as a careless caller leaves them.
    let careless = |words: &[&str]| {
        let img = sandbox.command(words);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 7<\"$OUTSIDE\" 3<\"$OUTSIDE/file\" 9<\"$OUTSIDE\"", "sh"]);
        shell.arg(img.get_program()).args(words).env_clear().current_dir(sandbox.path("."));
        for (name, value) in img.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.env("OUTSIDE", sandbox.text("outside"));
        Out::of(shell, None, Duration::from_secs(60))
    };
    let list = "ls -l /proc/self/fd /proc/1/fd | grep outside; ls /proc/self/fd | tr '\\n' ' '";
    let run = |flags: &[&str]| {
        careless(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", list]].concat())
    };
    for flags in [&[][..], &["--init"], &["-i"], &["--userns", "auto"], &["--pid", "host"], &["--privileged"]] {
        let out = run(flags);
        if out.stderr().contains("needs Linux") || out.stderr().contains("does not allow that") {
            eprintln!("skip: {flags:?}: {}", out.stderr());
            continue;
        }
        out.ok().prints_exactly("0 1 2 3 ");
    }
    run(&["-w", "/proc/self/fd/7"]).refuses(125, &["/proc/self/fd/7"]);
    let id = careless(&["run", "-d", "--network", "none", "busybox", "sh", "-c", &format!("{list}; echo; sleep 600")])
        .ok()
        .word();
    sandbox.wait_until("it has listed them", || !sandbox.img(&["logs", &id]).stdout().is_empty());
    assert_eq!(sandbox.img(&["logs", &id]).stdout(), "0 1 2 3 \n");
    careless(&["exec", &id, "sh", "-c", list]).ok().prints_exactly("0 1 2 3 ");
    careless(&["exec", "-w", "/proc/self/fd/7", &id, "ls"]).refuses(125, &["/proc/self/fd/7"]);
    careless(&["exec", "-d", &id, "sh", "-c", &format!("({list}) > /seen.new; mv /seen.new /seen")]).ok();
    sandbox.wait_until("it has listed them", || sandbox.img(&["exec", &id, "test", "-e", "/seen"]).code() == 0);
    sandbox.img(&["exec", &id, "cat", "/seen"]).ok().prints_exactly("0 1 2 3 ");
    sandbox.write("context/Buildfile", format!("FROM busybox\nRUN ({list}) > /seen\n"));
    careless(&["build", "-t", "seen", &sandbox.text("context")]).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "seen", "cat", "/seen"]).ok().prints_exactly("0 1 2 3 ");
    // The monitor of a container holds none either, for whatever it will start.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let about = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if !about.contains(&id) {
            continue;
        }
        let links = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let held = links
            .filter_map(|link| std::fs::read_link(link.path()).ok())
            .find(|to| to.starts_with(sandbox.path("outside")));
        assert_eq!(held, None, "{about}");
    }
}
