//! The instructions of a Buildfile as types: what the parser hands to the planner. Arguments are as written, variables
//! not yet replaced; which of them are replaced, and with what, is the planner's knowledge (`plan::dispatch`).

use super::expand::Expander;
use super::source::Span;

/// An inline document behind an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, without quotes; in COPY and ADD also the file's name.
    pub name: String,
    /// The lines between, as they stand in the file.
    pub content: String,
    /// Variables in it are replaced (the delimiter was not quoted).
    pub expand: bool,
    /// `<<-`: leading tabs of each line are dropped.
    pub strip_tabs: bool,
}

impl Heredoc {
    /// The heredoc that `word` announces: an optional file descriptor number, `<<` or `<<-`, and a delimiter.
    #[must_use]
    pub fn announced_by(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let plain = Expander { keep_unset: true, ..Expander::new('\\') };
        let raw = Expander { keep_quotes: true, keep_escapes: true, ..plain };
        let (plain, raw) = (plain.expand(rest, &|_| None).ok()?, raw.expand(rest, &|_| None).ok()?);
        let [name] = plain.words.as_slice() else { return None };
        Some(Self { name: name.clone(), content: String::new(), expand: plain.text == raw.text, strip_tabs })
    }

    /// The content as it is used: with `<<-`, without the leading tabs.
    #[must_use]
    pub fn text(&self) -> String {
        if self.strip_tabs && !crate::mutation::broken("tabs-of-heredocs") {
            self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            self.content.clone()
        }
    }
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For the shell of the image.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Key, quotes and variables as written.
    pub key: String,
    /// Value, quotes and variables as written.
    pub value: String,
}

/// One name of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Name.
    pub name: String,
    /// Default as written, if there is one.
    pub default: Option<String>,
}

/// COPY or ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// It is ADD: archives are unpacked, URLs fetched.
    pub add: bool,
    /// Paths, patterns or (ADD) URLs.
    pub sources: Vec<String>,
    /// Inline files.
    pub documents: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage, its number, or an image.
    pub from: Option<String>,
    /// `--chown=user[:group]`.
    pub chown: Option<String>,
    /// `--chmod`, octal or symbolic.
    pub chmod: Option<String>,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--link`.
    pub link: bool,
    /// `--unpack` of ADD.
    pub unpack: Option<bool>,
    /// `--checksum` of ADD.
    pub checksum: Option<String>,
    /// `--keep-git-dir` of ADD.
    pub keep_git_dir: Option<bool>,
}

/// The network of a RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NetworkMode {
    /// Whatever the build was started with.
    #[default]
    Default,
    /// Only a loopback device.
    None,
    /// The host's.
    Host,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// Inline documents.
    pub documents: Vec<Heredoc>,
    /// `--mount` values as written, each with its place.
    pub mounts: Vec<(String, Span)>,
    /// `--network`.
    pub network: NetworkMode,
    /// `--security=insecure`: without the sandbox.
    pub insecure: bool,
}

/// HEALTHCHECK. Times are nanoseconds, as in the image config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `NONE`, `CMD …` or `CMD-SHELL …`.
    pub test: Vec<String>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARG.
    Arg(Vec<Arg>),
    /// CMD.
    Cmd(Command),
    /// COPY and ADD.
    Copy(Box<Copy>),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// ENV.
    Env(Vec<Pair>),
    /// EXPOSE.
    Expose(Vec<String>),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// LABEL.
    Label(Vec<Pair>),
    /// MAINTAINER.
    Maintainer(String),
    /// ONBUILD: the instruction's text, with its heredocs.
    Onbuild(String),
    /// RUN.
    Run(Box<Run>),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    Stopsignal(String),
    /// USER.
    User(String),
    /// VOLUME.
    Volume(Vec<String>),
    /// WORKDIR.
    Workdir(String),
}

impl Kind {
    /// The keyword, upper case.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(copy) if copy.add => "ADD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// Where it stands, without its heredocs.
    pub span: Span,
    /// The logical line as written, keyword in upper case.
    pub text: String,
    /// The comments right above it, without `#`.
    pub comments: Vec<String>,
}

/// FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `AS name`, lower case.
    pub name: Option<String>,
    /// Image, stage or `scratch`, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// Where FROM stands.
    pub span: Span,
    /// The FROM line as written.
    pub text: String,
    /// The comments right above it, without `#`.
    pub comments: Vec<String>,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
}
