//! What others wrote, on a terminal: nothing that came from an image, a label, a file name or an error is obeyed.

use crate::support::Sandbox;

/// A title is set, the screen is cleared, colours change, the line is overwritten.
const ESCAPES: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m\rgone\u{9b}31m\u{202e}";

#[track_caller]
fn clean(text: &str, what: &str) {
    for bad in ['\u{1b}', '\u{7}', '\r', '\u{9b}', '\u{202e}'] {
        assert!(!text.contains(bad), "{what} lets {bad:?} through:\n{text:?}");
    }
}

#[test]
fn no_escape_sequence_of_an_image_reaches_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "context/Buildfile",
        format!("FROM busybox\nLABEL title=\"{ESCAPES}\"\nENV X=\"{ESCAPES}\"\nCMD [\"echo\", \"{ESCAPES}\"]\n"),
    );
    let built = sandbox.img(&["build", "-t", "hostile", &sandbox.text("context")]);
    clean(&built.stderr(), "build");
    built.ok();
    let label = format!("note={ESCAPES}");
    let id = sandbox.ok(&["run", "-d", "--network", "none", "--label", &label, "hostile", "sleep", "1000"]);
    let name = format!("x{ESCAPES}");
    let file = format!("/tmp/{ESCAPES}");
    sandbox.ok(&["exec", &id, "touch", &file]);
    let wide = "{{.Names}} {{.Command}} {{.Labels}}";
    let commands: &[&[&str]] = &[
        &["ps", "-a", "--no-trunc"],
        &["ps", "-a", "--no-trunc", "--format", wide],
        &["images", "--no-trunc"],
        &["history", "--no-trunc", "hostile"],
        &["inspect", "hostile"],
        &["inspect", &id],
        &["diff", &id],
        &["run", "--rm", "--network", "none", "--name", &name, "busybox", "true"],
        &["run", "--rm", "--network", "none", "busybox", &name],
        &["run", "--rm", "--network", "none", &name],
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "--explain-denied",
            "--read-only",
            "busybox",
            "sh",
            "-c",
            "(: > \"$0\") 2>/dev/null",
            &file,
        ],
        &["exec", &id, &name],
        &["exec", &id, &file],
        &["pull", &name],
        &["rm", &name],
        &["logs", &name],
        &["cp", &format!("{id}:{file}x"), "."],
        &["blame", "hostile", &file],
        &["volume", "create", &name],
        &["inspect", &name],
        &[&name],
    ];
    for words in commands {
        let out = sandbox.img(words);
        clean(&out.stderr(), &format!("{:?} on standard error", words[0]));
        clean(&out.stdout(), &format!("{:?} on standard output", words[0]));
    }
    sandbox.ok(&["rm", "-f", &id]);
}
