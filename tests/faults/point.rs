//! One point of a sweep: a scene, what goes wrong, and at which call. Running it gives a line of what is wrong, or nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::scenes::Scene;
use crate::support::leaks::{self, Picture};
use crate::support::{Out, Registry, Sandbox, images};

const LIMIT: Duration = Duration::from_secs(60);
const PAGE: usize = 4096;

/// A scene whose store stands ready to be copied.
pub struct Stage {
    pub scene: Scene,
    sandbox: Sandbox,
    push: Registry,
    binary: PathBuf,
    /// What the machine looks like, and what the store has in it, when the scene was played without faults.
    machine: Picture,
    files: BTreeSet<String>,
    /// How long the command took then.
    took: Duration,
}

/// What a faulty run came to.
pub struct Met {
    /// `call path`, when the planned call was met.
    pub call: Option<String>,
    /// The most calls that any thread made.
    pub most: u32,
    /// What is wrong afterwards.
    pub problems: Vec<String>,
}

impl Stage {
    /// Makes the store ready and plays the scene once without faults.
    pub fn set(scene: Scene) -> Self {
        let sandbox = Sandbox::apart();
        let target = images::folder().parent().expect("the target folder");
        let binary = std::env::var_os("IMG_FAULTS_BINARY").map_or_else(|| target.join("faults/img"), PathBuf::from);
        assert!(binary.exists(), "{} is missing: run scripts/faults-binary", binary.display());
        sandbox.write("context/Buildfile", "FROM busybox\nCOPY file /copied\nRUN echo made > /made\n");
        sandbox.write("context/file", "content\n");
        let machine = Picture::now();
        let mut stage =
            Self { scene, sandbox, push: Registry::fresh(), binary, machine, files: BTreeSet::new(), took: LIMIT };
        for line in stage.scene.before {
            stage.play(line).ok();
        }
        stage.sandbox.img(&["system", "unmount"]);
        std::fs::rename(stage.sandbox.root(), stage.sandbox.path("ready"))
            .or_else(|_| std::fs::create_dir(stage.sandbox.path("ready")))
            .unwrap();
        // The bridge and its rules are made with the first container on it and stay.
        stage.restore();
        stage.took = Out::of(stage.command(&[]), None, LIMIT).ok().took;
        let problems = stage.aftermath();
        assert!(problems.is_empty(), "{} without faults:\n{}", stage.scene.name, problems.join("\n"));
        stage.machine = Picture::now();
        stage.files = stage.listing();
        stage
    }

    /// Plays the scene with `plan` (`kill:*`, `ENOSPC+:*`) striking at call `at`, and looks at what came of it.
    pub fn run(&self, plan: &str, at: u32) -> Met {
        self.restore();
        let log = self.sandbox.path("fault.log");
        std::fs::write(&log, [0u8; PAGE]).expect("the page of the faults");
        let mut command = self.command(&[]);
        command.env("IMG_FAULT", format!("{plan}:{at}")).env("IMG_FAULT_LOG", &log);
        let out = Self::out_of(command);
        let mut page = [0u8; PAGE];
        File::open(&log).and_then(|file| file.read_exact_at(&mut page, 0)).expect("the page of the faults");
        let text: Vec<u8> = page[..PAGE - 4].iter().copied().take_while(|byte| *byte != 0).collect();
        let most = u32::from_ne_bytes(page[PAGE - 4..].try_into().expect("four bytes"));
        let call = (!text.is_empty()).then(|| String::from_utf8_lossy(&text).trim().to_owned());
        Met { problems: self.problems(out, call.as_deref(), plan == "kill:*"), call, most }
    }

    /// Plays the scene and kills the command after a part of the time that it takes, in thousandths: it alone (`kill@time`), or with
    /// all processes of its group, as by a terminal or a CI machine that gives up (`killgroup@time`).
    pub fn run_for(&self, plan: &str, part: u32) -> Met {
        self.restore();
        let after = self.took * part / 1000;
        let time = format!("{:.6}", after.as_secs_f64());
        let alone: &[&str] = if plan == "kill@time" { &["--foreground"] } else { &[] };
        let out = Self::out_of(self.command(&[&["timeout", "--signal=KILL"], alone, &[&time]].concat()));
        // 124: it had just ended when it was killed.
        let killed = out.as_ref().is_ok_and(|out| matches!(out.code(), 124 | 137));
        let call = killed
            .then(|| format!("after {:.1} of {:.1} ms", after.as_secs_f64() * 1e3, self.took.as_secs_f64() * 1e3));
        Met { problems: self.problems(out, call.as_deref(), true), call, most: 1000 }
    }

    /// The scene's command with the binary of the faults, below another command.
    fn command(&self, below: &[&str]) -> Command {
        let binary = self.binary.to_string_lossy().into_owned();
        let mut words =
            below.iter().map(|word| (*word).to_owned()).chain([binary]).chain(self.words(self.scene.command));
        let mut command = Command::new(words.next().expect("the binary"));
        let model = self.sandbox.command(&[]);
        command.args(words).current_dir(self.sandbox.path("")).env_clear();
        command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// The outcome, or that there is none.
    fn out_of(command: Command) -> Result<Out, String> {
        let hung = std::panic::AssertUnwindSafe(|| Out::of(command, None, LIMIT));
        std::panic::catch_unwind(hung).map_err(|_| "it hangs, or what it left holds its output open".to_owned())
    }

    /// What is wrong with the outcome of a command whose `call` failed or was its last, and with what it left.
    fn problems(&self, out: Result<Out, String>, call: Option<&str>, killed: bool) -> Vec<String> {
        let out = match out {
            Ok(out) => out,
            Err(why) => return vec![why],
        };
        let mut problems = Vec::new();
        if call.is_none() && out.code() != 0 {
            problems.push(format!("failed without a fault\n{out}"));
        }
        let said = out.stderr();
        if said.contains("panicked") {
            problems.push(format!("a panic\n{out}"));
        }
        if !killed && out.code() != 0 {
            if out.code() > 128 {
                problems.push(format!("ended by a signal\n{out}"));
            }
            if !said.contains("error: ") || !(said.contains('/') || said.contains('\'') || said.contains("container")) {
                problems.push(format!("the error names no path\n{out}"));
            }
        }
        problems.extend(self.aftermath());
        if call.is_some_and(|call| call.ends_with(" /proc/filesystems")) {
            // Then the driver that unpacks is used, and leaves other files.
            problems.retain(|line| !line.starts_with("file: ") && !line.starts_with("no file: "));
        }
        if !problems.is_empty() {
            problems.push(format!("the faulty run was\n{out}"));
        }
        problems
    }

    /// The next command, a check, the same command again, the proof, and what is left at the end.
    fn aftermath(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut ids = self.containers();
        for line in ["ps", "volume ls", "network ls", "system check"] {
            self.must(line, "*", &mut problems);
        }
        for line in self.scene.clear {
            self.play(line);
        }
        let again = self.play(self.scene.command);
        let done = self.scene.done.iter().any(|words| again.stderr().to_lowercase().contains(words));
        if again.code() != 0 && !done {
            problems.push(format!("the second try failed:\n{again}"));
        }
        for (line, printed) in self.scene.proof {
            self.must(line, printed, &mut problems);
        }
        for line in self.scene.undo {
            self.must(line, "*", &mut problems);
        }
        self.must("system check", "*", &mut problems);
        // Any writing command sweeps up after those that were killed.
        for line in ["volume create swept", "volume rm swept", "ps", "system unmount"] {
            self.must(line, "*", &mut problems);
        }
        ids.extend(self.containers());
        problems.extend(self.left(&ids));
        problems
    }

    /// Plays a line that must succeed and print this (`*`: anything).
    fn must(&self, line: &str, printed: &str, problems: &mut Vec<String>) {
        let out = self.play(line);
        if out.code() != 0 || out.stderr().contains("panicked") {
            problems.push(format!("afterwards:\n{out}"));
        } else if printed != "*" && out.word() != printed {
            problems.push(format!("afterwards it should print '{printed}':\n{out}"));
        }
    }

    /// What is on the machine and in the store that was not after the run without faults.
    fn left(&self, ids: &BTreeSet<String>) -> Vec<String> {
        if self.files.is_empty() {
            return Vec::new();
        }
        let mut left = Vec::new();
        // The kernel takes a moment for namespaces and interfaces.
        for _ in 0..100 {
            // Namespaces and groups of others come and go; ours are known by their ids, and by their processes.
            let ours = |line: &str| line.starts_with("net:") || line.starts_with("mnt:") || line.contains("/cgroup/");
            left = Picture::now().beyond(&self.machine, ours);
            left.extend(ids.iter().flat_map(|id| leaks::groups_of(id)).map(|group| group.display().to_string()));
            let place = self.sandbox.text("");
            left.extend(leaks::processes(&place).into_iter().map(|(pid, line)| format!("process {pid}: {line}")));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let now = self.listing();
        left.extend(now.difference(&self.files).map(|file| format!("file: {file}")));
        left.extend(self.files.difference(&now).map(|file| format!("no file: {file}")));
        left
    }

    /// All files of the store, with sizes where these say something; names made by chance are replaced.
    fn listing(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.sandbox.root(), Path::new(""), &mut found);
        found
    }

    /// Ids of the containers that have a record or a state.
    fn containers(&self) -> BTreeSet<String> {
        let places = ["root/containers", "run/containers"].map(|place| std::fs::read_dir(self.sandbox.path(place)));
        let entries = places.into_iter().flatten().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.len() == 64).collect()
    }

    fn restore(&self) {
        for place in ["root", "run"] {
            match std::fs::remove_dir_all(self.sandbox.path(place)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("cannot clear {place}: {error}"),
                _ => {}
            }
        }
        drop(std::fs::remove_file(self.sandbox.path("saved.tar")));
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg(self.sandbox.path("ready")).arg(self.sandbox.root());
        Out::of(copy, None, LIMIT).ok();
    }

    fn words(&self, line: &str) -> Vec<String> {
        let fill = |word: &str| {
            word.replace("{dir}", &self.sandbox.text(""))
                .replace("{busybox}", &images::layout("busybox").to_string_lossy())
                .replace("{bases}", Registry::bases().address())
                .replace("{push}", self.push.address())
        };
        line.split(' ').map(fill).collect()
    }

    fn play(&self, line: &str) -> Out {
        let words = self.words(line);
        self.sandbox.img(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn walk(at: &Path, name: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        let path = entry.path();
        let own = name.join(entry.file_name());
        let meta = entry.metadata().expect("a file of the store");
        let skipped = own.file_name() == Some("tree".as_ref()) && own.starts_with("layers");
        if skipped || ["journal", "cache", "spare"].iter().any(|name| own == Path::new(name)) {
            // A tree is what the other driver unpacked, when `/proc/filesystems` could not be read.
            // What happened stands there, and more happened; a build keeps what it had done, its logs and its notes; a few
            // directories of containers are kept for the next ones.
        } else if meta.is_dir() {
            found.insert(format!("{}/", own.display()));
            walk(&path, &own, found);
        } else if own.starts_with("containers") {
            // Times stand there, not always with as many digits.
            found.insert(own.display().to_string());
        } else {
            found.insert(format!("{} {}", own.display(), meta.size()));
        }
    }
}
