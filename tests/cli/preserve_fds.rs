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
