//! The build context of all cases: a small tree with one of everything that COPY and ADD have a rule about. Owners,
//! modes and times are fixed, so that both builders are given the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::tools;

/// The time of everything in it.
pub const TIME: i64 = 1_234_567_890;

/// Makes the tree at `at`.
pub fn make(at: &Path) {
    let write = |path: &str, mode: u32, text: &str| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write("one", 0o644, "1\n");
    write("two.txt", 0o640, "2\n");
    write("three.txt", 0o600, "3\n");
    write("exec", 0o755, "#!/bin/sh\necho hi\n");
    write("setuid", 0o4755, "s\n");
    write("with space", 0o644, "space\n");
    write("a[b", 0o644, "bracket\n");
    write("ünï.txt", 0o644, "unicode\n");
    write("empty.file", 0o644, "");
    write("tree/sub/file", 0o644, "deep\n");
    write("tree/sub/deep/leaf", 0o644, "leaf\n");
    write("tree/exec", 0o750, "#!/bin/sh\n");
    write("tree/junk.o", 0o644, "object\n");
    write("tree/sub/more.o", 0o644, "object\n");
    write("tree/.hidden", 0o644, "hidden\n");
    fs::create_dir(at.join("tree/empty")).expect("a folder");
    mode("tree/empty", 0o700);
    mode("tree/sub", 0o751);
    symlink("sub/file", at.join("tree/link")).expect("a link");
    symlink("nowhere", at.join("tree/dangling")).expect("a link");
    symlink("/one", at.join("tree/absolute")).expect("a link");
    symlink("sub", at.join("tree/dirlink")).expect("a link");
    symlink("tree/sub", at.join("outer")).expect("a link");
    symlink("one", at.join("onelink")).expect("a link");
    write("other/sub/file", 0o600, "other\n");
    write("other/sub/new", 0o644, "new\n");
    mode("other/sub", 0o700);
    write("hard/a", 0o644, "hard\n");
    fs::hard_link(at.join("hard/a"), at.join("hard/b")).expect("a hard link");
    write("modes/sticky/f", 0o644, "t\n");
    write("modes/none", 0o000, "none\n");
    mode("modes/sticky", 0o1777);
    for name in ["a.txt", "b.txt", "ab.md", "c1.log", "c2.log"] {
        write(&format!("many/{name}"), 0o644, name);
    }
    write("many/x/a.txt", 0o644, "x/a\n");
    write("many/x/y/a.txt", 0o644, "x/y/a\n");
    // What the heredoc cases write, for the builder that knows no heredocs.
    write("heredoc/plain", 0o644, "line one\n\n  line three\n");
    write("heredoc/variables", 0o644, "v is value set $v\n");
    write("heredoc/quoted", 0o644, "v is $v ${v} \\$v\n");
    write("heredoc/tabs", 0o644, "tab\ntwo\n  blanks\n");
    write("heredoc/first", 0o644, "1\n");
    write("heredoc/second", 0o644, "2\n");
    write("heredoc/run", 0o644, "#!/bin/sh\n");

    // An archive with owners, modes and times of its own.
    write("pack/top", 0o644, "top\n");
    write("pack/dir/inner", 0o600, "inner\n");
    symlink("inner", at.join("pack/dir/link")).expect("a link");
    fs::hard_link(at.join("pack/top"), at.join("pack/dir/same")).expect("a hard link");
    mode("pack/dir", 0o750);
    let text = |path: &str| at.join(path).to_string_lossy().into_owned();
    tools::run("chown", ["-R", "--no-dereference", "33:44", &text("pack")]);
    tools::run("find", [text("pack").as_str(), "-exec", "touch", "-h", "-d", "@1111111111", "{}", "+"]);
    let pack = |name: &str, how: &str| {
        tools::run("tar", [how, &text(name), "--sort=name", "-C", &text("pack"), "top", "dir"]);
    };
    pack("pack.tar", "-cf");
    pack("pack.tar.gz", "-czf");
    pack("pack.tar.bz2", "-cjf");
    pack("pack.tar.xz", "-cJf");
    fs::copy(at.join("pack.tar.gz"), at.join("misnamed.bin")).expect("a copy");
    write("fake.tar.gz", 0o644, "not an archive\n");
    tools::run("gzip", ["--keep", "--no-name", &text("one")]);
    fs::remove_dir_all(at.join("pack")).expect("the archive is made");
    // Directories last: making an entry changes them.
    tools::run("find", [text(".").as_str(), "-depth", "-exec", "touch", "-h", "-d", &format!("@{TIME}"), "{}", "+"]);
}
