//! `# img:assert` comments: a broken one ends the build with code 3, names the line that broke it and by how much, and
//! leaves no image; other builders do not see them.

use crate::support::{Out, Sandbox, skip, tools};

fn build(sandbox: &Sandbox, text: &str) -> Out {
    sandbox.build("context", "app", text)
}

fn broken(sandbox: &Sandbox, text: &str, words: &[&str]) {
    let out = build(sandbox, text);
    out.refuses(3, words);
    assert_eq!(sandbox.ok(&["images", "-q", "--filter", "reference=app"]), "", "no image came of it: {out}");
}

#[test]
fn each_is_broken_once() {
    let sandbox = Sandbox::new();
    broken(
        &sandbox,
        "FROM scratch\n# img:assert size<=1MB\nCOPY Buildfile /\nFROM busybox\n# img:assert size<=5MB\nRUN head -c 3000000 /dev/zero > /a\nRUN head -c 4000000 /dev/zero > /b\n",
        &[
            "Buildfile:5:1: size<=5MB is broken",
            "too much",
            "Buildfile:7 RUN head -c 4000000 /dev/zero > /b broke it with 4.0MB",
            "5 | # img:assert size<=5MB",
        ],
    );
    broken(
        &sandbox,
        "FROM busybox\n# img:assert layers<=2\nRUN touch /a\nRUN touch /b\nRUN touch /c\n",
        &["layers<=2 is broken: the image has 4 layers, 2 too many", "Buildfile:4 RUN touch /b broke it"],
    );
    broken(
        &sandbox,
        "# img:assert no-path /root/.npmrc\nFROM busybox\nRUN mkdir -p /root && echo x > /root/.npmrc\n",
        &[
            "Buildfile:1:1: no-path /root/.npmrc is broken",
            "Buildfile:3 RUN mkdir -p /root && echo x > /root/.npmrc wrote it",
        ],
    );
    broken(
        &sandbox,
        "# img:assert no-path /root/.npmrc\nFROM busybox\nRUN mkdir -p /root && echo x > /root/.npmrc\nRUN rm /root/.npmrc\n",
        &["is hidden in a layer, not gone", "Buildfile:3"],
    );
    broken(&sandbox, "FROM busybox\n# img:assert user!=root\nRUN true\n", &["no USER says otherwise"]);
    broken(
        &sandbox,
        "FROM busybox\n# img:assert user!=root\nUSER 0:5\n",
        &["the image runs as 0, by Buildfile:3 USER 0:5"],
    );
    broken(
        &sandbox,
        "FROM busybox\n# img:assert no-setuid\nRUN cp /bin/busybox /su && chmod 4755 /su\n",
        &["no-setuid is broken: /su (mode 4755, written by Buildfile:3 RUN cp"],
    );
    broken(
        &sandbox,
        "FROM busybox\n# img:assert runs: cat /nothing\nRUN true\n",
        &["the command exited with code 1: cat: can't open '/nothing'"],
    );
}

#[test]
fn all_that_are_broken_are_told_and_those_of_other_stages_are_not_asked() {
    let sandbox = Sandbox::new();
    let text = "FROM busybox AS one\n# img:assert layers<=0\nRUN true\nFROM busybox\n# img:assert user!=root\n# img:assert size<=1\nRUN touch /x\n";
    let out = build(&sandbox, text);
    out.refuses(3, &["user!=root is broken", "size<=1 is broken", "the base image broke it"]);
    assert!(!out.stderr().contains("layers<=0"), "{out}");
    sandbox.img(&["build", "--target", "one", &sandbox.text("context")]).refuses(3, &["layers<=0 is broken"]);
}

#[test]
fn kept_ones_cost_nothing_to_see() {
    let sandbox = Sandbox::new();
    let text = "# img:assert size < 1GiB\nFROM busybox\n# img:assert no-path /root/.npmrc\n# img:assert user!=root\n# img:assert layers<=9\n# img:assert runs: test $(id -u) = 33 && echo x > /tmp/x\n# img:assert runs: [\"/bin/cat\", \"/etc/passwd\"]\nRUN touch /x\nUSER 33\n";
    build(&sandbox, text).ok();
    // What a `runs:` command writes is in no layer.
    assert_eq!(sandbox.img(&["run", "--rm", "--network", "none", "app", "cat", "/tmp/x"]).code(), 1);
    let heredoc = "FROM busybox\nRUN <<EOT\n# img:assert layers<=0\ntrue\nEOT\n";
    build(&sandbox, heredoc).ok();
}

#[test]
fn an_unknown_assertion_is_an_error_with_a_guess() {
    let sandbox = Sandbox::new();
    for (text, hint) in
        [("sise<=1MB", "did you mean size?"), ("no-setuit", "did you mean no-setuid?"), ("speed>9", "there are size")]
    {
        let out = build(&sandbox, &format!("FROM busybox\n# img:assert {text}\n"));
        out.refuses(1, &["Buildfile:2:1", hint]);
    }
    build(&sandbox, "FROM busybox\n# img:assrt size<=1MB\n").refuses(1, &["did you mean img:assert?"]);
}

#[test]
fn other_builders_take_them_for_comments() {
    if !tools::has("buildah") {
        skip!("buildah is not installed");
    }
    let sandbox = Sandbox::new();
    sandbox.write(
        "context/Containerfile",
        "# img:assert size<=1\nFROM scratch\n# img:assert user!=root\nCOPY file /file\n",
    );
    sandbox.write("context/file", "x");
    let (root, run) = (sandbox.text("buildah"), sandbox.text("buildah-run"));
    tools::run(
        "buildah",
        ["--root", &root, "--runroot", &run, "--storage-driver", "vfs", "build", &sandbox.text("context")],
    );
}
