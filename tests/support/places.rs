//! The three ways by which a program comes into a sandbox: `run`, `exec`, and the RUN of a build. What holds for one
//! must hold for all, so a probe is a script that is run in each of them.

use super::Sandbox;

/// A container to `exec` in, and an image to run and to build on.
pub struct Places<'a> {
    sandbox: &'a Sandbox,
    image: &'a str,
    id: String,
}

/// What a script printed in one place, and how it ended there.
pub struct Printed {
    /// `run`, `exec` or `RUN`.
    pub place: &'static str,
    /// Its standard output, without white space around it.
    pub text: String,
    /// Its exit status.
    pub code: i32,
}

impl<'a> Places<'a> {
    /// On an image with a shell and `sleep`.
    pub fn new(sandbox: &'a Sandbox, image: &'a str) -> Self {
        let id = sandbox.ok(&["run", "-d", "--network", "none", image, "sleep", "1000"]);
        Self { sandbox, image, id }
    }

    /// Runs a script of one line, without single quotes, in all three.
    #[track_caller]
    pub fn each(&self, script: &str) -> [Printed; 3] {
        let sandbox = self.sandbox;
        let run = sandbox.img(&["run", "--rm", "--network", "none", self.image, "sh", "-c", script]);
        let exec = sandbox.img(&["exec", &self.id, "sh", "-c", script]);
        let words = serde_json::to_string(&["sh", "-c", &format!("({script}); code=$?; echo; echo code $code")])
            .expect("words are JSON");
        let line = format!("FROM {}\nRUN --network=none {words}\n", self.image);
        sandbox.write("places/Buildfile", line);
        let built = sandbox.img(&["build", "--no-cache", "--progress", "plain", &sandbox.text("places")]);
        let log = built.ok().stderr();
        let lines: Vec<&str> =
            log.lines().filter_map(|line| line.strip_prefix("#1 | ").or(line.strip_prefix("#1 |"))).collect();
        // Errors come by a pipe of their own, and may come after it.
        let at = lines
            .iter()
            .rposition(|line| line.starts_with("code "))
            .unwrap_or_else(|| panic!("no exit status\n{built}"));
        let code = lines[at].trim_start_matches("code ");
        let text = [&lines[..at], &lines[at + 1..]].concat();
        [
            Printed { place: "run", text: run.word(), code: run.code() },
            Printed { place: "exec", text: exec.word(), code: exec.code() },
            Printed { place: "RUN", text: text.join("\n").trim().to_owned(), code: code.parse().expect("a number") },
        ]
    }

    /// Asserts that a script prints this in all three.
    #[track_caller]
    pub fn print(&self, script: &str, wanted: &str) {
        for printed in self.each(script) {
            assert_eq!(printed.text, wanted, "{}: {script}", printed.place);
        }
    }

    /// Asserts that a script fails in all three.
    #[track_caller]
    pub fn fail(&self, script: &str) {
        for printed in self.each(script) {
            assert_ne!(printed.code, 0, "{}: {script}\n{}", printed.place, printed.text);
        }
    }
}
