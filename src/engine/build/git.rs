//! Repositories for contexts and ADD, by the `git` program: it knows every protocol and the user's own configuration.
//! What a repository says is not believed: none of its hooks run, submodules cannot name files of this machine, and
//! nothing is ever asked on the terminal.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use builder::GitSource;

use crate::error::{CommandError, Context as _, Result};

/// A transfer that gets less than a byte a second for so many seconds has come to its end.
const SILENCE: &str = "60";
/// Longest word of `git` that an error repeats, bytes.
const SAID_MAX: usize = 2000;

/// The `git` program of this machine.
#[derive(Clone, Debug, Default)]
pub struct Git {
    /// The ssh agent that `--ssh default` named, in place of the user's own.
    pub agent: Option<PathBuf>,
}

impl Git {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        // Safe whatever the repository holds; what the user's own configuration says besides stays in force.
        for setting in
            ["core.hooksPath=/dev/null", "protocol.ext.allow=never", "advice.detachedHead=false", "gc.auto=0"]
        {
            command.args(["-c", setting]);
        }
        command.args(words).stdin(std::process::Stdio::null());
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
            command.env_remove(name);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        // Nor does ssh ask, which would use the terminal by itself: whoever is asked in its place gives no answer.
        command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1").env("GIT_HTTP_LOW_SPEED_TIME", SILENCE);
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command
    }

    fn output(&self, words: &[&str]) -> Result<Output> {
        self.command(words).output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => CommandError::new("there is no git on this machine")
                .hint("install the package git; img fetches repositories with it"),
            _ => CommandError::from(error).prefixed("cannot start git"),
        })
    }

    /// What git prints, if it succeeds.
    fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut text = last[last.len().saturating_sub(4)..].join("; ");
        if text.len() > SAID_MAX {
            text.truncate((0..=SAID_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
        }
        // Behind the settings, which are pairs.
        let verb = words.chunks(2).find(|pair| !matches!(pair[0], "-c" | "-C")).map_or("", |pair| pair[0]);
        Err(CommandError::new(format!("git {verb}: {}", if text.is_empty() { "it failed" } else { &text })))
    }

    /// The commit that `source` means now, in full.
    ///
    /// # Errors
    /// No git, a repository that cannot be reached, no such reference in it.
    pub fn commit(&self, source: &GitSource) -> Result<String> {
        if let Some(commit) = source.whole_commit() {
            return Ok(commit.to_ascii_lowercase());
        }
        let wanted = source.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{wanted}^{{}}");
        let listed = self.run(&["ls-remote", "--", &source.url, wanted, &peeled])?;
        let lines: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        // A branch before a tag of its name, as git-checkout(1) has it; of an annotated tag the commit it is about.
        let names = [
            wanted.to_owned(),
            format!("refs/heads/{wanted}"),
            format!("refs/tags/{wanted}^{{}}"),
            format!("refs/tags/{wanted}"),
            format!("{wanted}^{{}}"),
        ];
        let exact = |name: &String| lines.iter().find(|(_, known)| known == name);
        let peeled_first = wanted.starts_with("refs/").then(|| exact(&peeled)).flatten();
        let found = peeled_first.or_else(|| names.iter().find_map(exact));
        let commit = found.map(|(commit, _)| (*commit).to_owned()).ok_or_else(|| {
            CommandError::new(format!("the repository has no branch or tag {wanted}"))
                .hint("a commit is named in full, by all of its 40 digits")
        })?;
        if commit.len() < 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(CommandError::new(format!("git named no commit but {commit:?}")));
        }
        Ok(commit)
    }

    /// Puts the files of `commit` into the empty directory `into`, with those of submodules; gives the commit's time,
    /// seconds since 1970.
    ///
    /// # Errors
    /// As [`Git::commit`], a commit that is not there, a disk that is full.
    pub fn check_out(&self, source: &GitSource, commit: &str, into: &Path) -> Result<i64> {
        let at = into.to_str().ok_or_else(|| CommandError::new("the store's path is no UTF-8"))?;
        let git = |words: &[&str]| self.run(&[&["-C", at][..], words].concat());
        git(&["init", "-q"])?;
        if git(&["fetch", "-q", "--depth=1", "--no-tags", "--", &source.url, commit]).is_err() {
            // A server that gives no single commits gives all that its branches and tags lead to.
            git(&["fetch", "-q", "--tags", "--", &source.url, "+refs/*:refs/img/*"])?;
        }
        git(&["checkout", "-q", "--detach", commit])?;
        // Addresses of submodules may be relative to it.
        git(&["remote", "add", "origin", &source.url])?;
        if !source.no_submodules && into.join(".gitmodules").is_file() {
            // Their addresses come from the repository.
            let words = ["-c", "protocol.file.allow=never", "submodule", "update", "-q", "--init", "--recursive"];
            if git(&[&words[..], &["--depth=1"]].concat()).is_err() {
                // As above; what is there already is cut short, and would stay so.
                git(&["submodule", "deinit", "-q", "-f", "--all"])?;
                let modules = into.join(".git/modules");
                match fs::remove_dir_all(&modules) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("cannot empty {}", modules.display()));
                    }
                    _ => {}
                }
                git(&words)?;
            }
        }
        let time = git(&["log", "-1", "--format=%ct", commit])?;
        let seconds = time.parse().map_err(|_| CommandError::new(format!("git says {time:?} for a time")))?;
        if !source.keep_git_dir {
            remove_git_directories(into).with_context(|| format!("cannot tidy {at}"))?;
        }
        Ok(seconds)
    }
}

/// Removes `.git` at the top and in submodules, where it is a file. Links are not followed.
fn remove_git_directories(top: &Path) -> std::io::Result<()> {
    let mut todo = vec![top.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let is_directory = entry.file_type()?.is_dir();
            match (entry.file_name() == ".git", is_directory) {
                (true, true) => fs::remove_dir_all(entry.path())?,
                (true, false) => fs::remove_file(entry.path())?,
                (false, true) => todo.push(entry.path()),
                (false, false) => {}
            }
        }
    }
    Ok(())
}
