//! What a program may leave behind on the machine, seen from outside: mounts, control groups, network interfaces, network
//! namespaces and processes. A test that counts runs alone (`Sandbox::alone`), takes a picture before and one after, and
//! compares. What the kernel removes with a delay gets a few seconds.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A picture of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Mount points of this mount namespace, with type and source.
    pub mounts: BTreeSet<String>,
    /// Folders below `img` in each hierarchy of control groups.
    pub groups: BTreeSet<PathBuf>,
    /// Network interfaces.
    pub interfaces: BTreeSet<String>,
    /// Inodes of the network and mount namespaces that some process lives in.
    pub namespaces: BTreeSet<String>,
    /// Tables, chains and rules of the firewall, when `nft` is there to ask.
    pub firewall: BTreeSet<String>,
}

impl Picture {
    /// The machine now.
    pub fn now() -> Self {
        let mut groups = BTreeSet::new();
        for hierarchy in hierarchies() {
            folders(&hierarchy.join("img"), &mut groups);
        }
        Self { mounts: mounts(), groups, interfaces: interfaces(), namespaces: namespaces(), firewall: firewall() }
    }

    /// What is here and was not in `before`, one line each. `allowed` decides what may stay: the bridge, the pin.
    pub fn beyond(&self, before: &Self, allowed: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |kind: &str, text: String| {
            if !allowed(&text) {
                lines.push(format!("{kind}: {text}"));
            }
        };
        self.mounts.difference(&before.mounts).for_each(|m| add("mount", m.clone()));
        self.groups.difference(&before.groups).for_each(|g| add("control group", g.display().to_string()));
        self.interfaces.difference(&before.interfaces).for_each(|i| add("interface", i.clone()));
        self.namespaces.difference(&before.namespaces).for_each(|n| add("namespace", n.clone()));
        self.firewall.difference(&before.firewall).for_each(|f| add("firewall", f.clone()));
        lines
    }
}

/// Asserts that within five seconds nothing is left beyond `before` but what is allowed.
#[track_caller]
pub fn assert_nothing_left(before: &Picture, allowed: impl Fn(&str) -> bool) {
    let began = Instant::now();
    loop {
        let left = Picture::now().beyond(before, &allowed);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "left behind:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asserts that within five seconds no process has `mark` in its environment or on its command line.
#[track_caller]
pub fn assert_no_process(mark: &str) {
    let began = Instant::now();
    loop {
        let left = processes(mark);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "processes left with {mark}: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes other than this one that have `mark` in their environment or on their command line: id and command line.
pub fn processes(mark: &str) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| *id != std::process::id())
        .filter_map(|id| {
            // A process may end between two looks; then it is not left.
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let has = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
            let text = String::from_utf8_lossy(&line).replace('\0', " ");
            // A zombie has neither, and is its parent's to reap.
            (has(&environment) || has(&line)).then_some((id, text))
        })
        .collect()
}

/// Mount points that have `text` in them, of this mount namespace.
pub fn mounts_with(text: &str) -> Vec<String> {
    mounts().into_iter().filter(|mount| mount.contains(text)).collect()
}

/// Folders of control groups whose name holds `id`.
pub fn groups_of(id: &str) -> Vec<PathBuf> {
    let mut groups = BTreeSet::new();
    for hierarchy in hierarchies() {
        folders(&hierarchy.join("img"), &mut groups);
    }
    groups.into_iter().filter(|group| group.to_string_lossy().contains(id)).collect()
}

/// Those of this network namespace: /sys shows the one that it was mounted in.
fn interfaces() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/net/dev").expect("/proc/self/net/dev");
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn mounts() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    table
        .lines()
        .map(|line| {
            // id parent dev root POINT options [optional…] - TYPE SOURCE options
            let words: Vec<&str> = line.split(' ').collect();
            let dash = words.iter().position(|word| *word == "-").unwrap_or(words.len() - 3);
            format!("{} type {} of {}", words[4], words[dash + 1], words[dash + 2])
        })
        .collect()
}

/// The roots of all control group hierarchies: v2, each v1 controller, or the hybrid of both.
pub fn hierarchies() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    let groups = table.lines().filter(|line| line.contains(" - cgroup"));
    groups.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn folders(at: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.insert(entry.path());
            folders(&entry.path(), found);
        }
    }
}

fn namespaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = entries.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    ids.flat_map(|entry| {
        ["net", "mnt"]
            .map(|kind| std::fs::metadata(entry.path().join("ns").join(kind)).map(|m| format!("{kind}:{}", m.ino())))
    })
    .flatten()
    .collect()
}

fn firewall() -> BTreeSet<String> {
    let out = std::process::Command::new("nft").args(["list", "ruleset"]).output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let mut table = String::new();
    let mut lines = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("table") {
            table = line.trim_end_matches(" {").to_owned();
        }
        // Counters change by themselves.
        let words: Vec<&str> = line.split_whitespace().collect();
        let counter = words.iter().position(|word| *word == "counter").unwrap_or(words.len());
        let stable: Vec<&str> =
            words.iter().enumerate().filter(|(i, _)| *i < counter || *i > counter + 4).map(|(_, w)| *w).collect();
        lines.insert(format!("{table}: {}", stable.join(" ")));
    }
    lines
}
