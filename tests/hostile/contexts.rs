//! Build contexts and Buildfiles that reach for the host: through links, through archives that ADD unpacks, through what
//! a stage made of its own root, through ids and names. A build sees its context, its stages and its store.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::case::{Case, Input, Outcome};
use crate::tar::{Head, Tar};

type Make = Box<dyn Fn(&Path)>;

/// A row: the Buildfile, and what else is made in the context before.
fn row(name: &str, rule: &'static str, buildfile: String, make: Make, outcome: Outcome) -> Case {
    let make = move |at: &Path| {
        std::fs::write(at.join("one"), "1\n").unwrap();
        make(at);
        if !buildfile.is_empty() {
            std::fs::write(at.join("Buildfile"), &buildfile).unwrap();
        }
    };
    Case { name: name.to_owned(), rule, input: Input::Context(Box::new(make), &[]), outcome }
}

fn nothing() -> Make {
    Box::new(|_| ())
}

fn link(name: &'static str, target: &str) -> Make {
    let target = target.to_owned();
    Box::new(move |at| symlink(&target, at.join(name)).unwrap())
}

fn file(name: &'static str, bytes: Vec<u8>) -> Make {
    Box::new(move |at| std::fs::write(at.join(name), &bytes).unwrap())
}

fn fifo(name: &'static str) -> Make {
    Box::new(move |at| {
        rustix::fs::mknodat(rustix::fs::CWD, at.join(name), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    })
}

/// The rows.
pub fn cases(canary: &str) -> Vec<Case> {
    let victim = format!("{canary}/victim");
    let relative = canary.trim_start_matches('/');
    let no = |name: &str, rule, buildfile: &str, make, words| {
        row(name, rule, format!("FROM scratch\n{buildfile}\n"), make, Outcome::Refused(words))
    };
    let yes = |name: &str, rule, buildfile: &str, make, tree: &[&str]| {
        let tree = tree.iter().map(|line| (*line).to_owned()).collect();
        row(name, rule, format!("FROM scratch\n{buildfile}\n"), make, Outcome::Taken(tree))
    };
    let bare = |name: &str, rule, make, words| row(name, rule, String::new(), make, Outcome::Refused(words));
    let mut cases = vec![
        no("copy-up", "a source does not lead out of the context", "COPY ../canary/victim /x", nothing(), &["victim"]),
        no(
            "copy-absolute",
            "an absolute source begins at the context",
            &format!("COPY {victim} /x"),
            nothing(),
            &["victim"],
        ),
        no("copy-link", "a link in the context is resolved in the context", "COPY l /x", link("l", &victim), &["l"]),
        no("copy-through-link", "also on the way to a source", "COPY l/victim /x", link("l", canary), &["victim"]),
        no("copy-link-up", "also a relative one", "COPY l /x", link("l", "../canary/victim"), &["l"]),
        no("copy-circle", "links in a circle end", "COPY l /x", link("l", "l"), &["l"]),
        yes(
            "copy-tree-link",
            "a link in a directory that is copied stays a link",
            "COPY . /",
            link("l", &victim),
            &[&format!("…l -> {victim}")],
        ),
        yes(
            "copy-into-link",
            "a destination's link is resolved in the image",
            "COPY l /d\nCOPY one /d/x",
            {
                let c = canary.to_owned();
                Box::new(move |at| {
                    std::fs::create_dir(at.join("l")).unwrap();
                    symlink(&c, at.join("l/out")).unwrap();
                })
            },
            &["f 644 0:0 2 d/x"],
        ),
        yes(
            "copy-through-image-link",
            "also on the way, from the image's root",
            "COPY tree /\nCOPY one /out/planted",
            {
                let c = canary.to_owned();
                Box::new(move |at| {
                    std::fs::create_dir(at.join("tree")).unwrap();
                    symlink(&c, at.join("tree/out")).unwrap();
                })
            },
            &[&format!("f 644 0:0 2 {relative}/planted")],
        ),
        yes(
            "copy-to-up",
            "a destination with `..` stops at the image's root",
            "COPY one ../../../../x",
            nothing(),
            &["f 644 0:0 2 x"],
        ),
        yes(
            "workdir-up",
            "so does a working directory",
            "WORKDIR ../../../w/../v\nCOPY one x",
            nothing(),
            &["f 644 0:0 2 v/x"],
        ),
        yes(
            "workdir-link",
            "and one through a link",
            "COPY tree /\nWORKDIR /out/made\nCOPY one x",
            {
                let c = canary.to_owned();
                Box::new(move |at| {
                    std::fs::create_dir(at.join("tree")).unwrap();
                    symlink(&c, at.join("tree/out")).unwrap();
                })
            },
            &[&format!("f 644 0:0 2 {relative}/made/x")],
        ),
        yes(
            "from-root-link",
            "a stage's link to the root is that stage's root",
            "COPY tree /\nFROM scratch\nCOPY --from=0 /r/mark /got",
            Box::new(|at| {
                std::fs::create_dir(at.join("tree")).unwrap();
                std::fs::write(at.join("tree/mark"), "m").unwrap();
                symlink("/", at.join("tree/r")).unwrap();
            }),
            &["f 644 0:0 1 got"],
        ),
        no(
            "from-link-out",
            "a stage's link to the host finds nothing",
            "COPY tree /\nFROM scratch\nCOPY --from=0 /out/victim /got",
            {
                let c = canary.to_owned();
                Box::new(move |at| {
                    std::fs::create_dir(at.join("tree")).unwrap();
                    symlink(&c, at.join("tree/out")).unwrap();
                })
            },
            &["victim"],
        ),
        no(
            "from-up",
            "a source in a stage stops at its root",
            "FROM scratch\nCOPY --from=0 ../../../../etc/passwd /x",
            nothing(),
            &["passwd"],
        ),
        yes("wildcard-up", "a pattern does not lead out", "COPY ../*/victim /x/", nothing(), &["!x/victim"]),
        yes("wildcard-link", "nor through a link", "COPY */victim /x/", link("l", canary), &["!x/victim"]),
        yes(
            "copy-fifo",
            "a pipe in the context is copied and not waited at",
            "COPY p /x",
            fifo("p"),
            &["p 600 0:0 0 x"],
        ),
        no("heredoc-up", "a heredoc's name is a name", "COPY <<../x /d/\nhello\n../x", nothing(), &["Buildfile:2"]),
        no("add-file-url", "ADD fetches over http and https only", "ADD file:///etc/passwd /x", nothing(), &["file:"]),
        no(
            "add-git-ext",
            "and by no helper that a URL names",
            "ADD git::ext::sh%20-c%20touch%20x.git /x",
            nothing(),
            &["git"],
        ),
        no(
            "add-git-upload-pack",
            "an option is no URL",
            "ADD --upload-pack=touch.git /x",
            nothing(),
            &["--upload-pack"],
        ),
        no(
            "cache-up",
            "a cache's id is no path",
            "RUN --mount=type=cache,id=../../..,target=/c true",
            nothing(),
            &["cannot be an id"],
        ),
        no(
            "bind-out",
            "a bind mount's source is in the context",
            "RUN --mount=type=bind,source=../canary,target=/m true",
            nothing(),
            &["canary"],
        ),
        no(
            "bind-link-out",
            "and a link to it is resolved there",
            "RUN --mount=type=bind,source=l,target=/m true",
            link("l", canary),
            &["l"],
        ),
        no(
            "secret-not-given",
            "a secret is what the command line gives",
            "RUN --mount=type=secret,id=x,required=true true",
            nothing(),
            &["x"],
        ),
        no(
            "privileged",
            "a Buildfile gives itself no privileges",
            "RUN --security=insecure true",
            nothing(),
            &["security"],
        ),
        no("nul", "a Buildfile is text", "COPY one /\0x", nothing(), &["NUL"]),
        no(
            "escape-in-error",
            "what a Buildfile says never reaches the terminal raw",
            "COPY \x1b]0;owned\x07\x1b[2J /x",
            nothing(),
            &["Buildfile:2"],
        ),
        no(
            "expansion",
            "a variable that doubles each time has an end",
            &format!(
                "ENV a0=xxxxxxxxxxxxxxxx\n{}",
                (1..60).map(|n| format!("ENV a{n}=${{a{0}}}${{a{0}}}\n", n - 1)).collect::<String>()
            ),
            nothing(),
            &["Buildfile"],
        ),
        no(
            "continuations",
            "a line of many lines has an end",
            &format!("LABEL a={}", "x\\\n".repeat(2_000_000)),
            nothing(),
            &["Buildfile"],
        ),
        bare(
            "buildfile-link-out",
            "a Buildfile that is a link stays in the context",
            link("Buildfile", &victim),
            &["Buildfile"],
        ),
        bare("buildfile-fifo", "a Buildfile is no pipe to wait at", fifo("Buildfile"), &["Buildfile"]),
        bare(
            "buildfile-directory",
            "and no directory",
            Box::new(|at| std::fs::create_dir(at.join("Buildfile")).unwrap()),
            &["Buildfile"],
        ),
        bare(
            "buildfile-bytes",
            "and UTF-8",
            file("Buildfile", b"FROM scratch\nLABEL a=\xff\xfe\n".to_vec()),
            &["UTF-8"],
        ),
        bare("buildfile-empty", "and not empty", file("Buildfile", vec![]), &["Buildfile"]),
        bare(
            "buildfile-binary",
            "and no program",
            file("Buildfile", [&b"\x7fELF\x02\x01\x01"[..], &[0; 400]].concat()),
            &["Buildfile"],
        ),
        no(
            "ignore-link-out",
            "an ignore file that is a link stays in the context",
            "COPY one /",
            link(".dockerignore", &victim),
            &[".dockerignore"],
        ),
        no("ignore-fifo", "and is no pipe to wait at", "COPY one /", fifo(".dockerignore"), &[".dockerignore"]),
        no(
            "ignore-large",
            "and of bounded size",
            "COPY one /",
            file(".dockerignore", b"*.x\n".repeat(1 << 20)),
            &[".dockerignore"],
        ),
        yes(
            "ignore-stars",
            "patterns take time in proportion",
            "COPY . /",
            Box::new(|at| {
                std::fs::write(at.join(".dockerignore"), format!("{}x\n", "**/".repeat(2000))).unwrap();
                std::fs::create_dir_all(at.join(vec!["a"; 200].join("/"))).unwrap();
            }),
            &["f 644 0:0 2 one"],
        ),
        yes(
            "ignore-up",
            "patterns that lead up match nothing",
            "COPY . /",
            file(".dockerignore", b"../**\nd/../../one\n".to_vec()),
            &["f 644 0:0 2 one"],
        ),
        no(
            "ignored",
            "what is ignored is not there, however it is spelled",
            "COPY ./d/../secret /x",
            Box::new(|at| {
                std::fs::write(at.join("secret"), "s").unwrap();
                std::fs::create_dir(at.join("d")).unwrap();
                std::fs::write(at.join(".dockerignore"), "secret\n").unwrap();
            }),
            &["secret"],
        ),
        no(
            "ignored-by-link",
            "nor by way of a link",
            "COPY l /x",
            Box::new(|at| {
                std::fs::write(at.join("secret"), "s").unwrap();
                symlink("secret", at.join("l")).unwrap();
                std::fs::write(at.join(".dockerignore"), "secret\n").unwrap();
            }),
            &["l"],
        ),
        yes(
            "name-newline",
            "a file name is bytes",
            "COPY . /",
            file("a\nb\x1b[2J", b"x".to_vec()),
            &["f 644 0:0 1 a\\nb\\x1b[2J"],
        ),
        yes(
            "whiteout-name",
            "a file that is called like a whiteout is refused or hides nothing",
            "COPY one /base\nCOPY d /",
            Box::new(|at| {
                std::fs::create_dir(at.join("d")).unwrap();
                std::fs::write(at.join("d/plain"), "p").unwrap();
            }),
            &["f 644 0:0 2 base"],
        ),
        no(
            "whiteout-in-context",
            "a file that is called like a whiteout cannot be in an image",
            "COPY one /base\nCOPY .wh.base /",
            file(".wh.base", vec![]),
            &[".wh.base"],
        ),
    ];
    cases.extend(archives(canary));
    cases
}

/// Archives that ADD unpacks: the reader of layers reads them.
fn archives(canary: &str) -> Vec<Case> {
    let add = |name: &str, rule, tar: Vec<u8>, outcome| {
        row(&format!("add-{name}"), rule, "FROM scratch\nADD a.tar /d/\n".to_owned(), file("a.tar", tar), outcome)
    };
    let no = |name: &str, rule, tar: Vec<u8>, words| add(name, rule, tar, Outcome::Refused(words));
    let yes = |name: &str, rule, tar: Vec<u8>, tree: &[&str]| {
        add(name, rule, tar, Outcome::Taken(tree.iter().map(|line| (*line).to_owned()).collect()))
    };
    let tar = || Tar::new().file("first", "1");
    let relative = canary.trim_start_matches('/');
    vec![
        yes("plain", "ADD unpacks a tar", tar().end(), &["f 644 0:0 1 d/first"]),
        no("up", "a member of an added archive stays below the destination", tar().file("../x", "x").end(), &["`..`"]),
        yes("absolute", "also an absolute one", tar().file("/x", "x").end(), &["f 644 0:0 1 d/x", "!x"]),
        no(
            "link-then-write",
            "no member leads through a link of its archive",
            tar().symlink("l", canary).file("l/planted", "x").end(),
            &["is no directory"],
        ),
        no(
            "hard-link",
            "a hard link leads to a member",
            tar().long(b'K', format!("{canary}/victim")).hard("h", "x").end(),
            &["h"],
        ),
        yes(
            "device",
            "a node of a disk opens nothing",
            tar().put(Head::new(b'4', "sda").set(crate::tar::MAJOR, "0000010"), "").end(),
            &["b 644 0:0 0 d/sda"],
        ),
        yes(
            "whiteout",
            "a whiteout in an added archive hides nothing of the image",
            tar().file(".wh.first", "").end(),
            &["f 644 0:0 1 d/first"],
        ),
        no(
            "cut",
            "an added archive that is cut is refused",
            tar().put(Head::new(b'0', "x").size(5000), "x").0,
            &["cut short"],
        ),
        no("pax", "and one with malformed PAX", tar().pax_raw("99 path=a\n").file("x", "x").end(), &["PAX header"]),
        no(
            "size",
            "and one with sizes that disagree",
            tar().put(Head::new(b'5', "d").size(512), [b'x'; 512]).end(),
            &["data behind"],
        ),
        yes(
            "canary-name",
            "the host's names mean nothing in an archive",
            tar().long(b'L', format!("{canary}/victim")).file("x", "x").end(),
            &[&format!("f 644 0:0 1 d/{relative}/victim")],
        ),
    ]
}
