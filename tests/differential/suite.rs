//! Building all cases with both builders and holding the results against each other. Each side builds a few at a time, is
//! asked for all images in one archive, and that is read in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::case::Case;
use crate::context;
use crate::docker::Docker;
use crate::image::{self, Image};
use crate::support::{Out, Sandbox, tools};

const LIMIT: Duration = Duration::from_secs(120);

/// Images by the names of their cases; or why there is none.
pub type Results = BTreeMap<String, Result<Image, String>>;

/// The place where cases are built.
pub struct Suite {
    sandbox: Sandbox,
}

impl Suite {
    /// Lays out the contexts and the Buildfiles of `cases`.
    pub fn new(cases: &[Case]) -> Self {
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path("context")).expect("a folder");
        context::make(&sandbox.path("context"));
        for case in cases {
            sandbox.write(&format!("ours/{}", case.name), &case.text);
            sandbox.write(&format!("theirs/{}", case.name), case.twin.as_ref().unwrap_or(&case.text));
            if !case.ignore.is_empty() {
                tools::run("cp", ["-a", &sandbox.text("context"), &sandbox.text(&format!("context-{}", case.name))]);
                sandbox.write(&format!("context-{}/.dockerignore", case.name), &case.ignore);
                let file = sandbox.text(&format!("context-{}/.dockerignore", case.name));
                tools::run("touch", ["-d", &format!("@{}", context::TIME), &file]);
                let root = sandbox.text(&format!("context-{}", case.name));
                tools::run("touch", ["-d", &format!("@{}", context::TIME), &root]);
            }
        }
        sandbox.pull("busybox");
        Self { sandbox }
    }

    fn words(&self, case: &Case, side: &str) -> Vec<String> {
        let context = if case.ignore.is_empty() { "context".to_owned() } else { format!("context-{}", case.name) };
        let mut words = vec!["build".to_owned(), "--quiet".into(), "--network".into(), "none".into()];
        words.extend(["--tag".to_owned(), case.name.clone(), "--file".into()]);
        words.push(self.sandbox.text(&format!("{side}/{}", case.name)));
        words.extend(case.args.iter().cloned());
        words.push(self.sandbox.text(&context));
        words
    }

    /// What docker makes of the cases.
    pub fn theirs(&self, cases: &[Case]) -> Results {
        let docker = Docker::shared();
        let save = |archive: &str, names: &[&str]| {
            docker.run(&[&["save", "--output", archive], names].concat()).ok();
        };
        let command = |case: &Case| {
            let words = self.words(case, "theirs");
            docker.command(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        collect(cases, &self.sandbox.path("theirs.tar"), &command, &save)
    }

    /// What `img` makes of the cases, with `environment` for it and more words.
    pub fn ours(&self, cases: &[Case], environment: &[(&str, &str)], more: &[&str]) -> Results {
        let save = |archive: &str, names: &[&str]| {
            let words = ["save", "--format", "docker-archive", "--output", archive];
            self.sandbox.img(&[&words, names].concat()).ok();
        };
        let command = |case: &Case| {
            let words = self.words(case, "ours");
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut command = self.sandbox.command(&[&words[..1], more, &words[1..]].concat());
            command.envs(environment.iter().copied());
            command
        };
        collect(cases, &self.sandbox.path("ours.tar"), &command, &save)
    }
}

/// Builds `cases`, three at a time, and reads what came out.
fn collect(
    cases: &[Case],
    archive: &Path,
    command: &dyn Fn(&Case) -> Command,
    save: &dyn Fn(&str, &[&str]),
) -> Results {
    let commands: Mutex<Vec<(&Case, Command)>> = Mutex::new(cases.iter().map(|case| (case, command(case))).collect());
    let failures: Mutex<BTreeMap<String, String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let next = || commands.lock().expect("nobody panicked").pop();
                while let Some((case, command)) = next() {
                    let out = Out::of(command, None, LIMIT);
                    if out.code() != 0 {
                        failures.lock().expect("nobody panicked").insert(case.name.clone(), out.stderr());
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panicked");
    let built: Vec<&str> = cases.iter().map(|c| c.name.as_str()).filter(|name| !failures.contains_key(*name)).collect();
    let mut images = BTreeMap::new();
    if !built.is_empty() {
        save(&archive.to_string_lossy(), &built);
        images = image::read(archive);
    }
    let mut result = |case: &Case| match failures.get(&case.name) {
        Some(why) => Err(why.clone()),
        None => images.remove(&case.name).ok_or_else(|| "it is not in the archive".to_owned()),
    };
    cases.iter().map(|case| (case.name.clone(), result(case))).collect()
}

/// What differs, case by case, in what `compare` looks at.
pub fn differences(
    cases: &[Case],
    ours: &Results,
    theirs: &Results,
    compare: impl Fn(&Image, &Image, bool) -> Vec<String>,
) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for case in cases {
        let lines = match (&ours[&case.name], &theirs[&case.name]) {
            (Ok(ours), Ok(theirs)) => compare(ours, theirs, case.twin.is_some()),
            (Err(why), Ok(_)) => vec![format!("only img fails: {why}")],
            (Ok(_), Err(why)) => vec![format!("only the peer fails: {why}")],
            (Err(ours), Err(theirs)) => vec![format!("both fail: {ours}\n{theirs}")],
        };
        if !lines.is_empty() {
            found.insert(case.name.clone(), lines);
        }
    }
    found
}
