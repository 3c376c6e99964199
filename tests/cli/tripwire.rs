//! `build --secret` with `--tripwire`: a secret that stays in what was built stops the build, and nothing is stored.

use crate::support::Sandbox;

const LEAK: &str = "FROM busybox\nRUN true\nRUN --mount=type=secret,id=npm base64 /run/secrets/npm > /app.conf\n";

fn with_secret() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.write("npm", "a-token-of-some-length-123");
    sandbox.write("context/Buildfile", LEAK);
    sandbox
}

fn build(sandbox: &Sandbox, more: &[&str]) -> crate::support::Out {
    let secret = format!("id=npm,src={}", sandbox.text("npm"));
    let context = sandbox.text("context");
    sandbox.img(&[&["build", "--tag", "app", "--secret", &secret], more, &[&context]].concat())
}

#[test]
fn a_leak_fails_the_build_and_names_file_and_line() {
    let sandbox = with_secret();
    build(&sandbox, &[]).refuses(17, &["secret \"npm\"", "/app.conf", "Buildfile:3"]);
    assert_eq!(sandbox.ok(&["images", "-q", "app"]), "", "no image was stored");
    // The step is in the cache by now, and the answer is the same.
    build(&sandbox, &[]).refuses(17, &["/app.conf"]);
}

#[test]
fn a_warning_or_nothing_if_that_is_wanted() {
    let sandbox = with_secret();
    build(&sandbox, &["--tripwire", "warn"]).ok().says(&["secret \"npm\"", "/app.conf"]);
    let out = build(&sandbox, &["--tripwire", "off"]);
    out.ok();
    assert!(!out.stderr().contains("secret \"npm\""), "{out}");
    build(&sandbox, &["--tripwire", "maybe"]).refuses(125, &["maybe"]);
}

#[test]
fn a_secret_that_was_only_used_is_no_leak() {
    let sandbox = with_secret();
    sandbox.write(
        "context/Buildfile",
        "FROM busybox\nRUN --mount=type=secret,id=npm sha256sum /run/secrets/npm > /sum && cat /run/secrets/npm | wc -c\n",
    );
    build(&sandbox, &[]).ok();
}

#[test]
fn a_leak_inside_of_an_archive_that_python_made() {
    let sandbox = with_secret();
    // As pip, Java and Go pack what they make: a zip with a program before it, compressed; and a tar with gzip.
    let zip = "FROM python:3.11-slim\nRUN --mount=type=secret,id=npm python3 -m zipapp -c -p /bin/python3 -m a:b \
               -o /app.pyz /run/secrets/ && rm -f x\n";
    let tar = "FROM busybox\nRUN --mount=type=secret,id=npm gzip -c /run/secrets/npm > /tmp/k.gz && \
               tar -c -f /all.tar /tmp/k.gz && rm /tmp/k.gz\n";
    for (buildfile, place) in [(zip, "/app.pyz"), (tar, "/all.tar")] {
        sandbox.write("context/Buildfile", buildfile);
        build(&sandbox, &[]).refuses(17, &["secret \"npm\"", place, "Buildfile:2"]);
    }
}
