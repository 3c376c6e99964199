//! Many processes on one store: sixteen workers mix every command that writes with those that read, on the same few
//! names, and one command in twelve is killed. What fails must be explained by what the others may do (`explained`);
//! what is printed must be true; afterwards the store is sound, its sizes are the disk's, and nothing is left.
//!
//! `CROWD_SECONDS` (60), `CROWD_WORKERS` (16) and `CROWD_SEED` change the run; `scripts/crowd` runs ten minutes. A seed
//! repeats what each worker asks for, not how the kernel schedules them.

// Assertions and skip lines of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod support;

#[allow(dead_code)]
#[path = "../support/random.rs"]
mod random;

mod explained;
mod worker;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{Registry, Sandbox, leaks};
use worker::Worker;

/// What all workers share.
pub struct Crowd {
    /// The sandbox's folder.
    folder: PathBuf,
    /// Images at the registry.
    remote: Vec<String>,
    deadline: Instant,
    tally: Mutex<Tally>,
}

/// What came of all commands.
#[derive(Default)]
pub struct Tally {
    /// By command: succeeded, failed as explained, killed.
    counts: BTreeMap<String, [u64; 3]>,
    /// By explanation.
    explained: BTreeMap<&'static str, u64>,
    /// Whatever must not happen.
    problems: Vec<String>,
    slowest: (Duration, String),
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn sixteen_workers_share_one_store() {
    if std::env::var_os("CROWD_SECONDS").is_none() {
        support::skip!("CROWD_SECONDS is not set: `make crowd` runs it for ten minutes");
    }
    let (seconds, workers) = (number("CROWD_SECONDS", 60), number("CROWD_WORKERS", 16));
    let seed = number("CROWD_SEED", 20_240_501);
    let mut sandbox = Sandbox::alone();
    let before = leaks::Picture::now();
    let registry = Registry::fresh();
    sandbox.trust(&registry);
    let remote = fill(&sandbox, &registry);
    eprintln!("seed {seed}, {workers} workers, {seconds} s");
    let crowd = Crowd {
        folder: sandbox.path(""),
        remote,
        deadline: Instant::now() + Duration::from_secs(seconds),
        tally: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for number in 0..workers {
            let crowd = &crowd;
            scope.spawn(move || Worker::new(crowd, seed, number).work());
        }
    });
    let tally = crowd.tally.into_inner().unwrap();
    report(&tally);
    assert!(tally.problems.is_empty(), "seed {seed}: {} problems\n{}", tally.problems.len(), tally.problems.join("\n"));
    assert!(tally.counts.values().map(|count| count[0]).sum::<u64>() > seconds, "next to nothing succeeded");
    settle(&sandbox, &before);
}

/// Images of several layers at the registry that share some; returns their names.
fn fill(sandbox: &Sandbox, registry: &Registry) -> Vec<String> {
    let mut names = vec![registry.put("busybox", "busybox:latest")];
    let base = names[0].clone();
    for (number, lines) in
        ["RUN echo 1 > /a && echo 1 > /b", "RUN head -c 300000 /dev/urandom > /blob\nRUN echo 1 > /a && echo 1 > /b"]
            .iter()
            .enumerate()
    {
        let name = registry.name(&format!("app{number}:latest"));
        sandbox.build(&format!("fill{number}"), &name, &format!("FROM {base}\n{lines}\n")).ok();
        sandbox.ok(&["push", "--quiet", &name]);
        names.push(name);
    }
    sandbox.ok(&["system", "prune", "--all", "--force"]);
    names
}

fn report(tally: &Tally) {
    eprintln!("{:<18}{:>8}{:>10}{:>8}", "command", "done", "explained", "killed");
    for (name, [done, explained, killed]) in &tally.counts {
        eprintln!("{name:<18}{done:>8}{explained:>10}{killed:>8}");
    }
    for (why, times) in &tally.explained {
        eprintln!("{times:>8} × {why}");
    }
    eprintln!("slowest: {:?} {}", tally.slowest.0, tally.slowest.1);
}

/// After all that: sound, measured rightly, and empty once it was emptied.
fn settle(sandbox: &Sandbox, before: &leaks::Picture) {
    sandbox.img(&["system", "check"]).ok();
    // What still runs may write.
    let ids = sandbox.ok(&["ps", "--quiet", "--no-trunc"]);
    ids.split_whitespace().for_each(|id| drop(sandbox.img(&["stop", "--time", "0", id])));
    // Spares, locks and journal belong to it too.
    let rows = sandbox.img(&["system", "df", "--format", "{{json .}}"]).ok().json_lines();
    let told: u64 = rows.iter().map(|row| row["Bytes"].as_u64().unwrap()).sum();
    assert_eq!(told, disk(&sandbox.root()), "what df says and what the disk says");

    let ids = sandbox.ok(&["ps", "--all", "--quiet", "--no-trunc"]);
    for id in ids.split_whitespace() {
        sandbox.img(&["rm", "--force", "--volumes", id]).ok();
    }
    sandbox.ok(&["system", "prune", "--all", "--force", "--volumes"]);
    sandbox.ok(&["system", "check"]);
    let mut left = Vec::new();
    for part in ["layers/sha256", "blobs/sha256", "images", "chains", "refs", "ingest", "tmp", "trash", "spare"] {
        files(&sandbox.root().join(part), &mut left);
    }
    for class in ["containers", "volumes", "networks"] {
        files(&sandbox.root().join(class), &mut left);
    }
    // The locks that are always there once used are left, and no others.
    files(&sandbox.root().join("locks"), &mut left);
    left.retain(|path| {
        !["gc", "owners", "containers", "volumes", "networks", "journal"]
            .iter()
            .any(|name| *path == sandbox.root().join("locks").join(name))
    });
    assert!(left.is_empty(), "left in an emptied store: {left:#?}");
    sandbox.ok(&["system", "unmount"]);
    leaks::assert_no_process(&sandbox.text("root"));
    leaks::assert_nothing_left(before, |_| false);
}

/// Everything below `at` that is no directory, and directories below the first level.
fn files(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.file_name() != "names" {
            found.push(entry.path());
        }
        if entry.path().is_dir() {
            files(&entry.path(), found);
        }
    }
}

/// Disk space of a tree as `du` has it.
fn disk(at: &Path) -> u64 {
    let own = std::fs::symlink_metadata(at).unwrap();
    let below = match own.is_dir() {
        true => std::fs::read_dir(at).unwrap().map(|entry| disk(&entry.unwrap().path())).sum(),
        false => 0,
    };
    own.blocks() * 512 + below
}
