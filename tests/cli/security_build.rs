//! Builds over trees that lead outside: an image whose paths are links to a place of the host, and an opponent who swaps what
//! can change while a build resolves it, a shared cache mount, the context and the directory for the output. The place stays
//! as it is. `IMG_TEST_RACES=2000` for the long form.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::security_race::{Opponent, picture, rounds};
use crate::support::Sandbox;

const SECRET: &str = "the host's own\n";

/// A place of the host that nothing may touch, with what is asked for in it.
fn canary(sandbox: &Sandbox) -> PathBuf {
    let canary = sandbox.path("canary");
    std::fs::create_dir_all(canary.join("x")).unwrap();
    for name in ["file", "hosts", "resolv.conf", "hostname", "x/file"] {
        std::fs::write(canary.join(name), SECRET).unwrap();
    }
    canary
}

/// Runs the rounds against an opponent, and says how many of them worked.
fn against(one: &Path, two: &Path, mut round: impl FnMut(u32) -> bool) -> u32 {
    let stop = AtomicBool::new(false);
    let (mut worked, mut swaps) = (0, 0);
    std::thread::scope(|scope| {
        let opponent = Opponent::start(scope, &stop, one.to_owned(), two.to_owned());
        worked = (0..rounds()).map(|number| u32::from(round(number))).sum();
        swaps = opponent.swaps();
    });
    assert!(swaps > u64::from(rounds()), "the opponent was busy: {swaps}");
    eprintln!("{worked} of {} rounds worked against {swaps} swaps", rounds());
    worked
}

fn links_lead_nowhere(driver: &str) {
    let sandbox = Sandbox::new();
    let canary = canary(&sandbox);
    let before = picture(&canary);
    let place = canary.to_str().unwrap();
    let up = "../".repeat(20);
    let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", format!("storage-driver = \"{driver}\"\n\n{config}"));
    let build = |tag: &str, text: &str| {
        sandbox.write("context/Buildfile", text);
        sandbox.write("secret", "hush\n");
        let secret = format!("id=s,src={}", sandbox.text("secret"));
        sandbox.img(&["build", "--secret", &secret, "-t", tag, &sandbox.text("context")]).ok();
    };
    // What a step finds in /etc is mounted there, so only a copy can bring links.
    std::fs::create_dir_all(sandbox.path("context/etc")).unwrap();
    for (name, target) in
        [("hosts", place.to_owned()), ("resolv.conf", format!("{up}{place}")), ("hostname", place.to_owned())]
    {
        symlink(format!("{target}/{name}"), sandbox.path("context/etc").join(name)).unwrap();
    }
    sandbox.write("context/file", "copied\n");
    sandbox.write("context/tree/deep/file", "copied\n");
    crate::support::tools::run("tar", ["-C", &sandbox.text("context"), "-cf", &sandbox.text("context/x.tar"), "tree"])
        .ok();
    build(
        "links",
        &format!(
            "FROM busybox\n\
             RUN ln -s {place} /out && ln -s {up}{place} /up && ln -s {place}/x /bound\n\
             COPY etc /etc\n"
        ),
    );
    build(
        "steps",
        "FROM busybox AS other\nFROM links\n\
         WORKDIR /out/made\n\
         WORKDIR /up/made-too/deep\n\
         COPY file /out/copied\n\
         COPY tree /up/tree/\n\
         COPY --chmod=0600 --chown=7:7 file /bound/copied\n\
         ADD x.tar /out/unpacked/\n\
         RUN --mount=type=bind,from=other,source=/bin,target=/out/bind/deep --mount=type=cache,target=/up/cache \\\n\
             --mount=type=tmpfs,target=/bound/memory --mount=type=secret,id=s,target=/out/x/secret \\\n\
             --mount=type=bind,source=tree,target=/out/context,rw \\\n\
             echo written > /out/file && echo written > /up/context/new && cat /bound/secret\n\
         RUN --mount=type=secret,id=s,target=/out/hosts true\n\
         WORKDIR /out/x/last\n\
         RUN pwd -P > /pwd\n",
    );
    assert_eq!(picture(&canary), before, "something outside was touched");
    // All of it went to the place of that name in the image.
    let cat = |path: &str| sandbox.img(&["run", "--rm", "--network", "none", "steps", "cat", path]).ok().stdout();
    assert_eq!(cat("/pwd"), format!("{place}/x/last\n"));
    for (path, content) in [
        ("copied", "copied\n"),
        ("tree/deep/file", "copied\n"),
        ("x/copied", "copied\n"),
        ("unpacked/tree/deep/file", "copied\n"),
        ("file", "written\n"),
    ] {
        assert_eq!(cat(&format!("{place}/{path}")), content, "{path}");
    }
}

#[test]
fn links_of_an_image_lead_no_step_outside() {
    links_lead_nowhere("erofs");
}

#[test]
fn links_of_an_unpacked_image_lead_no_step_outside() {
    links_lead_nowhere("dir");
}

/// The directory of the host that is the cache, by a file in it.
fn cache_of(sandbox: &Sandbox, mark: &str) -> PathBuf {
    let found = crate::support::tools::run("find", [sandbox.root().to_str().unwrap(), "-name", mark]);
    let found = found.ok().stdout();
    let path = found.lines().find(|line| !line.contains("/layers/")).expect("the cache is in the store");
    Path::new(path).parent().unwrap().to_owned()
}

#[test]
fn a_shared_cache_is_swapped_while_steps_start() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let canary = canary(&sandbox);
    let before = picture(&canary);
    let place = canary.to_str().unwrap();
    let cache = "--mount=type=cache,id=shared,target=/c";
    let fill =
        format!("FROM busybox\nRUN {cache} mkdir -p /c/swap/x && ln -s {place} /c/link && touch /c/mark-of-cache\n");
    sandbox.build("context", "filled", &fill).ok();
    let shared = cache_of(&sandbox, "mark-of-cache");
    sandbox.write("secret", "hush\n");
    let secret = format!("id=s,src={}", sandbox.text("secret"));
    let worked = against(&shared.join("swap"), &shared.join("link"), |number| {
        let text = format!(
            "FROM busybox\nWORKDIR /c/swap/x/work-{number}\n\
             RUN {cache} --mount=type=bind,from=busybox,source=/bin,target=/c/swap/x/bind-{number} \\\n\
                 --mount=type=tmpfs,target=/c/swap/memory --mount=type=cache,id=other,target=/c/swap/cache \\\n\
                 --mount=type=secret,id=s,target=/c/swap/x/secret-{number} \\\n\
                 test -e /c/swap/x/bind-{number}/sh || exit 77\n"
        );
        sandbox.write("context/Buildfile", &text);
        let out = sandbox.img(&["build", "--secret", &secret, "-q", &sandbox.text("context")]);
        assert!([0, 1].contains(&out.code()), "{out}");
        out.code() == 0
    });
    assert_eq!(picture(&canary), before, "something outside was touched");
    assert!(worked > 0, "the opponent is beaten and not merely avoided");
}

#[test]
fn a_cache_is_swapped_while_a_part_of_it_is_mounted() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.pull("debian");
    let canary = canary(&sandbox);
    let before = picture(&canary);
    let place = canary.to_str().unwrap();
    // An opponent that is a step itself: it has what every step has, a shared cache.
    let call = if cfg!(target_arch = "aarch64") { 276 } else { 316 };
    let opponent = format!(
        "FROM debian\nRUN --mount=type=cache,id=shared,target=/c mkdir -p /c/real/x && ln -s {place} /c/out && touch /c/begun && \\\n\
             perl -e 'my ($one, $two) = (\"/c/real\", \"/c/out\"); \\\n\
                 while (!-e \"/c/end\") {{ syscall({call}, -100, $one, -100, $two, 2) == 0 or die $! }}'\n"
    );
    sandbox.write("opponent/Buildfile", &opponent);
    let mut swapping = sandbox.command(&["build", "-q", &sandbox.text("opponent")]).spawn().unwrap();
    let mut ended = || swapping.try_wait().unwrap().is_some();
    sandbox.wait_until("the opponent swaps", || {
        assert!(!ended(), "it goes on");
        sandbox.img(&["build", "-q", &begun(&sandbox)]).code() == 0
    });
    for number in 0..rounds() / 2 {
        let text = format!(
            "FROM busybox\nWORKDIR /c/real/x/work-{number}\n\
             RUN --mount=type=cache,id=shared,target=/c --mount=type=tmpfs,target=/c/real/x/new-{number}/deep true\n"
        );
        sandbox.write("context/Buildfile", &text);
        let out = sandbox.img(&["build", "-q", &sandbox.text("context")]);
        assert!([0, 1].contains(&out.code()), "{out}");
    }
    sandbox.write("end/Buildfile", "FROM busybox\nRUN --mount=type=cache,id=shared,target=/c touch /c/end\n");
    sandbox.ok(&["build", "-q", &sandbox.text("end")]);
    assert!(swapping.wait().unwrap().success());
    assert_eq!(picture(&canary), before, "something outside was touched");
}

/// A context whose only step asks whether the opponent is at work.
fn begun(sandbox: &Sandbox) -> String {
    sandbox.write("begun/Buildfile", "FROM busybox\nRUN --mount=type=cache,id=shared,target=/c test -e /c/begun\n");
    sandbox.text("begun")
}

#[test]
fn a_context_is_swapped_while_it_is_read() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let canary = canary(&sandbox);
    sandbox.write("context/swap/file", "of the context\n");
    sandbox.write("context/swap/x/file", "of the context\n");
    symlink(&canary, sandbox.path("context/link")).unwrap();
    let steps = [
        "COPY swap /copied\nRUN ! grep -r own /copied",
        "COPY swap/x/file /copied\nRUN ! grep -r own /copied",
        "ADD . /copied\nRUN ! grep -r own /copied",
        "RUN --mount=type=bind,source=swap,target=/context ! grep -r own /context",
    ];
    let worked = against(&sandbox.path("context/swap"), &sandbox.path("context/link"), |number| {
        sandbox.write("Buildfile", format!("FROM busybox\n{}\n", steps[number as usize % steps.len()]));
        let out = sandbox.img(&["build", "--no-cache", "-f", &sandbox.text("Buildfile"), &sandbox.text("context")]);
        assert!([0, 1].contains(&out.code()), "{out}");
        assert!(!out.stderr().contains("the host's"), "a file of the host was read: {out}");
        out.code() == 0
    });
    assert!(worked > 0, "the opponent is beaten and not merely avoided");
}

#[test]
fn the_output_directory_is_swapped_while_it_is_written() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let canary = canary(&sandbox);
    let before = picture(&canary);
    sandbox.write("context/swap/file", "exported\n");
    sandbox.write("context/swap/x/file", "exported\n");
    sandbox.write("context/Buildfile", "FROM scratch\nCOPY swap /swap\n");
    std::fs::create_dir_all(sandbox.path("output/swap/x")).unwrap();
    symlink(&canary, sandbox.path("output/link")).unwrap();
    let output = format!("type=local,dest={}", sandbox.text("output"));
    against(&sandbox.path("output/swap"), &sandbox.path("output/link"), |_| {
        let out = sandbox.img(&["build", "-q", "-o", &output, &sandbox.text("context")]);
        assert!([0, 1].contains(&out.code()), "{out}");
        out.code() == 0
    });
    assert_eq!(picture(&canary), before, "something outside was touched");
}
