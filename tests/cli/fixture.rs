//! The fixture itself: each helper that could pass a test by seeing nothing is shown something it must see.

use std::process::Command;

use crate::support::leaks::{self, Picture};
use crate::support::pty::Terminal;
use crate::support::{Out, Registry, images, tools, tree};

#[test]
fn tree_comparison_sees_each_kind_of_difference() {
    let dir = tempfile::tempdir().unwrap();
    let (left, right) = (dir.path().join("left"), dir.path().join("right"));
    let archive = dir.path().join("tree.tar");
    let source = images::busybox_tar();
    tools::untar(&source, &left);
    tools::untar(&source, &right);
    tree::assert_same(&left, &right, &[]);

    let changes: [(&str, &[&str], &str); 7] = [
        ("mode", &["chmod", "0700", "etc/passwd"], "mode: 448"),
        ("owner", &["chown", "7:8", "etc/passwd"], "owner: (7, 8)"),
        ("content", &["sed", "-i", "s/root/toor/", "etc/group"], "etc/group"),
        ("link target", &["ln", "-sfn", "elsewhere", "bin/ls"], "elsewhere"),
        ("xattr", &["setfattr", "-n", "user.x", "-v", "1", "bin/busybox"], "user.x"),
        ("hard link", &["ln", "etc/passwd", "etc/passwd2"], "passwd2 only on the right"),
        ("missing", &["rm", "-r", "var/www"], "var/www only on the left"),
    ];
    for (what, words, sign) in changes {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&right);
        Out::of(command, None, std::time::Duration::from_secs(10)).ok();
        let found = tree::differences(&left, &right, &[]).join("\n");
        assert!(found.contains(sign), "a changed {what} was not seen:\n{found}");
    }
    assert!(tree::differences(&left, &right, &["etc", "bin", "var/www"]).is_empty(), "ignored paths are ignored");
    assert!(!archive.exists());
}

#[test]
fn leaks_are_seen() {
    let mark = format!("leak-mark-{}", std::process::id());
    let before = Picture::now();
    let mut sleeper = Command::new("unshare").args(["--net", "sleep", "60"]).env("MARK", &mark).spawn().unwrap();
    let began = std::time::Instant::now();
    while Picture::now().beyond(&before, |_| false).is_empty() && began.elapsed().as_secs() < 5 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let seen = Picture::now().beyond(&before, |_| false);
    let processes = leaks::processes(&mark);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(seen.iter().any(|line| line.starts_with("namespace: net:")), "{seen:?}");
    assert_eq!(processes.len(), 1, "{processes:?}");
    leaks::assert_no_process(&mark);
}

#[test]
fn a_terminal_is_a_terminal() {
    let mut command = Command::new("sh");
    command.args(["-c", "tty; stty size; read line; echo \"got $line\"; exit 7"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("/dev/pts/");
    terminal.expect("24 80");
    terminal.line("hello");
    terminal.expect("got hello");
    let (code, screen) = terminal.finish();
    assert_eq!(code, 7, "{screen}");
}

#[test]
fn the_registry_serves_the_base_images_and_takes_pushes_elsewhere() {
    let bases = Registry::bases();
    let reference = format!("docker://{}", bases.name("library/debian:bookworm"));
    tools::run("skopeo", ["inspect", "--tls-verify=false", &reference]).prints(&["Layers"]);
    let fresh = Registry::fresh();
    let pushed = fresh.put("odd", "some/odd:1");
    let there = tools::run("skopeo", ["inspect", "--tls-verify=false", &format!("docker://{pushed}")]);
    assert_eq!(there.json()["Layers"].as_array().map(Vec::len), Some(5));
    assert!(fresh.blobs().len() >= 7, "five layers, a config and a manifest");
}

#[test]
fn a_command_that_fails_is_told_with_all_it_said() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo err >&2; exit 3"]);
    let out = Out::of(command, None, std::time::Duration::from_secs(5));
    assert_eq!(out.code(), 3);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| out.ok().code()));
    let message = *caught.expect_err("status 3 is no success").downcast::<String>().unwrap();
    assert!(message.contains("out\n") && message.contains("err\n") && message.contains("ended with 3"), "{message}");
}
