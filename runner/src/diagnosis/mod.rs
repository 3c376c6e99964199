//! Why a program cannot be started, said in words: what lies behind the few numbers that the kernel answers an exec with.
//!
//! The image is only read, by descriptors below its root, regular files alone and never more than a little of them, with the
//! credentials of the user the program was to run as. Nothing here runs before a start has failed.

pub mod content;
pub mod elf;
mod ended;
mod file;
mod libraries;
mod walk;

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

pub use ended::{after_exec, after_run};

use crate::init::dialogue::{Failure, FailureKind};
use crate::inroot::Root;
use walk::{Obstacle, walk};

/// An exec that did not work.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// The root that the program was looked for in.
    pub root: &'a Root,
    /// The directory it was started from.
    pub directory: &'a Path,
    /// Program and arguments.
    pub args: &'a [String],
    /// Its environment.
    pub env: &'a [String],
    /// Where programs are looked for.
    pub path: &'a str,
    /// User and groups of the program.
    pub uid: u32,
    /// The main group, then the others.
    pub groups: &'a [u32],
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The cause, as a sentence without a full stop.
    pub why: String,
    /// What can be done, a sentence each.
    pub hints: Vec<String>,
}

impl Finding {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), hints: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl Attempt<'_> {
    fn program(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// A path as the program's directory makes it absolute.
    fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    /// No file of that name was there at all.
    pub fn not_found(&self) -> Failure {
        let program = self.program();
        let (place, mut finding) = if program.contains('/') {
            let finding = match walk(self.root, &self.absolute(program)) {
                Err(obstacle) => self.obstacle(&obstacle),
                Ok(_) => Finding::default(),
            };
            ("no such file or directory", finding)
        } else {
            ("executable file not found in $PATH", self.searched())
        };
        if self.shell_form() {
            finding.hints.clear();
            finding = finding.hint(
                "the image has no shell: give the program and its arguments as a list (exec form) instead of one line",
            );
        }
        let why = if finding.why.is_empty() { place.to_owned() } else { format!("{place}: {}", finding.why) };
        failure(program, FailureKind::NotFound, Some(libc::ENOENT), &Finding { why, ..finding }, None)
    }

    /// `file` was there, and the kernel answered `error`.
    pub fn refused(&self, file: &str, error: &std::io::Error) -> Failure {
        let number = error.raw_os_error().unwrap_or_default();
        let kind = match number {
            libc::ENOENT | libc::ENOTDIR => FailureKind::NotFound,
            libc::EACCES | libc::ENOEXEC | libc::EPERM | libc::EISDIR | libc::ETXTBSY | libc::ELOOP => {
                FailureKind::NotExecutable
            }
            _ => FailureKind::Other,
        };
        let finding = self.file(&self.absolute(file), number, 0);
        failure(self.program(), kind, error.raw_os_error(), &finding, Some(error))
    }

    /// Whether this is a line for a shell.
    fn shell_form(&self) -> bool {
        matches!(self.program(), "/bin/sh" | "sh" | "/bin/bash" | "/bin/ash")
            && self.args.get(1).is_some_and(|argument| argument.starts_with('-') && argument.ends_with('c'))
    }

    /// What the search along PATH looked at, and what it may have meant.
    fn searched(&self) -> Finding {
        let program = self.program();
        let folders = || self.path.split(':').map(|folder| self.absolute(folder)).take(64);
        let mut finding = Finding::default();
        if program.is_empty() {
            return finding.hint("the name of the program is empty");
        }
        let names: Vec<String> = folders().flat_map(|folder| walk::names(self.root, &folder)).collect();
        if let Some(near) = nearest(program, &names) {
            finding = finding.hint(format!("did you mean {near}?"));
        }
        let list: Vec<Cow<'_, str>> = self.path.split(':').take(64).map(shown).collect();
        finding.hint(format!("searched {}", list.join(", ")))
    }

    /// Why there is no file at the end of a path.
    fn obstacle(&self, obstacle: &Obstacle) -> Finding {
        match obstacle {
            Obstacle::Missing { parent, name, link } => {
                let missing = parent.join(name);
                let finding = match link {
                    Some((link, says)) => Finding::new(format!(
                        "{} is a symbolic link to {}, and there is no {}",
                        shown_path(link),
                        shown_path(says),
                        shown_path(&missing)
                    )),
                    None => Finding::new(format!("there is no {}", shown_path(&missing))),
                };
                match nearest(&name.to_string_lossy(), &walk::names(self.root, parent)) {
                    Some(near) => finding.hint(format!("did you mean {}?", shown_path(&parent.join(near)))),
                    None => finding,
                }
            }
            Obstacle::NotDirectory(path) => Finding::new(format!("{} is not a directory", shown_path(path))),
            Obstacle::Denied(path, stat) => Finding::new(format!(
                "the directory {} may not be searched by {}: its mode is {:04o} and it belongs to {}:{}",
                shown_path(path),
                self.who(),
                stat.st_mode & 0o7777,
                stat.st_uid,
                stat.st_gid
            ))
            .hint(format!("`chmod a+x {}` in the image, or another --user", shown_path(path))),
            Obstacle::Loop(first, says) => Finding::new(format!(
                "{} is a symbolic link to {}, and the links lead in a circle",
                shown_path(first),
                shown_path(says)
            )),
            Obstacle::Other(error) => Finding::new(answer(error)),
        }
    }

    fn who(&self) -> String {
        let group = self.groups.first().copied().unwrap_or_default();
        format!("user {} and group {group}", self.uid)
    }
}

/// The whole failure: what was executed, why not, and the kernel's answer.
fn failure(
    program: &str,
    kind: FailureKind,
    errno: Option<i32>,
    finding: &Finding,
    error: Option<&std::io::Error>,
) -> Failure {
    let answer = error.map(|error| format!(": {}", answer(error))).unwrap_or_default();
    let text = format!("exec {program:?}: {}{answer}", finding.why);
    let hints = finding.hints.clone();
    Failure { step: "execute the program".into(), kind, text, errno, hints }
}

/// The kernel's answer, as C programs print it but in lower case.
fn answer(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// The name among `names` that is nearest to `wanted`, if any is near.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).clamp(1, 3);
    let near = |name: &'a String| (strsim::osa_distance(wanted, name), name.as_str());
    let close = |name: &&String| name.len().abs_diff(wanted.len()) <= 12 && name.as_str() != wanted;
    names.iter().filter(close).map(near).filter(|(by, _)| *by <= limit).min().map(|(_, name)| name)
}

/// A name of the image for a message: nothing in it may look like something else.
fn shown(name: &str) -> Cow<'_, str> {
    if name.chars().any(|letter| letter.is_control() || letter == '"') || name.is_empty() {
        Cow::Owned(format!("{name:?}"))
    } else {
        Cow::Borrowed(name)
    }
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// A regular file of the image, opened for reading without waiting on anything.
fn open_regular(root: &Root, path: &Path) -> Option<File> {
    let fd = root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| fd.into())
}

/// A file as the reader of ELF takes it.
struct FileSource(File);

impl elf::Source for FileSource {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset.checked_add(done as u64)?) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_near_to_what_was_meant() {
        let names = ["python3".to_owned(), "ls".to_owned(), "perl".to_owned()];
        assert_eq!(nearest("pyhton3", &names), Some("python3"));
        assert_eq!(nearest("pearl", &names), Some("perl"));
        assert_eq!(nearest("ruby", &names), None);
    }

    #[test]
    fn answers_and_names_are_plain() {
        assert_eq!(answer(&std::io::Error::from_raw_os_error(libc::EACCES)), "permission denied");
        assert_eq!(shown("/bin/sh\r"), "\"/bin/sh\\r\"");
        assert_eq!(shown("/bin/sh"), "/bin/sh");
    }
}
