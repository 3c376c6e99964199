//! The prunes: what `--dry-run` foretells is what goes and what the disk gets back, on a file system of the test's own; and
//! images are kept to a number and to sizes, what was not used for the longest time going first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Disk, Sandbox, disk, skip, tools};

/// MiB of the disk that a store lies on here.
const SIZE: u64 = 160;

/// Bytes that are free, when all that was written is.
fn free(sandbox: &Sandbox) -> u64 {
    tools::run("sync", ["-f", &sandbox.text("root")]).ok();
    disk::free(&sandbox.root())
}

/// What `du` says of the store.
fn used(sandbox: &Sandbox) -> u64 {
    let root = sandbox.text("root/.");
    tools::run("du", ["-sx", "-B1", &root]).ok().stdout().split('\t').next().unwrap().parse().unwrap()
}

/// Every file of the store but locks, with its size.
fn listing(top: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        found.insert(format!("{} {}", path.display(), about.len()));
        if about.is_dir() && path.file_name().unwrap() != "locks" {
            listing(&path, found);
        }
    }
}

/// The bytes of the size that follows `words`, which is told with three digits.
fn told(text: &str, words: &str) -> u64 {
    let size = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?} in\n{text}")).trim();
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        unit => panic!("{unit}"),
    };
    (digits.parse::<f64>().unwrap() * unit) as u64
}

/// Prunes, before that only to look: what is foretold is what is said afterwards, and within a hundredth what the files took
/// and what the file system got back. Gives what was foretold.
fn foretold(sandbox: &Sandbox, words: &[&str]) -> u64 {
    let picture = || {
        let mut found = BTreeSet::new();
        listing(&sandbox.root(), &mut found);
        found
    };
    // What is not written yet may take other blocks than it will.
    let before = free(sandbox);
    let (files, bytes) = (picture(), used(sandbox));
    let would = sandbox.img(&[words, &["--dry-run"]].concat()).ok().stdout();
    let changed: Vec<String> = picture().symmetric_difference(&files).cloned().collect();
    assert_eq!(changed, [""; 0], "{words:?} --dry-run changed something");
    let went = sandbox.img(&[words, &["--force"]].concat()).ok().stdout();
    let (would_bytes, went_bytes) = (told(&would, "Would reclaim: "), told(&went, "Total reclaimed space: "));
    assert_eq!(
        would.replace("Would delete", "Deleted").replace("Would reclaim: ", "Total reclaimed space: "),
        went,
        "{words:?}"
    );
    assert_eq!(would_bytes, went_bytes, "{words:?}");
    let came_free = free(sandbox) - before;
    for (what, really) in [("du", bytes - used(sandbox)), ("statvfs", came_free)] {
        // A block for what the journal grew by.
        let near = would_bytes.abs_diff(really) <= (really / 100).max(8192);
        assert!(near, "{words:?}: {would_bytes} foretold, {really} by {what}\n{would}");
    }
    would_bytes
}

fn random(kilobytes: u32, name: &str) -> String {
    format!("RUN head -c {kilobytes}000 /dev/urandom > /{name}\n")
}

/// Images that share layers, one of them without a tag, layers that only the build cache has, a cache mount, an ended container
/// with volumes of both sorts, a network, an unfinished download.
fn fill(sandbox: &Sandbox) {
    sandbox.pull("busybox");
    sandbox.build("base", "base", &format!("FROM busybox\n{}", random(3000, "base"))).ok();
    sandbox.build("old", "one", &format!("FROM base\n{}", random(900, "old"))).ok();
    for (name, kilobytes) in [("one", 2000), ("two", 1000), ("three", 700), ("gone", 1500)] {
        sandbox.build(name, name, &format!("FROM base\n{}", random(kilobytes, name))).ok();
    }
    sandbox.ok(&["rmi", "gone"]);
    let mount = "RUN --mount=type=cache,target=/c head -c 600000 /dev/urandom > /c/f\n";
    sandbox.build("mount", "two", &format!("FROM two\n{mount}")).ok();
    let script =
        "head -c 700000 /dev/urandom > /data/x; head -c 400000 /dev/urandom > /own/y; head -c 500000 /dev/urandom > /z";
    let words = ["run", "--name", "ended", "--network", "none", "-v", "data:/data", "-v", "/own", "two", "sh", "-c"];
    sandbox.ok(&[&words[..], &[script]].concat());
    // What it wrote lies in a file that stays mounted.
    let words = ["run", "--name", "limited", "--network", "none", "--storage-opt", "size=10m", "two", "sh", "-c"];
    sandbox.ok(&[&words[..], &["head -c 600000 /dev/urandom > /z"]].concat());
    sandbox.ok(&["network", "create", "idle"]);
    let download = sandbox.root().join("ingest").join("ab".repeat(32));
    std::fs::write(download, vec![7; 300_000]).unwrap();
}

#[test]
fn what_is_foretold_is_what_goes_and_what_the_disk_gets_back() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(SIZE);
    let sandbox = disk.sandbox();
    fill(&sandbox);
    foretold(&sandbox, &["image", "prune"]);
    assert!(foretold(&sandbox, &["container", "prune"]) > 900_000, "with its volume without a name");
    sandbox.img(&["network", "prune", "--dry-run"]).ok().prints(&["Would delete Networks:\nidle\n"]);
    assert_eq!(sandbox.ok(&["network", "prune", "--force"]), "idle");
    assert!(foretold(&sandbox, &["volume", "prune", "--all"]) > 700_000);
    assert_eq!(foretold(&sandbox, &["volume", "prune", "--all"]), 0);
    assert!(foretold(&sandbox, &["builder", "prune"]) > 2_000_000, "with the layers that no image has");
    foretold(&sandbox, &["builder", "prune", "--all"]);
    assert!(foretold(&sandbox, &["image", "prune", "--all", "--keep", "3"]) > 700_000);
    assert!(foretold(&sandbox, &["image", "prune", "--all", "--max-used-space", "6500k"]) > 600_000);
    assert_eq!(foretold(&sandbox, &["image", "prune", "--all", "--max-used-space", "6500k"]), 0, "once is enough");

    // All at once: what a container holds goes with it, and is foretold.
    fill(&sandbox);
    std::fs::write(sandbox.root().join("trash/left"), vec![7; 250_000]).unwrap();
    assert!(foretold(&sandbox, &["system", "prune", "--all", "--volumes"]) > 12_000_000);
    assert!(used(&sandbox) < 400_000, "{}", used(&sandbox));
    fill(&sandbox);
    assert!(foretold(&sandbox, &["system", "prune"]) > 4_000_000);
    sandbox.ok(&["system", "prune", "--all", "--volumes", "--force"]);
}

/// The repositories of all images.
fn images(sandbox: &Sandbox) -> BTreeSet<String> {
    sandbox.ok(&["images", "--format", "{{.Repository}}"]).lines().map(str::to_owned).collect()
}

/// Images of a megabyte each and the given names, whose layers nothing else has.
fn megabytes(sandbox: &Sandbox, names: &[&str]) {
    sandbox.pull("busybox");
    for name in names {
        sandbox.build(name, name, &format!("FROM busybox\nLABEL of={name}\n{}", random(1000, name))).ok();
    }
    sandbox.ok(&["builder", "prune", "--all", "--force"]);
}

#[test]
fn the_images_that_were_used_last_are_kept() {
    let sandbox = Sandbox::new();
    megabytes(&sandbox, &["a", "b", "c"]);
    sandbox.ok(&["run", "--rm", "--network", "none", "a", "true"]);
    let would = |words: &[&str]| sandbox.ok(&[&["image", "prune", "--all", "--dry-run"], words].concat());
    let untagged = |words: &[&str]| -> Vec<String> {
        let text = would(words);
        let lines = text.lines().filter_map(|line| line.strip_prefix("untagged: "));
        lines.map(|line| line.rsplit('/').next().unwrap().trim_end_matches(":latest").to_owned()).collect()
    };
    assert_eq!(untagged(&["--keep", "2"]), ["b", "busybox"], "a was used last, then c was built");
    assert_eq!(untagged(&["--keep", "1", "--filter", "label=of"]), ["b", "c"]);
    assert_eq!(untagged(&["--keep", "4"]), [""; 0]);
    assert_eq!(untagged(&["--keep", "0", "--filter", "until=1h", "--filter", "label=of"]), [""; 0]);
    assert_eq!(untagged(&["--filter", "dangling=true"]), [""; 0]);
    assert_eq!(sandbox.ok(&["image", "prune", "--dry-run", "--filter", "dangling=false"]), would(&[]));

    sandbox.ok(&["create", "--name", "box", "b"]);
    assert_eq!(untagged(&["--keep", "1"]), ["a", "busybox", "c"], "one that is in use counts");
    assert_eq!(untagged(&["--keep", "0"]), ["a", "busybox", "c"], "and never goes");
    sandbox.ok(&["rm", "box"]);
    assert_eq!(untagged(&["--keep", "1"]), ["a", "busybox", "c"], "it was in use until now");
    sandbox.ok(&["image", "prune", "--all", "--force", "--keep", "2"]);
    assert_eq!(images(&sandbox), ["a", "b"].map(str::to_owned).into());
    sandbox.img(&["run", "--rm", "--network", "none", "b", "true"]).ok();

    sandbox.img(&["image", "prune", "--keep", "some"]).refuses(125, &["--keep"]);
    sandbox.img(&["image", "prune", "-f", "--max-size", "huge"]).refuses(125, &["huge"]);
    sandbox.img(&["image", "prune", "-f", "--filter", "dangling=maybe"]).refuses(125, &["maybe"]);
    sandbox.img(&["system", "prune", "-f", "--keep", "3"]).refuses(125, &["--keep"]).hints();
    sandbox.img(&["system", "prune", "-f", "--max-size", "3g"]).refuses(125, &["--max-used-space"]).hints();
}

#[test]
fn images_are_kept_to_sizes() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(SIZE);
    let sandbox = disk.sandbox();
    let names = ["a", "b", "c", "d", "e"];
    megabytes(&sandbox, &names);
    sandbox.ok(&["run", "--rm", "--network", "none", "b", "true"]);
    let taken = || {
        let rows = sandbox.img(&["system", "df", "--format", "{{json .}}"]).ok().json_lines();
        assert_eq!(rows[0]["Type"], "Images");
        rows[0]["Bytes"].as_u64().unwrap()
    };
    let kept = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let prune = |words: &[&str]| sandbox.img(&[&["image", "prune", "--all", "--force"], words].concat());
    // What is reserved stays in any case, and no more goes than must.
    prune(&["--max-used-space", "1k", "--reserved-space", "1g"]).ok();
    assert_eq!(images(&sandbox).len(), 6);
    let most = taken() - 1_500_000;
    prune(&["--max-size", &most.to_string()]).ok();
    assert!(taken() <= most && taken() + 1_100_000 > most, "{} of {most}", taken());
    assert_eq!(images(&sandbox), kept(&["b", "busybox", "d", "e"]), "e was built on busybox");

    let before = free(&sandbox);
    let least = before + 500_000;
    prune(&["--min-free-space", &before.to_string()]).ok();
    assert_eq!(images(&sandbox).len(), 4, "so much was free already");
    prune(&["--min-free", &least.to_string(), "--filter", "label=of=e"]).ok();
    assert_eq!(images(&sandbox), kept(&["b", "busybox", "d"]));
    assert!((least..least + 700_000).contains(&free(&sandbox)), "{} of {least}", free(&sandbox));

    // What cannot be had is said, with a success: what may go went.
    sandbox.ok(&["create", "--name", "box", "b"]);
    prune(&["--max-used-space", "1k"]).ok().says(&["still", "in use"]);
    assert_eq!(images(&sandbox), kept(&["b"]));
    sandbox.img(&["image", "prune", "-f", "--max-used-space", "1k"]).ok().says(&["--all"]);
    sandbox.ok(&["rm", "box"]);

    // The build cache by the same words.
    for name in ["x", "y"] {
        sandbox.build(name, name, &format!("FROM b\n{}", random(1000, name))).ok();
        sandbox.ok(&["rmi", name]);
    }
    let cached = || told(&sandbox.ok(&["builder", "du"]), "Total: ");
    let (all, before) = (cached(), free(&sandbox));
    sandbox.ok(&["builder", "prune", "-f", "--min-free-space", &(before + 600_000).to_string()]);
    assert!(free(&sandbox) >= before + 600_000 && cached() > 1_000_000 && cached() < all, "{all} {}", cached());
    sandbox.ok(&["builder", "prune", "-f", "--max-used-space", "1k", "--reserved-space", "1m"]);
    assert!(cached() < 1_048_576, "{}", cached());
}

/// What nobody can remove or move while this lives.
struct Immutable(PathBuf);

impl Immutable {
    /// None where the file system cannot.
    fn new(path: PathBuf) -> Option<Self> {
        let made =
            tools::has("chattr") && Command::new("chattr").arg("+i").arg(&path).output().unwrap().status.success();
        made.then_some(Self(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        // It may lie in the trash by now, under whatever name: so through all of the store, with links that have no such mark.
        let store = self.0.ancestors().find(|path| path.ends_with("root")).unwrap();
        drop(Command::new("chattr").args(["-R", "-i"]).arg(store).output().unwrap());
    }
}

/// What the prune says that went, and what it says that did not; its exit code is 1.
fn partly(sandbox: &Sandbox, words: &[&str]) -> (String, String) {
    let out = sandbox.img(&[words, &["--force"]].concat());
    assert_eq!(out.code(), 1, "{out}");
    (out.stdout(), out.stderr())
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_goes() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for name in ["n1", "n2", "n3"] {
        sandbox.ok(&["network", "create", name]);
    }
    let id = sandbox.ok(&["network", "inspect", "-f", "{{.Id}}", "n2"]);
    let Some(held) = Immutable::new(sandbox.root().join("networks").join(id)) else {
        skip!("the file system knows no immutable files");
    };
    let (went, stays) = partly(&sandbox, &["network", "prune"]);
    assert_eq!(went, "n1\nn3\n");
    assert!(stays.starts_with("error: cannot remove network n2: cannot rename "), "{stays}");
    assert_eq!(sandbox.ok(&["network", "ls", "-q", "--filter", "type=custom"]).lines().count(), 1);
    drop(held);
    assert_eq!(sandbox.ok(&["network", "prune", "--force"]), "n2");

    for name in ["v1", "v2", "v3"] {
        sandbox.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &format!("{name}:/v"),
            "busybox",
            "touch",
            "/v/a",
            "/v/b",
        ]);
    }
    let mountpoint = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "v2"]);
    let held = Immutable::new(Path::new(&mountpoint).join("a")).expect("as before");
    let (went, stays) = partly(&sandbox, &["volume", "prune", "--all"]);
    assert!(went.starts_with("Deleted Volumes:\nv1\nv3\n\nTotal reclaimed space: "), "{went}");
    assert!(stays.starts_with("error: cannot remove volume v2: cannot remove "), "{stays}");
    assert_eq!(stays.matches("Operation not permitted").count(), 1, "{stays}");
    // What lies in the trash now hinders nobody, and every prune tells of it, once.
    sandbox.ok(&["volume", "create", "v2"]);
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    sandbox.ok(&["ps", "--all"]);
    sandbox.build("built", "built", "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/a /b\n").ok();
    let rmi = sandbox.img(&["rmi", "built"]);
    assert!(rmi.ok().stderr().starts_with("warning: cannot remove "), "{rmi}");
    let words: [&[&str]; 4] =
        [&["container", "prune"], &["image", "prune"], &["builder", "prune"], &["system", "prune"]];
    for words in words {
        let (went, stays) = partly(&sandbox, words);
        assert!(went.contains("Total reclaimed space: "), "{words:?} {went}");
        assert_eq!(stays.matches("error: ").count(), 1, "{words:?} {stays}");
    }
    drop(held);
    sandbox.img(&["system", "prune", "--force"]).ok().prints(&["Total reclaimed space: "]);
    assert_eq!(std::fs::read_dir(sandbox.root().join("trash")).unwrap().count(), 0);
}
