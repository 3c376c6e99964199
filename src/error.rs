//! What a command says when it fails: a kind that decides the exit code, a chain of causes, hints apart from both.
//! Libraries raise their own errors; this page is the only one that turns them into words and exit codes.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

/// Result of a command.
pub type Result<T, E = CommandError> = std::result::Result<T, E>;

/// Decides the exit code, as docker's users know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for cannot be done: exit code 1.
    Failed,
    /// The container could not be made or started, or img itself failed while running one: 125.
    Container,
    /// The program in the container cannot be executed: 126.
    NotExecutable,
    /// The program in the container was not found: 127.
    CommandNotFound,
    /// The image that was built breaks an assertion of its Buildfile: 3.
    Budget,
    /// A secret given to a build is in what it made: 17.
    Leak,
    /// The words on the command line make no sense: 125, as docker and podman say.
    Usage,
}

impl Kind {
    /// What it means that the runner could not start a program.
    #[must_use]
    pub fn of_start(error: &runner::Error) -> Self {
        match error.exit_code() {
            126 => Self::NotExecutable,
            127 => Self::CommandNotFound,
            _ => Self::Container,
        }
    }

    /// The exit code of a process that failed so.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Budget => 3,
            Self::Leak => 17,
            Self::Usage | Self::Container => 125,
            Self::NotExecutable => 126,
            Self::CommandNotFound => 127,
        }
    }
}

/// An error that ends a command.
#[derive(Debug)]
pub struct CommandError {
    /// Decides the exit code.
    pub kind: Kind,
    /// What was being done and to what; empty when the cause speaks for itself.
    pub message: String,
    /// The cause.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
    /// What the user can do about it, a sentence each.
    pub hints: Vec<String>,
}

impl CommandError {
    /// An error without a cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into(), source: None, hints: Vec::new() }
    }

    /// The error with `message` first, itself as the cause.
    #[must_use]
    pub fn within(self, message: impl Into<String>) -> Self {
        let (kind, hints) = (self.kind, self.hints.clone());
        let source: Box<dyn StdError + Send + Sync> = match self {
            Self { message, source: Some(source), .. } if message.is_empty() => source,
            other => Box::new(Cause(other)),
        };
        Self { kind, message: message.into(), source: Some(source), hints }
    }

    /// An error in the words on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).kind(Kind::Usage)
    }

    /// The same error with another kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same error with words before its own.
    #[must_use]
    pub fn prefixed(mut self, words: &str) -> Self {
        self.message = if self.message.is_empty() { words.to_owned() } else { format!("{words}: {}", self.message) };
        self
    }

    /// The message and all causes, joined by colons; a cause that the text before it already ends with is left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            let part = error.to_string();
            if text.is_empty() {
                text = part;
            } else if !text.ends_with(&part) {
                text = format!("{text}: {part}");
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl From<CommandError> for ExitCode {
    fn from(error: CommandError) -> Self {
        Self::from(error.kind.code())
    }
}

/// Adds what was being done to an error of a library.
pub trait Context<T> {
    /// Wraps the error: `message` first, the error as its cause.
    fn context(self, message: impl Into<String>) -> Result<T>;
    /// As [`Context::context`], the message made only when needed.
    fn with_context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<CommandError>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        let message = message.into();
        self.with_context(|| message)
    }

    fn with_context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().within(message()))
    }
}

/// A [`CommandError`] that became the cause of another, perhaps by way of a library.
#[derive(Debug)]
pub struct Cause(pub CommandError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text())
    }
}

impl StdError for Cause {}

fn wrap(source: impl StdError + Send + Sync + 'static) -> CommandError {
    CommandError { kind: Kind::Failed, message: String::new(), source: Some(Box::new(source)), hints: Vec::new() }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        wrap(error)
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        wrap(error)
    }
}

impl From<store::Error> for CommandError {
    fn from(error: store::Error) -> Self {
        let hint = store_hint(&error);
        let mut error = wrap(error);
        error.hints.extend(hint);
        error
    }
}

impl From<registry_client::Error> for CommandError {
    fn from(error: registry_client::Error) -> Self {
        let hint = error.hint();
        let mut error = wrap(error);
        error.hints.extend(hint);
        error
    }
}

impl From<runner::Error> for CommandError {
    fn from(error: runner::Error) -> Self {
        let mut hints: Vec<String> = runner_hint(&error).into_iter().collect();
        if let runner::Error::Start(failure) = &error {
            hints.extend(failure.hints.iter().cloned());
        }
        CommandError { hints, ..wrap(error) }
    }
}

impl From<runner::spec::Error> for CommandError {
    fn from(error: runner::spec::Error) -> Self {
        let hint = error.hint();
        let mut error = wrap(error);
        error.hints.extend(hint);
        error
    }
}

impl From<runner::network::Error> for CommandError {
    fn from(error: runner::network::Error) -> Self {
        let hint = error.hint();
        let mut error = wrap(error);
        error.hints.extend(hint);
        error
    }
}

impl From<builder::BuildError> for CommandError {
    /// What is wrong with a line of the Buildfile is drawn with the line, so the causes go into the message above it.
    fn from(error: builder::BuildError) -> Self {
        if let builder::BuildError::Warnings { warnings, .. } = &error {
            let line = |warning: &builder::buildfile::Warning| {
                format!("line {}: {} ({})", warning.span.start.line, warning.message, warning.rule.name())
            };
            let text = warnings.iter().fold(error.to_string(), |text, warning| format!("{text}\n {}", line(warning)));
            return Self::new(text);
        }
        match &error {
            builder::BuildError::Budgets(_) => return Self::new(error.to_string()).kind(Kind::Budget),
            builder::BuildError::Leak(_) => {
                return Self::new(error.to_string()).kind(Kind::Leak).hint(
                    "nothing was made; give the step what it needs by RUN --mount=type=secret and keep it out of files",
                );
            }
            _ => {}
        }
        let Some(diagnostic) = error.diagnostic() else { return wrap(error) };
        let mut diagnostic = diagnostic.clone();
        let mut hints: Vec<String> = diagnostic.hint.take().into_iter().collect();
        let mut cause = match &error {
            builder::BuildError::Step { source, .. } => StdError::source(source),
            builder::BuildError::BaseImage { source, .. } => Some(source.as_ref() as &dyn StdError),
            _ => None,
        };
        while let Some(error) = cause {
            let part = error.to_string();
            if !diagnostic.message.ends_with(&part) {
                diagnostic.message = format!("{}: {part}", diagnostic.message);
            }
            if let Some(Cause(error)) = error.downcast_ref() {
                hints.extend(error.hints.iter().cloned());
            }
            if let Some(error) = error.downcast_ref::<store::Error>() {
                hints.extend(store_hint(error));
            }
            cause = error.source();
        }
        if let builder::BuildError::Step { source: builder::op::OpError::Store(error), .. } = &error {
            hints.extend(store_hint(error));
        }
        hints.dedup();
        Self { hints, ..Self::new(diagnostic.to_string()) }
    }
}

/// What a user can do about an error of the runner.
fn runner_hint(error: &runner::Error) -> Option<String> {
    match error {
        runner::Error::Cgroup(error) => error.hint(),
        runner::Error::Network(error) => error.hint(),
        runner::Error::Security(error) => error.hint(),
        _ => None,
    }
}

/// What a user can do about an error of the store.
fn store_hint(error: &store::Error) -> Option<String> {
    use std::io::ErrorKind;
    match error {
        store::Error::Io { source, .. } | store::Error::Read { source, .. } => match source.kind() {
            ErrorKind::StorageFull => {
                Some("the disk is full; `img system df` shows what uses it, `img system prune` makes room".into())
            }
            ErrorKind::QuotaExceeded => Some("the disk quota is used up; `img system prune` makes room".into()),
            ErrorKind::PermissionDenied if rustix::process::geteuid().is_root() => {
                Some("what root may not: `lsattr -Ra` shows whether something in it is immutable, `chattr -i` makes it an ordinary file".into())
            }
            ErrorKind::PermissionDenied => Some("run img as root, or choose another store with --root".into()),
            ErrorKind::ReadOnlyFilesystem => {
                Some("the store lies on a read-only file system: what is there can be read, and images run, in memory; --root chooses another".into())
            }
            _ => None,
        },
        store::Error::NewerFormat { .. } => Some("update img, or choose another store with --root".into()),
        store::Error::Damaged(_) => Some("`img system check --repair` removes what is damaged".into()),
        _ => None,
    }
}
