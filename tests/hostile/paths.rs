//! Layers whose names and links aim at what lies outside of the tree, or at one another: a layer's tree is made from the
//! root down, name by name, and no link on the way is ever followed.

use crate::case::{Case, refused, taken};
use crate::tar::{Head, PREFIX, Tar};

const UP: &str = "../../../../../../../../../..";

/// The rows; `canary` is the absolute path of what must not be touched.
pub fn cases(canary: &str) -> Vec<Case> {
    let tar = Tar::new;
    let planted = |name: &str| tar().file(name, "planted\n").end();
    let relative = canary.trim_start_matches('/');
    let deep = vec!["d"; 1500].join("/");
    let up = format!("{UP}{canary}/victim");
    let mut cases = names(canary);
    cases.extend([
        refused("name-up", "a name with `..` refuses the layer", planted(&format!("{UP}/planted")), &["contains `..`"]),
        refused(
            "name-up-inside",
            "`..` is refused even where it stays inside",
            planted("a/b/../c"),
            &["contains `..`"],
        ),
        refused(
            "name-up-in-prefix",
            "the prefix field is part of the name",
            tar().sized(Head::new(b'0', "planted").set(PREFIX, UP), "x").end(),
            &["contains `..`"],
        ),
        refused(
            "name-up-in-pax",
            "a PAX path is held to the rules of names",
            tar().pax(&[("path", up.as_bytes())]).file("innocent", "x").end(),
            &["contains `..`"],
        ),
        refused(
            "name-up-in-long-name",
            "a GNU long name is held to the rules of names",
            tar().long(b'L', &up).file("innocent", "x").end(),
            &["contains `..`"],
        ),
        taken(
            "name-absolute",
            "an absolute name begins at the root of the layer",
            tar().long(b'L', format!("{canary}/planted")).file("x", "planted\n").end(),
            &[&format!("f 644 0:0 8 {relative}/planted"), "!planted"],
        ),
        refused(
            "link-then-write",
            "a name never leads through a link of its own layer",
            tar().symlink("d", canary).file("d/planted", "x").end(),
            &["/d: is no directory"],
        ),
        taken(
            "link-below-then-write",
            "a link of a lower layer is replaced by the directory that a name needs",
            planted("out/planted"),
            &["d 755 0:0 0 out", "f 644 0:0 8 out/planted"],
        ),
        taken(
            "link-up-below-then-write",
            "a relative link of a lower layer is replaced as well",
            planted("up/inside/file"),
            &["d 755 0:0 0 up/inside", "f 644 0:0 8 up/inside/file"],
        ),
        taken(
            "dot-link-below",
            "a link to `.` of a lower layer is no second name of the root",
            planted("dot/etc/passwd"),
            &["f 644 0:0 8 dot/etc/passwd", "f 644 0:0 22 etc/passwd"],
        ),
        refused("root-link", "the root cannot be a link", tar().symlink(".", canary).end(), &["root"]),
        refused("root-link-slash", "nor by another spelling", tar().symlink("./", canary).end(), &["root"]),
        refused("root-file", "the root cannot be a file", tar().file(".", "x").end(), &["root"]),
        refused("root-hard-link", "the root cannot be a hard link", tar().hard(".", "base/file").end(), &["root"]),
        refused("hard-up", "a hard link's target is held to the rules of names", tar().hard("h", &up).end(), &["`..`"]),
        refused(
            "hard-up-long",
            "so is a GNU long target",
            tar().long(b'K', &up).hard("h", "x").end(),
            &["contains `..`"],
        ),
        refused(
            "hard-absolute",
            "an absolute target begins at the root of the layer",
            tar().pax(&[("linkpath", format!("{canary}/victim").as_bytes())]).hard("h", "x").end(),
            &["which no layer has"],
        ),
        refused(
            "hard-through-link",
            "a hard link's target never leads through a link",
            tar().hard("h", "out/victim").end(),
            &["which no layer has"],
        ),
        refused(
            "hard-missing",
            "a hard link needs its target",
            tar().hard("h", "nothing").end(),
            &["which no layer has"],
        ),
        refused(
            "hard-directory",
            "no hard links to directories",
            tar().dir("d").hard("h", "d").end(),
            &["hard link to a directory"],
        ),
        refused(
            "hard-directory-below",
            "nor to those of lower layers",
            tar().hard("h", "base").end(),
            &["which is a directory"],
        ),
        refused("hard-self", "a hard link to itself is a ring", tar().hard("h", "h").end(), &["h"]),
        refused("hard-ring", "a ring of hard links is refused", tar().hard("a", "b").hard("b", "a").end(), &["ring"]),
        taken(
            "hard-to-link",
            "a hard link to a symbolic link is the link, not what it points to",
            tar().hard("h", "out").end(),
            &[&format!("…-> {canary}"), "f 644 0:0 5 base/file"],
        ),
        taken(
            "hard-then-write",
            "writing over a second name leaves the first as it was",
            tar().file("a", "one\n").hard("b", "a").file("b", "second\n").end(),
            &["f 644 0:0 4 a", "f 644 0:0 7 b"],
        ),
        taken(
            "hard-to-link-then-write",
            "writing over a hard link to a symbolic link follows nothing",
            tar().symlink("s", &up).hard("h", "s").file("h", "x").end(),
            &["f 644 0:0 1 h"],
        ),
        taken(
            "link-to-directory-then-write",
            "a link that becomes a directory of the layer is one",
            tar().symlink("d", canary).dir("d").file("d/planted", "x").end(),
            &["d 755 0:0 0 d", "f 644 0:0 1 d/planted"],
        ),
        refused(
            "directory-to-link-then-write",
            "a directory that becomes a link of the layer is none any more",
            tar().dir("d").symlink("d", canary).file("d/planted", "x").end(),
            &["/d: is no directory"],
        ),
        taken(
            "directory-to-file",
            "a file in a directory's place takes all that was in it",
            tar().file("d/x", "x").file("d", "file").end(),
            &["f 644 0:0 4 d", "!d/x"],
        ),
        taken(
            "directory-below-to-file",
            "so it does with a lower layer's directory",
            tar().file("base", "file").end(),
            &["f 644 0:0 4 base", "!base/file", "!base/sub/deep"],
        ),
        taken(
            "file-below-to-directory",
            "a directory in the place of a lower layer's file is empty",
            tar().dir("base/file").file("base/file/x", "x").end(),
            &["d 755 0:0 0 base/file", "f 644 0:0 1 base/file/x"],
        ),
        refused(
            "file-then-below-it",
            "nothing lies in a file",
            tar().file("f", "x").file("f/x", "x").end(),
            &["/f: is no directory"],
        ),
        taken(
            "twice",
            "of two members of one name the later counts",
            tar().file("x", "one").file("x", "second").end(),
            &["f 644 0:0 6 x"],
        ),
        taken(
            "twice-by-spelling",
            "two spellings of a name are one name",
            tar().file("d/x", "one").file(".//d/./x", "second").end(),
            &["f 644 0:0 6 d/x"],
        ),
        taken(
            "proc-magic",
            "names of procfs are ordinary names in a layer",
            planted("proc/self/root/planted"),
            &["f 644 0:0 8 proc/self/root/planted"],
        ),
        taken(
            "deep",
            "a deep tree needs no deep stack",
            tar().long(b'L', format!("{deep}/x")).file("x", "x").end(),
            &[&format!("f 644 0:0 1 {deep}/x")],
        ),
    ]);
    cases
}

/// Names that are hard to write down.
fn names(canary: &str) -> Vec<Case> {
    let tar = Tar::new;
    let name = |length: usize| tar().long(b'L', "n".repeat(length)).file("x", "x").end();
    let path = |length: usize| tar().long(b'L', format!("{}x", "a/".repeat(length / 2))).file("x", "x").end();
    let link = |target: &[u8]| tar().pax(&[("linkpath", target)]).symlink("s", "x").end();
    vec![
        refused("name-empty", "a member needs a name", tar().file("", "x").end(), &["without a path"]),
        refused("name-slashes", "a file's name does not end with a slash", tar().file("///", "x").end(), &["slash"]),
        taken(
            "root-by-slashes",
            "a directory of slashes is the root",
            tar().dir("///").file("x", "").end(),
            &["f 644 0:0 0 x"],
        ),
        refused(
            "name-nul",
            "no name has a NUL",
            tar().pax(&[("path", b"a\0b")]).file("x", "x").end(),
            &["a path with NUL"],
        ),
        taken(
            "name-nul-in-field",
            "a name field ends at its first NUL",
            tar().file("a\0/../../b", "x").end(),
            &["f 644 0:0 1 a"],
        ),
        taken("name-newline", "a line break may be in a name", tar().file("a\nb", "x").end(), &["f 644 0:0 1 a\\nb"]),
        refused(
            "name-escape-in-error",
            "what a name says never reaches the terminal raw",
            tar().hard("\x1b]0;owned\x07\x1b[2J\nerror: all is well", "nothing").end(),
            &["which no layer has"],
        ),
        refused(
            "target-escape-in-error",
            "nor what a target says",
            tar().hard("h", "\x1b[2J\r\u{9b}31m").end(),
            &["which no layer has"],
        ),
        taken(
            "name-bytes",
            "names need not be UTF-8",
            tar().file(b"\xff\xfe\xc3", "x").end(),
            &["f 644 0:0 1 \\xff\\xfe\\xc3"],
        ),
        taken("name-255", "a name may have 255 bytes", name(255), &[&format!("f 644 0:0 1 {}", "n".repeat(255))]),
        refused("name-256", "and no more", name(256), &["longer than 255 bytes"]),
        refused("path-4097", "a path may have 4096 bytes and no more", path(4098), &["longer than 4096 bytes"]),
        refused("target-4096", "a link's text may have 4095 bytes and no more", link(&[b't'; 4096]), &["/s"]),
        refused("target-nul", "a link's text has no NUL", link(b"a\0b"), &["NUL"]),
        refused("target-empty", "a link's text is not empty", tar().symlink("s", "").end(), &["/s"]),
        taken(
            "target-anything",
            "a link's text may be anything else: it means nothing on the host",
            link(format!("{canary}/../\n\x1b[31m").as_bytes()),
            &["…\\n\\x1b[31m"],
        ),
        taken(
            "name-backslash",
            "only `/` separates names",
            tar().file("..\\..\\x", "x").end(),
            &["f 644 0:0 1 ..\\\\..\\\\x"],
        ),
        taken("name-dots", "three dots are a name", tar().file(".../x", "x").end(), &["f 644 0:0 1 .../x"]),
    ]
}
