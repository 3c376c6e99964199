//! Two at work on one store: what both want is fetched once, who reads does not wait for who writes, and a start waits for
//! nobody.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Registry, Relay, Sandbox};

/// What a command may take that waits for nobody, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A sandbox with busybox in its store, and debian behind a line that is held in the middle of its only layer.
fn held() -> (Sandbox, Relay) {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let relay = Relay::to(Registry::bases().address());
    let config = format!(
        "[registries.\"docker.io\"]\nmirrors = [\"http://{0}\"]\n\n[registries.\"{0}\"]\ninsecure = true\n",
        relay.address()
    );
    sandbox.write("config.toml", config);
    relay.hold_after(3 << 20);
    (sandbox, relay)
}

#[test]
fn two_pulls_of_one_image_fetch_each_blob_once() {
    let (sandbox, relay) = held();
    let mut first = sandbox.spawn(&["pull", "debian"]);
    sandbox.wait_until("the layer to come", || relay.is_awaited());
    // They are at it while the first one is, and one of another name for the same.
    let mut others = [sandbox.spawn(&["pull", "debian"]), sandbox.spawn(&["pull", "debian:bookworm"])];
    let asked = relay.asked().len();
    sandbox.wait_until("the others to ask for the manifest", || relay.asked().len() > asked);
    relay.let_go();
    assert_eq!(first.wait(), 0);
    for other in &mut others {
        assert_eq!(other.wait(), 0);
    }
    // Each reads the small config for itself.
    let manifest = sandbox.img(&["manifest", "inspect", "debian"]).ok().json();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let fetched = relay.asked().into_iter().filter(|line| line.contains(digest)).count();
    assert_eq!(fetched, 1, "the layer was to be fetched once: {:?}", relay.asked());
    sandbox.img(&["run", "--rm", "--network", "none", "debian", "true"]).ok();
}

#[test]
fn who_waits_goes_on_where_a_killed_one_stopped() {
    let (sandbox, relay) = held();
    let mut first = sandbox.spawn(&["pull", "debian"]);
    sandbox.wait_until("the layer to come", || relay.is_awaited());
    let mut second = sandbox.spawn(&["pull", "debian"]);
    let asked = relay.asked().len();
    sandbox.wait_until("the second to ask for the manifest", || relay.asked().len() > asked);
    first.signal(rustix::process::Signal::KILL);
    first.wait();
    relay.let_go();
    assert_eq!(second.wait(), 0);
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn readers_do_not_wait_for_a_download() {
    let (sandbox, relay) = held();
    sandbox.ok(&["create", "--name", "old", "--network", "none", "busybox", "echo", "ran"]);
    let mut pull = sandbox.spawn(&["pull", "debian"]);
    sandbox.wait_until("the layer to come", || relay.is_awaited());
    let context = sandbox.write("context/Buildfile", "FROM busybox\nRUN echo > /f\n").replace("/Buildfile", "");
    for words in [
        &["images"][..],
        &["ps", "-a"],
        &["inspect", "old"],
        &["history", "busybox"],
        &["system", "df"],
        &["system", "check"],
        &["start", "-a", "old"],
        &["run", "--rm", "--network", "none", "busybox", "true"],
        // Those that write do not wait either: they have nothing to do with that layer.
        &["tag", "busybox", "other"],
        &["rmi", "other"],
        &["build", "-t", "built", &context],
        &["volume", "create", "v"],
        &["image", "prune", "--force"],
        &["system", "prune", "--force"],
        &["save", "--uncompressed", "-o", "/dev/null", "busybox"],
    ] {
        let began = Instant::now();
        sandbox.img(words).ok();
        assert!(began.elapsed() < AT_ONCE, "{words:?} took {:?}", began.elapsed());
    }
    assert!(relay.is_awaited() && matches!(pull.0.try_wait(), Ok(None)), "the pull was to be under way all the time");
    relay.let_go();
    assert_eq!(pull.wait(), 0);
    sandbox.img(&["run", "--rm", "--network", "none", "debian", "true"]).ok();
}

/// Locks every file below a directory that looks like a lock, for as long as the result lives.
fn lock_all(at: &Path, held: &mut Vec<File>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            lock_all(&path, held);
        } else {
            let file = File::open(&path).unwrap();
            if file.try_lock().is_ok() {
                held.push(file);
            }
        }
    }
}

#[test]
fn a_start_takes_no_lock_that_another_start_needs() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for name in ["one", "two"] {
        sandbox.ok(&["create", "--name", name, "--network", "none", "busybox", "sleep", "1000"]);
    }
    sandbox.img(&["start", "one"]).ok();
    // Every lock of the store is in somebody's hands, but those of the container itself.
    let mut held = Vec::new();
    lock_all(&sandbox.root().join("locks"), &mut held);
    assert!(held.len() >= 4, "{held:?}");
    let began = Instant::now();
    sandbox.img(&["start", "two"]).ok();
    sandbox.img(&["exec", "two", "echo", "runs"]).ok().prints(&["runs"]);
    assert!(began.elapsed() < AT_ONCE);
    // What the test holds is what others take: a tag cannot be set meanwhile.
    let mut tag = sandbox.spawn(&["tag", "busybox", "other"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(matches!(tag.0.try_wait(), Ok(None)), "a tag was set although all locks are held");
    drop(held);
    assert_eq!(tag.wait(), 0);
}

/// How much of what had come may be fetched again.
const AGAIN: usize = 1 << 20;

/// Bytes of a partial download on the disk.
fn on_disk(sandbox: &Sandbox) -> usize {
    let entries = std::fs::read_dir(sandbox.root().join("ingest")).into_iter().flatten().flatten();
    entries.filter_map(|entry| usize::try_from(entry.metadata().ok()?.len()).ok()).sum()
}

#[test]
fn a_pull_goes_on_within_a_mebibyte_of_where_it_was_cut() {
    let (sandbox, relay) = held();
    let came = 20 << 20;
    relay.hold_after(came);
    // Killed: the next one goes on.
    let mut pull = sandbox.spawn(&["pull", "debian"]);
    sandbox.wait_until("the layer to come", || relay.is_awaited());
    sandbox.wait_until("what came to be on the disk", || on_disk(&sandbox) + AGAIN > came);
    pull.signal(rustix::process::Signal::KILL);
    pull.wait();
    assert_eq!(relay.last_range(), None);
    relay.hold_after(came);
    let mut pull = sandbox.spawn(&["pull", "debian"]);
    sandbox.wait_until("the rest to come", || relay.is_awaited());
    let first = relay.last_range().expect("a range was asked for");
    assert!(first + AGAIN > came && first <= came, "it went on at {first} of {came}");
    // The line is cut: this one goes on by itself.
    sandbox.wait_until("what came to be on the disk", || on_disk(&sandbox) + AGAIN > first + came);
    relay.cut();
    assert_eq!(pull.wait(), 0, "{}", pull.said());
    let second = relay.last_range().expect("a range was asked for");
    let (all, asked) = (first + came, relay.asked());
    assert!(second + AGAIN > all && second <= all, "it went on at {second} of {all}: {asked:#?}");
    sandbox.img(&["run", "--rm", "--network", "none", "debian", "true"]).ok();
    sandbox.img(&["system", "check"]).ok();
}
