//! Why a step ran. What each step's key was made of is noted beside the build cache ([`inputs`], [`memory`]); a step
//! that is not cached is compared with the nearest earlier one ([`compare`]), and the answer is a [`Reason`]: which
//! file, which variable, which base, which step before it. A build in which everything is cached reads none of it.
//!
//! Values of variables are never kept, only short digests of them: a build argument may be a secret.

pub(crate) mod compare;
pub(crate) mod inputs;
pub(crate) mod memory;
mod report;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use memory::last;
pub use report::{Explained, Outcome, Report};

/// Items of a list named in one line.
const NAMED: usize = 3;
/// Longest piece of an instruction quoted, in characters.
const QUOTED: usize = 60;

/// Why a step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Reason {
    /// `--no-cache` was given for it.
    NoCache,
    /// No step like it was built in this store before.
    New,
    /// It was built before, and then its result was removed from the cache.
    Evicted {
        /// When it was removed, if that is known.
        when: Option<Timestamp>,
    },
    /// These things differ from the nearest earlier step; never empty.
    Changed {
        /// What differs, the step's own things first.
        differences: Vec<Difference>,
    },
}

/// One thing that differs from an earlier step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Difference {
    /// The instruction is written differently.
    Instruction {
        /// As it was.
        before: String,
    },
    /// Files that it reads.
    Files {
        /// Where they are, if not in the build context: a stage or an image.
        source: Option<String>,
        /// What changed, by path; empty if there were too many files to keep a list.
        changes: Vec<FileChange>,
        /// Number of files it reads now.
        total: u64,
    },
    /// A variable.
    Variable {
        /// `ARG` or `ENV`.
        kind: String,
        /// Its name.
        name: String,
        /// What happened to it.
        change: Change,
    },
    /// The base image.
    Base {
        /// As written in FROM.
        name: String,
        /// Its id then.
        from: String,
        /// Its id now.
        to: String,
    },
    /// Something before it was made anew.
    Step {
        /// The step that was the first to change.
        step: String,
        /// Line of that step.
        line: u32,
        /// Why that step ran.
        reason: String,
    },
    /// The step before it is another one than before, or has another result.
    Before {
        /// The step before it now, if there is one.
        now: Option<String>,
        /// The step before it then, if there was one.
        then: Option<String>,
    },
    /// A setting.
    Setting {
        /// Its name.
        name: String,
        /// Its value then, if it is known.
        from: Option<String>,
        /// Its value now, if it is known.
        to: Option<String>,
    },
}

/// What happened to something that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It has another value.
    Changed,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path now, or then if it is gone.
    pub path: String,
    /// `added`, `removed`, `renamed`, or what is different: `content`, `mode`, `owner`, `type`, `target`, `attributes`.
    pub how: Vec<String>,
    /// Its path then, if it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl fmt::Display for Reason {
    /// On one line of moderate length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCache => write!(f, "--no-cache"),
            Self::New => write!(f, "not built here before"),
            Self::Evicted { when: None } => write!(f, "its result was removed from the cache"),
            Self::Evicted { when: Some(when) } => {
                write!(f, "its result was removed from the cache on {} UTC", when.strftime("%Y-%m-%d %H:%M:%S"))
            }
            Self::Changed { differences } => list(f, differences, "; "),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction { before } => write!(f, "the instruction was {}", quoted(before)),
            Self::Files { source, changes, total } => {
                let files = if *total == 1 { "file" } else { "files" };
                match changes.len() {
                    0 => write!(f, "something in {total} {files} changed")?,
                    count => {
                        list(f, changes, ", ")?;
                        write!(f, ", {count} of {total} {files}")?;
                    }
                }
                source.as_ref().map_or(Ok(()), |source| write!(f, " from {source}"))
            }
            Self::Variable { kind, name, change } => write!(f, "{kind} {name} {change}"),
            Self::Base { name, from, to } => write!(f, "base {name} moved from {} to {}", short(from), short(to)),
            Self::Step { step, line, reason } => {
                write!(f, "{} (line {line}) ran again: {reason}", quoted(step))
            }
            Self::Before { now: Some(now), then: Some(then) } if now != then => {
                write!(f, "it comes after {} now, after {} before", quoted(now), quoted(then))
            }
            Self::Before { now: Some(now), .. } => write!(f, "{} before it has another result", quoted(now)),
            Self::Before { now: None, then } => match then {
                Some(then) => write!(f, "it came after {} before", quoted(then)),
                None => write!(f, "it starts from other files"),
            },
            Self::Setting { name, from: Some(from), to: Some(to) } => {
                let none = |text: &str| if text.is_empty() { "nothing".to_owned() } else { quoted(text) };
                write!(f, "{name} changed from {} to {}", none(from), none(to))
            }
            Self::Setting { name, .. } => write!(f, "{name} changed"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(f, "{from} renamed to {}", self.path),
            None => write!(f, "{} ({})", self.path, self.how.join(", ")),
        }
    }
}

/// The first few items, and how many more there are.
fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (number, item) in items.iter().take(NAMED).enumerate() {
        write!(f, "{}{item}", if number == 0 { "" } else { between })?;
    }
    match items.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, "{between}and {more} more"),
    }
}

/// The beginning of an instruction's first line.
fn quoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(QUOTED).collect();
    if short.len() < text.trim_end().len() {
        short.push('…');
    }
    short
}

/// Twelve digits of an id.
fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

#[cfg(test)]
mod tests;
