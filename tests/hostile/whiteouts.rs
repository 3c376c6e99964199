//! Whiteouts in every odd form. They hide what lies below and nothing else: not what the layer itself has, and nothing
//! that a link leads to (OCI image spec, layer.md).

use crate::case::{Case, refused, taken};
use crate::tar::{Head, Tar};

/// The rows.
pub fn cases(canary: &str) -> Vec<Case> {
    let tar = Tar::new;
    let one = |name: &str| tar().file(name, "").end();
    let plain = "a whiteout hides one plain name";
    vec![
        refused("nothing", plain, one("base/.wh."), &["is a whiteout of no plain name"]),
        refused("dot", plain, one("base/.wh.."), &["is a whiteout of no plain name"]),
        refused("dotdot", plain, one("base/.wh..."), &["is a whiteout of no plain name"]),
        refused("root-dotdot", "nor does one in the root lead up", one(".wh..."), &["is a whiteout of no plain name"]),
        refused("inside", "nothing lies in a whiteout", one(".wh.base/file"), &["lies in a whiteout"]),
        refused("deep-inside", "nor further below one", one(".wh.base/a/b/.wh.c"), &["lies in a whiteout"]),
        refused(
            "through-own-link",
            "a whiteout never leads through a link of its layer",
            tar().symlink("d", canary).file("d/.wh.victim", "").end(),
            &["/d: is no directory"],
        ),
        refused(
            "opaque-through-own-link",
            "nor does an opaque mark",
            tar().symlink("d", canary).file("d/.wh..wh..opq", "").end(),
            &["/d: is no directory"],
        ),
        taken(
            "through-link-below",
            "a whiteout through a lower layer's link hides nothing behind it",
            one("out/.wh.victim"),
            &["d 755 0:0 0 out", "!out/victim"],
        ),
        taken(
            "opaque-through-link-below",
            "an opaque mark through a lower layer's link makes a directory",
            one("up/.wh..wh..opq"),
            &["d 755 0:0 0 up"],
        ),
        taken("missing", "what is not there may be hidden", one("no/such/.wh.thing"), &["f 644 0:0 5 base/file"]),
        taken("directory", "a whiteout hides a directory with all in it", one(".wh.base"), &["!base", "!base/file"]),
        taken(
            "opaque",
            "an opaque mark hides all that lies below in a directory",
            tar().file("base/.wh..wh..opq", "").file("base/new", "").end(),
            &["f 644 0:0 0 base/new", "!base/file", "!base/sub"],
        ),
        taken(
            "opaque-late",
            "wherever in the layer the mark comes",
            tar().file("base/new", "").file("base/.wh..wh..opq", "").end(),
            &["f 644 0:0 0 base/new", "!base/file"],
        ),
        taken("opaque-root", "the root may be opaque", one(".wh..wh..opq"), &["!base", "!etc/passwd", "!out"]),
        refused(
            "opaque-on-file",
            "only a directory is opaque",
            tar().file("f", "").file("f/.wh..wh..opq", "").end(),
            &["/f: is no directory"],
        ),
        taken(
            "aufs",
            "the bookkeeping of AUFS is nobody's file",
            tar().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "").file(".wh..wh.aufs", "").file(".wh..wh.", "").end(),
            &["!.wh..wh.plnk", "!.wh..wh.aufs", "f 644 0:0 5 base/file"],
        ),
        taken(
            "opaque-as-directory",
            "nor is what lies in a directory that is called like the opaque mark",
            tar().dir("base/.wh..wh..opq").file("base/.wh..wh..opq/x", "").end(),
            &["!base/x", "!base/.wh..wh..opq/x", "!base/file"],
        ),
        taken(
            "own-file",
            "a whiteout does not hide what its own layer has",
            tar().file("base/.wh.file", "").file("base/file", "new").end(),
            &["f 644 0:0 3 base/file"],
        ),
        taken(
            "own-file-first",
            "in whichever order they come",
            tar().file("base/file", "new").file("base/.wh.file", "").end(),
            &["f 644 0:0 3 base/file"],
        ),
        taken(
            "own-directory",
            "beside a directory of its layer it hides what lies below in there",
            tar().dir("base").file(".wh.base", "").file("base/new", "").end(),
            &["f 644 0:0 0 base/new", "!base/file"],
        ),
        taken(
            "of-any-type",
            "the type of the member that is a whiteout says nothing",
            tar().symlink("base/.wh.file", canary).dir("base/.wh.sub").put(Head::new(b'6', "etc/.wh.passwd"), "").end(),
            &["!base/file", "!base/sub", "!etc/passwd"],
        ),
        taken("with-data", "nor do its data", tar().file("base/.wh.file", "data").end(), &["!base/file"]),
        taken(
            "hard-link",
            "nor a hard link's target",
            tar().hard("base/.wh.file", "etc/passwd").end(),
            &["!base/file"],
        ),
        refused(
            "target-of-link",
            "a whiteout is no file to link to",
            tar().file(".wh.x", "").hard("h", ".wh.x").end(),
            &["/h"],
        ),
        taken(
            "long",
            "a name of 255 bytes can be hidden",
            tar().long(b'L', format!(".wh.{}", "n".repeat(255))).file("x", "").end(),
            &["f 644 0:0 5 base/file"],
        ),
        refused(
            "too-long",
            "a longer one is no name",
            tar().long(b'L', format!(".wh.{}", "n".repeat(256))).file("x", "").end(),
            &["longer than 255 bytes"],
        ),
        taken(
            "like-one",
            "only `.wh.` at the beginning marks",
            one("x.wh.base"),
            &["f 644 0:0 0 x.wh.base", "f 644 0:0 5 base/file"],
        ),
    ]
}
