//! A tree that changes while containers are made of it: an opponent swaps a directory for a link that leads outside, as fast
//! as it can, and nothing outside may ever be touched. `IMG_TEST_RACES=2000` for the long form.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::support::Sandbox;

/// How often a test with an opponent starts something.
pub fn rounds() -> u32 {
    std::env::var("IMG_TEST_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// Exchanges two paths until it is dropped, and knows how often.
pub struct Opponent<'scope> {
    stop: &'scope AtomicBool,
    thread: Option<std::thread::ScopedJoinHandle<'scope, u64>>,
}

impl<'scope> Opponent<'scope> {
    /// Begins to exchange two paths that both are there.
    pub fn start<'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        stop: &'scope AtomicBool,
        one: PathBuf,
        two: PathBuf,
    ) -> Self {
        let thread = scope.spawn(move || {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).expect("both are there");
                swaps += 1;
            }
            swaps
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it and says how often it has exchanged them.
    pub fn swaps(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it swaps")
    }
}

impl Drop for Opponent<'_> {
    fn drop(&mut self) {
        // A failed assertion must not leave it running.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Everything below a folder: path, length, times.
pub fn picture(at: &Path) -> Vec<String> {
    let mut found: Vec<String> = walk(at);
    found.sort();
    found
}

fn walk(at: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(at).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        found.push(format!("{} {} {}.{}", entry.path().display(), meta.len(), meta.mtime(), meta.mtime_nsec()));
        if meta.is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[test]
fn mount_points_are_swapped_for_links_while_containers_start() {
    let sandbox = Sandbox::new();
    let root = sandbox.flatten("busybox", "tree");
    let canary = sandbox.path("canary");
    std::fs::create_dir_all(canary.join("etc/deep")).unwrap();
    std::fs::write(canary.join("etc/hosts"), "the host's own\n").unwrap();
    std::fs::write(canary.join("etc/deep/file"), "the host's own\n").unwrap();
    // In the tree: `swap` is a directory with places to mount on, `link` leads out of the tree; they change places.
    std::fs::create_dir_all(root.join("swap/etc")).unwrap();
    symlink(&canary, root.join("link")).unwrap();
    // The host's view of an absolute link is what a naive look-up would follow.
    let before = picture(&canary);
    let secret = sandbox.write("secret", "mounted\n");
    let tree = root.to_str().unwrap().to_owned();
    let stop = AtomicBool::new(false);
    let mut worked = 0;
    let swaps = std::thread::scope(|scope| {
        let opponent = Opponent::start(scope, &stop, root.join("swap"), root.join("link"));
        for round in 0..rounds() {
            let deep = format!("{secret}:/swap/etc/new-{round}/file");
            let hosts = format!("{secret}:/swap/etc/hosts");
            let words = [
                "run",
                "--rm",
                "--network",
                "none",
                "-v",
                &deep,
                "-v",
                &hosts,
                "-w",
                "/swap/etc",
                "--tmpfs",
                "/swap/etc/tmp",
                "--rootfs",
                &tree,
                "cat",
                &format!("/swap/etc/new-{round}/file"),
            ];
            let out = sandbox.img(&words);
            assert!([0, 1, 125, 126, 127].contains(&out.code()), "{out}");
            worked += u32::from(out.code() == 0);
        }
        opponent.swaps()
    });
    assert_eq!(picture(&canary), before, "something outside was touched");
    assert!(swaps > u64::from(rounds()), "the opponent was busy: {swaps}");
    // The opponent is beaten and not merely avoided.
    eprintln!("{worked} of {} starts worked against {swaps} swaps", rounds());
}

#[test]
fn a_shared_folder_is_swapped_by_another_container() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let canary = sandbox.path("canary");
    std::fs::create_dir_all(canary.join("x")).unwrap();
    let before = picture(&canary);
    std::fs::create_dir_all(sandbox.path("shared/real/x")).unwrap();
    let bind = format!("{}:/shared", sandbox.text("shared"));
    let place = canary.to_str().unwrap();
    let script = format!(
        "cd /shared; ln -s {place} out; while :; do mv real kept; mv out real; mv real out; mv kept real; done"
    );
    let opponent = sandbox.ok(&["run", "-d", "--network", "none", "-v", &bind, "busybox", "sh", "-c", &script]);
    let secret = sandbox.write("secret", "mounted\n");
    for round in 0..rounds() / 2 {
        let inner = format!("{secret}:/shared/real/x/{round}");
        let out = sandbox.img(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &bind,
            "-v",
            &inner,
            "-w",
            "/shared/real/y",
            "busybox",
            "true",
        ]);
        assert!([0, 125, 126, 127].contains(&out.code()), "{out}");
    }
    sandbox.ok(&["rm", "-f", &opponent]);
    assert_eq!(picture(&canary), before, "something outside was touched");
}

#[test]
fn a_mounted_folder_is_swapped_while_files_are_copied() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let canary = sandbox.path("canary");
    std::fs::create_dir_all(canary.join("sub")).unwrap();
    std::fs::write(canary.join("file"), "the host's own\n").unwrap();
    std::fs::write(canary.join("sub/file"), "the host's own\n").unwrap();
    let shared = sandbox.path("shared");
    std::fs::create_dir_all(shared.join("swap/sub")).unwrap();
    std::fs::write(shared.join("swap/file"), "shared\n").unwrap();
    std::fs::write(shared.join("swap/sub/file"), "shared\n").unwrap();
    symlink(&canary, shared.join("link")).unwrap();
    let before = picture(&canary);
    let file = sandbox.write("copied", "copied\n");
    sandbox.write("tree/sub/new", "copied\n");
    let bind = format!("{}:/shared", shared.display());
    let inner = format!("{file}:/shared/swap/sub/mounted");
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-v", &bind, "-v", &inner, "busybox", "true"]);
    let stop = AtomicBool::new(false);
    let (mut worked, mut read) = (0, 0);
    let swaps = std::thread::scope(|scope| {
        let opponent = Opponent::start(scope, &stop, shared.join("swap"), shared.join("link"));
        for round in 0..rounds() {
            let got = sandbox.text(&format!("got-{round}"));
            let tree = format!("{}/.", sandbox.text("tree"));
            for words in [["cp", &file, "box:/shared/swap/file"], ["cp", &tree, "box:/shared/swap"]] {
                let out = sandbox.img(&words);
                assert!([0, 1, 125].contains(&out.code()), "{out}");
                worked += u32::from(out.code() == 0);
            }
            let out = sandbox.img(&["cp", "-L", "box:/shared/swap/sub/file", &got]);
            if out.code() == 0 {
                read += 1;
                assert_eq!(std::fs::read_to_string(&got).unwrap(), "shared\n", "a file of the host was read");
            }
        }
        opponent.swaps()
    });
    assert_eq!(picture(&canary), before, "something outside was touched");
    assert!(swaps > u64::from(rounds()) && worked + read > 0, "{swaps} swaps, {worked} written, {read} read");
    eprintln!("{worked} written and {read} read in {} rounds against {swaps} swaps", rounds());
}
