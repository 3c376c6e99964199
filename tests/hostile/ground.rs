//! Where the rows are tried: a store of one's own for each driver, and outside of it a canary, a tree that the inputs aim
//! at. After each row the canary must be what it was, change times included; no process of `img` may have used more than
//! [`MEMORY`] or a minute; and after each table `system check` must find nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::archive;
use crate::case::{Case, Input, Outcome};
use crate::support::{Out, Sandbox};

/// Most memory that `img` may have resident at any time, KiB.
pub const MEMORY: u64 = 128 << 10;
/// Longest that one row may take, beside a machine that does other things.
const LIMIT: Duration = Duration::from_secs(60);

/// A store, and what must not be touched.
pub struct Ground {
    pub sandbox: Sandbox,
    canary: PathBuf,
    before: BTreeSet<String>,
}

impl Ground {
    /// A ground whose store uses this driver.
    pub fn new(driver: &str) -> Self {
        let sandbox = Sandbox::new();
        let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
        sandbox.write("config.toml", format!("storage-driver = \"{driver}\"\n\n{config}"));
        sandbox.write("canary/victim", "victim\n");
        sandbox.write("canary/inside/file", "file\n");
        std::os::unix::fs::symlink("victim", sandbox.path("canary/link")).unwrap();
        let canary = sandbox.path("canary");
        let before = picture(&canary);
        Self { sandbox, canary, before }
    }

    /// The canary's path.
    pub fn canary(&self) -> String {
        self.canary.to_string_lossy().into_owned()
    }

    /// Tries every row; panics with all that failed.
    pub fn try_all(&self, cases: &[Case]) {
        let failed: Vec<String> = cases
            .iter()
            .filter_map(|case| {
                self.attempt(case).err().map(|why| format!("{}: {why}\n  rule: {}", case.name, case.rule))
            })
            .collect();
        assert!(failed.is_empty(), "{} of {} rows failed:\n\n{}", failed.len(), cases.len(), failed.join("\n\n"));
        // What no row was seen to take: exact, but of all children of this program together, each of which counts with this
        // program's own memory until it executes (execve(2) keeps the high-water mark of a vfork).
        let peak = |who| getrusage(who).map_or(0, |usage| usage.max_rss());
        let (children, own) = (peak(UsageWho::RUSAGE_CHILDREN), peak(UsageWho::RUSAGE_SELF));
        assert!(children <= own.max(MEMORY.cast_signed()), "{} MiB of memory", children >> 10);
        self.sandbox.img(&["system", "check"]).ok();
        let left = self.sandbox.ok(&["images", "--all", "--quiet"]);
        assert_eq!(left, "", "images are left");
    }

    fn attempt(&self, case: &Case) -> Result<(), String> {
        let out = self.give(case);
        let mut wrong = Vec::new();
        match &case.outcome {
            Outcome::Refused(words) => {
                if out.code() != 1 {
                    wrong.push("it was not refused".to_owned());
                }
                let text = out.stderr();
                wrong.extend(
                    words.iter().filter(|w| !text.contains(**w)).map(|word| format!("no {word:?} in what it said")),
                );
                if !text.starts_with("error: ") && !text.contains("\nerror: ") {
                    wrong.push("no line begins with error:".to_owned());
                }
            }
            Outcome::Taken(tree) if out.code() == 0 => wrong.extend(self.look(tree)),
            Outcome::Taken(_) => wrong.push("it was refused".to_owned()),
        }
        let said = [out.stdout(), out.stderr()].concat();
        if said.chars().any(|c| c.is_control() && c != '\n') {
            wrong.push("control characters from the input reach the terminal".to_owned());
        }
        self.sandbox.img(&["rmi", "--force", "--", "hostile", "hostile:other"]);
        self.sandbox.img(&["image", "prune", "--all", "--force"]).ok();
        let now = picture(&self.canary);
        if now != self.before {
            wrong.push(format!("the canary changed: {:?}", now.symmetric_difference(&self.before).collect::<Vec<_>>()));
        }
        if out.took > LIMIT {
            wrong.push(format!("it took {:?}", out.took));
        }
        if out.peak > MEMORY {
            wrong.push(format!("{} MiB of memory", out.peak >> 10));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{out}", wrong.join("; "))) }
    }

    fn give(&self, case: &Case) -> Out {
        let path = self.sandbox.path("given");
        drop(std::fs::remove_dir_all(&path));
        drop(std::fs::remove_file(&path));
        let text = path.to_string_lossy().into_owned();
        match &case.input {
            Input::Layer(tar) => std::fs::write(&path, archive::image(&self.lower(), tar, tar)).unwrap(),
            Input::Blob(blob, tar) => std::fs::write(&path, archive::image(&self.lower(), blob, tar)).unwrap(),
            Input::Archive(bytes) => std::fs::write(&path, bytes).unwrap(),
            Input::Made(make) => make(&path),
            Input::Context(make, words) => {
                std::fs::create_dir(&path).unwrap();
                make(&path);
                let mut arguments = vec!["build", "--quiet", "--tag", "hostile"];
                arguments.extend(*words);
                arguments.push(&text);
                return self.sandbox.img(&arguments);
            }
            Input::Copies(make, steps) => {
                std::fs::create_dir(&path).unwrap();
                make(&path);
                let copy = |words: &[&str]| {
                    let words = words.iter().map(|word| word.replace("{}", &text));
                    let words: Vec<String> = ["copy", "--quiet"].map(str::to_owned).into_iter().chain(words).collect();
                    self.sandbox.img(&words.iter().map(String::as_str).collect::<Vec<_>>())
                };
                let (last, first) = steps.split_last().unwrap();
                let refused = first.iter().map(|words| copy(words)).find(|out| out.code() != 0);
                return refused.unwrap_or_else(|| copy(last));
            }
        }
        self.sandbox.img(&["load", "--quiet", "--input", &text])
    }

    /// The common lower layer: things for the upper one to hide, to link to and to lead through.
    fn lower(&self) -> Vec<u8> {
        let tar = crate::tar::Tar::new().dir("base").file("base/file", "base\n").file("base/sub/deep", "deep\n");
        let tar = tar.symlink("out", self.canary()).symlink("up", format!("../../../../../../../..{}", self.canary()));
        tar.symlink("dot", ".").dir("etc").file("etc/passwd", "root:x:0:0::/:/bin/sh\n").end()
    }

    /// What the tree of the image lacks, or has too much. It is mounted or unpacked by a container first.
    fn look(&self, tree: &[String]) -> Vec<String> {
        let run = self.sandbox.img(&["run", "--rm", "--network", "none", "hostile", "/no/such/program"]);
        if run.code() != 127 {
            return vec![format!("no container can be made of it\n{run}")];
        }
        let id = self.sandbox.ok(&["create", "hostile", "/no/such/program"]);
        let exported = self.sandbox.text("exported.tar");
        let out = self.sandbox.img(&["export", "--output", &exported, &id]);
        self.sandbox.img(&["rm", &id]).ok();
        if out.code() != 0 {
            return vec![format!("it cannot be exported\n{out}")];
        }
        let lines = listing(Path::new(&exported));
        let has = |wanted: &str| match wanted.strip_prefix('…') {
            Some(end) => lines.iter().any(|line| line.ends_with(end)),
            None => lines.iter().any(|line| line == wanted || line.starts_with(&format!("{wanted} "))),
        };
        let wrong = tree.iter().filter(|wanted| match wanted.strip_prefix('!') {
            Some(path) => lines
                .iter()
                .any(|line| line.split(' ').nth(4) == Some(path) || line.starts_with(path) && path.starts_with("x ")),
            None => !has(wanted),
        });
        let wrong: Vec<String> = wrong.map(|wanted| format!("{wanted:?} does not hold")).collect();
        if wrong.is_empty() { wrong } else { [wrong, vec![format!("the tree is {lines:#?}")]].concat() }
    }
}

/// The members of a tar of ours, a line each.
fn listing(path: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let attributes: Vec<String> = (entry.pax_extensions().unwrap().into_iter().flatten())
            .filter_map(|record| record.ok()?.key().ok()?.strip_prefix("SCHILY.xattr.").map(str::to_owned))
            .collect();
        let header = entry.header();
        let kind = match header.entry_type() {
            tar::EntryType::Regular => 'f',
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            tar::EntryType::Char => 'c',
            tar::EntryType::Block => 'b',
            tar::EntryType::Fifo => 'p',
            other => panic!("{other:?} in an export"),
        };
        let path = entry.path_bytes().escape_ascii().to_string();
        let path = path.trim_end_matches('/');
        let target = entry.link_name_bytes().map_or_else(String::new, |to| format!(" -> {}", to.escape_ascii()));
        let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
        lines.push(format!("{kind} {:o} {uid}:{gid} {} {path}{target}", header.mode().unwrap(), entry.size()));
        lines.extend(attributes.iter().map(|name| format!("x {name} {path}")));
    }
    lines
}

/// Everything that can be seen of a tree, times of change included.
fn picture(at: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![at.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let facts = (meta.mode(), meta.uid(), meta.gid(), meta.nlink(), meta.size(), meta.ino(), times);
        found.insert(format!("{} {facts:?} {content:?}", path.display()));
        if meta.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}
