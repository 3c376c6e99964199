//! Two command lines, one language: short scripts run once with `img` and once with docker, and what they print compared.
//! `commands/` is the table of rules; a script speaks of its own containers, images and volumes by `$N`, of the program by
//! `$X`, and prints what is to be the same (statuses with `echo $?`). Where `img` differs on purpose, the case says what it
//! prints and why:
//!
//! ```text
//! ### name | the rule, in words
//! $X run --rm busybox true; echo $?
//! --- img | why it is not the same
//! what img prints
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::docker::Docker;
use crate::support::{Out, Sandbox};

const LIMIT: Duration = Duration::from_secs(90);
/// Scripts run at one time.
const SIDE_BY_SIDE: usize = 3;

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Its name, of which the names of its containers are made.
    pub name: String,
    /// What it proves.
    pub rule: String,
    /// What is run.
    pub script: String,
    /// What `img` prints where it differs on purpose, and why.
    pub differs: Option<(String, String)>,
}

/// All cases, in the order of the files and of their lines.
pub fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/commands");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the cases").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let mut found: Vec<Case> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a text");
        // What stands before the first case is about the file.
        let Some(at) = text.find("\n### ") else { continue };
        for part in text[at..].split("\n### ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let (name, rule) = head.split_once(" | ").unwrap_or_else(|| panic!("no rule: {head}"));
            let (script, differs) = match body.split_once("--- img | ") {
                None => (body, None),
                Some((script, rest)) => {
                    let (why, printed) = rest.split_once('\n').expect("what img prints");
                    (script, Some((why.to_owned(), printed.trim().to_owned())))
                }
            };
            let (name, rule, script) = (name.trim().to_owned(), rule.trim().to_owned(), script.trim().to_owned());
            found.push(Case { name, rule, script, differs });
        }
    }
    found
}

/// Where `img` runs the scripts.
pub struct Ours {
    sandbox: Sandbox,
}

impl Ours {
    /// A store with the image that all scripts use.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.pull("busybox");
        Self { sandbox }
    }

    /// What the scripts print with `img`, or with `wrapper` around it.
    pub fn transcripts(&self, cases: &[Case], wrapper: Option<&str>) -> BTreeMap<String, String> {
        let img = self.sandbox.command(&[]);
        let program = img.get_program().to_string_lossy().into_owned();
        let mut words = program.clone();
        if let Some(wrapper) = wrapper {
            words = self.sandbox.write("wrapper", wrapper.replace("PROGRAM", &program));
            std::fs::set_permissions(&words, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a script");
        }
        let environment: Vec<_> =
            img.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        run_all(cases, &self.sandbox.path("scripts"), &words, &|command| {
            command.env_clear().envs(environment.iter().cloned());
        })
    }
}

/// What the scripts print with docker.
pub fn theirs(cases: &[Case], docker: &Docker) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let words = docker.words().join(" ");
    run_all(cases, dir.path(), &words, &|command| {
        command.env("HOME", dir.path()).env("DOCKER_BUILDKIT", "1");
    })
}

fn run_all(
    cases: &[Case],
    dir: &Path,
    words: &str,
    prepare: &(dyn Fn(&mut Command) + Sync),
) -> BTreeMap<String, String> {
    let left: Mutex<Vec<&Case>> = Mutex::new(cases.iter().rev().collect());
    let done: Mutex<BTreeMap<String, String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                let next = || left.lock().expect("nobody panicked").pop();
                while let Some(case) = next() {
                    let printed = run(case, dir, words, prepare);
                    done.lock().expect("nobody panicked").insert(case.name.clone(), printed);
                }
            });
        }
    });
    done.into_inner().expect("nobody panicked")
}

/// Runs one script in a folder of its own and takes away what it made.
fn run(case: &Case, dir: &Path, words: &str, prepare: &(dyn Fn(&mut Command) + Sync)) -> String {
    let place = dir.join(&case.name);
    std::fs::remove_dir_all(&place).ok();
    std::fs::create_dir_all(&place).expect("a folder");
    // No name is the beginning of another, and none is within another.
    let name = format!("t.{}.t", case.name);
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        prepare(&mut command);
        command.args(["-c", script]).current_dir(&place).env("X", words).env("N", &name);
        Out::of(command, None, LIMIT)
    };
    let out = shell(&case.script);
    shell(
        "$X rm -f $($X ps -aq --filter name=$N) >/dev/null 2>&1; $X rmi -f $N >/dev/null 2>&1; $X volume rm -f $N >/dev/null 2>&1",
    );
    out.stdout().trim().to_owned()
}

/// A way in which the program could be wrong: what a wrapper does to its words or its end.
pub enum Broken {
    /// This flag and its value do nothing.
    Flag(&'static str),
    /// This switch does nothing.
    Switch(&'static str),
    /// This word is taken for that.
    Word(&'static str, &'static str),
    /// This status becomes that.
    Status(i32, i32),
    /// This command says nothing.
    Silent(&'static str),
    /// Standard error goes where standard output goes.
    Mixed,
}

impl Broken {
    /// The wrapper around PROGRAM.
    pub fn wrapper(&self) -> String {
        let words = |change: &str| {
            format!(
                "#!/bin/sh\nn=$#\nskip=\nwhile [ $n -gt 0 ]; do\n a=$1; shift; n=$((n-1))\n\
                 if [ -n \"$skip\" ]; then skip=; continue; fi\n{change}\n set -- \"$@\" \"$a\"\ndone\nexec PROGRAM \"$@\"\n"
            )
        };
        match self {
            Self::Flag(flag) => words(&format!("case $a in '{flag}') skip=1; continue;; '{flag}='*) continue;; esac")),
            Self::Switch(flag) => words(&format!("case $a in '{flag}') continue;; esac")),
            Self::Word(from, to) => words(&format!("case $a in '{from}') a='{to}';; esac")),
            Self::Status(from, to) => {
                format!("#!/bin/sh\nPROGRAM \"$@\"; s=$?; [ $s = {from} ] && exit {to}; exit $s\n")
            }
            Self::Silent(command) => {
                format!(
                    "#!/bin/sh\nif [ \"$1\" = '{command}' ]; then exec PROGRAM \"$@\" >/dev/null; fi\nexec PROGRAM \"$@\"\n"
                )
            }
            Self::Mixed => "#!/bin/sh\nexec PROGRAM \"$@\" 2>&1\n".to_owned(),
        }
    }
}

/// Rules broken on purpose, and the case that must notice each.
pub const BROKEN: &[(Broken, &str)] = &[
    (Broken::Flag("-w"), "workdir"),
    (Broken::Flag("-u"), "user-name"),
    (Broken::Flag("-h"), "hostname"),
    (Broken::Flag("-e"), "env-last-wins"),
    (Broken::Flag("--env-file"), "env-file"),
    (Broken::Flag("--entrypoint"), "entrypoint"),
    (Broken::Flag("--group-add"), "group-add"),
    (Broken::Flag("-l"), "label"),
    (Broken::Flag("--cidfile"), "cidfile"),
    (Broken::Switch("--rm"), "rm-removes"),
    (Broken::Switch("-i"), "stdin-piped"),
    (Broken::Switch("-t"), "tty-alone"),
    (Broken::Switch("--init"), "init-is-1"),
    (Broken::Switch("--read-only"), "read-only"),
    (Broken::Flag("-m"), "memory-limit"),
    (Broken::Flag("--cpus"), "cpus"),
    (Broken::Flag("--cpuset-cpus"), "cpuset"),
    (Broken::Flag("--pids-limit"), "pids-limit"),
    (Broken::Flag("--cap-drop"), "cap-drop-all"),
    (Broken::Flag("--cap-add"), "cap-add-one"),
    (Broken::Flag("--ulimit"), "ulimit"),
    (Broken::Flag("--tmpfs"), "tmpfs"),
    (Broken::Flag("--shm-size"), "shm-size"),
    (Broken::Flag("--sysctl"), "sysctl"),
    (Broken::Flag("--add-host"), "add-host"),
    (Broken::Flag("-v"), "bind"),
    (Broken::Flag("--stop-signal"), "stop-signal"),
    (Broken::Flag("-s"), "kill-signal"),
    (Broken::Word("kill", "stop"), "kill-stopped"),
    (Broken::Flag("-n"), "logs-tail"),
    (Broken::Flag("--filter"), "ps-status-filter"),
    (Broken::Switch("-a"), "ps-running-only"),
    (Broken::Switch("--no-trunc"), "ps-quiet"),
    (Broken::Flag("-c"), "commit-change"),
    (Broken::Switch("-L"), "cp-symlink"),
    (Broken::Silent("wait"), "wait-prints-code"),
    (Broken::Silent("rm"), "rm-running"),
    (Broken::Status(125, 1), "bad-flag"),
    (Broken::Status(126, 127), "not-executable"),
    (Broken::Status(127, 126), "not-found"),
    (Broken::Status(137, 1), "exec-signal"),
    (Broken::Status(7, 0), "exit-code"),
    (Broken::Mixed, "stdout-alone"),
];

/// What a script must print: docker's words, or what the table says where `img` is meant to differ.
fn expected<'a>(case: &'a Case, theirs: &'a BTreeMap<String, String>) -> &'a String {
    case.differs.as_ref().map_or(&theirs[&case.name], |(_, printed)| printed)
}

/// The cases with something else than expected.
pub fn differing(cases: &[Case], ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<Case> {
    cases.iter().filter(|case| ours[&case.name] != *expected(case, theirs)).cloned().collect()
}

/// What differs, case by case.
pub fn differences(cases: &[Case], ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let mut found: Vec<String> = differing(cases, ours, theirs)
        .iter()
        .map(|case| {
            let (ours, theirs) = (&ours[&case.name], &theirs[&case.name]);
            format!("=== {} ({})\n{}\n--- img\n{ours}\n--- docker\n{theirs}", case.name, case.rule, case.script)
        })
        .collect();
    found.extend(
        cases
            .iter()
            .filter(|case| case.differs.is_some() && ours[&case.name] == theirs[&case.name])
            .map(|case| format!("=== {}: it is said to differ from docker, and does not", case.name)),
    );
    found
}
