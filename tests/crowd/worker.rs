//! One worker: asks for one thing after the other, by chance, and judges what comes back. Images, containers and volumes
//! have few names, so that workers meet. What a worker runs under a name of its own must work whatever the others do.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Crowd;
use super::explained::why;
use super::random::Random;
use super::support::Out;
use super::support::sandbox::command_in;

/// No command may take longer, with so many at work.
const LIMIT: Duration = Duration::from_secs(120);
const VERSIONS: u64 = 4;
const IMAGES: u64 = 6;
const CONTAINERS: u64 = 8;
const VOLUMES: u64 = 3;

/// Only the images of the registry can be pulled.
fn pull_of(image: &str) -> &'static str {
    if image.starts_with("crowd:") { "never" } else { "missing" }
}

/// One of the crowd.
pub struct Worker<'a> {
    crowd: &'a Crowd,
    random: Random,
    number: u64,
}

impl<'a> Worker<'a> {
    /// A worker that does what seed and number say.
    pub fn new(crowd: &'a Crowd, seed: u64, number: u64) -> Self {
        Self { crowd, random: Random::of_worker(seed, number), number }
    }

    /// Works until time is up.
    pub fn work(mut self) {
        while Instant::now() < self.crowd.deadline {
            match self.random.below(24) {
                0..2 => self.pull(),
                2..5 => self.build(),
                5..8 => self.run(),
                8 => self.own_container(),
                9..11 => self.containers(),
                11..13 => self.tags(),
                13 => self.prune(),
                14 => drop(self.go("system check", &[])),
                15 => self.commit(),
                16 => self.save_and_load(),
                17 => self.export_and_import(),
                18..21 => self.read(),
                21 => self.volumes(),
                _ => self.killed(),
            }
        }
    }

    fn remote(&mut self) -> String {
        self.random.one_of(&self.crowd.remote).clone()
    }

    fn image(&mut self) -> String {
        match self.random.below(3) {
            0 => self.remote(),
            _ => format!("crowd:{}", self.random.below(IMAGES)),
        }
    }

    fn container(&mut self) -> String {
        format!("box{}", self.random.below(CONTAINERS))
    }

    fn volume(&mut self) -> String {
        format!("v{}", self.random.below(VOLUMES))
    }

    /// Runs a command to its end and judges it: `None` if it failed, which is a problem unless it is explained.
    fn go(&self, name: &str, arguments: &[&str]) -> Option<Out> {
        let words: Vec<&str> = name.split(' ').chain(arguments.iter().copied()).collect();
        let out = Out::of(command_in(&self.crowd.folder, &words), None, LIMIT);
        let reason = match out.code() {
            0 => None,
            _ => Some(why(name, &out.stderr())),
        };
        let mut tally = self.crowd.tally.lock().unwrap();
        let count = tally.counts.entry(name.to_owned()).or_default();
        match reason {
            None => count[0] += 1,
            Some(_) => count[1] += 1,
        }
        if out.took > tally.slowest.0 {
            tally.slowest = (out.took, words.join(" "));
        }
        match reason {
            None => return Some(out),
            Some(Some(why)) => *tally.explained.entry(why).or_default() += 1,
            Some(None) => tally.problems.push(out.to_string()),
        }
        None
    }

    fn problem(&self, text: String) {
        self.crowd.tally.lock().unwrap().problems.push(text);
    }

    /// The words of a build: an image whose files all say the same number.
    fn build_words(&mut self) -> [String; 4] {
        let version = self.random.below(VERSIONS);
        let folder = self.crowd.folder.join(format!("context-{}", self.number));
        std::fs::create_dir_all(&folder).unwrap();
        let base = self.remote();
        let text = format!(
            "FROM {base}\nRUN echo {version} > /a && head -c 50000 /dev/urandom > /bulk\nCOPY given /c\nRUN cat /a > /b\n\
             LABEL version={version}\n"
        );
        std::fs::write(folder.join("Buildfile"), text).unwrap();
        std::fs::write(folder.join("given"), format!("{version}\n")).unwrap();
        let tag = format!("crowd:{}", self.random.below(IMAGES));
        ["--quiet".into(), "--tag".into(), tag, folder.to_string_lossy().into_owned()]
    }

    fn pull(&mut self) {
        let name = self.remote();
        self.go("pull", &["--quiet", &name]);
    }

    fn build(&mut self) {
        let words = self.build_words();
        self.go("build", &words.each_ref().map(String::as_str));
    }

    /// The files of an image belong to one version of it, whoever built, committed, loaded or imported it.
    fn run(&mut self) {
        let image = self.image();
        let script = "test ! -e /a || cat /a /b";
        let words = ["--rm", "--network", "none", "--pull", pull_of(&image), &image, "sh", "-c", script];
        if let Some(out) = self.go("run", &words) {
            let mut lines: Vec<String> = out.stdout().lines().map(str::to_owned).collect();
            lines.dedup();
            if lines.len() > 1 {
                self.problem(format!("files of two versions in one image\n{out}"));
            }
        }
    }

    /// Nobody else knows the name; so from `run` to `rm` all must work.
    fn own_container(&mut self) {
        let (image, name) = (self.image(), format!("own{}", self.number));
        let script = "echo said; echo mine > /mine; exec sleep 1000";
        let words =
            ["--detach", "--name", &name, "--network", "none", "--pull", pull_of(&image), &image, "sh", "-c", script];
        if self.go("run", &words).is_none() {
            return;
        }
        let listed = self.go("ps", &["--format", "{{.Names}}"]);
        if !listed.is_some_and(|out| out.stdout().lines().any(|line| line == name)) {
            self.problem(format!("container {name} runs and is not listed"));
        }
        let script = "while ! test -s /mine; do :; done; cat /mine";
        match Out::of(command_in(&self.crowd.folder, &["exec", &name, "sh", "-c", script]), None, LIMIT) {
            out if out.code() == 0 && out.stdout() == "mine\n" => {}
            out => self.problem(out.to_string()),
        }
        match Out::of(command_in(&self.crowd.folder, &["rm", "--force", &name]), None, LIMIT) {
            out if out.code() == 0 => {}
            out => self.problem(out.to_string()),
        }
    }

    fn containers(&mut self) {
        let (name, image) = (self.container(), self.image());
        match self.random.below(6) {
            0 => drop(
                self.go("create", &["--name", &name, "--network", "none", "--pull", pull_of(&image), &image, "true"]),
            ),
            1 => drop(self.go("start", &[&name])),
            2 => drop(self.go(
                "run",
                &[
                    "-d",
                    "--name",
                    &name,
                    "--network",
                    "none",
                    "--pull",
                    pull_of(&image),
                    &image,
                    "sh",
                    "-c",
                    "echo x > /new; sleep 2",
                ],
            )),
            3 => drop(self.go("stop", &["--time", "0", &name])),
            _ => drop(self.go("rm", &["--force", &name])),
        }
    }

    fn tags(&mut self) {
        let (one, other) = (self.image(), format!("crowd:{}", self.random.below(IMAGES)));
        match self.random.below(4) {
            0 => drop(self.go("rmi", &[&other])),
            1 => drop(self.go("rmi", &["--force", &one])),
            _ => drop(self.go("tag", &[&one, &other])),
        }
    }

    fn prune(&mut self) {
        match self.random.below(8) {
            0 => drop(self.go("system prune", &["--force"])),
            1 => drop(self.go("system prune", &["--force", "--all", "--volumes"])),
            2 => drop(self.go("image prune", &["--force"])),
            3 => drop(self.go("image prune", &["--force", "--all"])),
            4 => drop(self.go("container prune", &["--force"])),
            5 => drop(self.go("volume prune", &["--force"])),
            6 => drop(self.go("builder prune", &["--force"])),
            _ => drop(self.go("system prune", &["--dry-run", "--all"])),
        }
    }

    fn commit(&mut self) {
        let (name, image) = (self.container(), format!("crowd:{}", self.random.below(IMAGES)));
        self.go("commit", &["--quiet", &name, &image]);
    }

    fn save_and_load(&mut self) {
        let (image, file) = (self.image(), self.crowd.folder.join(format!("saved-{}.tar", self.number)));
        let file = file.to_string_lossy();
        if self.go("save", &["--output", &file, &image]).is_some() {
            self.go("load", &["--quiet", "--input", &file]);
        }
    }

    fn export_and_import(&mut self) {
        let (name, file) = (self.container(), self.crowd.folder.join(format!("exported-{}.tar", self.number)));
        let file = file.to_string_lossy();
        if self.go("export", &["--output", &file, &name]).is_some() {
            let image = format!("crowd:{}", self.random.below(IMAGES));
            self.go("import", &[&file, &image]);
        }
    }

    fn read(&mut self) {
        let (image, name) = (self.image(), self.container());
        match self.random.below(9) {
            0 => drop(self.go("images", &["--all"])),
            1 => drop(self.go("ps", &["--all", "--size"])),
            2 => drop(self.go("inspect", &[&image])),
            3 => drop(self.go("inspect", &[&name])),
            4 => drop(self.go("system df", &[])),
            5 => drop(self.go("system df", &["-v"])),
            6 => drop(self.go("history", &[&image])),
            7 => drop(self.go("builder du", &[])),
            _ => drop(self.go("logs", &[&name])),
        }
    }

    fn volumes(&mut self) {
        let (volume, image) = (self.volume(), self.image());
        let mount = format!("{volume}:/data");
        match self.random.below(3) {
            0 => drop(self.go("volume rm", &[&volume])),
            1 => drop(self.go("volume ls", &[])),
            _ => drop(self.go(
                "run",
                &[
                    "--rm",
                    "--network",
                    "none",
                    "-v",
                    &mount,
                    "--pull",
                    pull_of(&image),
                    &image,
                    "sh",
                    "-c",
                    "echo x >> /data/x",
                ],
            )),
        }
    }

    /// Somebody whose machine was switched off under him: nothing of that may trouble the others.
    fn killed(&mut self) {
        let (image, remote) = (self.image(), self.remote());
        let file = self.crowd.folder.join(format!("killed-{}.tar", self.number)).to_string_lossy().into_owned();
        let build = self.build_words();
        let words: Vec<&str> = match self.random.below(8) {
            0 => vec!["pull", "--quiet", &remote],
            1 => ["build"].into_iter().chain(build.iter().map(String::as_str)).collect(),
            2 => vec!["run", "--rm", "--network", "none", &image, "true"],
            3 => vec!["save", "--output", &file, &image],
            4 => vec!["system", "prune", "--force", "--all"],
            5 => vec!["rmi", "--force", &image],
            6 => vec!["system", "check"],
            _ => vec!["create", "--network", "none", &image, "true"],
        };
        let mut command: Command = command_in(&self.crowd.folder, &words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(self.random.below(60_000)));
        // It may have ended by itself.
        drop(child.kill());
        child.wait().unwrap();
        self.crowd.tally.lock().unwrap().counts.entry(words[0].to_owned()).or_default()[2] += 1;
    }
}
